"""Judges the encoder by replay on repositories it never saw: alone, and joined with the formula."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

from foretest.evidence.store import EvidenceStore
from foretest.features.frame import Column
from foretest.features.query import Query
from foretest.models.formula import Formula
from foretest.platform.corpus.facts import lessons_of
from foretest.platform.encoder.config import HELD_OUT, WEIGHED_ON
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

ALONE, JOINED, BY_TEXT = "encoder", "formula + encoder", "BM25"
SLICES = (ALL, UNTOUCHED, UNSEEN, ADDED, MODULE)
"""Slices in which the encoder is compared with the formula."""

GRID = tuple(Weight(*numbers) for numbers in product((0.15, 0.3, 0.6), (0.2, 0.5), (1.0, 3.0)))
NOTHING = Weight(most=0.0)


@dataclass(frozen=True, slots=True)
class EncodedQuery(Query):
    """A change's query that carries what the encoder says of each test."""

    column: Column = field(default_factory=lambda: np.empty(0, np.float32))


def columns_of(suite: Suite, encoder: Encoder) -> dict[str, Column]:
    """The likeness of each test, by case."""
    if not suite.cases:
        return {}
    hunks = encoder.vectors([suite.hunks[i] for i in range(len(suite.hunks))])
    tests = encoder.vectors([suite.tests[i] for i in range(len(suite.tests))])
    return dict(zip(suite.cases, likeness(hunks, suite.hunk_cases, tests), strict=True))


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


def encoded(
    facts: Path, suites: Path, names: Sequence[str], encoder: Encoder, kind: str
) -> Iterator[Encoded]:
    """Repositories that have facts, this kind of evidence, and pairs."""
    for name in names:
        path = suites / f"{name}.npz"
        for lesson, age in lessons_of(facts, [name], kind):
            if not path.exists():
                continue
            columns = columns_of(Suite.read(path), encoder)
            trials = tuple(
                replace(trial, query=_with_column(trial.query, columns[trial.case_id]))
                if trial.case_id in columns
                else trial
                for trial in lesson.trials
            )
            yield Encoded(trials, lesson.store, Setting(model=Formula(), freshness=age))


def _with_column(query: Query, column: Column) -> EncodedQuery:
    return EncodedQuery(query.files, query.removed, query.added, column)


def choose_weight(lessons: Sequence[Encoded]) -> tuple[Weight, dict[Weight, float]]:
    """The weight of GRID with the least mean share of suite time to the first failure.

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
    return min(means, key=means.__getitem__, default=NOTHING), means


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


def judge_encoder(facts: Path, suites: Path, encoder: Encoder, kind: str, weight: Weight) -> Judged:
    """Replay of the held-out repositories with one kind of evidence."""
    strategies: Mapping[str, Ranker] = {
        OURS: STRATEGIES[OURS],
        BY_TEXT: STRATEGIES[BY_TEXT],
        ALONE: encoder_alone,
        JOINED: joined(weight),
    }
    verdicts: list[Verdict] = []
    counts: Counter[str] = Counter()
    silent = 0
    for lesson in encoded(facts, suites, HELD_OUT, encoder, kind):
        setting = replace(lesson.setting, strategies=strategies)
        judgement = judge(lesson.trials, lesson.store, setting)
        verdicts.extend(judgement.verdicts)
        counts.update(judgement.apart)
        silent += sum(not isinstance(case.trial.query, EncodedQuery) for case in judgement.cases)
    return Judged(kind, tuple(verdicts), counts, silent)


def weight_for(
    facts: Path, suites: Path, encoder: Encoder, kind: str
) -> tuple[Weight, dict[Weight, float]]:
    """The encoder's weight as chosen on WEIGHED_ON, which it was not trained on."""
    return choose_weight(list(encoded(facts, suites, WEIGHED_ON, encoder, kind)))
