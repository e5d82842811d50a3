"""Judges the encoder by replay on repositories it never saw: alone, and joined with the formula."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

from foretest.evidence.rows import SparseRows
from foretest.evidence.store import EvidenceStore
from foretest.features.frame import Column
from foretest.features.query import Query
from foretest.models.formula import Formula
from foretest.platform.corpus.facts import FRESH, lessons_of
from foretest.platform.encoder.scoring import Encoder, Joined, Weight, likeness
from foretest.platform.encoder.undone import Suite
from foretest.replay.account import apart
from foretest.replay.compare import as_lines, compare_verdicts
from foretest.replay.judge import (
    ADDED,
    ALL,
    MODULE,
    UNSEEN,
    UNTOUCHED,
    Setting,
    Trial,
    judge,
    moments,
)
from foretest.replay.metrics import score
from foretest.replay.strategies import OURS, STRATEGIES, Moment, Ranker, Ranking, by_score, ours
from foretest.replay.table import Verdict, as_text, tabulate

UNTRACED = "no coverage"
"""Beside the two kinds of evidence of the facts: as if no test had ever been traced."""

ALONE, JOINED, BY_TEXT = "encoder", "formula + encoder", "BM25"
SLICES = (ALL, UNTOUCHED, UNSEEN, ADDED, MODULE)
"""Slices in which the encoder is compared with the formula."""

GRID = tuple(Weight(*numbers) for numbers in product((0.2, 0.4, 0.8), (0.2, 0.5), (1.0, 3.0)))
NOTHING = Weight(most=0.0)

Columns = Mapping[str, Mapping[str, Column]]
"""By repository, and there by case: the likeness of each test."""


@dataclass(frozen=True, slots=True)
class EncodedQuery(Query):
    """A change's query that carries what the encoder says of each test."""

    column: Column = field(default_factory=lambda: np.empty(0, np.float32))


def columns_of(suites: Path, names: Iterable[str], encoder: Encoder) -> Columns:
    """The likeness of each test to each change, of those repositories whose pairs were made."""
    found: dict[str, dict[str, Column]] = {}
    for name in names:
        if (path := suites / f"{name}.npz").exists() and (suite := Suite.read(path)).cases:
            hunks = encoder.vectors([suite.hunks[i] for i in range(len(suite.hunks))])
            tests = encoder.vectors([suite.tests[i] for i in range(len(suite.tests))])
            like = likeness(hunks, suite.hunk_cases, tests)
            found[name] = dict(zip(suite.cases, like, strict=True))
    return found


def encoder_alone(moment: Moment) -> Ranking:
    """Tests by their likeness to the change, and nothing else."""
    return Ranking(by_score(_column(moment).astype(np.float64), moment.collected))


def joined(weight: Weight) -> Ranker:
    """The product's own path, with the encoder's column beside its model."""
    return lambda moment: ours(
        replace(moment, model=Joined(moment.model, np.asarray(_column(moment)), weight))
    )


def _column(moment: Moment) -> Column:
    if isinstance(moment.query, EncodedQuery):
        return moment.query.column
    return np.full(len(moment.known.tests), -1.0, np.float32)  # like nothing: adds nothing


@dataclass(frozen=True, slots=True)
class Encoded:
    """Trials of one repository with the encoder's columns, and what they are judged with."""

    trials: tuple[Trial, ...]
    store: EvidenceStore
    setting: Setting


def without_coverage(store: EvidenceStore) -> EvidenceStore:
    """The same evidence as if no test had ever been traced."""
    n = len(store.tests)
    return replace(
        store,
        coverage=SparseRows.empty(n, len(store.symbols)),
        coverage_commit=np.full(n, -1, np.int32),
        coverage_commits=(),
    )


def encoded(facts: Path, columns: Columns, kind: str) -> Iterator[Encoded]:
    """The repositories of `columns` with one kind of evidence; UNTRACED is any without coverage."""
    for name, column in columns.items():
        for lesson, age in lessons_of(facts, [name], FRESH if kind == UNTRACED else kind):
            trials = tuple(
                replace(trial, query=_with_column(trial.query, column[trial.case_id]))
                if trial.case_id in column
                else trial
                for trial in lesson.trials
            )
            store = lesson.store
            if kind == UNTRACED:
                store, age = without_coverage(store), replace(age, ages=())
            yield Encoded(trials, store, Setting(model=Formula(), freshness=age))


def _with_column(query: Query, column: Column) -> EncodedQuery:
    return EncodedQuery(query.files, query.removed, query.added, column)


def weights_tried(lessons: Sequence[Encoded]) -> dict[Weight, float]:
    """The weights of GRID by mean share of suite time to the first failure, the least first.

    Repositories count alike. NOTHING, which is the formula as it is, is one of the choices.
    """
    found: dict[Weight, list[float]] = {weight: [] for weight in (NOTHING, *GRID)}
    for lesson in lessons:
        first: dict[Weight, list[float]] = {weight: [] for weight in found}
        for _, moment, failed in moments(lesson.trials, lesson.store, lesson.setting, Counter()):
            for weight, shares in first.items():
                ranking = joined(weight)(moment)
                shares.append(score(ranking.order, moment.seconds, failed).first)
        for weight, shares in first.items():
            if shares:
                found[weight].append(float(np.mean(shares)))
    means = {weight: float(np.mean(shares)) for weight, shares in found.items() if shares}
    return dict(sorted(means.items(), key=lambda item: item[1]))


@dataclass(frozen=True, slots=True)
class Judged:
    """What replay made of the encoder on one kind of evidence."""

    kind: str
    verdicts: tuple[Verdict, ...]
    apart: Mapping[str, int]
    without_text: int
    """Faulty changes whose text the history no longer gave: to them the encoder is silent."""

    def lines(self) -> Iterator[str]:
        """The table, and the comparison with the formula slice by slice; empty slices are said."""
        yield as_text(tabulate(self.verdicts, OURS), intervals=True)
        for name in SLICES:
            try:
                for theirs, label in ((OURS, "formula"), (BY_TEXT, BY_TEXT)):
                    mine = JOINED if theirs == OURS else ALONE
                    comparison = compare_verdicts(self.verdicts, mine, theirs, name)
                    yield f"\n{name}: " + "\n".join(as_lines(comparison, mine, label))
            except ValueError:
                yield f"\n{name}: no faulty change."
        yield "\nother languages: no faulty change; the facts are of Python repositories alone."
        yield "\n".join(apart(Counter(self.apart)))
        yield f"{self.without_text} faulty changes have no text: the encoder is silent there."


def judge_encoder(facts: Path, columns: Columns, kind: str, weight: Weight) -> Judged:
    """Replay of repositories, the held-out ones, with one kind of evidence."""
    strategies: Mapping[str, Ranker] = {
        OURS: STRATEGIES[OURS],
        BY_TEXT: STRATEGIES[BY_TEXT],
        ALONE: encoder_alone,
        JOINED: joined(weight),
    }
    verdicts: list[Verdict] = []
    counts: Counter[str] = Counter()
    silent = 0
    for lesson in encoded(facts, columns, kind):
        setting = replace(lesson.setting, strategies=strategies)
        judgement = judge(lesson.trials, lesson.store, setting)
        verdicts.extend(judgement.verdicts)
        counts.update(judgement.apart)
        silent += sum(not isinstance(case.trial.query, EncodedQuery) for case in judgement.cases)
    return Judged(kind, tuple(verdicts), counts, silent)
