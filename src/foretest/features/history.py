"""What past results alone say of each test: a row of numbers a test, from the state before a run.

Nothing of the run to be ordered enters, neither outcomes nor durations: a `State` holds earlier
runs alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from foretest.history.state import State

Floats = NDArray[np.float64]

NAMES = (
    "fast",
    "middle",
    "slow",
    "near_middle",
    "near_slow",
    "young",
    "new",
    "seconds",
)
"""Shares of failed runs over short, middle and long spans; the same of the tests beside; how new
the test is; its duration."""
NEAR, FADES = 30, 5.0
"""Tests on either side that are looked at, and the distance at which one counts half."""
YOUNG = 5.0
"""Runs after which a test is half as new."""


def history_rows(state: State, units: Sequence[str], seconds: Floats) -> Floats:
    """A row a unit, a column a NAME: float64[n, 8], no NaN. `seconds` (NaN = unknown) per unit.

    Shares enter by their square root: the first failure says more than the tenth. The tests beside
    are those next in the order of names, where a file's or a class's tests stand together.
    """
    known = state.aligned(units, 0.0)
    runs = np.nan_to_num(known["runs"])
    everyone = sorted({*state.units, *units}, key=natural)
    place = {unit: i for i, unit in enumerate(everyone)}
    at = np.array([place[unit] for unit in units], np.int64)
    mine = np.array([place[unit] for unit in state.units], np.int64)
    columns = {name: np.sqrt(np.nan_to_num(known[name])) for name in ("fast", "middle", "slow")}
    for name in ("middle", "slow"):
        line = np.zeros(len(everyone))
        line[mine] = state.columns[name]
        columns[f"near_{name}"] = np.sqrt(_beside(line)[at])
    columns["young"] = np.exp2(-runs / YOUNG)
    columns["new"] = (runs == 0).astype(np.float64)
    columns["seconds"] = np.log1p(np.nan_to_num(seconds))
    return np.stack([columns[name] for name in NAMES], axis=1).reshape(len(units), len(NAMES))


def natural(unit: str) -> tuple[tuple[bool, int, str], ...]:
    """A key that sorts names as people do: test_2 before test_10."""
    parts = re.split(r"([0-9]{1,18})", unit)
    return tuple((bool(i % 2), int(p) if i % 2 else 0, p) for i, p in enumerate(parts))


def _beside(line: Floats) -> Floats:
    """For each place the sum over its neighbours, fading with distance, itself left out."""
    if not len(line):
        return line
    distance = np.abs(np.arange(-NEAR, NEAR + 1))
    weights = np.where(distance > 0, np.exp2(-distance / FADES), 0.0)
    # Not negative by more than rounding, which a square root would not forgive.
    return np.asarray(np.maximum(np.convolve(line, weights)[NEAR:-NEAR], 0.0))
