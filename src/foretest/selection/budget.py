"""How much runs, and in which order: value per second, nested budgets, exploration."""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foretest.records import Budget

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Strategy:
    """How score and time make an order. The order never depends on the budget.

    A test's value is score / max(seconds, floor) ** exponent. Exponent 0 orders by score alone; 1
    by score per second, where thousands of tiny tests with tiny scores go before one good test.
    """

    exponent: float = 0.35
    floor: float = 0.5
    """Quantile of the suite's seconds below which a shorter test is worth no more."""
    growth: float = 1.0
    """A test waits until it prolongs the run so far by at most this factor."""
    comparable: float = 0.25
    """It waits only behind tests of at least this share of its own value."""
    patience: float = 0.1
    """Share of suite time up to which that holds; a longer test waits behind any."""
    start: float = 0.005
    """Share of suite time up to which a test need not wait; nor does one at or below the floor."""


SCORE = Strategy(exponent=0.0)
BALANCED = Strategy()
RATE = Strategy(exponent=1.0)
STRATEGIES = {"score": SCORE, "balanced": BALANCED, "rate": RATE}


@dataclass(frozen=True, slots=True)
class Allocation:
    """Who runs: rows in running order, and the probability with which each test was in the run."""

    always: Rows
    scored: Rows
    explored: Rows
    rest: Rows
    inclusion: Floats
    """One a test: 1 for always and scored, else that of the draw; 0 where no draw could hold it."""
    limit: float
    """Seconds allowed; infinity where there is no budget."""
    seconds: float
    """What all that runs takes of it; above `limit` only where the always-run tests alone are."""

    @property
    def chosen(self) -> Rows:
        return np.concatenate((self.always, self.scored, self.explored))


def limit_seconds(budget: Budget, suite_seconds: float) -> float:
    """The budget in seconds; infinity where nothing limits the run."""
    if budget.share is not None:
        return max(0.0, budget.share) * suite_seconds if budget.share < 1 else float("inf")
    return float("inf") if budget.seconds is None else max(0.0, budget.seconds)


def choose(
    scores: NDArray[np.floating],
    seconds: Floats,
    always: NDArray[np.bool_],
    budget: Budget,
    *,
    explore_share: float = 0.0,
    seed: str = "",
    strategy: Strategy = BALANCED,
    least: float | None = None,
    high: Floats | None = None,
) -> Allocation:
    """Fill the budget: the always-run tests, then the order's longest prefix, then a random draw.

    With `least`, only tests of at least that score are in the order; then exploration, which draws
    among the others too, is paid from what they leave over.

    `seconds` are finite and not negative, and so is `high`, what each test stays below in nine runs
    of ten: a budget in seconds is filled with it, so that the run holds even where all tests are
    slow at once; a share is one of the usual time. Without exploration, what a budget chooses is
    part of what any larger one chooses. Exploration is paid from the budget, at most a fifth of
    what the always-run tests leave; its draw depends on `seed` alone.
    """
    order = running_order(scores, seconds, strategy, float(seconds.sum()))
    if high is not None and budget.share is None:
        seconds = high
    suite = float(seconds.sum())
    limit = limit_seconds(budget, suite)
    first = order[always[order]]
    others = order[~always[order]]
    left = max(0.0, limit - float(seconds[first].sum()))
    if least is None:
        explore = min(explore_share * suite, 0.2 * left) if np.isfinite(left) else 0.0
        scored = _prefix(others, seconds, left - explore)
    else:
        scored = _prefix(others[scores[others] >= least], seconds, left)
        explore = min(explore_share * suite, left - float(seconds[scored].sum()))
    over = others[~np.isin(others, scored)]
    inclusion = np.zeros(len(seconds))
    inclusion[first] = inclusion[scored] = 1.0
    drawn, probability = explore_rest(over, seconds, explore, seed)
    inclusion[over] = probability
    rest = over[~np.isin(over, drawn)]
    total = float(seconds[first].sum() + seconds[scored].sum() + seconds[drawn].sum())
    return Allocation(first, scored, drawn, rest, inclusion, limit, total)


def _prefix(rows: Rows, seconds: Floats, allowed: float) -> Rows:
    """The longest beginning of `rows` that takes at most so many seconds."""
    # Sums of floats: a budget of the whole must hold the whole.
    fits = np.searchsorted(np.cumsum(seconds[rows]), allowed * (1 + 1e-9), side="right")
    return rows[: int(fits)]


