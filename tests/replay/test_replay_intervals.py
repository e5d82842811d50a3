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
