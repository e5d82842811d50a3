"""APFD, APFDc and NAPFD of several faults, by hand and by their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.replay.metrics import faults, score


def test_the_example_of_the_definition() -> None:
    # Five tests, faults found by the first and the third: 1 - (1 + 3) / (5 * 2) + 1 / 10.
    found = faults(np.arange(5), np.ones(5), np.array([1, 0, 1, 0, 0], bool), (0.2, 0.4, 1.0))
    assert found.apfd == pytest.approx(0.7)
    assert found.apfdc == pytest.approx(0.7)  # of equal costs it is the same
    # What is cut detects nothing: one of two faults, by the first test.
    assert found.napfd == pytest.approx((0.5 - 1 / 10 + 0.5 / 10, 0.5 - 1 / 10 + 0.5 / 10, 0.7))


def test_cost_counts_by_time() -> None:
    seconds, targets = np.array([8.0, 1.0, 1.0]), np.array([False, True, True])
    late, early = (
        faults(np.arange(3), seconds, targets),
        faults(np.arange(3)[::-1], seconds, targets),
    )
    assert late.apfdc == pytest.approx((1.5 + 0.5) / (10 * 2))
    assert early.apfdc == pytest.approx((9.5 + 8.5) / (10 * 2))


@given(st.integers(0, 6))
def test_of_one_fault_it_is_the_score_of_one(place: int) -> None:
    rng = np.random.default_rng(place)
    seconds, order = rng.random(7), rng.permutation(7)
    targets = np.arange(7) == place
    one, several = score(order, seconds, targets), faults(order, seconds, targets, (1.0,))
    assert (several.apfd, several.apfdc) == pytest.approx((one.apfd, one.apfdc))
    assert several.napfd[0] == pytest.approx(one.apfd)


def test_no_time_at_all_and_no_fault() -> None:
    assert faults(np.arange(2), np.zeros(2), np.array([True, False])).apfdc == 1.0
    with pytest.raises(ValueError, match="no failing test"):
        faults(np.arange(2), np.ones(2), np.zeros(2, bool))
