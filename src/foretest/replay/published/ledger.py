"""What one repository's earlier changes touched and broke, as it was known at a moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from foretest.evidence.store import EvidenceStore
from foretest.features.query import Query
from foretest.lab.labels import NONE_FAILED
from foretest.replay.judge import Trial

Counts = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Touched:
    """The places that a change touches, at three grains."""

    files: frozenset[str]
    directories: frozenset[str]
    types: frozenset[str]
    """Endings of the files' names."""

    @classmethod
    def of(cls, query: Query) -> Touched:
        paths = [PurePosixPath(file.known_as) for file in query.files]
        return cls(
            frozenset(str(path) for path in paths),
            frozenset(str(path.parent) for path in paths),
            frozenset(path.suffix for path in paths),
        )


@dataclass(frozen=True)
class Ledger:
    """Changes of one repository, the earliest first, and the tests that each broke."""

    times: Counts
    """Seconds since 1970."""
    touched: tuple[Touched, ...]
    failed: Mask
    """changes x tests"""

    def before(self, now: float) -> Ledger:
        """What is known just before `now`; an unknown time knows nothing.

        Changes of the same second are left out: hunks of one commit would give each other away.
        """
        n = 0 if isnan(now) else int(np.searchsorted(self.times, now, side="left"))
        return self.first(n)

    def first(self, n: int) -> Ledger:
        return Ledger(self.times[:n], self.touched[:n], self.failed[:n])

    @cached_property
    def failures(self) -> Counts:
        """How many changes broke each test."""
        return np.asarray(self.failed.sum(axis=0, dtype=np.float64))

    def latest(self, n: int) -> Ledger:
        """The last `n` changes."""
        start = max(0, len(self.touched) - n)
        return Ledger(self.times[start:], self.touched[start:], self.failed[start:])

    def since(self, moment: float) -> Ledger:
        start = int(np.searchsorted(self.times, moment, side="left"))
        return self.latest(len(self.touched) - start)

    def sharing(self, places: Iterable[bool]) -> Counts:
        """How many of the marked changes broke each test."""
        marked = np.fromiter(places, bool, len(self.touched))
        return np.asarray(marked.astype(np.float64) @ self.failed)


def usable(trials: Iterable[Trial]) -> list[Trial]:
    """Trials that can be learnt from, the earliest first: clean outcomes of the headline kind."""
    clean = (t for t in trials if not t.beside and t.broken in ("", NONE_FAILED))
    return sorted(clean, key=lambda t: (t.time, t.commit, t.case_id))


def ledger_of(trials: Sequence[Trial], store: EvidenceStore) -> Ledger:
    """The ledger of `usable` trials."""
    failed = np.zeros((len(trials), len(store.tests)), bool)
    for at, trial in enumerate(trials):
        places = [store.test_index[unit] for unit in trial.failed if unit in store.test_index]
        failed[at, places] = True
    times = np.array([trial.time for trial in trials], np.float64)
    return Ledger(times, tuple(Touched.of(trial.query) for trial in trials), failed)
