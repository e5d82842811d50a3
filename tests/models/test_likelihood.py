"""The formula's likelihood: of its scores alone, in their order, and never of another model."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.errors import BadModel
from foretest.models import pretrained
from foretest.models.contract import identity
from foretest.models.formula import Constants, Formula
from foretest.models.pretrained import likelihood, read_likelihoods, write_likelihoods
from foretest.models.ranker import Calibration
from small_ranker import ranker

SHIPPED = (files("foretest.models.pretrained") / "formula.json").read_text("utf-8")


def stated(*scores: float) -> list[float]:
    found = likelihood(Formula(), np.array(scores, np.float32))
    assert found is not None
    assert found.dtype == np.float32
    return found.tolist()


def test_what_is_shipped_is_of_this_very_formula() -> None:
    assert read_likelihoods(SHIPPED)[0] == identity(Formula())
    assert json.loads(SHIPPED)["lineage"]["model"] == Formula().to_json()


@given(st.lists(st.floats(0, 1, width=32), min_size=1))
def test_the_order_stays_and_every_likelihood_is_one(scores: list[float]) -> None:
    found = stated(*sorted(scores))
    assert found == sorted(found)
    assert all(0 <= each <= 1 for each in found)


def test_a_score_is_not_its_likelihood_and_a_higher_one_says_more() -> None:
    weak, middling, strong = stated(0.0, 0.3, 0.9)
    assert weak < 0.001 < middling < 0.25 < strong < 0.9
    assert middling > 10 * weak


def test_a_formula_with_other_constants_has_none() -> None:
    assert likelihood(Formula(Constants(text=0.8)), np.array([0.5], np.float32)) is None


def test_a_calibrated_models_score_is_its_likelihood() -> None:
    scores = np.array([0.1, 0.5], np.float32)
    assert likelihood(ranker(), scores) is scores
    assert likelihood(ranker(None, start_from_base=True), scores) is None


def test_without_the_file_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "LIKELIHOOD", "absent.json")
    pretrained._likelihoods.cache_clear()
    try:
        assert likelihood(Formula(), np.array([0.5], np.float32)) is None
    finally:
        pretrained._likelihoods.cache_clear()


def test_what_is_written_is_read() -> None:
    made = Calibration((-3.0, 0.0), (0.01, 0.4))
    text = write_likelihoods(Formula(), made, {"command": "x"})
    assert read_likelihoods(text) == (identity(Formula()), made)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"model": 3, "x": [0.0, 1.0], "y": [0.1, 0.2]}',
        '{"model": "formula:x", "x": [0.0], "y": [0.1]}',
        '{"model": "formula:x", "x": [1.0, 0.0], "y": [0.1, 0.2]}',
        '{"model": "formula:x", "x": [0.0, 1.0], "y": [0.2, 0.1]}',
        '{"model": "formula:x", "x": [0.0, 1.0], "y": [0.1, 1.2]}',
        '{"model": "formula:x", "x": [0.0, NaN], "y": [0.1, 0.2]}',
        '{"model": "formula:x", "x": [0.0, "1"], "y": [0.1, 0.2]}',
        '{"model": "formula:x", "x": [0.0, 1' + "0" * 400 + '], "y": [0.1, 0.2]}',
        "[" * 100_000,
    ],
    ids=range(12),
)
def test_a_damaged_map_is_refused(text: str) -> None:
    with pytest.raises(BadModel, match="likelihoods cannot be read"):
        read_likelihoods(text)
