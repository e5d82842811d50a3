"""The learned ranker: trees over the features and another model's score, calibrated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from foretest.errors import BadModel
from foretest.features.catalogue import CATALOGUE_VERSION, FEATURES
from foretest.features.frame import FeatureFrame
from foretest.models.contract import BASE, Model, Scores
from foretest.models.trees import Trees

Floats = NDArray[np.float64]

FORMAT = 1
STEEPEST = 12.0
"""Log-odds beyond which the base model's score says no more."""
MOST_KNOTS = 10_000
CERTAIN = 1e-12
"""Probabilities nearer to 0 or 1 count as this near: log-odds stay finite."""
NEAR = 1e-3
"""Raw scores so close to the prior's share its slope."""


@dataclass(frozen=True)
class Calibration:
    """A strictly increasing map from raw score to probability.

    Straight between the knots (x, y). Beyond them the log-odds go on rising as the raw score does,
    so that no two tests tie only because both lie past the last knot.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    """Probabilities, 0..1."""

    def __post_init__(self) -> None:
        """Raises ValueError unless both ascend strictly."""
        if not 2 <= len(self.x) == len(self.y) <= MOST_KNOTS:
            raise ValueError(f"the calibration has {len(self.x)} and {len(self.y)} knots")
        if not all(math.isfinite(value) for value in (*self.x, *self.y)):
            raise ValueError("the calibration is not finite")
        if not 0 <= self.y[0] <= self.y[-1] <= 1:
            raise ValueError("the calibration leaves 0..1")
        if not _ascends(self.x) or not _ascends(self._levels.tolist()):
            raise ValueError("the calibration does not ascend")

    def log_odds(self, raw: Floats) -> Floats:
        """Log-odds of the probability at each raw score."""
        inside = np.interp(raw, self.x, self._levels)
        return log_odds(inside) + np.minimum(raw - self.x[0], 0) + np.maximum(raw - self.x[-1], 0)

    @property
    def _levels(self) -> Floats:
        levels: Floats = np.clip(np.array(self.y), CERTAIN, 1 - CERTAIN)
        return levels

    def to_json(self) -> dict[str, list[float]]:
        return {"x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError or TypeError for anything else."""
        return cls(_numbers(data["x"]), _numbers(data["y"]))


