"""The model of change risk: what it reads, how it judges, and what it refuses."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.errors import BadModel
from foretest.features.frame import FeatureFrame
from foretest.features.query import FileFacts, Query
from foretest.models.risk import NAMES, Risk, Scale, Size, describe, pretrained, size_of
from foretest.records import Change, FileChange, FileStatus, Hunk, Symbol

SMALL = Risk(("lines", "unseen"), (2.0, 0.5), (1.0, 0.25), (1.0, -2.0), 0.0, (0.1, 0.5, 0.9))


def row(**values):
    return np.array([values.get(name, math.nan) for name in NAMES])


def test_a_row_by_hand():
    symbols = (Symbol("a.py", "f"), Symbol("a.py", "<module>"))
    files = (FileFacts("a.py", touched=symbols, names_set=("TABLE",)), FileFacts("tests/test_a.py"))
    query = Query(files, removed={"left": 2.0, "both": 1.0}, added={"both": 1.0})
    share = np.array([0.0, 0.5, 1.0, np.nan], np.float32)
    frame = FeatureFrame(
        4,
        {
            "coverage_share": share,
            "change_unseen": np.full(4, 0.25, np.float32),
            "bm25": np.array([np.nan, 0.3, 0.7, 0.0], np.float32),
        },
    )
    scores = np.array([0.2, 0.9, 0.4, 0.1], np.float32)
    made = describe(query, Size(2, 3, 1), frame, scores)
    got = dict(zip(NAMES, made.tolist(), strict=True))
    assert got["files"] == pytest.approx(math.log(2))
    assert got["symbols"] == pytest.approx(math.log(3))
    assert got["hunks"] == pytest.approx(math.log(3))
    assert got["lines"] == pytest.approx(math.log(5))
    assert got["removed_share"] == pytest.approx(0.75)
    assert got["module_share"] == pytest.approx(0.5)
    assert got["names_set"] == pytest.approx(math.log(2))
    assert got["words"] == pytest.approx(math.log(3))
    assert got["unseen"] == pytest.approx(0.25)
    assert got["entered_share"] == pytest.approx(2 / 3)
    assert got["top_score"] == pytest.approx(0.9)
    assert got["top_scores"] == pytest.approx(0.4)
    assert got["top_text"] == pytest.approx(0.7)


def test_an_empty_change_on_an_empty_suite_has_a_row_and_a_risk():
    none = np.zeros(0, np.float32)
    frame = FeatureFrame(0, {"coverage_share": none, "change_unseen": none, "bm25": none})
    made = describe(Query(), Size(), frame, none)
    assert made.shape == (len(NAMES),)
    assert 0 < pretrained().probability(made) < 1


def test_size_leaves_tests_out():
    hunk = Hunk(1, 2, 1, 1, ("a", "b"), ("c",))
    files = (
        FileChange(path, FileStatus.MODIFIED, hunks=(hunk, hunk))
        for path in ("a.py", "tests/test_a.py")
    )
    change = Change("r", "x", None, tuple(files))
    assert size_of(change) == Size(2, 4, 2)


def test_a_probability_by_hand():
    assert SMALL.probability(row(lines=2.0, unseen=0.5)) == pytest.approx(0.5)
    assert SMALL.probability(row(lines=3.0, unseen=0.5)) == pytest.approx(1 / (1 + math.exp(-1)))
    assert SMALL.probability(row(lines=3.0)) == pytest.approx(1 / (1 + math.exp(-1)))
    assert SMALL.probability(row(unseen=0.75, lines=2.0)) == pytest.approx(1 / (1 + math.exp(2)))


def test_what_lies_far_beyond_counts_no_further():
    assert SMALL.probability(row(lines=6.0)) == SMALL.probability(row(lines=1e6))


def test_levels():
    assert SMALL.above(0.1) == 0.0
    assert SMALL.above(0.3) == pytest.approx(0.25)
    assert SMALL.above(0.95) == 1.0
    assert math.isnan(replace(SMALL, levels=()).above(0.3))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 2))
def test_factors_grow_with_the_risk_within_their_bounds(one, other, exponent):
    scale = Scale(exponent, 1.3)
    low, high = sorted((one, other))
    assert 0.25 <= scale.factor(low) <= scale.factor(high) <= 4.0


def test_the_shipped_model_is_sound():
    risk = pretrained()
    assert Risk.from_json(json.loads(json.dumps(risk.to_json()))) == risk
    assert not {"removed_share"} & set(risk.names)  # undone changes run backwards
    assert risk.lineage["changes"] == sum(risk.lineage["repositories"].values())
    assert 0.25 <= risk.scale.factor(risk.levels[0]) < 1 < risk.scale.factor(risk.levels[-1]) <= 4
    assert 0 < risk.levels[0] < risk.levels[50] < risk.levels[-1] < 1


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["lines", "shoe_size"]},
        {"weights": [1.0]},
        {"weights": [1.0, math.nan]},
        {"spread": [1.0, 0.0]},
        {"levels": [0.5, 0.1]},
        {"intercept": "high"},
        {"scale": {"colour": 1.0}},
        {"lineage": 3},
        {"centre": None},
    ],
)
def test_damage_is_refused_with_a_remedy(change):
    with pytest.raises(BadModel, match="--adapt"):
        Risk.from_json({**SMALL.to_json(), **change})


def test_a_missing_part_is_refused():
    with pytest.raises(BadModel):
        Risk.from_json({})


@pytest.mark.parametrize("name", ["exponent", "constant", "least", "most"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_a_scale_that_is_not_finite_is_refused(name, value):
    scale = {**SMALL.to_json()["scale"], name: value}
    with pytest.raises(BadModel):
        Risk.from_json({**SMALL.to_json(), "scale": scale})


@pytest.mark.parametrize(
    ("name", "value"),
    [("least", 5), ("least", 0), ("least", -1), ("most", -4), ("most", 0.5), ("constant", 0)],
)
def test_bounds_that_no_budget_can_keep_are_refused(name, value):
    scale = {**SMALL.to_json()["scale"], name: value}
    with pytest.raises(BadModel, match="least <= 1 <= most"):
        Risk.from_json({**SMALL.to_json(), "scale": scale})
