"""The learned ranker: calibrated, additive in its terms, and refused where it is damaged."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.errors import BadModel
from foretest.features.catalogue import FEATURES
from foretest.models import pretrained
from foretest.models.contract import BASE, predict
from foretest.models.formula import Formula
from foretest.models.ranker import Calibration, Ranker, base_logit, log_odds, matrix
from foretest.models.registry import MODELS, read_model
from foretest.models.trees import Trees
from small_ranker import KNOTS, LINEAGE, NAMES, TEXT, random_frame, ranker, train


def test_inputs_are_its_own_and_those_of_its_base() -> None:
    model = ranker()
    assert set(model.inputs) == {*NAMES, *Formula().inputs} - {BASE}
    assert len(set(model.inputs)) == len(model.inputs)


def test_the_matrix_holds_the_base_as_log_odds() -> None:
    frame = random_frame(1, 50)
    rows = matrix(frame, NAMES, base_logit(Formula().predict(frame)))
    assert rows.dtype == np.float32
    assert np.abs(rows[:, 0]).max() <= 12
    scores = Formula().predict(frame)
    np.testing.assert_allclose(1 / (1 + np.exp(-rows[:, 0])), scores, atol=1e-5)
    np.testing.assert_array_equal(rows[:, 3], frame["bm25"])


KINDS = pytest.mark.parametrize(
    "model",
    [ranker(), ranker(None), ranker(start_from_base=True), ranker(None, start_from_base=True)],
    ids=["calibrated", "raw", "calibrated corrector", "corrector"],
)


@KINDS
def test_terms_add_up_from_the_prior_to_the_score(model: Ranker) -> None:
    frame = random_frame(2, 500)
    terms = model.terms(frame)
    assert set(terms) <= {*FEATURES, BASE}
    assert all(term.dtype == np.float32 and term.shape == (500,) for term in terms.values())
    moved = sum(term.astype(np.float64) for term in terms.values())
    odds = log_odds(predict(model, frame)) - log_odds(np.array([model.prior]))
    np.testing.assert_allclose(moved, odds, atol=1e-4)


def test_what_the_base_raised_is_told_as_its_parts() -> None:
    zero = {name: np.zeros(2, np.float32) for name in FEATURES}
    cochange = np.array([0.0, 1.0], np.float32)  # the trees do not ask for it: the formula does
    frame = random_frame(0, 2)
    frame = type(frame)(2, {**zero, "cochange": cochange, "bm25": np.full(2, 0.9, np.float32)})
    terms = ranker().terms(frame)
    assert terms["cochange"][0] == 0 < terms["cochange"][1]
    assert terms[BASE][1] == 0


def test_a_corrector_without_a_tree_that_moves_is_its_base() -> None:
    still = re.sub("leaf_value=.*", "leaf_value=0 0 0 0 0 0", TEXT.read_text("utf-8"))
    still = re.sub("internal_value=.*", "internal_value=0 0 0 0 0", still)
    model = Ranker(Trees.from_text(still), Formula(), start_from_base=True)
    frame = random_frame(6)
    np.testing.assert_allclose(model.predict(frame), Formula().predict(frame), atol=1e-5)
    assert model.prior == pytest.approx(Formula().prior)
    assert not model.calibrated


def test_scores_rise_with_the_raw_score_beyond_the_last_knot() -> None:
    raw = np.linspace(-30, 12, 400)
    odds = KNOTS.log_odds(raw)
    assert (np.diff(odds) > 0).all()
    assert np.isfinite(odds).all()
    assert 1 / (1 + np.exp(-KNOTS.log_odds(np.array([-2.0])))) == pytest.approx(0.05)
    assert np.isfinite(Calibration((0.0, 1.0), (0.0, 1.0)).log_odds(raw)).all()


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=40), st.randoms(use_true_random=False))
def test_a_better_raw_score_is_never_less_likely(raw: list[float], random: Any) -> None:
    x = sorted({round(random.uniform(-9, 9), 3) for _ in range(6)} | {-9.5, 9.5})
    y = np.linspace(0.001, 0.8, len(x))
    found = Calibration(tuple(x), tuple(y.tolist())).log_odds(np.sort(np.array(raw)))
    assert (np.diff(found) >= -1e-9).all()


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ((), ()),
        ((0.0,), (0.5,)),
        ((0.0, 1.0), (0.1,)),
        ((0.0, 0.0), (0.1, 0.2)),
        ((0.0, 1.0), (0.2, 0.2)),
        ((0.0, 1.0), (0.3, 0.2)),
        ((0.0, 1.0), (-0.1, 0.2)),
        ((0.0, 1.0), (0.1, 1.1)),
        ((0.0, 1.0), (0.0, 1e-13)),
        ((0.0, float("inf")), (0.1, 0.2)),
        ((0.0, 1.0), (float("nan"), 0.2)),
    ],
)
def test_a_calibration_that_does_not_ascend_is_refused(
    x: tuple[float, ...], y: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="calibration"):
        Calibration(x, y)


@KINDS
def test_everything_survives_json(model: Ranker) -> None:
    again = read_model(json.loads(json.dumps(model.to_json())))
    assert isinstance(again, Ranker)
    assert again == model
    assert again.lineage == LINEAGE
    frame = random_frame(5)
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no base": lambda d: d.pop("base"),
    "a ranker below": lambda d: d.update(base=copy.deepcopy(d)),
    "a base that is none": lambda d: d.update(base=3),
    "no trees": lambda d: d.pop("trees"),
    "trees that are none": lambda d: d.update(trees=["tree"]),
    "cut trees": lambda d: d.update(trees=d["trees"][:500]),
    "unknown feature": lambda d: d.update(trees=d["trees"].replace(" bm25 ", " bm26 ")),
    "no calibration": lambda d: d.pop("calibration"),
    "calibration of truths": lambda d: d.update(calibration={"x": [0, 1], "y": [False, True]}),
    "calibration of text": lambda d: d.update(calibration={"x": "01", "y": "01"}),
    "calibration falls": lambda d: d.update(calibration={"x": [0, 1], "y": [0.9, 0.1]}),
    "huge number": lambda d: d.update(calibration={"x": [0, 10**400], "y": [0.1, 0.9]}),
    "too many knots": lambda d: d.update(calibration={"x": [0] * 20_000, "y": [0] * 20_000}),
    "no lineage": lambda d: d.pop("lineage"),
    "lineage that is none": lambda d: d.update(lineage=7),
    "no start": lambda d: d.pop("start_from_base"),
    "a start that is none": lambda d: d.update(start_from_base="no"),
    "other format": lambda d: d.update(format=99),
    "other catalogue": lambda d: d.update(catalogue_version=0),
    "other name": lambda d: d.update(name="forest"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused(name: str) -> None:
    data = json.loads(json.dumps(ranker().to_json()))
    DAMAGE[name](data)
    with pytest.raises(BadModel) as caught:
        read_model(data)
    assert caught.value.remedy


@pytest.mark.parametrize("data", [None, 3, [], "formula", {}, {"name": None}, {"name": "formula"}])
def test_what_is_no_model_is_refused(data: Any) -> None:
    with pytest.raises(BadModel):
        read_model(data)


def test_a_base_is_needed() -> None:
    with pytest.raises(BadModel, match="builds on"):
        Ranker.from_json(ranker().to_json())


def test_every_model_can_be_read_by_its_name() -> None:
    for model in (Formula(), ranker()):
        assert model.name in MODELS
        assert read_model(model.to_json()) == model


def test_a_ranker_learns_what_it_is_shown() -> None:
    """The whole way: frames -> matrix -> LightGBM -> text -> ranker; better than drawing lots."""
    pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
    model = Ranker(Trees.from_text(train(3, rounds=40)), Formula(), KNOTS)
    frame = random_frame(99, 2_000)
    likely = 0.7 * Formula().predict(frame) + 0.3 * np.nan_to_num(frame["import_depth"])
    failed = np.random.default_rng(5).random(frame.size) < likely
    scores = predict(model, frame)
    assert scores[failed].mean() > scores[~failed].mean() + 0.1


# What comes with the package.


def test_what_comes_trained_loads_with_its_lineage() -> None:
    model = pretrained.load()
    if model is None:
        pytest.skip("this foretest comes without a trained ranker")
    assert isinstance(model, Ranker)
    assert model.lineage["repositories"]
    predict(model, random_frame(1))


def test_a_file_in_the_package_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(pretrained, "files", lambda _: tmp_path)
    pretrained.load.cache_clear()
    try:
        assert pretrained.load() is None
        assert pretrained.default_model() == Formula()
        (tmp_path / pretrained.RANKER).write_text(json.dumps(ranker().to_json()))
        pretrained.load.cache_clear()
        assert pretrained.load() == ranker()
        assert pretrained.default_model() == Formula()
        monkeypatch.setattr(pretrained, "DEFAULT", "ranker")
        assert pretrained.default_model() == ranker()
        for damaged in ("{", "[]", "null", '{"name": "ranker"}'):
            (tmp_path / pretrained.RANKER).write_text(damaged)
            pretrained.load.cache_clear()
            with pytest.raises(BadModel):
                pretrained.load()
    finally:
        pretrained.load.cache_clear()
