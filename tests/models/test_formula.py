"""The formula: what outweighs what, and what missing evidence means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def frame_of(*rows: dict[str, float]) -> FeatureFrame:
    columns = {n: np.array([row.get(n, 0.0) for row in rows], np.float32) for n in FEATURES}
    return FeatureFrame(len(rows), columns)


SHARE = st.floats(0.0, 1.0, width=32) | st.just(math.nan)


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(Formula().inputs, SHARE)), min_size=1))
def test_terms_add_up_to_the_log_odds_above_the_prior(rows: list[dict[str, float]]) -> None:
    frame, model = frame_of(*rows), Formula()
    terms = sum(model.terms(frame).values())
    scores = np.maximum(model.predict(frame).astype(np.float64), model.prior)
    known = scores < 1 - 1e-4  # nearer to 1, a score in 32 bits no longer tells its log-odds
    odds = scores[known] / (1 - scores[known]) / (model.prior / (1 - model.prior))
    assert np.exp(terms[known]) == pytest.approx(odds, rel=2e-2)


def test_terms_follow_the_evidence_and_none_takes_away() -> None:
    strong, weak = {"coverage_share": 1.0, "coverage_rarity": 0.5}, {"bm25": 0.2}
    terms = {
        name: float(term[0]) for name, term in Formula().terms(frame_of({**strong, **weak})).items()
    }
    assert terms["coverage_share"] > terms["bm25"] > 0
    assert terms["cochange"] == 0
    assert not any(Formula().terms(frame_of({}))[name][0] for name in terms)
