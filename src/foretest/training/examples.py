"""Examples: a past change, the features of every test as of that moment, and which tests failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, nan

import numpy as np
from numpy.typing import NDArray

from foretest.evidence.store import EvidenceStore
from foretest.features.build import build
from foretest.features.catalogue import FEATURES
from foretest.features.frame import FeatureFrame
from foretest.features.query import Query
from foretest.replay.judge import FAULTS, Setting, Trial, moments
from foretest.replay.metrics import Mask

DROPPED = {
    "coverage": frozenset(name for name, f in FEATURES.items() if f.family == "coverage"),
    "history": frozenset({"cochange", "fail_rate", "days_since_failure"}),
}
"""Families of evidence that a repository may be without."""


@dataclass(frozen=True, slots=True)
class Example:
    """One faulty change over n tests; the frame holds every feature of the catalogue."""

    repository: str
    commit: str
    case_id: str
    frame: FeatureFrame
    failed: Mask
    """bool[n]"""
    weight: float = 1.0
    """What the change counts in training; augmented ones count less than real ones."""
    inclusion: NDArray[np.float64] | None = None
    """float64[n]: probability with which each test came to run; None = 1, the whole suite ran."""
    rows: NDArray[np.int64] | None = None
    """int64[n]: which of the evidence's tests these are; None: all of them."""

    @property
    def stands_for(self) -> NDArray[np.float64]:
        """float64[n]: how many tests of the suite each one stands for (Horvitz & Thompson 1952)."""
        ones = np.ones(len(self.failed))
        return ones if self.inclusion is None else ones / self.inclusion


def examples_of(
    trials: Sequence[Trial], store: EvidenceStore, setting: Setting, repository: str
) -> Iterator[Example]:
    """The examples that a repository's trials give, the earliest first.

    Of a trial of which a sample of the suite ran, the tests that ran, each with its probability.
    """
    for trial, moment, failed in moments(trials, store, setting, Counter(), sampled=True):
        frame = build(
            trial.query,
            moment.store,
            moment.now,
            ages=setting.freshness.ages,
            stale_after=setting.rules.max_coverage_age,
        )
        if trial.ran is None:
            yield Example(repository, trial.commit, trial.case_id, frame, failed)
            continue
        inclusion = np.array([trial.ran.get(unit, 0.0) for unit in store.tests])
        ran = np.flatnonzero(inclusion)
        yield Example(
            repository, trial.commit, trial.case_id, frame.take(ran), failed[ran],
            inclusion=inclusion[ran], rows=ran.astype(np.int64),
        )  # fmt: skip


def without(example: Example, families: Iterable[str], weight: float) -> Example:
    """The same change in a repository that lacks some kinds of evidence: NaN, which is unknown."""
    lost = frozenset[str]().union(*(DROPPED[family] for family in families))
    unknown = np.full(example.frame.size, np.nan, np.float32)
    columns = {
        name: unknown if name in lost else column for name, column in example.frame.columns.items()
    }
    frame = FeatureFrame(example.frame.size, columns)
    return replace(example, frame=frame, weight=example.weight * weight)


def dropped(
    examples: Sequence[Example], rng: np.random.Generator, *, rate: float, weight: float
) -> list[Example]:
    """Copies of some examples (a share `rate`), each without coverage, history or both."""
    kinds = (("coverage",), ("history",), ("coverage", "history"))
    drawn = np.flatnonzero(rng.random(len(examples)) < rate)
    return [without(examples[i], kinds[rng.integers(len(kinds))], weight) for i in drawn.tolist()]


def several_edits(
    trials: Sequence[Trial], rng: np.random.Generator, count: int, most: int = 3
) -> list[Trial]:
    """Changes made of two to `most` past ones of other commits: what any of them breaks, fails.

    That faults of several edits hide one another is left out: it is rare, and nobody ran them.
    """
    real = [trial for trial in trials if trial.failed and not trial.broken and not trial.beside]
    if len({trial.commit for trial in real}) < 2:
        return []
    made = []
    for number in range(count):
        drawn = rng.choice(
            len(real), size=min(int(rng.integers(2, most + 1)), len(real)), replace=False
        )
        parts = list({real[i].commit: real[i] for i in drawn}.values())
        if len(parts) > 1:
            made.append(_joined(parts, number))
    return made


def _joined(parts: Sequence[Trial], number: int) -> Trial:
    removed: Counter[str] = Counter()
    added: Counter[str] = Counter()
    for part in parts:
        removed.update({word: int(n) for word, n in part.query.removed.items()})
        added.update({word: int(n) for word, n in part.query.added.items()})
    files = tuple(dict.fromkeys(file for part in parts for file in part.query.files))
    return replace(
        parts[0],
        case_id=f"joined-{number}-{'-'.join(part.case_id for part in parts)}",
        time=nan,
        query=Query(files, dict(removed), dict(added)),
        failed=frozenset[str]().union(*(part.failed for part in parts)),
        modified=frozenset(),
        added=frozenset(),
        # Beside the history: it never happened, and must tell no later change of its failures.
        beside=FAULTS,
    )


@dataclass(frozen=True, slots=True)
class Sampled:
    """Rows for training: tests of many examples, each with the weight that sampling gave it."""

    rows: NDArray[np.int64]
    weights: NDArray[np.float64]


def sample(
    example: Example, scores: NDArray[np.float32], rng: np.random.Generator, hard: int, easy: int
) -> Sampled:
    """All failing tests, the `hard` passing ones of highest score, and `easy` others at random.

    The others weigh the inverse of their inclusion probability, so that sums over the sample are
    unbiased for sums over all tests; where a sample of the suite ran, all do.
    """
    failing = np.flatnonzero(example.failed)
    order = np.argsort(np.where(example.failed, -inf, -scores.astype(np.float64)), kind="stable")
    passing = order[len(failing) :]
    certain, rest = passing[:hard], passing[hard:]
    drawn = rng.choice(rest, size=min(easy, len(rest)), replace=False)
    each = len(rest) / len(drawn) if len(drawn) else 1.0
    rows = np.concatenate((failing, certain, drawn)).astype(np.int64)
    weights = np.concatenate((np.ones(len(failing) + len(certain)), np.full(len(drawn), each)))
    return Sampled(rows, weights * example.stands_for[rows])
