"""A batch of features: one float32 column a feature, one row a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FeatureFrame:
    """Features of `size` tests with respect to one change; NaN means missing, never 0."""

    size: int
    columns: Mapping[str, Column]

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if column.dtype != np.float32 or column.shape != (self.size,):
                raise ValueError(f"column {name} is {column.dtype}{column.shape}, not float32[n]")

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def take(self, rows: NDArray[np.int64]) -> FeatureFrame:
        """The same columns at the given rows, in their order."""
        return FeatureFrame(len(rows), {name: c[rows] for name, c in self.columns.items()})
