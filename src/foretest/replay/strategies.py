"""The orders that are judged: what each strategy would run first, knowing no outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from foretest.evidence.store import EvidenceStore
from foretest.features.build import build, entries, seen_symbols
from foretest.features.query import Query
from foretest.models.contract import Model
from foretest.records import MODULE_LEVEL, Budget, Choice, Selection
from foretest.replay.metrics import Mask, Order, Seconds
from foretest.selection.compose import select
from foretest.selection.policy import Freshness, Rules
from foretest.selection.promise import Aim

OURS = "foretest"
ORACLE = "oracle"
RANDOM = "random"


@dataclass(frozen=True)
class Past:
    """The outcomes of earlier changes: all that a strategy may know of failures."""

    runs: int
    failures: Seconds
    last_failed_at: Seconds
    """Seconds since 1970, NaN = never."""
    last: Mask
    """Tests that failed on the change before."""

    @classmethod
    def none(cls, n: int) -> Past:
        return cls(0, np.zeros(n), np.full(n, np.nan), np.zeros(n, dtype=bool))

    def after(self, failed: Mask, moment: float) -> Past:
        """What is known once this change's outcome is in too."""
        return Past(
            self.runs + 1,
            self.failures + failed,
            np.where(failed, moment, self.last_failed_at),
            failed,
        )


@dataclass(frozen=True)
class Moment:
    """One change, as seen just before its outcome is known."""

    query: Query
    now: float
    known: EvidenceStore
    past: Past
    seconds: Seconds
    collected: Order
    """The store's tests in collection order."""
    model: Model
    rules: Rules
    freshness: Freshness

    @cached_property
    def store(self) -> EvidenceStore:
        """The evidence with the history of this moment, and nothing later, in it."""
        n = len(self.known.tests)
        return replace(
            self.known,
            runs=np.full(n, float(self.past.runs)),
            failures=self.past.failures.astype(np.float64),
            last_failed_at=self.past.last_failed_at,
            seconds=self.seconds,
        )


@dataclass(frozen=True, slots=True)
class Ranking:
    """All tests, first to last. Only the first `eligible` are selected (None: all)."""

    order: Order
    eligible: int | None = None
    nested: bool = False
    """True where a run stops before the first test too long for the budget, as the product does."""
    reasons: tuple[Choice, ...] = ()


class Ranker(Protocol):
    """What a strategy is."""

    def __call__(self, moment: Moment) -> Ranking: ...


def decided(moment: Moment, budget: Budget | None = None, aim: Aim | None = None) -> Selection:
    """The product's own path: rules, features, model, value per second. No limit but the given."""
    return select(
        moment.query,
        moment.store,
        moment.model,
        moment.rules,
        budget or Budget(),
        moment.now,
        "replay",
        freshness=moment.freshness,
        aim=aim,
    )


def ours(moment: Moment) -> Ranking:
    """What the product would run first."""
    selection = decided(moment)
    choices = (*selection.chosen, *selection.rest)
    index = moment.store.test_index
    order = np.array([index[c.test] for c in choices if c.test in index], dtype=np.intp)
    # A test file that the change takes away cannot run; the failing ones among them cannot exist.
    gone = np.setdiff1d(moment.collected, order, assume_unique=True)
    return Ranking(np.concatenate((order, gone)), order.size, nested=True, reasons=choices)


def by_model(model: Model) -> Ranker:
    """The product's own path with another model."""
    return lambda moment: ours(replace(moment, model=model))


def run_all(moment: Moment) -> Ranking:
    return Ranking(moment.collected)


def failed_first(moment: Moment) -> Ranking:
    """As `pytest --ff`: what failed on the change before, then the rest, in collection order."""
    return Ranking(by_score(moment.past.last.astype(float), moment.collected))


def recently_failed(moment: Moment) -> Ranking:
    """Tests by the time of their last failure, the latest first."""
    return Ranking(
        by_score(np.nan_to_num(moment.past.last_failed_at, nan=-np.inf), moment.collected)
    )


def coverage_selection(moment: Moment) -> Ranking:
    """As test impact tools do: tests that enter changed code, in collection order, and no other.

    For module-level code that is every test that enters anything of the file; a test without
    coverage is always in.
    """
    store = moment.store
    wanted = np.zeros(len(store.symbols), dtype=bool)
    for symbol in moment.query.touched:
        if symbol.qualname == MODULE_LEVEL:
            wanted[store.symbols_of_file(symbol.file)] = True
        elif (place := store.symbol_index.get(str(symbol))) is not None:
            wanted[place] = True
    within = store.coverage.any(wanted) | ~store.has_coverage
    return Ranking(by_score(within.astype(float), moment.collected), int(within.sum()))


def coverage_ranked(moment: Moment) -> Ranking:
    """Tests by the number of changed functions that they enter; the shorter test first."""
    store = moment.store
    wanted = np.zeros(len(store.symbols), dtype=bool)
    wanted[seen_symbols(moment.query, store)] = True
    rows, _ = entries(store.coverage, wanted)
    entered = np.bincount(rows, minlength=len(store.tests))
    return Ranking(np.lexsort((moment.seconds, -entered)))


def bm25(moment: Moment) -> Ranking:
    """Tests by the words that they share with the changed lines; nothing else."""
    words = build(moment.query, moment.store, moment.now, only=("bm25",))["bm25"]
    return Ranking(by_score(np.nan_to_num(words, nan=0.0), moment.collected))


STRATEGIES: Mapping[str, Ranker] = {
    OURS: ours,
    "coverage ranked": coverage_ranked,
    "coverage selection": coverage_selection,
    "BM25": bm25,
    "recent failures": recently_failed,
    "--ff": failed_first,
    "run-all order": run_all,
}
"""Every strategy but the oracle, which knows the outcome, and random, which is many orders."""


def by_score(score: Seconds, collected: Order) -> Order:
    """Highest score first, equal ones in collection order."""
    return collected[np.argsort(-score[collected], kind="stable")]
