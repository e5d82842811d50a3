"""How long a test will take: the usual duration (p50) and one it seldom exceeds (p90).

All that is known are the last few durations of each test in each configuration. The usual one is
half way, as a ratio, between the last and the median of the last three: it follows a change at once
by half and in full a run later, while one odd run moves it by no more than half. The long one is
the greatest of the last three times a factor. The factor is such that nine of ten later durations
stayed below: it is read off the remembered durations themselves, each set against those before it,
as in split conformal prediction by group (Vovk, Lindsay, Nouretdinov and Gammerman 2003); newer
ones count more, so that it drifts with the tests. Groups are by the number of durations known: the
greatest of one is soon exceeded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

OFFSET = 0.1
"""Seconds added before a ratio is taken: what lies far below is noise, and 0 has a logarithm."""
LATEST = 3
"""Durations that a forecast looks at."""
TRIED = 4
"""Durations of each test that are set against those before; the older, the less they count."""
HALVED = 2.0
KNOWN = (2, 3, 5, 9)
"""Least numbers of durations known, by which tests are grouped."""
GROUP_WEIGHT = 20.0
"""Durations that the factor of all weighs against those of a group."""
PRIOR, PRIOR_WEIGHT = 0.3, 20.0
"""Logarithm of the factor where nothing could be tried yet, and the durations it weighs."""
CONFIGURATION_WEIGHT = 5.0
"""Tests timed in two configurations below which their ratio is drawn to 1."""
HIGH = 0.9


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds of the next run; NaN where nothing is known. `high` is never below `typical`."""

    typical: Floats
    high: Floats


def forecast(recent: Floats) -> Forecast:
    """The next duration of each row of `recent`: float[n, k] seconds, oldest first, NaN before."""
    logs = np.log(np.maximum(recent, 0.0) + OFFSET)
    usual, top = _usual(logs), _top(logs)
    high = top + _factors(logs)
    return Forecast(_seconds(usual), _seconds(np.fmax(usual, high)))


def in_configuration(rows: Forecast, unit: Rows, here: NDArray[np.bool_], n_units: int) -> Forecast:
    """The forecast of each of `n_units` units in one configuration.

    `rows` are forecasts of units in configurations, `unit` names the unit of each, and `here` marks
    those of the configuration asked for. A unit timed elsewhere alone is forecast from there, times
    the ratio between the configurations over the units that both have. One never timed is NaN.
    """
    elsewhere = _by_unit(rows.typical[~here], unit[~here], n_units)
    typical, high = elsewhere.copy(), _by_unit(rows.high[~here], unit[~here], n_units)
    own = unit[here]
    both = np.isfinite(elsewhere[own])
    if both.any():
        ratios = _log(rows.typical[here][both]) - _log(elsewhere[own][both])
        shift = np.median(ratios) * both.sum() / (both.sum() + CONFIGURATION_WEIGHT)
        spread = np.quantile(ratios, HIGH) - np.median(ratios)
        typical = _seconds(_log(typical) + shift)
        high = _seconds(_log(high) + shift + max(spread, 0.0))
    typical[own], high[own] = rows.typical[here], rows.high[here]
    return Forecast(typical, high)


def _by_unit(seconds: Floats, unit: Rows, n_units: int) -> Floats:
    """Median over the rows of each unit, as a ratio; NaN where it has none."""
    total, count = np.zeros(n_units), np.zeros(n_units)
    order = np.lexsort((seconds, unit))
    ranked, unit = seconds[order], unit[order]
    _, start, held = np.unique(unit, return_index=True, return_counts=True)
    for place in (start + (held - 1) // 2, start + held // 2):
        np.add.at(total, unit[place], _log(ranked[place]))
        np.add.at(count, unit[place], 1.0)
    with np.errstate(invalid="ignore"):
        return _seconds(total / count)


def _usual(logs: Floats) -> Floats:
    """Mean of the last and the median of the last three, of those that there are."""
    ordered = np.sort(logs[:, -LATEST:], axis=1)  # NaN sorts to the end
    count = np.isfinite(ordered).sum(axis=1)
    lower, upper = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, LATEST - 1)
    row = np.arange(len(logs))
    median = (ordered[row, lower] + ordered[row, upper]) / 2
    return np.asarray((logs[:, -1] + median) / 2)


def _top(logs: Floats) -> Floats:
    return np.asarray(np.fmax.reduce(logs[:, -LATEST:], axis=1))


def _factors(logs: Floats) -> Floats:
    """Logarithm of the factor on each row's greatest recent duration."""
    width = logs.shape[1]
    tried = [b for b in range(1, TRIED + 1) if b < width]
    if not tried or not len(logs):
        return np.full(len(logs), PRIOR)
    past = [logs[:, : width - b] for b in tried]
    errors = np.stack([logs[:, -b] - _top(p) for b, p in zip(tried, past, strict=True)], axis=1)
    groups = np.stack([_group(p) for p in past], axis=1)
    known = np.isfinite(errors)
    weights = np.broadcast_to(0.5 ** (np.arange(len(tried)) / HALVED), errors.shape)[known]
    errors, groups, count = errors[known], groups[known], int(known.sum())
    of_all = _quantile(errors, weights)
    of_all = (of_all * count + PRIOR * PRIOR_WEIGHT) / (count + PRIOR_WEIGHT)
    factors = np.full(len(KNOWN) + 1, of_all)
    for group in np.unique(groups).tolist():
        mine = groups == group
        own, held = _quantile(errors[mine], weights[mine]), int(mine.sum())
        factors[group] = (own * held + of_all * GROUP_WEIGHT) / (held + GROUP_WEIGHT)
    return np.asarray(factors[_group(logs)])


def _group(logs: Floats) -> Rows:
    known = np.isfinite(logs).sum(axis=1)
    return np.asarray(np.searchsorted(np.array(KNOWN), known, side="right"))


def _quantile(values: Floats, weights: Floats) -> float:
    """The weighted HIGH quantile; 0 of nothing."""
    if not len(values):
        return 0.0
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    place = int(np.searchsorted(total, HIGH * total[-1]))
    return float(values[order][min(place, len(values) - 1)])


def _log(seconds: Floats) -> Floats:
    return np.asarray(np.log(seconds + OFFSET))


def _seconds(logs: Floats) -> Floats:
    return np.asarray(np.maximum(np.exp(logs) - OFFSET, 0.0))
