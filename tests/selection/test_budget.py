"""Budgets: kept, nested, complete; draws with the probabilities that they state."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.records import Budget
from foretest.selection.budget import (
    BALANCED,
    STRATEGIES,
    Allocation,
    Strategy,
    choose,
    explore_rest,
    running_order,
)

Suite = tuple[list[float], list[float], list[bool]]

suites = st.integers(0, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(0, 1, width=32), min_size=n, max_size=n),
        st.lists(st.sampled_from([0.0, 0.01, 0.1, 1.0, 7.5, 60.0]), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
)
shares = st.floats(0, 1.2)


def allocate(
    suite: Suite,
    budget: Budget,
    explore: float = 0.0,
    seed: str = "",
    strategy: Strategy = BALANCED,
) -> Allocation:
    scores, seconds, always = (np.array(column) for column in suite)
    return choose(
        scores.astype(np.float32),
        seconds.astype(float),
        always.astype(bool),
        budget,
        explore_share=explore,
        seed=seed,
        strategy=strategy,
    )


@given(suites, shares, st.floats(0, 0.5), st.sampled_from(list(STRATEGIES.values())))
def test_each_test_is_either_chosen_or_rests(
    suite: Suite, share: float, explore: float, strategy: Strategy
) -> None:
    given_ = allocate(suite, Budget(share=share), explore, "d", strategy)
    everyone = np.concatenate((given_.chosen, given_.rest))
    assert sorted(everyone.tolist()) == list(range(len(suite[0])))


@given(suites, shares, st.floats(0, 0.5), st.text(max_size=5))
def test_the_budget_is_kept_unless_the_rules_alone_break_it(
    suite: Suite, share: float, explore: float, seed: str
) -> None:
    given_ = allocate(suite, Budget(share=share), explore, seed)
    seconds = np.array(suite[1])
    assert given_.seconds == pytest.approx(seconds[given_.chosen].sum())
    always = seconds[np.array(suite[2], bool)].sum()
    assert given_.seconds <= max(given_.limit, always) * (1 + 1e-6) + 1e-9
    assert set(given_.always.tolist()) == set(np.flatnonzero(suite[2]).tolist())


@given(suites, shares, shares, st.sampled_from(list(STRATEGIES.values())))
def test_a_larger_budget_keeps_all_of_a_smaller(
    suite: Suite, one: float, other: float, strategy: Strategy
) -> None:
    small, large = sorted((one, other))
    inner = allocate(suite, Budget(share=small), strategy=strategy).chosen
    outer = allocate(suite, Budget(share=large), strategy=strategy).chosen
    assert set(inner.tolist()) <= set(outer.tolist())


@given(suites, st.floats(0.01, 1), st.floats(0.01, 1))
def test_nesting_holds_for_the_scored_beside_exploration(
    suite: Suite, one: float, other: float
) -> None:
    small, large = sorted((one, other))
    inner = allocate(suite, Budget(share=small), 0.05, "a").scored
    outer = allocate(suite, Budget(share=large), 0.05, "b").scored
    assert set(inner.tolist()) <= set(outer.tolist())


@given(suites)
def test_no_budget_runs_everything(suite: Suite) -> None:
    for budget in (Budget(), Budget(share=1.0)):
        given_ = allocate(suite, budget, 0.1)
        assert len(given_.chosen) == len(suite[0])
        assert (given_.inclusion == 1).all()


@given(suites, shares, st.text(max_size=5))
def test_inclusion_says_who_was_certain(suite: Suite, share: float, seed: str) -> None:
    given_ = allocate(suite, Budget(share=share), 0.1, seed)
    assert (given_.inclusion[given_.always] == 1).all()
    assert (given_.inclusion[given_.scored] == 1).all()
    assert (given_.inclusion[given_.explored] > 0).all()
    assert ((given_.inclusion >= 0) & (given_.inclusion <= 1)).all()
    again = allocate(suite, Budget(share=share), 0.1, seed)
    assert again.chosen.tolist() == given_.chosen.tolist()


def test_the_draw_has_the_stated_probability() -> None:
    seconds = np.random.default_rng(5).lognormal(-1, 1, 60)
    rest, allowed, draws = np.arange(60), 4.0, 3_000
    drawn, expected = np.zeros(60), np.zeros(60)
    for draw in range(draws):
        rows, probability = explore_rest(rest, seconds, allowed, f"decision-{draw}")
        assert seconds[rows].sum() <= allowed
        drawn[rows] += 1
        expected += probability
    # Each count is a sum of independent draws: five standard errors are never met by chance.
    error = np.sqrt(np.maximum(expected, 1))
    assert (np.abs(drawn - expected) < 5 * error).all()
    assert (expected[seconds <= allowed] > 0).all()


def test_weighing_by_inclusion_gives_unbiased_totals() -> None:
    seconds = np.full(50, 1.0)
    failing = np.zeros(50)
    failing[[3, 17, 41]] = 1
    estimates = []
    for draw in range(2_000):
        rows, probability = explore_rest(np.arange(50), seconds, 5.0, f"d{draw}")
        estimates.append((failing[rows] / probability[rows]).sum())
    assert np.mean(estimates) == pytest.approx(3.0, abs=5 * np.std(estimates) / math.sqrt(2_000))


def test_a_test_too_long_to_draw_says_so() -> None:
    rows, probability = explore_rest(np.arange(3), np.array([1.0, 1.0, 50.0]), 2.0, "d")
    assert probability.tolist() == [1.0, 1.0, 0.0]
    assert rows.tolist() == [0, 1]
    nothing, none = explore_rest(np.arange(3), np.ones(3), 0.0, "d")
    assert not len(nothing)
    assert not none.any()


def test_a_long_test_does_not_block_a_small_budget() -> None:
    scores = np.array([0.9, *[0.5] * 20], np.float32)
    seconds = np.array([30.0, *[1.0] * 20])
    given_ = choose(scores, seconds, np.zeros(21, bool), Budget(share=0.2))
    assert len(given_.scored) == 10  # all of the 10 seconds, though the best test takes 30
    assert 0 not in given_.scored


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_suites_as_they_are_use_at_least_half_of_the_budget(share: float) -> None:
    """Times of real suites are about log-normal; what waits must not leave a budget empty."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(100, 1_000))
        seconds, scores = rng.lognormal(-4, 1.0, n), rng.random(n).astype(np.float32) ** 4
        given_ = choose(scores, seconds, np.zeros(n, bool), Budget(share=share))
        assert given_.seconds >= 0.5 * given_.limit


