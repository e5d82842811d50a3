"""The published recipes as strategies: learnt on other projects, or on the project's own past."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from foretest.evidence.store import EvidenceStore
from foretest.features.query import Query
from foretest.replay.judge import Setting, Trial, judge
from foretest.replay.published import bugbug, meta
from foretest.replay.published.ledger import Counts, Ledger, ledger_of, usable
from foretest.replay.strategies import (
    OURS,
    Moment,
    Ranker,
    Ranking,
    by_score,
    ours,
    recently_failed,
)
from foretest.replay.table import Verdict

PASSING = 100
"""Passing tests drawn of each change to learn from; an order does not depend on their share."""
EVERY, LEAST = 25, 50
"""A model of the repository's own past is refitted every so many changes, from so many on."""
ROUNDS = 100
OPTIONS: Mapping[str, Any] = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.1,
    "min_data_in_leaf": 20,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 0,
    "verbose": -1,
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A published set of features."""

    name: str
    names: tuple[str, ...]
    describe: Callable[[Query, EvidenceStore, Ledger, float], Counts]
    """(change, evidence, what was known, moment) -> one row a test."""


BUGBUG = Recipe("bugbug", bugbug.NAMES, bugbug.describe)
META = Recipe("Meta", meta.NAMES, meta.describe)
RECIPES = (BUGBUG, META)


@dataclass(frozen=True)
class Lesson:
    """What one repository has to teach: the trials of its past and the evidence they met."""

    repository: str
    trials: tuple[Trial, ...]
    store: EvidenceStore
    _rows: dict[str, list[tuple[Counts, Counts]]] = field(default_factory=dict, compare=False)

    @cached_property
    def usable(self) -> list[Trial]:
        return usable(self.trials)

    @cached_property
    def ledger(self) -> Ledger:
        return ledger_of(self.usable, self.store)

    def rows(self, recipe: Recipe) -> list[tuple[Counts, Counts]]:
        """Rows and labels of each usable trial as of its moment, worked out once a recipe."""
        if recipe.name not in self._rows:
            self._rows[recipe.name] = [_sampled(recipe, self, at) for at in range(len(self.usable))]
        return self._rows[recipe.name]


@dataclass(frozen=True)
class Learnt:
    """A recipe's trees and the repositories that they know."""

    recipe: Recipe
    booster: Any
    repositories: frozenset[str]

    def scores(self, query: Query, store: EvidenceStore, known: Ledger, now: float) -> Counts:
        return np.asarray(self.booster.predict(self.recipe.describe(query, store, known, now)))


def fit(recipe: Recipe, lessons: Sequence[Lesson]) -> Learnt:
    """Learn a recipe from the trials of several repositories.

    Raises ValueError where no test failed in them; ExtraMissing without LightGBM.
    """
    rows = [pair for lesson in lessons for pair in lesson.rows(recipe)]
    return _fit(recipe, rows, frozenset(lesson.repository for lesson in lessons))


def across(learnt: Learnt, lesson: Lesson) -> Ranker:
    """The recipe learnt elsewhere, at work in this repository.

    What it knows of this one's failures comes from changes before the moment. Raises ValueError
    where it was learnt from this repository too.
    """
    if lesson.repository in learnt.repositories:
        raise ValueError(f"{learnt.recipe.name} was learnt from {lesson.repository} itself")

    def rank(moment: Moment) -> Ranking:
        known = _known(lesson, moment)
        scores = learnt.scores(moment.query, moment.known, known, moment.now)
        return Ranking(by_score(scores, moment.collected))

    return rank


def own_past(recipe: Recipe, lesson: Lesson, every: int = EVERY, least: int = LEAST) -> Ranker:
    """The recipe learnt from the repository's own earlier changes, refitted as they come.

    Before `least` changes are known, and where none of them broke a test, tests are ordered by
    their last failure, the latest first.
    """
    fitted: dict[int, Learnt] = {}

    def rank(moment: Moment) -> Ranking:
        known = _known(lesson, moment)
        n = len(known.touched) // every * every
        if n < max(least, 1) or not lesson.ledger.first(n).failed.any():
            return recently_failed(moment)
        if n not in fitted:
            # Rows of the first n changes: all lie before the moment, and each knows its own past.
            fitted[n] = _fit(recipe, lesson.rows(recipe)[:n], frozenset({lesson.repository}))
        scores = fitted[n].scores(moment.query, moment.known, known, moment.now)
        return Ranking(by_score(scores, moment.collected))

    return rank


def published(lesson: Lesson, others: Sequence[Lesson]) -> dict[str, Ranker]:
    """Every published baseline for one repository; `others` teach those learnt elsewhere.

    With no other repository there is none of that kind.
    """
    rankers: dict[str, Ranker] = {}
    elsewhere = [other for other in others if other.repository != lesson.repository]
    for recipe in RECIPES:
        if elsewhere:
            learnt = fit(recipe, elsewhere)
            rankers[f"{recipe.name}, other projects"] = across(learnt, lesson)
        rankers[f"{recipe.name}, own past"] = own_past(recipe, lesson)
    return rankers


def own_past_verdicts(
    trials: Sequence[Trial], store: EvidenceStore, setting: Setting
) -> tuple[Verdict, ...]:
    """What the recipes learnt from a repository's own past are worth on its trials.

    Raises ExtraMissing where LightGBM is needed and not installed.
    """
    rankers = published(Lesson(store.repository, tuple(trials), store), ())
    judged = judge(trials, store, replace(setting, strategies={OURS: ours, **rankers}, draws=1))
    return tuple(v for v in judged.verdicts if v.strategy in rankers)


def _known(lesson: Lesson, moment: Moment) -> Ledger:
    # Trials beside the headline know no history: the judge gives them none.
    return lesson.ledger.before(moment.now) if moment.past.runs else lesson.ledger.first(0)


def _sampled(recipe: Recipe, lesson: Lesson, at: int) -> tuple[Counts, Counts]:
    """Rows and labels of one trial: every failing test, and some of the others."""
    trial, failed = lesson.usable[at], lesson.ledger.failed[at]
    known = lesson.ledger.before(trial.time)
    rows = recipe.describe(trial.query, lesson.store, known, trial.time)
    passed = np.flatnonzero(~failed)
    random = np.random.default_rng(at)
    drawn = random.choice(passed, size=min(PASSING, len(passed)), replace=False)
    places = np.sort(np.concatenate((np.flatnonzero(failed), drawn)))
    return rows[places], failed[places].astype(np.float64)


def _fit(
    recipe: Recipe, rows: Sequence[tuple[Counts, Counts]], repositories: frozenset[str]
) -> Learnt:
    labels = np.concatenate([y for _, y in rows]) if rows else np.zeros(0)
    if not labels.any():
        raise ValueError(f"{recipe.name} has no failure to learn from")
    lightgbm = _lightgbm()
    names = list(recipe.names)
    data = lightgbm.Dataset(np.concatenate([x for x, _ in rows]), labels, feature_name=names)
    booster = lightgbm.train(dict(OPTIONS), data, num_boost_round=ROUNDS)
    return Learnt(recipe, booster, repositories)


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        from foretest.errors import ExtraMissing

        raise ExtraMissing(
            "The published baselines need LightGBM.", "Run: pip install lightgbm"
        ) from error
    return lightgbm
