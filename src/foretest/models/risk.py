"""Change risk: how likely a change breaks anything, known before a test has run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from foretest.changes.layout import is_test_file
from foretest.errors import BadModel
from foretest.features.frame import FeatureFrame
from foretest.features.query import Query
from foretest.records import MODULE_LEVEL, Change

Floats = NDArray[np.float64]

NAMES = (
    "files",
    "symbols",
    "hunks",
    "lines",
    "removed_share",
    "module_share",
    "names_set",
    "words",
    "unseen",
    "entered_share",
    "top_score",
    "top_scores",
    "top_text",
)
"""What a row says of a change, in order; counts are log(1 + n), so that they compare."""

TOP = 5
"""Tests whose mean score is `top_scores`."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much text a change moves outside tests: what a query, made of words, does not keep."""

    hunks: int = 0
    removed: int = 0
    """Lines."""
    added: int = 0


def size_of(change: Change) -> Size:
    """The size of a change read from git. Tests are left out: they run anyway."""
    hunks = [h for file in change.files if not is_test_file(file.path) for h in file.hunks]
    return Size(len(hunks), sum(len(h.removed) for h in hunks), sum(len(h.added) for h in hunks))


def describe(query: Query, size: Size, frame: FeatureFrame, scores: NDArray[np.floating]) -> Floats:
    """One row (float64[len(NAMES)], NaN = unknown) about a change.

    `frame` holds coverage_share, change_unseen and bm25 of every test, `scores` what the formula
    makes of them.
    """
    lines = size.removed + size.added
    symbols = query.touched
    module = sum(symbol.qualname == MODULE_LEVEL for symbol in symbols)
    best = np.sort(scores)[::-1][:TOP].astype(np.float64)
    entered = frame["coverage_share"]
    known = entered[~np.isnan(entered)]
    return np.array(
        [
            math.log1p(len(query.sources)),
            math.log1p(len(symbols)),
            math.log1p(size.hunks),
            math.log1p(lines),
            size.removed / lines if lines else math.nan,
            module / len(symbols) if symbols else math.nan,
            math.log1p(len(query.names_set)),
            math.log1p(len(query.removed.keys() | query.added.keys())),
            float(frame["change_unseen"][0]) if frame.size else math.nan,
            # Where no test enters anything of the change, all of the column is unknown.
            float((known > 0).mean()) if len(known) else 0.0,
            float(best[0]) if len(best) else 0.0,
            float(best.mean()) if len(best) else 0.0,
            float(np.nan_to_num(frame["bm25"], nan=0.0).max(initial=0.0)),
        ]
    )


INPUTS = frozenset({"coverage_share", "change_unseen", "bm25"})
"""Features of tests that `describe` reads."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How the size of a budget follows the risk: constant x risk ** exponent, within bounds.

    With a catch that falls off as a power of the budget, the same total time catches most where
    budgets are a power of the risk.
    """

    exponent: float = 0.0
    constant: float = 1.0
    """Such that the factor is 1 on average over the changes learnt from."""
    least: float = 0.25
    most: float = 4.0

    def __post_init__(self) -> None:
        """Raises ValueError for a scale that no budget can follow."""
        numbers = (self.exponent, self.constant, self.least, self.most)
        if not all(map(math.isfinite, numbers)):
            raise ValueError("no scale: a number that is not finite")
        if not (self.constant > 0 and 0 < self.least <= 1 <= self.most):
            raise ValueError("no scale: it wants constant > 0 and 0 < least <= 1 <= most")

    def factor(self, risk: float) -> float:
        return float(self.factors(np.array([risk]))[0])

    def factors(self, risks: Floats) -> Floats:
        return np.clip(self.constant * risks**self.exponent, self.least, self.most)


@dataclass(frozen=True, slots=True)
class Risk:
    """Logistic regression over a change's row; an unknown value counts as the average one."""

    names: tuple[str, ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    levels: tuple[float, ...] = ()
    """Quantiles of the risk over the changes learnt from, evenly spaced, lowest first."""
    scale: Scale = field(default_factory=Scale)
    lineage: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = (*self.centre, *self.spread, *self.weights, self.intercept, *self.levels)
        sizes = {len(self.names), len(self.centre), len(self.spread), len(self.weights)}
        unknown = set(self.names) - set(NAMES)
        if unknown or len(sizes) != 1 or not all(map(math.isfinite, numbers)):
            raise ValueError(f"no risk model: {', '.join(sorted(unknown)) or 'bad numbers'}")
        if not all(spread > 0 for spread in self.spread):
            raise ValueError("no risk model: a spread that is not positive")
        if sorted(self.levels) != list(self.levels):
            raise ValueError("no risk model: levels out of order")

    def probability(self, row: Floats) -> float:
        """P(a test fails) of the change that `describe` made this row of."""
        return float(self.probabilities(row[None, :])[0])

    def probabilities(self, rows: Floats) -> Floats:
        """The same for each of several rows (float64[n, len(NAMES)])."""
        columns = [NAMES.index(name) for name in self.names]
        spread = (rows[:, columns] - np.array(self.centre)) / np.array(self.spread)
        # Far beyond what was learnt from a line is no longer to be trusted to go on.
        steps = np.clip(np.nan_to_num(spread, nan=0.0), -4.0, 4.0)
        logit: Floats = self.intercept + steps @ np.array(self.weights)
        return np.asarray(1.0 / (1.0 + np.exp(-logit)))

    def above(self, risk: float) -> float:
        """Share of the changes learnt from that are less risky; NaN where none is known."""
        if not self.levels:
            return math.nan
        return float(np.interp(risk, self.levels, np.linspace(0.0, 1.0, len(self.levels))))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises BadModel for anything but what `to_json` gives."""
        try:
            lists: dict[str, Sequence[float]] = {
                name: tuple(map(float, data[name]))
                for name in ("centre", "spread", "weights", "levels")
            }
            return cls(
                names=tuple(map(str, data["names"])),
                intercept=float(data["intercept"]),
                scale=Scale(**{str(k): float(v) for k, v in data["scale"].items()}),
                lineage=dict(data["lineage"]),
                **{name: tuple(values) for name, values in lists.items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadModel(
                f"The model of change risk cannot be read: {error}.",
                "Install foretest again, or leave out --adapt.",
            ) from error


@cache
def pretrained() -> Risk:
    """The model that comes with foretest. Raises BadModel."""
    place = files("foretest.models").joinpath("pretrained", "risk.json")
    try:
        text = place.read_text(encoding="utf-8")
        data = json.loads(text)
    except (OSError, ValueError) as error:
        raise BadModel(
            f"The model of change risk cannot be read: {error}.",
            "Install foretest again, or leave out --adapt.",
        ) from error
    return Risk.from_json(data)
