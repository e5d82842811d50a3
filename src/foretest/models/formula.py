"""The formula: coverage share x rarity joined with BM25, and weaker evidence; no training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from foretest.features.frame import Column, FeatureFrame


@dataclass(frozen=True, slots=True)
class Constants:
    """The formula's numbers. Each weight is the score of its evidence alone at full strength."""

    coverage: float = 0.60
    share_power: float = 0.75
    """Below 1, entering a part of a large change still counts for much."""
    rarity_power: float = 1.5
    """Above 1, what most tests enter says little."""
    propagated: float = 0.30
    text: float = 0.85
    text_power: float = 1.25
    name: float = 0.15
    path: float = 0.03
    imports: float = 0.01
    cochange: float = 0.05
    failed: float = 0.10
    unknown: float = 0.02
    """Stands for coverage where it is unknown and nothing imports what changed."""
    unknown_imported: float = 0.05
    """Stands for coverage where it is unknown and the test imports a changed file directly."""

    def __post_init__(self) -> None:
        for constant in fields(self):
            value = getattr(self, constant.name)
            most = 10.0 if constant.name.endswith("_power") else 1.0
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{constant.name} is {value!r}, not a number")
            if not (math.isfinite(value) and 0.0 <= value <= most):
                raise ValueError(f"{constant.name} is {value!r}, outside 0..{most:g}")

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises ValueError for an unknown name or a value out of range."""
        unknown = sorted(set(data) - {constant.name for constant in fields(cls)})
        if unknown:
            raise ValueError(f"unknown constants: {', '.join(unknown)}")
        return cls(**data)


NOTHING = 0.005
"""A score up to which there is a prior, but no evidence."""

FEATURE_OF = {
    "coverage": "coverage_share",
    "propagated": "propagated_share",
    "text": "bm25",
    "name": "bm25_name",
    "path": "path_similarity",
    "imports": "import_depth",
    "cochange": "cochange",
    "failed": "fail_rate",
}
"""The feature that speaks for each part."""


@dataclass(frozen=True, slots=True)
class Formula:
    """Noisy-or of independent evidence: 1 - product of (1 - weight x strength).

    Each strength is absolute (0..1), so that scores of different changes compare.
    """

    constants: Constants = field(default_factory=Constants)

    @property
    def name(self) -> str:
        return "formula"

    @property
    def calibrated(self) -> bool:
        return False

    @property
    def prior(self) -> float:
        return NOTHING

    @property
    def inputs(self) -> tuple[str, ...]:
        return (
            "coverage_share",
            "coverage_rarity",
            "propagated_share",
            "bm25",
            "bm25_name",
            "path_similarity",
            "import_depth",
            "cochange",
            "fail_rate",
        )

    def parts(self, frame: FeatureFrame) -> dict[str, Column]:
        """What each kind of evidence alone would score."""
        c = self.constants
        share, rarity = frame["coverage_share"], frame["coverage_rarity"]
        imports = _known(frame["import_depth"])
        # Missing coverage is not a zero: the test is judged as one of its kind, not as unrelated.
        prior = c.unknown + max(c.unknown_imported - c.unknown, 0.0) * imports
        entered = c.coverage * _power(share, c.share_power) * _power(rarity, c.rarity_power)
        return {
            "coverage": np.where(np.isnan(entered), prior, entered).astype(np.float32),
            "propagated": c.propagated * _known(frame["propagated_share"]),
            "text": c.text * _power(_known(frame["bm25"]), c.text_power),
            "name": c.name * _known(frame["bm25_name"]),
            "path": c.path * _known(frame["path_similarity"]),
            "imports": c.imports * imports,
            "cochange": c.cochange * _known(frame["cochange"]),
            "failed": c.failed * _known(frame["fail_rate"]),
        }

    def predict(self, frame: FeatureFrame) -> Column:
        spared: Column = np.ones(frame.size, np.float32)
        for part in self.parts(frame).values():
            spared *= np.float32(1) - part
        return np.clip(1 - spared, 0, 1)

    def terms(self, frame: FeatureFrame) -> dict[str, Column]:
        """Each part's share of the score's log-odds above those of the prior; they add up to it.

        The shares are those of Aumann and Shapley (1974): in its logarithms a noisy-or is a sum, so
        the log-odds depend on the sum of the evidence alone, and each part's share is its portion
        of the sum.
        """
        evidence = {
            name: -np.log1p(-np.minimum(part, 1 - 1e-6).astype(np.float64))
            for name, part in self.parts(frame).items()
        }
        joined = sum(evidence.values(), np.zeros(frame.size))
        above = _log_odds(joined) - _log_odds(np.zeros(1))
        each = np.divide(above, joined, out=np.zeros_like(joined), where=joined > 0)
        return {
            FEATURE_OF[name]: (part * each).astype(np.float32) for name, part in evidence.items()
        }

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "constants": self.constants.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(Constants.from_json(data["constants"]))


def _log_odds(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of the score that evidence adds up to; what is below the prior counts as it."""
    rest = np.minimum(np.exp(-evidence), 1 - NOTHING)
    odds: NDArray[np.float64] = np.log((1 - rest) / rest)
    return odds


def _known(column: Column) -> Column:
    """Weak evidence that is missing adds nothing."""
    known: Column = np.nan_to_num(column, nan=0.0)
    return np.clip(known, 0, 1)


def _power(column: Column, exponent: float) -> Column:
    # Almost every strength is 0 for almost every test: only the others pay for a power.
    result = np.zeros_like(column)
    some = np.flatnonzero(column)  # NaN is not zero, and stays NaN
    result[some] = np.clip(column[some], 0, 1) ** np.float32(exponent)
    return result
