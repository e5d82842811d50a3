"""What an examination is made of: the candidate, its rival, the kept facts, and the limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from foretest.evidence.store import EvidenceStore
from foretest.features.build import build
from foretest.features.frame import FeatureFrame
from foretest.features.query import Query
from foretest.models.contract import Model, Scores, predict
from foretest.models.formula import Formula
from foretest.records import Budget, Selection
from foretest.replay.judge import Setting, Trial, judge
from foretest.replay.metrics import Mask
from foretest.replay.run import as_judged
from foretest.replay.strategies import OURS, Moment, Ranker, coverage_ranked, ours
from foretest.replay.table import Verdict
from foretest.selection.compose import select
from foretest.selection.policy import Freshness, Rules
from foretest.selection.promise import Calibration
from foretest.training.calibrate import faulty, moments_of
from foretest.training.pool import Taught

CANDIDATE, CHAMPION, FORMULA, COVERAGE = "candidate", "champion", "formula", "coverage ranked"
DRAWS = 20
"""Random orders, for the tables alone."""


@dataclass(frozen=True)
class Candidate:
    """A model that may serve, and all that decides how it serves."""

    model: Model
    rules: Rules = field(default_factory=Rules)
    stand_ins: Mapping[str, Model] = field(default_factory=dict)
    """For a repository that the model was fitted on, one of the same recipe fitted without it."""
    fitted_on: frozenset[str] = frozenset()
    """Repositories whose changes under examination the model was fitted on."""
    promise: Calibration | None = None
    """The pooled calibration that comes with it, a group a repository."""
    in_time: bool = False
    """Whether every change under examination is later than all that it was fitted on."""

    def judged_by(self, repository: str) -> Model | None:
        """The model that says how this one does on what it never saw; None: none can."""
        return self.model if self.in_time else self.without(repository)

    def without(self, repository: str) -> Model | None:
        """The model, or its stand-in, that never saw anything of a repository; None: none did."""
        if repository in self.stand_ins:
            return self.stand_ins[repository]
        return None if repository in self.fitted_on else self.model

    def predict(self, frame: FeatureFrame) -> Scores:
        """Scores under the contract. Raises BadModel."""
        return predict(self.model, frame)

    def score(
        self, moment: Moment, query: Query | None = None, store: EvidenceStore | None = None
    ) -> Scores:
        """Scores of all tests, by another change or other evidence where these are given."""
        frame = build(
            moment.query if query is None else query,
            moment.store if store is None else store,
            moment.now,
            ages=moment.freshness.ages,
            stale_after=self.rules.max_coverage_age,
            only=self.model.inputs,
        )
        return self.predict(frame)

    def decide(
        self,
        moment: Moment,
        query: Query | None = None,
        store: EvidenceStore | None = None,
        *,
        budget: Budget | None = None,
        units: Sequence[str] | None = None,
        freshness: Freshness | None = None,
    ) -> Selection:
        """The product's own path."""
        return select(
            moment.query if query is None else query,
            moment.store if store is None else store,
            self.model,
            as_judged(self.rules),
            budget or Budget(),
            moment.now,
            "gate",
            units=units,
            freshness=freshness or moment.freshness,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What is wanted. Shares are 0..1; the defaults are those of the corpus that foretest keeps."""

    margin: float = 0.03
    """By which what is caught may fall behind the rival's, at the bad end of its interval."""
    later: float = 0.015
    """Of suite time: by which the first failure may come later, at the bad end of its interval."""
    floors: tuple[tuple[float, float], ...] = ((0.05, 0.80), (0.10, 0.88), (0.20, 0.93))
    """Budget, and the share of faulty changes to be caught in it, whatever the rival does."""
    latest: float = 0.05
    """Mean share of suite time to the first failure, whatever the rival does."""
    slice_behind: float = 0.05
    """By which a slice's recall may lie below that of all, at the good end of its interval."""
    slice_least: int = 20
    """Commits without which a slice is unknown."""
    alpha: float = 0.05
    """Of all slices together."""
    instances: int = 12
    """Real changes of each repository that templates are laid over."""
    holds: float = 0.85
    """Share of the instances of a template that hold, at the bad end of its interval."""
    levels: tuple[float, ...] = (0.8, 0.9)
    """Of the promise."""
    slower: float = 3.0
    """Than a selection by the formula on the same suite in the same run, at the median."""
    seconds: float = 10.0
    """In which 99 of 100 selections of the largest suite are made."""
    megabytes: float = 8.0
    """Of the model as it stands in a bundle."""


@dataclass(frozen=True)
class Instance:
    """One real faulty change that templates are laid over."""

    trial: Trial
    moment: Moment
    failed: Mask
    seed: int

    @property
    def random(self) -> np.random.Generator:
        """A generator of its own: the same draws for every candidate."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True)
class Exam:
    """One candidate before its rival, on facts that are each repository's once."""

    candidate: Candidate
    rival: Candidate
    facts: tuple[Taught, ...]
    limits: Limits = field(default_factory=Limits)

    @property
    def rival_name(self) -> str:
        plain = isinstance(self.rival.model, Formula) and not self.rival.stand_ins
        return FORMULA if plain else CHAMPION

    @cached_property
    def judged(self) -> tuple[Taught, ...]:
        """The facts of repositories on which neither was fitted, or has a stand-in."""
        return tuple(
            (lesson, age)
            for lesson, age in self.facts
            if all(c.judged_by(lesson.repository) for c in (self.candidate, self.rival))
        )

    @cached_property
    def trials(self) -> dict[tuple[str, str], tuple[Trial, EvidenceStore]]:
        """The trials that are judged and the evidence they met, by repository and case."""
        return {
            (lesson.repository, trial.case_id): (trial, lesson.store)
            for lesson, _ in self.judged
            for trial in lesson.trials
        }

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The replay's judgement of all contenders on every slice."""
        return tuple(self._verdicts())

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """Real faulty changes of each repository, spread evenly over its past."""
        return tuple(self._instances())

    def _verdicts(self) -> Iterator[Verdict]:
        for lesson, age in self.judged:
            contenders = {OURS: Candidate(Formula()), CANDIDATE: self.candidate}
            if self.rival_name != FORMULA:
                contenders[CHAMPION] = self.rival
            strategies = {n: _strategy(c, lesson.repository) for n, c in contenders.items()}
            setting = Setting(
                freshness=age,
                strategies={**strategies, COVERAGE: coverage_ranked},
                draws=DRAWS,
            )
            for verdict in judge(lesson.trials, lesson.store, setting).verdicts:
                own = verdict.strategy == OURS
                yield replace(verdict, strategy=FORMULA) if own else verdict

    def _instances(self) -> Iterator[Instance]:
        for place, (lesson, age) in enumerate(self.facts):
            known = faulty(lesson.trials, lesson.store)
            if not known:
                continue
            at = np.unique(np.linspace(0, len(known) - 1, self.limits.instances).astype(int))
            drawn = [known[i] for i in at.tolist()]
            for number, (trial, moment) in enumerate(
                moments_of(drawn, lesson.store, self.candidate.model, age, self.candidate.rules)
            ):
                failed = np.array([test in trial.failed for test in lesson.store.tests])
                yield Instance(trial, moment, failed, 1_000 * place + number)


def _strategy(candidate: Candidate, repository: str) -> Ranker:
    model = candidate.judged_by(repository)
    assert model is not None  # `Exam.judged` holds no other repository
    rules = as_judged(candidate.rules)
    return lambda moment: ours(replace(moment, model=model, rules=rules))


Floats = NDArray[np.float64]


def wilson(successes: float, n: float, z: float) -> tuple[float, float]:
    """Bounds of a share (Wilson 1927); 0 and 1 without observations."""
    if n <= 0:
        return 0.0, 1.0
    share = successes / n
    middle = share + z * z / (2 * n)
    width = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    whole = 1 + z * z / n
    return float(max(0.0, (middle - width) / whole)), float(min(1.0, (middle + width) / whole))
