"""What past results say of each test, and that the run to be ordered says nothing."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.features.history import NAMES, history_rows, natural
from foretest.history.state import State, fold, walk
from foretest.records import Configuration, Outcome, TestId, TestResult, TestRun

NOON = datetime(2025, 3, 1, tzinfo=UTC)
EMPTY = State.empty("h/o/n")


def run(number: int, **failed: bool) -> TestRun:
    results = tuple(
        TestResult(TestId("t.py", (), name), Outcome.FAILED if bad else Outcome.PASSED, 1.0)
        for name, bad in failed.items()
    )
    when = NOON + timedelta(hours=number)
    return TestRun(f"r{number}", "h/o/n", None, Configuration("l", "3"), when, when, results)


def rows(state: State, *names: str) -> dict[str, np.ndarray]:
    units = [f"t.py::{name}" for name in names]
    found = history_rows(state, units, np.full(len(units), np.nan))
    assert np.isfinite(found).all()
    return dict(zip(NAMES, found.T, strict=True))


def test_a_failure_counts_and_fades() -> None:
    one = fold(EMPTY, [run(0, a=True, b=False)])
    later = fold(one, [run(i, a=False, b=False) for i in range(1, 6)])
    assert rows(one, "a")["fast"] > rows(later, "a")["fast"] > 0
    assert rows(later, "b")["fast"] == 0


def test_the_tests_beside_share_it() -> None:
    names = {f"test_{i}": i == 5 for i in range(100)}
    near = rows(fold(EMPTY, [run(0, **names)]), "test_5", "test_6", "test_9", "test_90")
    six, nine, far = near["near_middle"][1:]
    assert six > nine > far == 0
    assert near["near_middle"][0] == pytest.approx(0, abs=1e-6)  # itself is another column


def test_a_new_test_is_new_once() -> None:
    state = fold(EMPTY, [run(0, a=False)])
    assert rows(state, "a", "b")["new"].tolist() == [0, 1]
    assert rows(state, "b")["young"][0] == 1 > rows(state, "a")["young"][0]


def test_no_history_and_no_tests() -> None:
    assert history_rows(EMPTY, [], np.zeros(0)).shape == (0, len(NAMES))
    assert rows(EMPTY, "a")["new"].tolist() == [1]


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.booleans())
def test_the_outcome_of_a_run_is_no_feature_of_it(past: list[bool], outcome: bool) -> None:
    runs = [run(i, a=bad, b=False) for i, bad in enumerate(past)]
    *_, (one, _) = walk(EMPTY, [*runs, run(99, a=outcome, b=not outcome)])
    *_, (other, _) = walk(EMPTY, [*runs, run(99, a=not outcome, b=outcome)])
    for name in NAMES:
        np.testing.assert_array_equal(rows(one, "a", "b")[name], rows(other, "a", "b")[name])


def test_names_sort_as_people_sort_them() -> None:
    names = ["t::test_10", "t::test_2", "10", "9", "a", ""]
    assert sorted(names, key=natural) == ["", "9", "10", "a", "t::test_2", "t::test_10"]
