"""Flaky tests: the rate at which each fails without a reason, and whether one failure was such.

Rates: binomial counts under a prior that is a mixture of beta distributions, its weights fitted by
EM to the counts of many tests (empirical Bayes; Robbins 1956, Laird 1978), so that the posterior of
a test is a mixture of betas. Failures: a forward filter with two states a test, sound or broken by
a change, in which a sound test fails at its own rate (the forward pass of a hidden Markov model).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_LOGITS = np.linspace(-14.0, 7.0, 169)
RATES: Floats = 1.0 / (1.0 + np.exp(-_LOGITS))
"""Rates at which distributions are tabulated."""
_LOG_RATES, _LOG_REST = np.log(RATES), np.log1p(-RATES)
_MEANS = (1e-6, *(10.0 ** (step / 2) for step in range(-9, 0)), 0.5, 0.7, 0.9)
_SHAPE = 2.0
"""Least parameter of each beta: about a factor of three wide."""


def _kernels() -> Floats:
    means = np.array(_MEANS)[:, None]
    small = np.minimum(means, 1 - means)
    a, b = _SHAPE * means / small, _SHAPE * (1 - means) / small
    density = np.exp(a * _LOG_RATES + b * _LOG_REST - (a * np.log(means) + b * np.log1p(-means)))
    return np.asarray(density / density.sum(axis=1, keepdims=True))


_LONG = 5.0
"""States for which a test that is broken at first sight is taken to have been so."""
_KERNELS = _kernels()
"""[kernel, rate]: each a beta distribution, tabulated at RATES."""


PUBLISHED = (
    *(0.96252, 0.00026, 0.0002, 0.00339, 0.00403, 0.00012, 0.01793),
    *(0.00057, 0.00007, 0.00011, 0.01048, 0.0003, 0.00003),
)
"""Weights fitted to the tests of FlakeFlagger's 17 projects: `python -m bench.flaky --prior`."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is known of rates; all arrays are as long as the counts they come from."""

    mean: Floats
    low: Floats
    high: Floats
    """Ends of the central credible interval."""


@dataclass(frozen=True, slots=True)
class RatePrior:
    """How flake rates are spread over the tests of a project."""

    weights: tuple[float, ...]
    """One for each kernel, summing to 1; the first stands for tests that are not flaky at all."""
    strength: float = 200.0
    """Tests that a prior from elsewhere counts for when it is adapted to a project's own."""

    @classmethod
    def flat(cls, strength: float = 5.0) -> Self:
        """Knows nothing: every order of magnitude alike."""
        return cls((1.0 / len(_MEANS),) * len(_MEANS), strength)

    def adapted(self, flakes: ArrayLike, runs: ArrayLike, steps: int = 50) -> Self:
        """The prior after the counts of a project's tests, by EM with this prior as pseudo-tests.

        `flakes` and `runs` may be fractions (a failure that was flaky with probability 0.3).
        """
        k, n, counts = _distinct(flakes, runs)
        likely = _likelihood(k, n) @ _KERNELS.T
        start = weights = np.array(self.weights)
        for _ in range(steps):
            share = likely * weights
            share *= (counts / share.sum(axis=1))[:, None]
            weights = share.sum(axis=0) + self.strength * start
            weights /= weights.sum()
        return replace(self, weights=tuple(weights.tolist()))

    def posterior(self, flakes: ArrayLike, runs: ArrayLike, level: float = 0.9) -> Posterior:
        """Rate of each test: mean and central credible interval of mass `level`."""
        k, n = np.atleast_1d(flakes, runs)
        mass = self.masses(k, n)
        below = np.cumsum(mass, axis=1) - mass / 2
        tail = (1 - level) / 2
        ends = [[np.interp(q, row, _LOGITS) for row in below] for q in (tail, 1 - tail)]
        low, high = (1 / (1 + np.exp(-np.array(end, np.float64))) for end in ends)
        return Posterior(mass @ RATES, low, high)

    def masses(self, flakes: ArrayLike, runs: ArrayLike) -> Floats:
        """[test, rate]: the posterior mass at each of RATES."""
        k, n = np.atleast_1d(flakes, runs)
        mass = _likelihood(np.asarray(k, np.float64), np.asarray(n, np.float64))
        mass *= np.array(self.weights) @ _KERNELS
        return np.asarray(mass / mass.sum(axis=1, keepdims=True))

    def means(self, flakes: ArrayLike, runs: ArrayLike) -> Floats:
        """Posterior mean alone: equal counts are computed once, so it is quick for many tests."""
        pairs, back = np.unique(_pairs(flakes, runs), axis=0, return_inverse=True)
        return np.asarray((self.masses(pairs[:, 0], pairs[:, 1]) @ RATES)[back.reshape(-1)])


