"""What an order of tests is worth on one faulty change: caught in a budget, time to the failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHARES = (0.01, 0.05, 0.10, 0.20, 0.33)
"""Budgets judged, as shares of suite time."""

Seconds = NDArray[np.float64]
Order = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Score:
    """One order on one case. Fractions where it is a mean over random orders."""

    caught: tuple[float, ...]
    """For each of SHARES: 1.0 where a failing test is in what fits the budget."""
    selected: bool
    """False where the strategy leaves out every failing test, however large the budget."""
    first: float
    """Share of suite time at the end of the first failing test, what is left out running last."""
    first_seconds: float
    apfd: float
    apfdc: float


def within(order: Order, seconds: Seconds, budget: float) -> Order:
    """What runs of `order` in `budget` seconds: a test too long for what remains is passed over."""
    taken = []
    left = order
    while left.size:
        total = np.cumsum(seconds[left])
        # Sums of floats: a budget of exactly the suite's time must hold the suite.
        fits = int(np.searchsorted(total, budget * (1 + 1e-12), side="right"))
        if fits:
            taken.append(left[:fits])
            budget -= float(total[fits - 1])
        left = left[fits + 1 :]
        left = left[seconds[left] <= budget]
    return np.concatenate(taken) if taken else order[:0]


def prefix(order: Order, seconds: Seconds, budget: float) -> Order:
    """What runs of `order` in `budget` seconds where a test too long ends the run."""
    fits = np.searchsorted(np.cumsum(seconds[order]), budget * (1 + 1e-9), side="right")
    return order[: int(fits)]


def score(
    order: Order,
    seconds: Seconds,
    targets: Mask,
    eligible: int | None = None,
    nested: bool = False,
) -> Score:
    """Judge `order` (all tests, first to last). Raises ValueError where no test is a target.

    Only the first `eligible` tests are the strategy's selection; the rest runs after it, outside
    any budget. A `nested` order fills a budget by `prefix`, any other by `within`; what is caught
    in one budget counts in any larger one, for time may be left unused. APFD as in Rothermel et
    al. 2001, its cost-cognisant form as in Elbaum et al. 2001, for one fault of severity 1.
    """
    hits = np.flatnonzero(targets[order])
    if not hits.size:
        raise ValueError("no failing test among the tests judged")
    chosen = order if eligible is None else order[:eligible]
    suite = float(seconds.sum())
    fill = prefix if nested else within
    hit = [targets[fill(chosen, seconds, share * suite)].any() for share in SHARES]
    place = int(hits[0])
    end = float(seconds[order[: place + 1]].sum())
    own = float(seconds[order[place]])
    return Score(
        caught=tuple(float(value) for value in np.maximum.accumulate(hit)),
        selected=bool(targets[chosen].any()),
        first=end / suite if suite else 0.0,
        first_seconds=end,
        apfd=1 - (place + 0.5) / order.size,
        apfdc=1 - (end - own / 2) / suite if suite else 1.0,
    )


@dataclass(frozen=True, slots=True)
class Faults:
    """One order where every failing test tells of a fault of its own, all of severity 1."""

    apfd: float
    """Average percentage of faults detected, by place (Rothermel, Untch, Chu and Harrold 2001)."""
    apfdc: float
    """The same by time (Elbaum, Malishevsky and Rothermel 2001)."""
    napfd: tuple[float, ...]
    """For each budget, normalised APFD (Qu, Cohen and Woolf 2007): what is cut detects nothing."""


def faults(order: Order, seconds: Seconds, targets: Mask, shares: Sequence[float] = ()) -> Faults:
    """Judge `order` (all tests, first to last) by all of its failing tests.

    `shares` are budgets of suite time for NAPFD; the order is cut where the next test does not fit.
    Raises ValueError where no test is a target.
    """
    places = np.flatnonzero(targets[order])
    if not places.size:
        raise ValueError("no failing test among the tests judged")
    n, m = order.size, places.size
    cost = seconds[order]
    ends, suite = np.cumsum(cost), float(seconds.sum())
    waited = (ends - cost / 2)[places].sum() / (m * suite) if suite else 0.0
    cut = [prefix(order, seconds, share * suite).size for share in shares]
    found = [places[places < ran] for ran in cut]
    return Faults(
        apfd=float(1 - (places + 1).sum() / (n * m) + 1 / (2 * n)),
        apfdc=float(1 - waited),
        napfd=tuple(
            float(f.size / m - (f + 1).sum() / (n * m) + f.size / m / (2 * n)) for f in found
        ),
    )


def oracle(seconds: Seconds, targets: Mask) -> Score:
    """The best any order of test functions can do: the cheapest failing test comes first."""
    cost = np.where(targets, seconds, np.inf)
    return score(np.argsort(cost, kind="stable"), seconds, targets)


class RandomOrders:
    """Many random orders of one suite, drawn once and shared by all of its cases."""

    def __init__(self, seconds: Seconds, draws: int, seed: int) -> None:
        self._seconds = seconds
        generator = np.random.default_rng(seed)
        self._orders = [generator.permutation(seconds.size) for _ in range(draws)]
        suite = float(seconds.sum())
        self._runs = np.zeros((draws, len(SHARES), seconds.size), dtype=bool)
        for at, order in enumerate(self._orders):
            for budget, share in enumerate(SHARES):
                self._runs[at, budget, within(order, seconds, share * suite)] = True
        self._places = np.empty((draws, seconds.size), dtype=np.int64)
        self._ends = np.empty((draws, seconds.size))
        for at, order in enumerate(self._orders):
            self._places[at, order] = np.arange(order.size)
            self._ends[at, order] = np.cumsum(seconds[order])

    def score(self, targets: Mask) -> Score:
        """The mean over all orders."""
        which = np.flatnonzero(targets)
        if not which.size:
            raise ValueError("no failing test among the tests judged")
        suite = float(self._seconds.sum())
        hit = self._runs[:, :, which].any(axis=2)
        caught = np.maximum.accumulate(hit, axis=1).mean(axis=0)
        places = self._places[:, which]
        first = places.argmin(axis=1)
        rows = np.arange(len(first))
        ends = self._ends[:, which][rows, first]
        own = self._seconds[which[first]]
        return Score(
            caught=tuple(float(c) for c in caught),
            selected=True,
            first=float(ends.mean()) / suite if suite else 0.0,
            first_seconds=float(ends.mean()),
            apfd=float(1 - (places.min(axis=1) + 0.5).mean() / self._seconds.size),
            apfdc=float(1 - (ends - own / 2).mean() / suite) if suite else 1.0,
        )
