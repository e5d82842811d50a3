"""Sparse rows in three numpy arrays: which columns each row holds, and how strongly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
CHUNK = 1 << 20
"""Entries that are worked on at once: temporary arrays then stay in the processor's cache."""

Arrays = dict[str, Any]
"""Named parts of a record as they go into a file: numpy arrays, and lists of strings."""


@dataclass(frozen=True, slots=True, eq=False)
class SparseRows:
    """A matrix of `n_rows` x `n_columns`; row i holds `indices[indptr[i]:indptr[i + 1]]`.

    Within a row, columns ascend and are distinct. Without weights every entry counts 1.
    All operations are linear in the entries, or in their sort, and leave the operands as they are.
    """

    indptr: Longs
    indices: Ints
    weights: Floats | None
    n_columns: int

    # --- making ---

    @classmethod
    def empty(cls, n_rows: int, n_columns: int, weighted: bool = False) -> SparseRows:
        weights = np.zeros(0, np.float32) if weighted else None
        return cls(np.zeros(n_rows + 1, np.int64), np.zeros(0, np.int32), weights, n_columns)

    @classmethod
    def from_pairs(
        cls,
        rows: NDArray[Any] | Sequence[int],
        columns: NDArray[Any] | Sequence[int],
        weights: NDArray[Any] | Sequence[float] | None,
        shape: tuple[int, int],
    ) -> SparseRows:
        """From entries in any order; of entries that meet, the heaviest stays."""
        n_rows, n_columns = shape
        key = np.asarray(rows, np.int64) * max(n_columns, 1) + np.asarray(columns, np.int64)
        if weights is None:
            key = _distinct(key)
            kept = None
        else:
            heavy = np.asarray(weights, np.float32)
            order = np.lexsort((-heavy, key))
            key = key[order]
            first = np.ones(len(key), bool)
            first[1:] = key[1:] != key[:-1]
            key, kept = key[first], heavy[order][first]
        row, column = np.divmod(key, max(n_columns, 1))
        return cls(_offsets(np.bincount(row, minlength=n_rows)), _narrow(column), kept, n_columns)

    @classmethod
    def from_lists(cls, lists: Sequence[Iterable[int]], n_columns: int) -> SparseRows:
        """Unweighted, from each row's columns."""
        rows = [np.unique(np.fromiter(r, np.int64)) for r in lists]
        counts = np.array([len(r) for r in rows], np.int64)
        joined = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        return cls(_offsets(counts), _narrow(joined), None, n_columns)

    # --- asking ---

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        return len(self.indices)

    def row(self, i: int) -> Ints:
        return self.indices[self.indptr[i] : self.indptr[i + 1]]

    def row_weights(self, i: int) -> Floats:
        return self.values()[self.indptr[i] : self.indptr[i + 1]]

    def values(self) -> Floats:
        return np.ones(self.nnz, np.float32) if self.weights is None else self.weights

    def row_counts(self) -> Longs:
        return np.diff(self.indptr)

    def row_numbers(self) -> Ints:
        """The row of each entry."""
        return np.repeat(np.arange(self.n_rows, dtype=np.int32), self.row_counts())

    def column_counts(self) -> Longs:
        """In how many rows each column is."""
        counts = np.zeros(self.n_columns, np.int64)
        for start in range(0, self.nnz, CHUNK):
            part = self.indices[start : start + CHUNK]
            counts += np.bincount(part, minlength=self.n_columns)
        return counts

    def dot(self, column_weights: NDArray[Any]) -> Floats:
        """For each row the sum of weight x column weight; float32[n_rows]."""
        return self._reduced(np.add, np.asarray(column_weights, np.float32))

    def any(self, columns: Bools) -> Bools:
        """For each row whether it holds one of these columns; bool[n_rows]."""
        if not columns.any():
            return np.zeros(self.n_rows, bool)
        return np.not_equal(self.largest(columns), 0)

    def largest(self, column_weights: NDArray[Any]) -> Floats:
        """For each row the largest weight x column weight, 0 for an empty row; float32[n_rows]."""
        return self._reduced(np.maximum, np.asarray(column_weights, np.float32))

    # --- making others ---

    def select(self, rows: NDArray[Any] | Sequence[int]) -> SparseRows:
        """These rows, in this order; a row may come more than once."""
        wanted = np.asarray(rows, np.int64)
        counts = self.row_counts()[wanted]
        indptr = _offsets(counts)
        # Entry j of the answer lies at its row's old start plus its place within the row.
        places = np.arange(indptr[-1]) + np.repeat(self.indptr[wanted] - indptr[:-1], counts)
        weights = None if self.weights is None else self.weights[places]
        return SparseRows(indptr, self.indices[places], weights, self.n_columns)

    def transpose(self) -> SparseRows:
        """Columns as rows. One sort of 64-bit keys: faster than an argsort of the columns."""
        places = np.arange(self.nnz, dtype=np.int64)
        key = (self.indices.astype(np.int64) << 32) | places
        key.sort()
        places = key & 0xFFFFFFFF
        weights = None if self.weights is None else self.weights[places]
        return SparseRows(
            _offsets(self.column_counts()), self.row_numbers()[places], weights, self.n_rows
        )

    def union(self, other: SparseRows) -> SparseRows:
        """Row by row the entries of both; where both have one, the heavier stays."""
        if (self.n_rows, self.n_columns) != (other.n_rows, other.n_columns):
            raise ValueError("rows of different shapes do not unite")
        both = None
        if self.weights is not None or other.weights is not None:
            both = np.concatenate((self.values(), other.values()))
        return SparseRows.from_pairs(
            np.concatenate((self.row_numbers(), other.row_numbers())),
            np.concatenate((self.indices, other.indices)),
            both,
            (self.n_rows, self.n_columns),
        )

    def replace(self, rows: NDArray[Any] | Sequence[int], by: SparseRows) -> SparseRows:
        """The rows named (each once) give way to those of `by`, in that order."""
        if by.n_columns != self.n_columns:
            raise ValueError("rows of different widths do not mix")
        place = np.arange(self.n_rows)
        place[np.asarray(rows, np.int64)] = self.n_rows + np.arange(by.n_rows)
        return self.stack(by).select(place)

    def stack(self, below: SparseRows) -> SparseRows:
        """These rows, then those of `below`."""
        weights = None
        if self.weights is not None or below.weights is not None:
            weights = np.concatenate((self.values(), below.values()))
        return SparseRows(
            np.concatenate((self.indptr, self.indptr[-1] + below.indptr[1:])),
            np.concatenate((self.indices, below.indices)),
            weights,
            max(self.n_columns, below.n_columns),
        )

    def rename_columns(self, to: NDArray[Any], n_columns: int) -> SparseRows:
        """Column c becomes `to[c]`; -1 drops it. Columns that meet become one."""
        renamed = np.asarray(to, np.int64)[self.indices]
        kept = renamed >= 0
        weights = None if self.weights is None else self.weights[kept]
        return SparseRows.from_pairs(
            self.row_numbers()[kept], renamed[kept], weights, (self.n_rows, n_columns)
        )

    # --- in a file ---

    def to_arrays(self, prefix: str) -> Arrays:
        """Named arrays for a bundle; the width stands in an array of one."""
        arrays: Arrays = {
            f"{prefix}.indptr": self.indptr,
            f"{prefix}.indices": self.indices,
            f"{prefix}.n_columns": np.array([self.n_columns], np.int64),
        }
        if self.weights is not None:
            arrays[f"{prefix}.weights"] = self.weights
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], prefix: str) -> SparseRows:
        """Undo `to_arrays`. Raises KeyError or ValueError where the parts do not make a whole."""
        indptr = np.asarray(arrays[f"{prefix}.indptr"], np.int64)
        indices = np.asarray(arrays[f"{prefix}.indices"], np.int32)
        n_columns = int(arrays[f"{prefix}.n_columns"][0])
        found = arrays.get(f"{prefix}.weights")
        weights = None if found is None else np.asarray(found, np.float32)
        whole = (
            len(indptr) > 0
            and indptr[0] == 0
            and indptr[-1] == len(indices)
            and not (np.diff(indptr) < 0).any()
            and (len(indices) == 0 or (indices.min() >= 0 and indices.max() < n_columns))
            and (weights is None or len(weights) == len(indices))
        )
        if not whole:
            raise ValueError(f"the parts of '{prefix}' do not fit together")
        return cls(indptr, indices, weights, n_columns)

    def _reduced(self, by: np.ufunc, column_weights: Floats) -> Floats:
        """Each row's entries, weighted and joined into one number; 0 for an empty row."""
        result = np.zeros(self.n_rows, np.float32)
        filled = np.flatnonzero(self.row_counts())  # reduceat gives nonsense for empty rows
        starts = self.indptr[filled]
        cuts = np.unique(np.searchsorted(starts, np.arange(0, self.nnz, CHUNK)))
        for first, last in pairwise([*cuts.tolist(), len(starts)]):
            low = starts[first]
            high = starts[last] if last < len(starts) else self.nnz
            entries = column_weights[self.indices[low:high]]
            if self.weights is not None:
                entries *= self.weights[low:high]
            result[filled[first:last]] = by.reduceat(entries, starts[first:last] - low)
        return result


def _offsets(counts: NDArray[Any]) -> Longs:
    indptr = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    return indptr


def _narrow(values: NDArray[Any]) -> Ints:
    return values.astype(np.int32)


def _distinct(key: Longs) -> Longs:
    key = np.sort(key)
    first = np.ones(len(key), bool)
    first[1:] = key[1:] != key[:-1]
    return key[first]