@dataclass(frozen=True, slots=True)
class Odds:
    """How much each kind of evidence weighs: probabilities, set by hand but where it is said."""

    breaks: float = 0.001
    """That a commit breaks a given test; adapted to the project while its history is read."""
    stays: float = 0.6
    """That a test just broken is still so at the next commit; it grows with each further one."""
    broken_unseen: float = 0.02
    """That a test is broken, and has been for long, when it is first seen."""
    broken_passes: float = 0.005
    """That an attempt of a broken test passes, on the very state that it is broken in."""
    repeats: float = 0.3
    """That a retry repeats a flaky failure whatever the rate: what caused it lasts a while."""
    covered_broken: float = 0.9
    """That a test which the change broke enters what it touched: of the failures of undone changes,
    0.89 do (`python -m bench.flaky --coverage`)."""
    covered_flaky: float = 0.25
    same_broken: float = 0.1
    """That a real failure carries the fingerprint of an earlier flaky one of the same test."""
    same_flaky: float = 0.8


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures at one state of the code, a row a test. All arrays have one length."""

    failed: Floats
    """Attempts that failed, at least 1."""
    passed: Floats
    """Attempts that passed on the same state: retries, or further runs of it."""
    broken: Floats
    """Probability, before this state was seen, that the test is broken in it."""
    covered: Floats
    """1 where the test enters what the change touched, 0 where not, NaN unknown."""
    same_print: Floats
    """1 where the fingerprint was seen in a flaky failure, 0 where only others, NaN unknown."""


@dataclass(frozen=True, slots=True)
class FlakyModel:
    """P(a failure is flaky), from the rate of the test and what happened around the failure."""

    prior: RatePrior = field(default_factory=lambda: RatePrior(PUBLISHED))
    odds: Odds = field(default_factory=Odds)

    def probability(self, failures: Failures, flakes: ArrayLike, runs: ArrayLike) -> Floats:
        """P(flaky) of each failure, given the test's flaky failures and runs before it."""
        return self.explain(failures, flakes, runs)["flaky"]

    def explain(self, failures: Failures, flakes: ArrayLike, runs: ArrayLike) -> dict[str, Floats]:
        """P(flaky) under `flaky`, and the factor of each kind of evidence on the odds of it."""
        o, f = self.odds, failures
        mass = self.prior.masses(flakes, runs)
        again = np.maximum(f.failed - 1, 0)[:, None]
        fails, passes = o.repeats + (1 - o.repeats) * RATES, (1 - o.repeats) * (1 - RATES)
        once = mass @ RATES
        seen = RATES * fails**again * passes ** f.passed[:, None]
        repeated = np.sum(mass * seen, axis=1) / once
        real = o.broken_passes**f.passed * (1 - o.broken_passes) ** again[:, 0]
        factors = {
            "history": once * (1 - f.broken) / f.broken,
            "attempts": repeated / real,
            "coverage": _factor(f.covered, o.covered_flaky, o.covered_broken),
            "fingerprint": _factor(f.same_print, o.same_flaky, o.same_broken),
        }
        odds = np.prod(list(factors.values()), axis=0)
        return {"flaky": odds / (1 + odds), **factors}

    def to_json(self) -> dict[str, Any]:
        return {"weights": list(self.prior.weights), "strength": self.prior.strength}


