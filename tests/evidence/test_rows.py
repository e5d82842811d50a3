"""Sparse rows behave as the dense matrices that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.evidence.rows import SparseRows

SHAPE = (5, 7)


def rows_and_dense(
    entries: list[tuple[int, int, int]], weighted: bool
) -> tuple[SparseRows, np.ndarray]:
    dense = np.zeros(SHAPE, np.float32)
    for row, column, weight in entries:
        dense[row, column] = max(dense[row, column], weight if weighted else 1)
    rows, columns, weights = ([e[i] for e in entries] for i in range(3))
    return SparseRows.from_pairs(rows, columns, weights if weighted else None, SHAPE), dense


def dense_of(rows: SparseRows) -> np.ndarray:
    dense = np.zeros((rows.n_rows, rows.n_columns), np.float32)
    dense[rows.row_numbers(), rows.indices] = rows.values()
    for i in range(rows.n_rows):
        assert (np.diff(rows.row(i)) > 0).all(), "columns ascend and are distinct"
    assert rows.indices.dtype == np.int32
    assert rows.indptr.dtype == np.int64
    return dense


entries = st.lists(
    st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1), st.integers(1, 9)),
    max_size=25,
)


@given(entries, st.booleans())
def test_from_pairs_and_questions(entries: list[tuple[int, int, int]], weighted: bool) -> None:
    rows, dense = rows_and_dense(entries, weighted)
    np.testing.assert_array_equal(dense_of(rows), dense)
    np.testing.assert_array_equal(rows.column_counts(), (dense > 0).sum(axis=0))
    np.testing.assert_array_equal(rows.row_counts(), (dense > 0).sum(axis=1))
    columns = np.arange(SHAPE[1], dtype=np.float32)
    np.testing.assert_allclose(rows.dot(columns), dense @ columns)
    np.testing.assert_array_equal(rows.largest(columns), (dense * columns).max(axis=1))
    some = np.arange(SHAPE[1]) % 3 == 1
    np.testing.assert_array_equal(rows.any(some), (dense[:, some] > 0).any(axis=1))


@given(entries, st.booleans())
def test_transpose(entries: list[tuple[int, int, int]], weighted: bool) -> None:
    rows, dense = rows_and_dense(entries, weighted)
    np.testing.assert_array_equal(dense_of(rows.transpose()), dense.T)
    np.testing.assert_array_equal(dense_of(rows.transpose().transpose()), dense)


@given(entries, st.booleans(), st.lists(st.integers(0, SHAPE[0] - 1), max_size=8))
def test_select(entries: list[tuple[int, int, int]], weighted: bool, wanted: list[int]) -> None:
    rows, dense = rows_and_dense(entries, weighted)
    np.testing.assert_array_equal(dense_of(rows.select(wanted)), dense[wanted])


@given(entries, entries, st.booleans(), st.booleans())
def test_union(
    a: list[tuple[int, int, int]],
    b: list[tuple[int, int, int]],
    a_weighted: bool,
    b_weighted: bool,
) -> None:
    (left, left_dense), (right, right_dense) = (
        rows_and_dense(a, a_weighted),
        rows_and_dense(b, b_weighted),
    )
    np.testing.assert_array_equal(dense_of(left.union(right)), np.maximum(left_dense, right_dense))


@given(entries, entries, st.booleans(), st.sets(st.integers(0, SHAPE[0] - 1)).map(sorted))
def test_replace(
    a: list[tuple[int, int, int]], b: list[tuple[int, int, int]], weighted: bool, which: list[int]
) -> None:
    rows, dense = rows_and_dense(a, weighted)
    by, by_dense = rows_and_dense(b, weighted)
    before = dense.copy()
    dense[which] = by_dense[which]
    np.testing.assert_array_equal(dense_of(rows.replace(which, by.select(which))), dense)
    np.testing.assert_array_equal(dense_of(rows), before)


@given(entries, st.booleans(), st.lists(st.integers(-1, 3), min_size=7, max_size=7))
def test_rename_columns(entries: list[tuple[int, int, int]], weighted: bool, to: list[int]) -> None:
    rows, dense = rows_and_dense(entries, weighted)
    expected = np.zeros((SHAPE[0], 4), np.float32)
    for column, target in enumerate(to):
        if target >= 0:
            expected[:, target] = np.maximum(expected[:, target], dense[:, column])
    np.testing.assert_array_equal(dense_of(rows.rename_columns(np.array(to), 4)), expected)


@given(entries, st.booleans())
def test_file_round_trip(entries: list[tuple[int, int, int]], weighted: bool) -> None:
    rows, dense = rows_and_dense(entries, weighted)
    back = SparseRows.from_arrays(rows.to_arrays("x"), "x")
    assert (back.weights is None) == (not weighted)
    np.testing.assert_array_equal(dense_of(back), dense)


def test_from_lists_and_empty() -> None:
    rows = SparseRows.from_lists([[3, 1, 3], [], [0]], 4)
    np.testing.assert_array_equal(dense_of(rows), [[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]])
    nothing = SparseRows.empty(0, 0)
    assert nothing.transpose().n_rows == 0
    assert nothing.dot(np.zeros(0)).shape == (0,)
    assert SparseRows.from_lists([], 3).n_rows == 0
    assert SparseRows.empty(2, 3).any(np.ones(3, bool)).tolist() == [False, False]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("x.indptr", np.array([0, 9])),
        ("x.indptr", np.array([0, 2, 1, 3])),
        ("x.indptr", np.array([])),
        ("x.indices", np.array([0, 1, 99])),
        ("x.indices", np.array([0, -1, 1])),
        ("x.weights", np.array([1.0])),
    ],
)
def test_damaged_parts_are_refused(part: str, value: np.ndarray) -> None:
    good = SparseRows.from_pairs([0, 0, 1], [0, 1, 2], [1, 2, 3], (2, 3)).to_arrays("x")
    with pytest.raises(ValueError, match="fit together"):
        SparseRows.from_arrays({**good, part: value}, "x")


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes"):
        SparseRows.empty(1, 2).union(SparseRows.empty(2, 2))
    with pytest.raises(ValueError, match="widths"):
        SparseRows.empty(1, 2).replace([0], SparseRows.empty(1, 3))
