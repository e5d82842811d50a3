"""What contenders read: columns for those without trees, and what an experiment takes away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from foretest.features.catalogue import FEATURES
from foretest.features.frame import FeatureFrame
from foretest.models.contract import BASE, Model, Scores
from foretest.models.formula import Formula
from foretest.models.ranker import Calibration, as_probability, base_logit, matrix

Floats = NDArray[np.float64]
NOT_KEPT = "a contender is fitted to be compared, and never kept"
FAR = 5.0
"""Standard deviations beyond which a value says no more."""


@dataclass(frozen=True)
class Inputs:
    """How a matrix of k features becomes one of 2k + 1 columns: values, marks, the base's logit."""

    names: tuple[str, ...]
    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, raw: NDArray[np.float32], names: Sequence[str], weights: Floats) -> Inputs:
        """Mean and scale of each column over the rows where it is known, weighed."""
        values, known = raw.astype(np.float64), ~np.isnan(raw)
        share = weights[:, None] * known
        total = np.maximum(share.sum(axis=0), np.finfo(float).tiny)
        mean = np.where(known, values, 0.0).T @ weights / total
        spread = (share * np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / total
        return cls(tuple(names), mean, np.where(spread > 0, np.sqrt(spread), 1.0))

    def columns(self, raw: NDArray[np.float32], start: Floats) -> Floats:
        """float64[n, 2k + 1]; a missing value is the mean, and marked."""
        known = ~np.isnan(raw)
        values = np.where(known, (raw - self.mean) / self.scale, 0.0)
        return np.column_stack((np.clip(values, -FAR, FAR), ~known, start / FAR))

    @property
    def signs(self) -> Floats:
        """Which way each of the 2k + 1 weights may point: 1, -1, or 0 for either."""
        own = [FEATURES[name].monotone for name in self.names]
        return np.array([*own, *(0 for _ in own), 1.0])


@dataclass(frozen=True, kw_only=True)
class Corrected(ABC):
    """A model that corrects the base's log-odds by a function of the columns, as the trees do.

    It is fitted to be compared, and never put into a bundle: `registry.MODELS` does not know it.
    """

    columns: Inputs
    base: Model = field(default_factory=Formula)
    calibration: Calibration | None = None

    name = "corrected"

    @abstractmethod
    def moved(self, columns: Floats) -> Floats:
        """What the columns (float64[n, 2k + 1]) add to the base's log-odds, float64[n]."""

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.columns.names, *self.base.inputs)))

    @property
    def calibrated(self) -> bool:
        return self.calibration is not None

    @property
    def prior(self) -> float:
        level = base_logit(np.array([self.base.prior]))
        nothing = np.zeros((1, 2 * len(self.columns.names) + 1))
        return float(self._probability(level + self.moved(nothing))[0])

    def raw(self, frame: FeatureFrame) -> Floats:
        """The score before calibration, float64[n]."""
        start = base_logit(self.base.predict(frame))
        return start + self.moved(
            self.columns.columns(matrix(frame, self.columns.names, start), start)
        )

    def predict(self, frame: FeatureFrame) -> Scores:
        return self._probability(self.raw(frame)).astype(np.float32)

    def terms(self, frame: FeatureFrame) -> Mapping[str, Scores]:
        """What it moved in all: its parts are nobody's in particular."""
        return {BASE: (self.raw(frame) - base_logit(self.base.predict(frame))).astype(np.float32)}

    def to_json(self) -> dict[str, Any]:
        raise TypeError(NOT_KEPT)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        raise TypeError(f"{NOT_KEPT}: {sorted(data)}")

    def _probability(self, raw: Floats) -> Floats:
        return as_probability(raw if self.calibration is None else self.calibration.log_odds(raw))


@dataclass(frozen=True)
class Blind:
    """A model that sees some features as unknown: what an experiment takes away from it."""

    model: Model
    lost: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.model.name} without {', '.join(sorted(self.lost))}"

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.model.inputs

    @property
    def calibrated(self) -> bool:
        return False

    @property
    def prior(self) -> float:
        return self.model.prior

    def predict(self, frame: FeatureFrame) -> Scores:
        return self.model.predict(self._seen(frame))

    def terms(self, frame: FeatureFrame) -> Mapping[str, Scores]:
        return self.model.terms(self._seen(frame))

    def _seen(self, frame: FeatureFrame) -> FeatureFrame:
        unknown = np.full(frame.size, np.nan, np.float32)
        seen = {n: unknown if n in self.lost else part for n, part in frame.columns.items()}
        return FeatureFrame(frame.size, seen)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "model": self.model.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        raise TypeError(f"{NOT_KEPT}: {sorted(data)}")
