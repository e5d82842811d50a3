"""The order by past results: fitted weights, a score a row, and what is read back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.features.frame import FeatureFrame
from foretest.features.history import NAMES
from foretest.models.contract import predict
from foretest.models.prioritiser import WEIGHTS, Prioritiser, fit, points
from foretest.models.registry import read_model


def frame(past: list[float]) -> FeatureFrame:
    return FeatureFrame(len(past), {"past": np.array(past, np.float32)})


def test_every_column_has_a_weight() -> None:
    assert set(WEIGHTS) == set(NAMES)
    row = np.eye(len(NAMES))
    assert points(row).tolist() == [WEIGHTS[name] for name in NAMES]


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20))
def test_more_points_never_come_later(past: list[float]) -> None:
    scores = predict(Prioritiser(), frame(past))
    order = np.argsort(past, kind="stable")
    assert (np.diff(scores[order]) >= 0).all()


def test_without_a_recorded_run_nothing_speaks_for_a_test() -> None:
    model = Prioritiser()
    scores = predict(model, frame([np.nan, 0.0, 1.0, 6.0]))
    assert scores[0] == pytest.approx(model.prior)
    assert scores[1] < model.prior < scores[3]
    assert model.terms(frame([np.nan]))["past"].tolist() == [0.0]


def test_it_is_read_back_by_name() -> None:
    model = Prioritiser(level=3.0)
    assert read_model(model.to_json()) == model


def test_fitting_finds_the_column_that_tells() -> None:
    rng = np.random.default_rng(1)
    lessons = []
    for _ in range(40):
        rows = rng.random((30, 3))
        lessons.append((rows, np.arange(30) == np.argmax(rows[:, 1] + 0.05 * rng.random(30))))
    weights = fit(lessons, np.zeros(3), 1.0)
    assert weights[1] > 5 * np.abs(weights[[0, 2]]).max()


def test_no_lesson_leaves_the_prior_and_a_strong_one_is_hardly_left() -> None:
    prior = np.array([1.0, -2.0])
    rows = np.array([[0.0, 1.0], [1.0, 0.0]])
    lesson = [(rows, np.array([True, False]))]
    np.testing.assert_allclose(fit([], prior, 1.0), prior)
    np.testing.assert_allclose(fit(lesson, prior, 1e6), prior, atol=1e-4)
    assert fit(lesson, prior, 1e-3)[1] > 1.0


def test_the_fit_is_where_the_loss_is_least() -> None:
    rng = np.random.default_rng(2)
    lessons = [(rng.random((12, 2)), rng.random(12) < 0.3) for _ in range(9)]
    lessons = [(rows, failed) for rows, failed in lessons if failed.any()]

    def loss(weights: np.ndarray) -> float:
        total = float(weights @ weights)
        for rows, failed in lessons:
            score = rows @ weights
            total += np.log(np.exp(score).sum()) - score[failed].mean()
        return total

    found = fit(lessons, np.zeros(2), 1.0)
    for step in np.array([[1e-3, 0], [-1e-3, 0], [0, 1e-3], [0, -1e-3]]):
        assert loss(found) <= loss(found + step)
