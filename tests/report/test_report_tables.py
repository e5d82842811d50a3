"""The tables: order of strategies, cells, quartiles, the sentence at the top."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.report.contents import ReplayReport, SliceRow, StrategyRow
from foretest.report.tables import (
    budget_table,
    in_short,
    percent,
    quartiles,
    slice_table,
    strategies_of,
)

ROW = StrategyRow("foretest", 0.05, 0.9, 0.8, 0.95, n=50)


def test_oracle_comes_first_then_ours_and_random_last(report: ReplayReport) -> None:
    names = strategies_of(reversed(report.rows))
    came = dict.fromkeys(row.strategy for row in reversed(report.rows))
    rivals = [name for name in came if name not in ("oracle", "foretest", "random")]
    assert names == ["oracle", "foretest", *rivals, "random"]


def test_budget_table_marks_the_best_that_can_be_had(report: ReplayReport) -> None:
    table = budget_table(report.rows)
    assert table.columns == ("1%", "5%", "10%", "20%", "33%")
    best = {
        (name, table.columns[i])
        for name, cells in table.rows
        for i, c in enumerate(cells)
        if c and c.best
    }
    assert best == {("foretest", c) for c in ("1%", "5%", "10%", "20%")} | {("BM25", "33%")}


def test_what_was_not_measured_is_empty_and_not_nought() -> None:
    rows = (ROW, StrategyRow("bm25", 0.10, 0.0, 0.0, 0.0, n=0))
    cells = dict(budget_table(rows).rows)
    assert cells["bm25"] == (None, None)
    assert cells["foretest"][1] is None


def test_slice_table_has_a_row_a_slice_with_its_count(report: ReplayReport) -> None:
    table = slice_table(report.slices, 0.05)
    assert [name for name, _ in table.rows] == [
        "failing tests that the change did not touch (43)",
        "failing tests that the change modified (31)",
        "module-level code changed (27)",
    ]
    assert not slice_table(report.slices, 0.5).rows


def test_slice_best_is_found_within_the_slice() -> None:
    rows = [
        SliceRow("a", "foretest", 0.05, 0.5, 0.4, 0.6, 9),
        SliceRow("a", "bm25", 0.05, 0.4, 0.3, 0.5, 9),
        SliceRow("b", "foretest", 0.05, 0.1, 0.0, 0.2, 9),
        SliceRow("b", "bm25", 0.05, 0.3, 0.2, 0.4, 9),
    ]
    table = slice_table(rows, 0.05)
    assert [[c.best for c in cells if c] for _, cells in table.rows] == [
        [True, False],
        [False, True],
    ]


def test_in_short_names_the_figure_the_bound_and_the_best_rival(report: ReplayReport) -> None:
    sentence = in_short(report.rows)
    assert "In 5% of the suite's time foretest catches 91% of 101 faulty changes" in sentence
    assert "(95% interval 84–96)" in sentence
    assert sentence.endswith("catches 98%; the best of the others, BM25, 86%.")


@pytest.mark.parametrize("rows", [(), (replace(ROW, n=0),), (replace(ROW, strategy="bm25"),)])
def test_in_short_without_cases_says_so(rows: tuple[StrategyRow, ...]) -> None:
    assert in_short(rows) == "No faulty change was judged."


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0%"), (0.005, "0.5%"), (0.05, "5%"), (0.333, "33%"), (1.0, "100%")]
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_quartiles_agree_with_the_standard_library(values: list[float]) -> None:
    expected = statistics.quantiles(values, n=4, method="inclusive")
    assert quartiles(values) == pytest.approx(tuple(expected), abs=1e-12)


def test_quartiles_of_nothing_are_unknown() -> None:
    assert all(math.isnan(value) for value in quartiles([]))