class Watch:
    """Goes through a project's states in order and keeps what is known of each test.

    A state is a commit in a configuration; all its attempts, reruns of the whole suite included,
    are given at once. `observe` knows nothing of later states.
    """

    REFIT = 16
    """States after which prior and break rate follow the project's own counts, doubling."""

    def __init__(self, tests: int, model: FlakyModel | None = None) -> None:
        self.model = model or FlakyModel()
        self._base = self.model
        self.flakes = np.zeros(tests)
        """Expected number of flaky failures of each test."""
        self.runs = np.zeros(tests)
        """Expected number of states in which the test was sound."""
        self.broken = np.full(tests, self.model.odds.broken_unseen)
        """Probability that the test was broken in its latest state."""
        self._passed = np.zeros(tests, np.bool_)
        """Tests that ever passed: of any other, flakiness cannot be told from being broken."""
        self._streak = np.full(tests, _LONG)
        """Expected number of states in a row in which it was broken."""
        self._prints: dict[int, dict[str, float]] = {}
        self._states, self._next_fit = 0, self.REFIT
        self._breaks = self._chances = 0.0

    def observe(
        self,
        failed: ArrayLike,
        passed: ArrayLike,
        covered: ArrayLike | None = None,
        prints: Mapping[int, str] | None = None,
    ) -> dict[int, float]:
        """P(flaky) of each test that failed in this state, by its index.

        `failed` and `passed` count attempts of every test, both 0 where it did not run. `covered`
        is 1, 0 or NaN by test, `prints` the fingerprint of a failure by test.
        """
        failed, passed = np.asarray(failed, np.float64), np.asarray(passed, np.float64)
        rows = np.flatnonzero(failed)
        sound = np.flatnonzero((passed > 0) & (failed == 0))
        self._chances += len(sound) + len(rows)
        self._passed |= passed > 0
        result: dict[int, float] = {}
        if rows.size:
            flaky = self.model.probability(
                self._failures(rows, failed, passed, covered, prints),
                self.flakes[rows], self.runs[rows],
            )  # fmt: skip
            self._learn(rows, flaky, prints or {})
            result = dict(zip(rows.tolist(), flaky.tolist(), strict=True))
        self.runs[sound] += 1
        self.broken[sound] = self._streak[sound] = 0.0
        self._states += 1
        if self._states >= self._next_fit:
            self._next_fit *= 2
            self._refit()
        return result

    def rates(self, level: float = 0.9) -> Posterior:
        """The flake rate of each test, per run of its first attempt."""
        self._refit()
        return self.model.prior.posterior(self.flakes, self.runs, level)

    def mean_rates(self) -> Floats:
        """The mean of `rates` alone, far quicker."""
        self._refit()
        return self.model.prior.means(self.flakes, self.runs)

    def _failures(
        self,
        rows: NDArray[np.intp],
        failed: Floats,
        passed: Floats,
        covered: ArrayLike | None,
        prints: Mapping[int, str] | None,
    ) -> Failures:
        unknown = np.full(len(rows), np.nan)
        entered = unknown if covered is None else np.asarray(covered, np.float64)[rows]
        same = unknown
        if prints:
            same = np.array([self._same(row, prints.get(row)) for row in rows.tolist()])
        return Failures(failed[rows], passed[rows], self._expected(rows), entered, same)

    def _expected(self, rows: NDArray[np.intp]) -> Floats:
        """P(broken) as the past alone tells. What was broken for long stays so: the rule of
        succession, with `stays` as the mean of two states seen before any."""
        odds, before = self.model.odds, self.broken[rows]
        longer = np.maximum(self._streak[rows] - 1, 0)
        stays = (2 * odds.stays + longer) / (2 + longer)
        return np.asarray(before * stays + (1 - before) * odds.breaks)

    def _same(self, row: int, fingerprint: str | None) -> float:
        known = self._prints.get(row)
        if known is None or fingerprint is None:
            return np.nan
        return float(known.get(fingerprint, 0.0) > 0.5)

    def _learn(self, rows: NDArray[np.intp], flaky: Floats, prints: Mapping[int, str]) -> None:
        self._breaks += float(np.sum((1 - flaky) * (1 - self.broken[rows])))
        counted = flaky * self._passed[rows]
        self.flakes[rows] += counted
        self.runs[rows] += counted  # a broken state says nothing of how often a sound test fails
        self.broken[rows] = 1 - flaky
        self._streak[rows] = (self._streak[rows] + 1) * (1 - flaky)
        for row, chance in zip(rows.tolist(), flaky.tolist(), strict=True):
            mark = prints.get(row)
            if mark is not None and chance > 0.5:
                marks = self._prints.setdefault(row, {})
                marks[mark] = max(marks.get(mark, 0.0), chance)

    def _refit(self) -> None:
        odds, prior = self._base.odds, self._base.prior
        breaks = (1 + self._breaks) / (1 / odds.breaks + self._chances)
        self.model = FlakyModel(prior.adapted(self.flakes, self.runs), replace(odds, breaks=breaks))


def _factor(known: Floats, flaky: float, broken: float) -> Floats:
    """Likelihood ratio of a sign that is there (1), not there (0) or unknown (NaN)."""
    there, absent = flaky / broken, (1 - flaky) / (1 - broken)
    return np.where(np.isnan(known), 1.0, np.where(known > 0.5, there, absent))


def _likelihood(k: Floats, n: Floats) -> Floats:
    """[test, rate]: binomial likelihood up to a factor a test."""
    log = k[:, None] * _LOG_RATES + (n - k)[:, None] * _LOG_REST
    return np.asarray(np.exp(log - log.max(axis=1, keepdims=True)))


def _pairs(flakes: ArrayLike, runs: ArrayLike) -> Floats:
    k, n = np.atleast_1d(flakes, runs)
    return np.column_stack((np.round(k, 3), np.round(n, 1)))


def _distinct(flakes: ArrayLike, runs: ArrayLike) -> tuple[Floats, Floats, Floats]:
    pairs, counts = np.unique(_pairs(flakes, runs), axis=0, return_counts=True)
    return pairs[:, 0], pairs[:, 1], counts.astype(np.float64)
