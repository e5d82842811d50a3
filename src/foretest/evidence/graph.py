"""Which names each symbol sets, and which symbols read each name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foretest.evidence.rows import Arrays, SparseRows


@dataclass(frozen=True, eq=False)
class SymbolGraph:
    """Names join symbols by spelling alone: Python offers no more without running the code."""

    names: tuple[str, ...]
    sets: SparseRows
    """symbols x names."""
    readers: SparseRows
    """names x symbols."""
    name_index: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        index = {name: i for i, name in enumerate(self.names)}
        object.__setattr__(self, "name_index", index)

    @classmethod
    def empty(cls) -> SymbolGraph:
        return cls((), SparseRows.empty(0, 0), SparseRows.empty(0, 0))

    @classmethod
    def build(
        cls, n_symbols: int, sets: Iterable[tuple[int, str]], reads: Iterable[tuple[int, str]]
    ) -> SymbolGraph:
        """From (symbol, name) pairs; a name that nothing sets joins nothing and is left out."""
        setting = list(sets)
        names = sorted({name for _, name in setting})
        index = {name: i for i, name in enumerate(names)}
        reading = [(index[name], symbol) for symbol, name in reads if name in index]
        return cls(
            tuple(names),
            _pairs([(symbol, index[name]) for symbol, name in setting], (n_symbols, len(names))),
            _pairs(reading, (len(names), n_symbols)),
        )

    def to_arrays(self, prefix: str) -> Arrays:
        return {
            f"{prefix}.names": list(self.names),
            **self.sets.to_arrays(f"{prefix}.sets"),
            **self.readers.to_arrays(f"{prefix}.readers"),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], prefix: str) -> SymbolGraph:
        return cls(
            tuple(arrays[f"{prefix}.names"]),
            SparseRows.from_arrays(arrays, f"{prefix}.sets"),
            SparseRows.from_arrays(arrays, f"{prefix}.readers"),
        )


def _pairs(pairs: list[tuple[int, int]], shape: tuple[int, int]) -> SparseRows:
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return SparseRows.from_pairs(table[:, 0], table[:, 1], None, shape)