@dataclass(frozen=True)
class Ranker:
    """Trees over features, known to them by name; "base" is the log-odds of another model's score.

    Where the trees `start_from_base`, they correct these log-odds; else they stand alone.
    """

    trees: Trees
    base: Model
    calibration: Calibration | None = None
    """None: the raw score counts as log-odds, which nobody has held against what happened."""
    start_from_base: bool = False
    lineage: Mapping[str, Any] = field(default_factory=dict)
    """What it was trained on: repositories, commits, licences, counts; JSON only."""

    def __post_init__(self) -> None:
        """Raises BadModel for a feature that the catalogue does not know."""
        unknown = [name for name in self.trees.features if name not in FEATURES and name != BASE]
        if unknown:
            raise _bad(f"it asks for unknown features: {', '.join(unknown)[:200]}")

    @property
    def name(self) -> str:
        return "ranker"

    @property
    def inputs(self) -> tuple[str, ...]:
        own = [name for name in self.trees.features if name != BASE]
        return tuple(dict.fromkeys((*own, *self.base.inputs)))

    @property
    def calibrated(self) -> bool:
        return self.calibration is not None

    @cached_property
    def prior(self) -> float:
        """The probability where the features' contributions are level."""
        return float(as_probability(self._log_odds(np.array([self._level])))[0])

    def raw(self, frame: FeatureFrame) -> Floats:
        """The score before calibration, float64[n]: what a calibration is fitted on."""
        start = base_logit(self.base.predict(frame))
        raw = self.trees.raw(matrix(frame, self.trees.features, start))
        return raw + start if self.start_from_base else raw

    def predict(self, frame: FeatureFrame) -> Scores:
        return as_probability(self._log_odds(self.raw(frame))).astype(np.float32)

    def terms(self, frame: FeatureFrame) -> dict[str, Scores]:
        """Each feature's contribution to the raw score, as log-odds of the calibrated probability.

        They add up to the log-odds of the score less those of the prior. What the base model's
        score contributed is told as the base's own terms, in proportion, where it has any that
        raise it.
        """
        start = base_logit(self.base.predict(frame))
        moved = self.trees.contributions(matrix(frame, self.trees.features, start))
        terms = dict(zip(self.trees.features, moved[:, :-1].T, strict=True))
        if self.start_from_base:
            terms[BASE] = terms.get(BASE, 0.0) + start - self._base_level
        slope = self._slope(self._level + sum(terms.values(), np.zeros(frame.size)))
        terms = {name: term * slope for name, term in terms.items()}
        if BASE in terms:
            terms = _spread(terms, self.base.terms(frame))
        return {name: term.astype(np.float32) for name, term in terms.items()}

    @property
    def _base_level(self) -> float:
        return float(base_logit(np.array([self.base.prior]))[0])

    @property
    def _level(self) -> float:
        """The raw score where nothing moves it."""
        return self.trees.bias + (self._base_level if self.start_from_base else 0.0)

    def _log_odds(self, raw: Floats) -> Floats:
        return raw if self.calibration is None else self.calibration.log_odds(raw)

    def _slope(self, raw: Floats) -> Floats:
        """Calibrated log-odds per unit of raw score, on average between the prior and each row."""
        start = self._level
        end = np.where(np.abs(raw - start) < NEAR, start + NEAR, raw)
        return (self._log_odds(end) - self._log_odds(np.array([start]))) / (end - start)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "format": FORMAT,
            "catalogue_version": CATALOGUE_VERSION,
            "trees": self.trees.text,
            "base": self.base.to_json(),
            "start_from_base": self.start_from_base,
            "calibration": None if self.calibration is None else self.calibration.to_json(),
            "lineage": dict(self.lineage),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], base: Model | None = None) -> Self:
        """Undo `to_json`; the base model is read by who knows all models (`registry.read_model`).

        Raises BadModel for anything else, and for a model of another format or catalogue.
        """
        versions = data.get("format"), data.get("catalogue_version")
        if versions != (FORMAT, CATALOGUE_VERSION):
            raise _bad("another version of foretest made it")
        if base is None:
            raise _bad("the model that it builds on is missing")
        try:
            knots = data["calibration"]
            calibration = None if knots is None else Calibration.from_json(knots)
            text, start, lineage = data["trees"], data["start_from_base"], data["lineage"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _bad(f"{type(error).__name__}: {error}") from error
        if not (isinstance(text, str) and isinstance(start, bool) and isinstance(lineage, Mapping)):
            raise _bad("a part of it is of a wrong type")
        return cls(Trees.from_text(text), base, calibration, start, lineage)


def matrix(frame: FeatureFrame, features: Sequence[str], start: Floats) -> Scores:
    """What trees read, for training as for serving: float32[n, k], its columns as `features` says.

    `start` (float64[n]) is the column "base": the base's `base_logit`.
    """
    result = np.empty((frame.size, len(features)), np.float32, order="F")
    for place, name in enumerate(features):
        result[:, place] = start if name == BASE else frame[name]
    return result


def base_logit(scores: NDArray[np.floating]) -> Floats:
    """Log-odds of another model's scores, at most 12 either way: float64[n]."""
    return np.clip(log_odds(scores), -STEEPEST, STEEPEST)


def log_odds(probability: NDArray[np.floating]) -> Floats:
    """log(p / (1 - p)), infinite at 0 and 1."""
    p = probability.astype(np.float64)
    with np.errstate(divide="ignore"):
        odds: Floats = np.log(p) - np.log1p(-p)
    return odds


def as_probability(odds: Floats) -> Floats:
    """The probability of these log-odds, float64[n]."""
    # Both branches stay finite: exp only ever sees what is not positive.
    small = np.exp(-np.abs(odds))
    return np.where(odds >= 0, 1.0, small) / (1.0 + small)


def _spread(terms: Mapping[str, Floats], parts: Mapping[str, Scores]) -> dict[str, Floats]:
    """`terms` with BASE told by the base's own terms, where its score raised ours."""
    raising = {name: np.maximum(part, 0).astype(np.float64) for name, part in parts.items()}
    total = sum(raising.values(), np.zeros_like(terms[BASE]))
    told = (terms[BASE] > 0) & (total > 0)
    each = np.where(told, terms[BASE] / np.where(told, total, 1.0), 0.0)
    spread = {name: term for name, term in terms.items() if name != BASE}
    for name, part in raising.items():
        spread[name] = spread.get(name, 0.0) + part * each
    spread[BASE] = np.where(told, 0.0, terms[BASE])
    return spread


def _ascends(values: Sequence[float]) -> bool:
    return all(a < b for a, b in pairwise(values))


def _numbers(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) > MOST_KNOTS:
        raise TypeError("the calibration is not made of two short lists")
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise TypeError("the calibration is not made of numbers")
    return tuple(float(value) for value in values)


def _bad(reason: str) -> BadModel:
    return BadModel(
        f"The ranker cannot be used: {reason}.",
        "Run 'foretest learn' again with this version of foretest.",
    )
