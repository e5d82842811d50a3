"""Orders judged by hand and by property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.replay.metrics import SHARES, RandomOrders, oracle, prefix, score, within


def suite(*seconds):
    return np.array(seconds, dtype=float)


def mask(n, *places):
    result = np.zeros(n, dtype=bool)
    result[list(places)] = True
    return result


def test_time_to_first_failure_includes_the_failing_test():
    got = score(np.array([2, 0, 1]), suite(1, 3, 6), mask(3, 0, 1))
    assert got.first == pytest.approx(0.7)
    assert got.first_seconds == pytest.approx(7.0)
    assert got.apfd == pytest.approx(1 - 1.5 / 3)
    assert got.apfdc == pytest.approx(1 - (7 - 0.5) / 10)


def test_a_test_too_long_is_passed_over_or_ends_the_run():
    seconds = suite(50, 1, 1, 48)
    order = np.array([0, 1, 2, 3])
    assert within(order, seconds, 2).tolist() == [1, 2]
    assert prefix(order, seconds, 2).tolist() == []
    targets = mask(4, 2)
    assert score(order, seconds, targets).caught[1:3] == (1.0, 1.0)
    assert score(order, seconds, targets, nested=True).caught == (0.0,) * 5


def test_a_selection_never_catches_what_it_leaves_out():
    got = score(np.array([0, 1]), suite(0.001, 0.001), mask(2, 1), eligible=1)
    assert not got.selected
    assert got.caught == (0.0,) * len(SHARES)
    assert got.first == pytest.approx(1.0)


def test_no_target_is_refused():
    with pytest.raises(ValueError, match="no failing test"):
        score(np.array([0]), suite(1), mask(1))
    with pytest.raises(ValueError, match="no failing test"):
        RandomOrders(suite(1), 3, 0).score(mask(1))


def test_oracle_is_the_cheapest_failing_test():
    got = oracle(suite(90, 4, 6), mask(3, 0, 1))
    assert got.first == pytest.approx(0.04)
    assert got.caught == (0.0, 1.0, 1.0, 1.0, 1.0)


def test_a_suite_without_any_time_is_no_division_by_zero():
    assert score(np.array([0, 1]), suite(0, 0), mask(2, 1)).caught == (1.0,) * 5
    assert RandomOrders(suite(0, 0), 4, 0).score(mask(2, 1)).first == 0.0


def test_random_orders_agree_with_judging_each_of_them():
    seconds = np.random.default_rng(3).gamma(0.5, size=40)
    targets = mask(40, 3, 17, 30)
    orders = [np.random.default_rng(7)]
    drawn = [orders[0].permutation(40) for _ in range(25)]
    each = [score(order, seconds, targets) for order in drawn]
    got = RandomOrders(seconds, 25, 7).score(targets)
    assert got.caught == pytest.approx(np.mean([s.caught for s in each], axis=0))
    assert got.first == pytest.approx(np.mean([s.first for s in each]))
    assert got.apfd == pytest.approx(np.mean([s.apfd for s in each]))
    assert got.apfdc == pytest.approx(np.mean([s.apfdc for s in each]))


def test_one_failing_test_of_equal_ones_is_caught_as_often_as_the_budget_is_large():
    got = RandomOrders(np.ones(100), 4000, 1).score(mask(100, 42))
    assert got.caught == pytest.approx(SHARES, abs=0.03)


@st.composite
def cases(draw):
    n = draw(st.integers(1, 30))
    seconds = draw(st.lists(st.floats(0, 100, width=32), min_size=n, max_size=n))
    order = draw(st.permutations(range(n)))
    targets = draw(st.sets(st.integers(0, n - 1), min_size=1))
    return np.array(order), np.array(seconds), mask(n, *targets)


@given(cases(), st.floats(0, 1))
def test_what_runs_keeps_the_budget_and_the_order(case, share):
    order, seconds, _ = case
    budget = share * seconds.sum()
    ran = within(order, seconds, budget)
    assert seconds[ran].sum() <= budget * (1 + 1e-9) + 1e-9
    places = [order.tolist().index(test) for test in ran]
    assert places == sorted(set(places))
    start = prefix(order, seconds, budget)
    assert order[: start.size].tolist() == start.tolist()
    assert set(start) <= set(within(order, seconds, budget * (1 + 1e-8)))
    # What was passed over does not fit any more.
    left = budget - seconds[ran].sum()
    assert all(seconds[test] > left - 1e-6 * (1 + budget) for test in set(order) - set(ran))


@given(cases())
def test_no_order_beats_the_oracle(case):
    order, seconds, targets = case
    best = oracle(seconds, targets)
    for nested in (False, True):
        got = score(order, seconds, targets, nested=nested)
        assert got.first >= best.first - 1e-9
        assert all(a <= b for a, b in zip(got.caught, best.caught, strict=True))


@given(cases())
def test_more_time_never_catches_less(case):
    order, seconds, targets = case
    for nested in (False, True):
        caught = score(order, seconds, targets, nested=nested).caught
        assert list(caught) == sorted(caught)
    caught = RandomOrders(seconds, 5, 0).score(targets).caught
    assert list(caught) == sorted(caught)


def test_a_slow_test_that_only_a_large_budget_holds_takes_nothing_back():
    seconds = suite(30, 15, 55)
    got = score(np.array([0, 1, 2]), seconds, mask(3, 1))
    assert within(np.array([0, 1, 2]), seconds, 33).tolist() == [0]
    assert got.caught == (0.0, 0.0, 0.0, 1.0, 1.0)
