"""What moved a score, in plain words: of every feature, for every model."""

from __future__ import annotations

import math
import re
import string

import numpy as np
import pytest

from foretest.evidence.store import EvidenceStore
from foretest.features.build import build
from foretest.features.catalogue import FEATURES
from foretest.features.frame import FeatureFrame
from foretest.features.query import FileFacts, Query
from foretest.models.contract import BASE, Model
from foretest.models.formula import Constants, Formula
from foretest.models.pretrained import likelihood
from foretest.records import Budget, Symbol
from foretest.selection.compose import select
from foretest.selection.explanation import KINDS, UNLINKED, Explainer
from foretest.selection.policy import Rules
from foretest.selection.wording import WORDS, clause
from small_ranker import ranker

TOUCHED = FileFacts("src/app/parser.py", touched=(Symbol("src/app/parser.py", "Parser.parse"),))
CHANGE = Query((TOUCHED,), {"left_join": 1.0, "query": 2.0}, {"nested": 1.0})
MODELS: tuple[Model, ...] = (Formula(), ranker(), ranker(None, start_from_base=True))
every_model = pytest.mark.parametrize("model", MODELS, ids=["formula", "ranker", "corrector"])


def explainer(store: EvidenceStore, now: float, model: Model, query: Query = CHANGE) -> Explainer:
    return Explainer(query, store, build(query, store, now), model)


# Words.


def test_every_feature_has_words_and_every_kind_a_feature() -> None:
    assert set(WORDS) == {*FEATURES, BASE}
    assert set(KINDS) <= set(FEATURES)
    for feature in FEATURES.values():
        assert (WORDS[feature.name].missing != "it is unknown") == bool(feature.missing), feature


@pytest.mark.parametrize("feature", WORDS)
def test_each_value_has_its_clause(feature: str) -> None:
    said = {
        clause(feature, value, effect)
        for value in (0.0, 0.4, 1.0, 7.0, math.nan, math.inf)
        for effect in (-0.7, 0.7)
    }
    for text in said:
        assert text
        assert text[0] in string.ascii_lowercase
        assert not re.search(r"[{}.]$|nan|inf", text), text


@pytest.mark.parametrize("feature", [f.name for f in FEATURES.values() if f.monotone])
def test_what_has_a_direction_says_which(feature: str) -> None:
    more, less = clause(feature, 0.4, 1.0), clause(feature, 0.4, -1.0)
    assert (more == less) == (feature == "days_since_failure")
    assert clause(feature, 0.0, -1.0) not in (more, less)
    assert clause(feature, math.nan, 1.0) not in (more, less)


# The line that ends an explanation.


LINE = re.compile(
    r"(?P<word>likelihood|score) (below |above )?(?P<own>[\d.]+)( %)?"
    r"( if the change breaks anything)? \((score (below )?[\d.]+; )?(below )?(?P<level>[\d.]+)"
    r"( %)? where nothing speaks for or against a test\): (?P<told>.+)"
)


@every_model
def test_the_factors_lead_from_where_nothing_speaks_to_what_is_stated(
    store: EvidenceStore, now: float, model: Model
) -> None:
    made = explainer(store, now, model)
    for row, name in enumerate(store.tests):
        found = LINE.fullmatch(made.moved(row))
        assert found, made.moved(row)
        score = model.predict(made.frame)[row : row + 1]
        stated = likelihood(model, score)
        assert (found["word"] == "score") == (stated is None)
        exact = float(score[0] if stated is None else stated[0])
        unit = 1.0 if stated is None else 100.0
        if "below" not in found[0]:
            assert float(found["own"]) / unit == pytest.approx(exact, rel=0.05), name
        factors = re.findall(r"([+-]) [^(]+ \(x([\d.e+-]+)\)", found["told"])
        for sign, factor in factors:
            assert (float(factor) > 1) == (sign == "+")
        level = float(found["level"]) / unit
        product = level / (1 - level) * math.prod(float(factor) for _, factor in factors)
        if exact > 1e-3:  # what is not told is worth no word; the rest is rounding
            assert product == pytest.approx(exact / (1 - exact), rel=0.25), found[0]


def test_a_score_without_a_map_is_called_a_score(store: EvidenceStore, now: float) -> None:
    line = explainer(store, now, Formula(Constants(text=0.8))).moved(0)
    assert line.startswith("score 0.")
    assert "likelihood" not in line


