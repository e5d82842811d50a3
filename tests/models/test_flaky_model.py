"""The flaky classifier: rates with honest intervals, and each kind of evidence moves the odds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.models.flaky import PUBLISHED, RATES, FlakyModel, RatePrior, Watch


def test_published_weights_are_a_distribution() -> None:
    assert sum(PUBLISHED) == pytest.approx(1.0, abs=1e-4)
    assert min(PUBLISHED) >= 0


@given(st.integers(0, 500), st.integers(0, 500))
def test_a_posterior_is_in_order_and_follows_the_counts(flakes: int, passes: int) -> None:
    runs = flakes + passes
    found = RatePrior(PUBLISHED).posterior([flakes], [runs])
    assert 0 < found.low[0] <= found.high[0] < 1
    assert RATES[0] <= found.mean[0] <= RATES[-1]
    more = RatePrior(PUBLISHED).posterior([flakes + 1], [runs + 1])
    assert more.mean[0] > found.mean[0]


def test_much_data_wins_over_any_prior() -> None:
    for prior in (RatePrior(PUBLISHED), RatePrior.flat()):
        found = prior.posterior([300], [1000])
        assert found.mean[0] == pytest.approx(0.3, abs=0.01)
        assert 0.25 < found.low[0] < 0.3 < found.high[0] < 0.35


def test_intervals_hold_what_they_promise_on_rates_from_the_prior() -> None:
    draw = np.random.default_rng(1)
    prior = RatePrior.flat()
    mass = np.array(prior.weights) @ np.eye(len(prior.weights))
    assert mass.sum() == pytest.approx(1)
    rates = draw.choice(RATES, 4000, p=prior.masses([0.0], [0.0])[0])
    found = prior.posterior(draw.binomial(200, rates), np.full(4000, 200))
    inside = np.mean((found.low <= rates) & (rates <= found.high))
    assert 0.86 < inside < 0.94


def test_the_prior_is_learnt_from_many_tests() -> None:
    draw = np.random.default_rng(2)
    rates = np.where(draw.random(3000) < 0.9, 0.0, 0.1)
    flakes = draw.binomial(100, rates)
    prior = RatePrior.flat().adapted(flakes, np.full(3000, 100))
    assert prior.weights[0] + sum(prior.weights[1:5]) > 0.8
    mean = prior.means([0, 1], [5, 5])
    assert mean[0] < 0.02 < mean[1]  # one failure of five in such a project: about 0.1
    assert mean[1] == pytest.approx(0.1, abs=0.06)


def states(watch: Watch, outcomes: str) -> list[float]:
    """P(flaky) of each `F`, a letter a state of the one test."""
    said = []
    for letter in outcomes:
        bad = letter == "F"
        found = watch.observe([float(bad)], [float(not bad)])
        said.extend(found.values())
    return said


def test_what_passes_on_the_same_commit_was_flaky() -> None:
    plain, retried = Watch(1), Watch(1)
    for watch in (plain, retried):
        states(watch, "P" * 20)
    alone = plain.observe([1.0], [0.0])[0]
    passed = retried.observe([1.0], [1.0])[0]
    assert passed > 0.95 > alone


def test_failing_on_and_on_is_broken_and_failing_now_and_then_is_flaky() -> None:
    assert states(Watch(1), "P" * 10 + "F" * 10)[-1] < 0.2
    assert states(Watch(1), "PPPPFPPPPFPPPFPPPPFPPPPF")[-1] > 0.8


def test_a_test_that_never_passed_is_not_called_flaky() -> None:
    watch = Watch(1)
    assert max(states(watch, "F" * 50)) < 0.5
    assert watch.flakes[0] == 0


def test_coverage_and_fingerprints_move_the_odds() -> None:
    def after(covered: float, mark: str) -> float:
        watch = Watch(1)
        states(watch, "P" * 20)
        watch.observe([1.0], [1.0], [np.nan], {0: "port taken"})
        states(watch, "P" * 5)
        return watch.observe([1.0], [0.0], [covered], {0: mark})[0]

    assert after(0.0, "port taken") > after(np.nan, "port taken") > after(1.0, "port taken")
    assert after(np.nan, "port taken") > after(np.nan, "assert 1 == 2")


def test_the_factors_explain_the_probability() -> None:
    model, watch = FlakyModel(), Watch(2)
    failures = watch._failures(
        np.array([0, 1]), np.array([1.0, 2.0]), np.array([1.0, 0.0]), [0.0, 1.0], {}
    )
    told = model.explain(failures, [0, 0], [10, 10])
    odds = told["history"] * told["attempts"] * told["coverage"] * told["fingerprint"]
    assert told["flaky"] == pytest.approx(odds / (1 + odds))
    assert told["attempts"][0] > 1 > told["attempts"][1]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_whatever_is_observed_probabilities_stay_probabilities(
    seen: list[tuple[int, int]],
) -> None:
    watch = Watch(1)
    for failed, passed in seen:
        for said in watch.observe([float(failed)], [float(passed)]).values():
            assert 0.0 <= said <= 1.0
    assert np.isfinite(watch.rates().mean).all()
    assert (watch.flakes <= watch.runs + 1e-9).all()
