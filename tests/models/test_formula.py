"""The formula: what outweighs what, and what missing evidence means."""

from __future__ import annotations

import numpy as np
import pytest

from foretest.features.catalogue import FEATURES
from foretest.features.frame import FeatureFrame
from foretest.models.formula import Constants, Formula


def score(**values: float) -> float:
    """The score of one test; features not named are known to be absent."""
    zero = dict.fromkeys(FEATURES, 0.0)
    columns = {n: np.array([v], np.float32) for n, v in {**zero, **values}.items()}
    return float(Formula().predict(FeatureFrame(1, columns))[0])


def test_nothing_scores_nothing() -> None:
    assert score() == 0


def test_rare_coverage_outweighs_common_coverage() -> None:
    rare = score(coverage_share=1, coverage_rarity=0.9)
    common = score(coverage_share=1, coverage_rarity=0.1)
    assert rare > 5 * common > 0


def test_text_and_coverage_join() -> None:
    coverage, text = score(coverage_share=1, coverage_rarity=0.5), score(bm25=0.5)
    both = score(coverage_share=1, coverage_rarity=0.5, bm25=0.5)
    assert both == pytest.approx(1 - (1 - coverage) * (1 - text), rel=1e-5)


def test_unknown_coverage_lies_between_a_miss_and_a_hit() -> None:
    unknown = {"coverage_share": np.nan, "coverage_rarity": np.nan}
    miss, hit = score(), score(coverage_share=1, coverage_rarity=0.9)
    assert miss < score(**unknown) < score(import_depth=1, **unknown) < hit


def test_constants_survive_json_and_reject_nonsense() -> None:
    tuned = Constants(coverage=0.5, text_power=2.0)
    assert Constants.from_json(tuned.to_json()) == tuned
    for wrong in ({"coverage": 1.5}, {"text": float("nan")}, {"path": True}, {"nonsense": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Constants.from_json(wrong)


def test_terms_say_what_a_part_adds_to_the_odds() -> None:
    zero = dict.fromkeys(FEATURES, 0.0)
    values = {**zero, "bm25": 0.5, "coverage_share": 1.0, "coverage_rarity": 0.5}
    frame = FeatureFrame(1, {n: np.array([v], np.float32) for n, v in values.items()})
    terms = {name: float(term[0]) for name, term in Formula().terms(frame).items()}
    with_, without = score(bm25=0.5, coverage_share=1, coverage_rarity=0.5), score(bm25=0.5)
    odds = with_ / (1 - with_) / (without / (1 - without))
    assert np.exp(terms["coverage_share"]) == pytest.approx(odds, rel=1e-4)
    assert terms["bm25"] > 0
    assert terms["cochange"] == 0