def test_near_certain_failures_do_not_wait_behind_fillers() -> None:
    scores = np.array([0.918, *[0.017] * 17, 0.918], np.float32)
    seconds = np.array([1.05, *[0.9] * 8, *[1.0] * 9, 1.04])
    given_ = choose(scores, seconds, np.zeros(19, bool), Budget(share=0.12))
    assert given_.scored.tolist() == [18, 0]
    order = running_order(scores, seconds, BALANCED, float(seconds.sum()))
    assert sorted(order.tolist()) == list(range(19))


def test_among_tests_of_like_value_the_longer_waits() -> None:
    scores = np.array([0.9, *[0.4] * 18], np.float32)
    seconds = np.array([1.6, *[1.0] * 18])
    order = running_order(scores, seconds, BALANCED, float(seconds.sum()))
    assert order.tolist()[:3] == [1, 2, 0]


@given(suites)
def test_the_order_holds_each_test_once(suite: Suite) -> None:
    scores, seconds = np.array(suite[0], np.float32), np.array(suite[1], float)
    for strategy in STRATEGIES.values():
        order = running_order(scores, seconds, strategy, float(seconds.sum()))
        assert sorted(order.tolist()) == list(range(len(seconds)))


def test_strategies_differ_where_tiny_tests_flood() -> None:
    scores = np.array([0.8, *[0.05] * 200], np.float32)
    seconds = np.array([1.0, *[0.01] * 200])
    suite = float(seconds.sum())
    places = {
        name: running_order(scores, seconds, strategy, suite).tolist().index(0)
        for name, strategy in (*STRATEGIES.items(), ("greedy", Strategy(1.0, floor=0.0)))
    }
    # It waits until it no more than doubles the run, and for those of greater value.
    assert places == {"score": 100, "balanced": 100, "rate": 200, "greedy": 200}


def test_equal_tests_keep_a_stable_order() -> None:
    order = running_order(np.full(5, 0.5, np.float32), np.ones(5), BALANCED, 5.0)
    assert order.tolist() == [0, 1, 2, 3, 4]


def test_seconds_limit_as_shares_do() -> None:
    suite: Suite = ([0.9, 0.5, 0.1], [1.0, 1.0, 1.0], [False] * 3)
    assert allocate(suite, Budget(seconds=2)).scored.tolist() == [0, 1]
    assert allocate(suite, Budget(seconds=0)).chosen.tolist() == []
    assert allocate(suite, Budget(share=1 / 3)).scored.tolist() == [0]
