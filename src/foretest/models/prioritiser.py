"""The order of tests by past results alone: for a repository with reports and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from foretest.features.frame import Column, FeatureFrame
from foretest.features.history import NAMES

Floats = NDArray[np.float64]

WEIGHTS: Mapping[str, float] = {
    "fast": 4.78,
    "middle": 2.87,
    "slow": 0.42,
    "near_middle": 0.17,
    "near_slow": 0.94,
    "young": 3.14,
    "new": 1.47,
    "seconds": 0.58,
}
"""What each column of `features.history` counts, as fitted by `python -m bench.coleman fit`."""
LEVEL = 5.0
"""Points that give even odds, about those of a test that failed in its last two runs."""
QUIET = 1.0
"""Points that a test has for its mere duration: up to here nothing speaks for it."""
STEPS, CLOSE = 50, 1e-9


def points(rows: Floats, weights: Floats | None = None) -> Floats:
    """Sum of weight times value for each row of `features.history.history_rows`: float64[n]."""
    if weights is None:
        weights = np.array([WEIGHTS[name] for name in NAMES])
    return np.asarray(rows @ weights)


def fit(
    lessons: Sequence[tuple[Floats, NDArray[np.bool_]]], prior: Floats, strength: float
) -> Floats:
    """Weights under which failing tests come first: float64 as `prior`.

    A lesson is one failing run: rows as they were before it, and which tests failed. The loss is
    ListNet's (Cao, Qin, Liu, Tsai and Li 2007), cross entropy between the failing tests and the
    softmax of the points, so that a run counts once however many tests fail in it; `strength` (> 0)
    times the squared distance from `prior` is added. Convex; Newton's method with halved steps.
    """
    weights = prior.astype(np.float64)
    loss, slope, bend = _loss(lessons, weights, prior, strength)
    for _ in range(STEPS):
        step = np.linalg.solve(bend, slope)
        for halving in range(30):
            tried = weights - step * 0.5**halving
            found = _loss(lessons, tried, prior, strength)
            if found[0] <= loss:
                break
        else:
            break
        gained, weights = loss - found[0], tried
        loss, slope, bend = found
        if gained <= CLOSE * (1 + abs(loss)):
            break
    return weights


def _loss(
    lessons: Sequence[tuple[Floats, NDArray[np.bool_]]],
    weights: Floats,
    prior: Floats,
    strength: float,
) -> tuple[float, Floats, Floats]:
    """The loss, its gradient and its Hessian."""
    away = weights - prior
    loss = strength * float(away @ away)
    slope, bend = 2 * strength * away, 2 * strength * np.eye(len(weights))
    for rows, failed in lessons:
        score = rows @ weights
        share = np.exp(score - score.max())
        total = share.sum()
        share /= total
        wanted = failed / failed.sum()
        loss += float(np.log(total) + score.max() - wanted @ score)
        mean = share @ rows
        slope = slope + mean - wanted @ rows
        bend = bend + (rows * share[:, None]).T @ rows - np.outer(mean, mean)
    return loss, slope, bend


@dataclass(frozen=True, slots=True)
class Prioritiser:
    """Reads the feature `past`: the points of each test, counted when its history was folded."""

    level: float = LEVEL

    @property
    def name(self) -> str:
        return "prioritiser"

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("past",)

    @property
    def calibrated(self) -> bool:
        return False

    @property
    def prior(self) -> float:
        return float(1 / (1 + np.exp(self.level - QUIET)))

    def predict(self, frame: FeatureFrame) -> Column:
        odds = self.terms(frame)["past"].astype(np.float64) + QUIET - self.level
        return np.asarray(1 / (1 + np.exp(-odds)), np.float32)

    def terms(self, frame: FeatureFrame) -> dict[str, Column]:
        return {"past": np.nan_to_num(frame["past"] - np.float32(QUIET)).astype(np.float32)}

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "level": self.level}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(float(data["level"]))
