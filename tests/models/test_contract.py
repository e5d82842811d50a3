"""The contract, applied to every model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pytest

from foretest.errors import BadModel
from foretest.features.catalogue import CATALOGUE, FEATURES
from foretest.features.frame import FeatureFrame
from foretest.models.contract import BASE, Model, Scores, predict
from foretest.models.formula import Formula
from foretest.models.registry import read_model
from small_ranker import random_frame, ranker

MODELS: tuple[Model, ...] = (Formula(), ranker(), ranker(None, start_from_base=True))
every_model = pytest.mark.parametrize("model", MODELS, ids=["formula", "ranker", "corrector"])


@every_model
def test_it_is_a_model_with_known_inputs(model: Model) -> None:
    assert isinstance(model, Model)
    assert set(model.inputs) <= set(FEATURES)


@every_model
@pytest.mark.parametrize("missing", [0.0, 0.5, 1.0])
def test_scores_are_probabilities(model: Model, missing: float) -> None:
    scores = predict(model, random_frame(1, missing=missing))
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()


@every_model
def test_a_score_depends_on_its_own_row_alone(model: Model) -> None:
    frame = random_frame(2)
    rows = np.array([7, 3, 150])
    np.testing.assert_array_equal(predict(model, frame)[rows], predict(model, frame.take(rows)))


@every_model
def test_it_asks_the_same_twice_and_leaves_the_frame(model: Model) -> None:
    frame, same = random_frame(3), random_frame(3)
    np.testing.assert_array_equal(predict(model, frame), predict(model, frame))
    assert all(np.array_equal(c, same[n], equal_nan=True) for n, c in frame.columns.items())


@every_model
def test_it_survives_json(model: Model) -> None:
    again = read_model(json.loads(json.dumps(model.to_json())))
    frame = random_frame(4)
    assert again.name == model.name
    np.testing.assert_array_equal(predict(again, frame), predict(model, frame))


@every_model
def test_terms_speak_of_known_features(model: Model) -> None:
    frame = random_frame(8)
    terms = model.terms(frame)
    assert set(terms) <= {*FEATURES, BASE}
    for term in terms.values():
        assert term.dtype == np.float32
        assert term.shape == (frame.size,)
        assert np.isfinite(term).all()


@every_model
def test_above_the_prior_something_speaks_for_a_test(model: Model) -> None:
    frame = random_frame(9)
    raised = np.max([*model.terms(frame).values()], axis=0) > 0
    assert 0 <= model.prior <= 1
    assert raised[predict(model, frame) > model.prior * 1.001].all()


@every_model
def test_no_tests_no_scores(model: Model) -> None:
    assert predict(model, random_frame(5, size=0)).shape == (0,)


@every_model
@pytest.mark.parametrize("name", [f.name for f in CATALOGUE if f.monotone])
def test_it_follows_the_direction_of_each_feature(model: Model, name: str) -> None:
    frame = random_frame(6)
    more = frame[name] + np.float32(0.2)
    if FEATURES[name].monotone > 0:
        more = np.minimum(more, 1)
    raised = FeatureFrame(frame.size, {**frame.columns, name: more})
    change = (predict(model, raised) - predict(model, frame)) * FEATURES[name].monotone
    assert (change >= -1e-6).all()


class Broken:
    """A model whose answer is given."""

    name = "broken"
    calibrated = False
    prior = 0.0

    def __init__(self, answer: Any, inputs: tuple[str, ...] = ()) -> None:
        self.answer, self.inputs = answer, inputs

    def predict(self, frame: FeatureFrame) -> Scores:
        return self.answer  # type: ignore[no-any-return]

    def terms(self, frame: FeatureFrame) -> Mapping[str, Scores]:
        return {}

    def to_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(None)


@pytest.mark.parametrize(
    "model",
    [
        Broken(np.zeros(3, np.float64)),
        Broken(np.zeros(2, np.float32)),
        Broken(np.array([0, np.nan, 1], np.float32)),
        Broken(np.array([0, 1.5, 1], np.float32)),
        Broken(np.array([0, -0.1, 1], np.float32)),
        Broken(np.zeros(3, np.float32), ("no_such_feature",)),
    ],
)
def test_a_broken_model_is_refused(model: Broken) -> None:
    with pytest.raises(BadModel) as caught:
        predict(model, random_frame(7, size=3))
    assert caught.value.remedy


def test_a_missing_column_is_refused() -> None:
    with pytest.raises(BadModel, match="bm25"):
        predict(Formula(), FeatureFrame(0, {}))