def test_what_is_left_of_the_way_is_told_together(store: EvidenceStore, now: float) -> None:
    names = [n for n in FEATURES if KINDS.get(n, n) == n or n in ("bm25", "bm25_name", "cochange")]
    line = told(store, now, 0, **dict.fromkeys(names, 1.0))[1]
    assert line.count("(x") == 6
    assert line.endswith(f", + all else (x{math.exp(len(names) - 5):.2g})")


def test_the_formula_speaks_of_what_raised_it(store: EvidenceStore, now: float) -> None:
    line = explainer(store, now, Formula()).moved(0)
    assert "+ it shares words with the change (x" in line
    assert "+ it enters 100% of what changed (x" in line
    assert " - " not in line


def test_a_left_out_test_hears_what_speaks_against_it(store: EvidenceStore, now: float) -> None:
    line = explainer(store, now, ranker()).moved(6)
    assert re.search(r"- its? (enters none of|shares no word|imports lead|enters nothing)", line), (
        line
    )


def test_below_the_prior_little_or_nothing_links_it(store: EvidenceStore, now: float) -> None:
    line = explainer(store, now, Formula()).moved(6)
    assert re.fullmatch(
        r"likelihood (below )?[\d.]+ % if the change breaks anything \(score 0; [\d.]+ % where "
        r"nothing speaks for or against a test\): - little or nothing links it to the change "
        r"\(x0\.\d+\)",
        line,
    )


# Reasons of chosen tests.


@every_model
def test_every_chosen_test_has_a_reason_that_holds(
    store: EvidenceStore, now: float, model: Model
) -> None:
    made = explainer(store, now, model)
    told = made.reasons(np.arange(len(store.tests)))
    assert told[0].startswith("covers Parser.parse, which you changed")
    for row, reason in enumerate(told):
        assert reason == UNLINKED or reason in made.sentences(row)
    assert made.reasons(np.empty(0, np.int64)) == []


@every_model
def test_selection_works_with_every_model(store: EvidenceStore, now: float, model: Model) -> None:
    rules = Rules(explore=0.0)
    selection = select(CHANGE, store, model, rules, Budget(share=0.02), now, "d1")
    assert selection.chosen[0].test == "tests/test_parser.py::test_parse"
    assert all(choice.reason for choice in (*selection.chosen, *selection.rest))


class Fixed:
    """A model whose terms are given: what weighs is then known."""

    name, inputs, calibrated, prior = "fixed", (), True, 0.1

    def __init__(self, **terms: float) -> None:
        self.given = terms

    def predict(self, frame: FeatureFrame) -> np.ndarray:  # type: ignore[type-arg]
        return np.full(frame.size, 0.2, np.float32)

    def terms(self, frame: FeatureFrame) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
        return {name: np.full(frame.size, term, np.float32) for name, term in self.given.items()}


def told(store: EvidenceStore, now: float, row: int, **terms: float) -> tuple[str, str]:
    made = explainer(store, now, Fixed(**terms))  # type: ignore[arg-type]
    return made.reasons(np.array([row]))[0], made.moved(row)


def test_what_weighs_most_and_has_a_sentence_comes_first(store: EvidenceStore, now: float) -> None:
    imports = "imports a file that you changed"
    assert told(store, now, 0, import_depth=1.0, bm25=0.5)[0] == imports
    assert told(store, now, 0, import_depth=1.0, coverage_share=0.5)[0].startswith("covers")
    assert told(store, now, 0, import_depth=9.0, coverage_share=0.5)[0] == imports
    # No sentence without a fact: test_far is linked by nothing.
    assert told(store, now, 6, import_depth=2.0, cochange=1.0)[0] == UNLINKED
    # What speaks against it is no reason to run it.
    assert told(store, now, 0, import_depth=-1.0, bm25=-2.0)[0] == UNLINKED
    assert told(store, now, 0, runs=5.0, import_depth=0.1)[0] == imports


def test_features_of_a_kind_count_as_one(store: EvidenceStore, now: float) -> None:
    line = told(store, now, 0, coverage_share=0.7, coverage_rarity=-0.2, coverage_focus=0.1)[1]
    assert line == (
        "likelihood 20 % if the change breaks anything (10 % where nothing speaks for or against "
        "a test): + it enters 100% of what changed (x1.8)"
    )


def test_small_terms_are_not_worth_a_word(store: EvidenceStore, now: float) -> None:
    assert told(store, now, 0, bm25=0.05, runs=-0.05)[1].endswith("nothing that is known moves it")
    many = dict.fromkeys((name for name in FEATURES if not name.startswith("coverage")), 1.0)
    assert told(store, now, 0, **many)[1].count("(x") == 6
