"""Durations to come: what one odd run, a change, another configuration and nothing known do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foretest.models.durations import Forecast, forecast, in_configuration

NAN = np.nan


def rings(*rows: list[float], width: int = 6) -> np.ndarray:
    return np.array([[NAN] * (width - len(row)) + row for row in rows])


def usual(*seconds: float) -> float:
    return float(forecast(rings(list(seconds))).typical[0])


def test_one_odd_run_moves_it_by_less_than_half() -> None:
    assert usual(1, 1, 1, 1, 100) < 11
    assert usual(1, 1, 1, 100, 1) == pytest.approx(1)
    assert usual(1, 1, 0) > 0.1  # skipped for once


def test_a_change_is_followed_in_two_runs() -> None:
    assert usual(1, 1, 1, 9, 9) == pytest.approx(9)


@pytest.mark.parametrize("known", [[2.0], [2.0, 2.0], [2.0] * 6])
def test_a_steady_test_stays(known: list[float]) -> None:
    assert usual(*known) == pytest.approx(2)


def test_two_known_are_averaged_as_ratios() -> None:
    assert 1 < usual(1, 4) < 4
    assert usual(1, 4) > usual(4, 1)


def test_nothing_known_is_unknown() -> None:
    found = forecast(rings([], [1.0]))
    assert np.isnan([found.typical[0], found.high[0]]).all()
    assert found.typical[1] == pytest.approx(1)
    assert forecast(np.zeros((0, 6))).high.shape == (0,)


def test_zero_is_a_duration() -> None:
    found = forecast(rings([0.0, 0.0, 0.0]))
    assert found.typical[0] == pytest.approx(0)
    assert 0 <= found.high[0] < 1


@settings(max_examples=40)
@given(arrays(np.float64, (9, 6), elements=st.floats(0, 1e6)), st.integers(0, 5))
def test_the_high_one_is_never_below_the_usual(known: np.ndarray, missing: int) -> None:
    known[:4, :missing] = NAN
    found = forecast(known)
    assert (found.high >= found.typical).all()
    assert (found.typical >= 0).all()
    assert np.isfinite(found.high).all()


@pytest.mark.parametrize("known", [2, 4, 8, 16])
def test_nine_of_ten_stay_below(known: int) -> None:
    rng = np.random.default_rng(5)
    times = np.exp(rng.normal(0, 2, (3000, 1)) + 0.4 * rng.normal(size=(3000, 17)))
    seen = times[:, :16].copy()
    seen[:1500, : 16 - known] = NAN
    within = times[:1500, 16] <= forecast(seen).high[:1500]
    assert 0.86 < within.mean() < 0.94


def test_the_high_one_drifts_with_the_tests() -> None:
    rng = np.random.default_rng(6)
    calm = np.exp(0.01 * rng.normal(size=(300, 16)))
    wild = calm.copy()
    wild[:, -4:] = np.exp(rng.normal(size=(300, 4)))
    ratio = forecast(wild).high / wild[:, -3:].max(axis=1)
    assert np.median(forecast(calm).high / calm[:, -3:].max(axis=1)) < 1.1
    assert np.median(ratio) > 1.1


def test_a_test_known_elsewhere_takes_the_ratio_of_the_configurations() -> None:
    # Units 0..39 in both configurations, twice as long here; unit 40 elsewhere alone, 41 nowhere.
    seconds = np.linspace(5, 50, 41)
    unit = np.concatenate((np.arange(41), np.arange(40)))
    here = np.arange(81) >= 41
    rows = np.concatenate((seconds, 2 * seconds[:40]))
    found = in_configuration(Forecast(rows, 1.5 * rows), unit, here, 42)
    np.testing.assert_allclose(found.typical[:40], 2 * seconds[:40])
    assert 1.7 * 50 < found.typical[40] < 2 * 50
    assert found.high[40] > found.typical[40]
    assert np.isnan(found.typical[41])


def test_a_configuration_never_seen_gives_all_together() -> None:
    unit, rows = np.array([0, 0, 1]), np.array([1.0, 4.0, 7.0])
    found = in_configuration(Forecast(rows, rows), unit, np.zeros(3, bool), 2)
    assert 1 < found.typical[0] < 4
    assert found.typical[1] == pytest.approx(7)
