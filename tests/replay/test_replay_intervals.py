"""Intervals that hold what they promise, by clusters."""

import numpy as np
import pytest

from foretest.replay.intervals import ClusteredBootstrap


def test_one_commit_of_one_repository_has_no_interval():
    got = ClusteredBootstrap([("r", "c")] * 5).mean(np.array([1.0, 0, 1, 0, 1]))
    assert got.mean == pytest.approx(0.6)
    assert np.isnan(got.low)
    assert np.isnan(got.high)


def test_no_case_is_not_a_number():
    assert np.isnan(ClusteredBootstrap([]).mean(np.array([])).mean)


def test_cases_of_one_commit_are_one_witness():
    values = np.repeat([0.0, 1.0], 50)
    apart = ClusteredBootstrap([("r", f"c{i}") for i in range(100)]).mean(values)
    together = ClusteredBootstrap([("r", f"c{i // 10}") for i in range(100)]).mean(values)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_two_repositories_that_differ_leave_everything_open():
    clusters = [("a", f"{i}") for i in range(40)] + [("b", f"{i}") for i in range(40)]
    got = ClusteredBootstrap(clusters).mean(np.repeat([0.0, 1.0], 40))
    assert (got.low, got.high) == (0.0, 1.0)


def test_a_paired_difference_is_tighter_than_its_parts():
    generator = np.random.default_rng(0)
    values = generator.random(60)
    bootstrap = ClusteredBootstrap([("r", f"{i}") for i in range(60)])
    apart = bootstrap.mean(values)
    paired = bootstrap.difference(values + 0.1, values)
    assert paired.mean == pytest.approx(0.1)
    assert paired.high - paired.low < 1e-9 < apart.high - apart.low


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(5)
    held = 0
    for seed in range(120):
        values = generator.random(50) < 0.7
        bootstrap = ClusteredBootstrap([("r", f"{i}") for i in range(50)], seed, 400)
        got = bootstrap.mean(values.astype(float))
        held += got.low <= 0.7 <= got.high
    assert held / 120 > 0.88


def test_the_same_seed_gives_the_same_interval():
    clusters = [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("c", "1")]
    values = np.array([0.0, 1, 0, 1, 1])
    assert ClusteredBootstrap(clusters, 3).mean(values) == ClusteredBootstrap(clusters, 3).mean(
        values
    )


def test_the_standard_error_of_independent_commits_is_the_textbook_s():
    values = np.arange(100.0)
    bootstrap = ClusteredBootstrap([("r", f"{i}") for i in range(100)])
    assert bootstrap.standard_error(values) == pytest.approx(values.std() / 10, rel=0.06)
    assert np.isnan(ClusteredBootstrap([("r", "c")] * 3).standard_error(np.ones(3)))
    assert np.isnan(ClusteredBootstrap([]).standard_error(np.zeros(0)))


def test_any_statistic_of_weighted_cases_has_an_interval():
    values = np.repeat([0.0, 1.0], 20)
    bootstrap = ClusteredBootstrap([("r", f"{i}") for i in range(40)])
    got = bootstrap.over(lambda weights: float((weights * values).sum() / weights.sum()))
    assert got == bootstrap.mean(values)
    alone = ClusteredBootstrap([("r", "c")] * 2).over(lambda weights: float(weights.sum()))
    assert alone.mean == 2.0
    assert np.isnan(alone.low)


def test_draws_that_are_no_number_are_passed_over():
    bootstrap = ClusteredBootstrap([("r", f"{i}") for i in range(3)])
    got = bootstrap.over(lambda weights: float(weights[0]) if weights[0] else float("nan"))
    assert got.low >= 1.0
