"""The Markdown: what it says, what it escapes, how long it gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foretest.records import Budget, Choice, Selection, Why
from foretest.selection.summary import LABELS, LONGEST, duration, escape, summary


def selection(chosen: int, rest: int, text: str = "", **more: object) -> Selection:
    first = tuple(
        Choice(f"t.py::test_{i}{text}", Why.SCORE, 0.5, 2.0, 1.0, f"covers f{text}")
        for i in range(chosen)
    )
    left = tuple(
        Choice(f"u.py::test_{i}{text}", Why.OVER_BUDGET, 0.0, 6.0, 0.0) for i in range(rest)
    )
    return Selection("d-1", "r", "a", "b", first, left, **more)  # type: ignore[arg-type]


def test_it_says_what_ran_and_what_was_saved() -> None:
    text = summary(selection(10, 30, notices=("Coverage is old.",)))
    assert text.startswith("### foretest: 10 of 40 tests run, 20.0 s of 3 min 20 s")
    assert "3 min 0 s saved (90%)" in text
    assert "| chosen by evidence | 10 | 20.0 s |" in text
    assert "> - Coverage is old." in text
    assert "Confidence: **unknown**" in text
    assert "and 20 more" in text


def test_both_run_times_are_told_where_both_are_known() -> None:
    assert "Run time" not in summary(selection(2, 1))
    timed = [Choice(f"t::{i}", Why.SCORE, 0.5, 2.0, 1.0, seconds_high=3.0) for i in range(10)]
    more: dict[str, object] = {"chosen": tuple(timed)}
    text = summary(replace(selection(0, 1), **more))  # type: ignore[arg-type]
    assert "Run time: 20.0 s expected (p50), 30.0 s if every test takes its p90.\n" in text
    more["budget"] = Budget(seconds=31.0)
    text = summary(replace(selection(0, 1), **more))  # type: ignore[arg-type]
    assert "its p90. The budget of 31.0 s was filled with the latter." in text


def test_run_all_claims_no_saving() -> None:
    text = summary(selection(3, 0, run_all=True, notices=("All tests run: x.",)))
    assert "all 3 tests run" in text
    assert "saved" not in text
    assert "nothing is left out" in text


def test_an_empty_selection_is_a_summary_too() -> None:
    assert "0 of 0 tests" in summary(Selection("d", "r", "a", None, (), ()))
    assert "all 0 tests" in summary(Selection("d", "r", "a", None, (), (), run_all=True))


def test_it_stays_within_a_comment() -> None:
    long = selection(300, 300, "<&|`" * 400, notices=("n" * 10_000,) * 500)
    assert len(summary(long)) <= LONGEST
    assert len(summary(long, rows=300)) <= LONGEST


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)</script>", "a|b", "![x](http://e)", "`code`", "line\nline", "@everyone #1"],
)
def test_names_cannot_become_markup(hostile: str) -> None:
    text = summary(selection(1, 1, hostile, notices=(hostile,)))
    assert hostile not in text
    assert "<script" not in text
    assert len([line for line in text.splitlines() if line.startswith("| t.py")]) == 1


def test_escape_keeps_what_is_plain() -> None:
    assert escape("covers Parser.parse (2)") == "covers Parser.parse (2)"
    assert escape("a" * 500).endswith("…")


def test_every_reason_has_a_label() -> None:
    assert set(LABELS) == set(Why)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.00 s"), (0.25, "0.25 s"), (59.94, "59.9 s"), (59.96, "1 min 0 s"), (75, "1 min 15 s"),
     (3600, "1 h 0 min"), (7300, "2 h 1 min")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