def running_order(
    scores: NDArray[np.floating], seconds: Floats, strategy: Strategy, suite_seconds: float
) -> Rows:
    """All rows by value; equal ones by time, then by row. Long tests wait (see `_let_wait`)."""
    if not len(scores):
        return np.empty(0, np.int64)
    floor = max(float(np.quantile(seconds, strategy.floor)), 1e-6)
    value = scores / np.maximum(seconds, floor) ** strategy.exponent
    order = np.lexsort((seconds, -value)).astype(np.int64, copy=False)
    start = max(strategy.start * suite_seconds, floor)
    return _let_wait(order, value, seconds, strategy, start, strategy.patience * suite_seconds)


def _let_wait(
    order: Rows, value: Floats, seconds: Floats, strategy: Strategy, start: float, patience: float
) -> Rows:
    """Hold each test back until it prolongs the run so far by at most `growth`.

    A prefix that ends before a test too long for the budget wastes what is left. Skipping that test
    would use it, but then a larger budget may drop what a smaller one ran. Waiting keeps budgets
    nested and every budget beyond `start` (seconds) at least half used, unless what would fill it
    is worth less than `comparable` of a test that is at most
    `patience` (seconds) long.
    """
    costs: list[float] = seconds.tolist()
    worth: list[float] = value.tolist()
    longest = max(costs, default=0.0)
    run = _Run(costs, start, strategy.growth)
    urgent: deque[int] = deque()  # those that wait within patience, by value
    place = 0
    for place, row in enumerate(order.tolist()):
        while urgent and worth[row] < strategy.comparable * worth[urgent[0]]:
            first = urgent.popleft()
            if first in run.waiting:
                run.take(first)
        run.take_affordable()
        if not run.waiting and longest <= run.reach:
            break
        if costs[row] > run.reach:
            run.hold(row, place)
            if costs[row] <= patience:
                urgent.append(row)
        else:
            run.take(row)
            run.take_affordable()
    else:
        place = len(order)
    return np.concatenate((np.array(run.rows, np.int64), order[place:], run.late()))


class _Run:
    """A run in the making: the tests so far, and those that wait for it to grow."""

    def __init__(self, costs: list[float], start: float, growth: float) -> None:
        self.costs, self.start, self.growth = costs, start, growth
        self.rows: list[int] = []
        self.spent = 0.0
        self.waiting: set[int] = set()
        self._shortest: list[tuple[float, int, int]] = []

    @property
    def reach(self) -> float:
        """Seconds of the longest test that need not wait."""
        return max(self.start, self.growth * self.spent)

    def take(self, row: int) -> None:
        self.waiting.discard(row)
        self.rows.append(row)
        self.spent += self.costs[row]

    def hold(self, row: int, place: int) -> None:
        self.waiting.add(row)
        heapq.heappush(self._shortest, (self.costs[row], place, row))

    def take_affordable(self) -> None:
        """Take those that have waited long enough, the shortest first."""
        while self._shortest and self._shortest[0][0] <= self.reach:
            row = heapq.heappop(self._shortest)[2]
            if row in self.waiting:
                self.take(row)

    def late(self) -> Rows:
        """Those that still wait, the shortest first."""
        rows = [row for _, _, row in sorted(self._shortest) if row in self.waiting]
        return np.array(rows, np.int64)


def explore_rest(rest: Rows, seconds: Floats, allowed: float, seed: str) -> tuple[Rows, Floats]:
    """Draw tests from the rest, within `allowed` seconds, each with a known probability.

    The rest is shuffled and cut into K slices that each fit; one slice is drawn. So every test that
    fits at all has the probability 1 / K, and the time is kept with certainty, which drawing each
    test apart could not do. Returns the rows drawn and one probability a row of `rest`.
    """
    probability = np.zeros(len(rest))
    able = np.flatnonzero(seconds[rest] <= allowed) if allowed > 0 else np.empty(0, np.int64)
    if not len(able):
        return np.empty(0, np.int64), probability
    digest = hashlib.blake2b(seed.encode(), digest_size=16).digest()
    random = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    shuffled = random.permutation(able)
    spent = np.concatenate(([0.0], np.cumsum(seconds[rest[shuffled]])))
    cuts = [0]
    while cuts[-1] < len(shuffled):
        end = int(np.searchsorted(spent, spent[cuts[-1]] + allowed, side="right")) - 1
        cuts.append(max(end, cuts[-1] + 1))
    slices = len(cuts) - 1
    drawn = int(random.integers(slices))
    probability[able] = 1.0 / slices
    return rest[np.sort(shuffled[cuts[drawn] : cuts[drawn + 1]])], probability
