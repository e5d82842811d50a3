"""From a change to a Selection, whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from foretest.evidence.store import EvidenceStore, empty
from foretest.features.build import build
from foretest.features.query import FileFacts, Query, query_of
from foretest.models.formula import Constants, Formula
from foretest.models.pretrained import likelihood
from foretest.records import Budget, Change, FileChange, FileStatus, Hunk, Selection, Symbol, Why
from foretest.selection.compose import pessimistic_seconds, predicted_seconds, select
from foretest.selection.explanation import Explainer
from foretest.selection.policy import Freshness, Rules

TOUCHED = FileFacts(
    "src/app/parser.py", touched=(Symbol("src/app/parser.py", "Parser.parse"),)
)  # fmt: skip
CHANGE = Query((TOUCHED,), {"left_join": 1.0, "query": 2.0}, {"nested": 1.0})


def run(store: EvidenceStore, now: float, query: Query = CHANGE, **more: Any) -> Selection:
    rules = more.pop("rules", Rules(explore=0.0))
    budget = more.pop("budget", Budget(share=0.02))
    decision = more.pop("decision_id", "d1")
    return select(query, store, Formula(), rules, budget, now, decision, **more)


def names(selection: Selection) -> list[str]:
    return [choice.test for choice in selection.chosen]


def test_the_tests_that_cover_the_change_come_first(store: EvidenceStore, now: float) -> None:
    selection = run(store, now, budget=Budget(share=0.01))
    assert names(selection) == [
        "tests/test_parser.py::test_parse",
        "tests/test_parser.py::TestDeep::test_nested",
    ]
    first = selection.chosen[0]
    assert (first.why, first.inclusion) == (Why.SCORE, 1.0)
    assert first.reason == "covers Parser.parse, which you changed; 2 of 6 tests do"
    assert len(selection.rest) == 5
    assert {c.why for c in selection.rest} == {Why.OVER_BUDGET}
    assert selection.chosen_seconds <= 0.01 * selection.suite_seconds


def test_every_test_is_answered_once(store: EvidenceStore, now: float) -> None:
    selection = run(store, now, rules=Rules(explore=0.2), budget=Budget(share=0.5))
    everyone = [c.test for c in (*selection.chosen, *selection.rest)]
    assert sorted(everyone) == sorted(store.tests)


def test_new_tests_come_first_and_cost_the_median(store: EvidenceStore, now: float) -> None:
    new = FileFacts(
        "tests/test_x.py", FileStatus.ADDED, touched=(Symbol("tests/test_x.py", "test_x"),)
    )
    selection = run(store, now, Query((TOUCHED, new)))
    assert names(selection)[0] == "tests/test_x.py::test_x"
    assert selection.chosen[0].why is Why.NEW
    assert selection.chosen[0].seconds == pytest.approx(0.2)


def test_rules_alone_over_the_budget_are_said(store: EvidenceStore, now: float) -> None:
    selection = run(store, now, rules=Rules(must_run=("*test_slow",), explore=0.0))
    assert names(selection) == ["tests/test_draw.py::test_slow"]
    assert "more than the budget" in selection.notices[-1]


def test_caution_comes_after_what_was_changed(store: EvidenceStore, now: float) -> None:
    data = FileFacts("web/tests/schema.json")
    body = FileFacts("other/test_far.py", touched=(Symbol("other/test_far.py", "test_far"),))
    selection = run(store, now, Query((data, body)))
    assert [c.why for c in selection.chosen[:2]] == [Why.CHANGED, Why.WIDENED]
    assert selection.chosen[1].reason == "may read web/tests/schema.json, which changed"


def test_run_all_orders_and_leaves_nothing(store: EvidenceStore, now: float) -> None:
    selection = run(store, now, Query((TOUCHED, FileFacts("uv.lock"))))
    assert selection.run_all
    assert not selection.rest
    assert names(selection)[0].startswith("tests/test_parser.py")
    assert {c.why for c in selection.chosen} == {Why.RUN_ALL}
    assert selection.chosen[0].reason == "uv.lock decides what is installed"


def test_no_budget_runs_all_in_order(store: EvidenceStore, now: float) -> None:
    selection = run(store, now, budget=Budget())
    assert selection.run_all
    assert len(selection.chosen) == 7
    assert selection.chosen[0].why is Why.SCORE


def test_exploration_states_its_odds(store: EvidenceStore, now: float) -> None:
    even = dataclasses.replace(store, seconds=np.ones(7))
    rules = Rules(explore=0.2)
    drawn: set[str] = set()
    for i in range(30):
        selection = run(even, now, rules=rules, budget=Budget(share=0.75), decision_id=f"d{i}")
        found = [c for c in selection.chosen if c.why is Why.EXPLORED]
        drawn |= {c.test for c in found}
        assert [c.inclusion for c in found] == [pytest.approx(1 / 3)]
        assert {c.inclusion for c in selection.rest} == {found[0].inclusion}
    assert len(drawn) == 3


def test_the_same_decision_is_the_same_selection(store: EvidenceStore, now: float) -> None:
    rules = Rules(explore=0.3)
    assert run(store, now, rules=rules) == run(store, now, rules=rules)


def test_a_doubled_budget_runs_more(store: EvidenceStore, now: float) -> None:
    tight = Budget(seconds=0.2)
    beside = Freshness(age=3, is_ancestor=False)
    assert len(run(store, now, budget=tight).chosen) < len(
        run(store, now, budget=tight, freshness=beside).chosen
    )
    assert run(store, now, budget=tight, freshness=beside).budget == tight


def test_deleted_tests_are_neither_chosen_nor_left_out(store: EvidenceStore, now: float) -> None:
    gone = FileFacts("tests/test_draw.py", FileStatus.DELETED)
    selection = run(store, now, Query((TOUCHED, gone)))
    assert not any("test_draw" in c.test for c in (*selection.chosen, *selection.rest))


def test_an_empty_store_runs_the_tests_at_hand(now: float) -> None:
    selection = run(empty("r"), now, units=["tests/test_a.py::test_a"])
    assert selection.run_all
    assert names(selection) == ["tests/test_a.py::test_a"]


def test_a_change_from_git_is_enough(store: EvidenceStore, now: float) -> None:
    hunk = Hunk(1, 1, 1, 1, ("circle = 1",), ("circle = 2",))
    file = FileChange("src/app/draw.py", FileStatus.MODIFIED, hunks=(hunk,))
    query = query_of(Change("r", "a", "b", (file,)))
    chosen = run(store, now, query, budget=Budget(share=0.3)).chosen
    told = {c.test: c.reason for c in chosen}
    assert told["tests/test_draw.py::test_draw"] == "shares the word 'circle' with your change"


def test_unmeasured_tests_cost_the_median() -> None:
    assert predicted_seconds(np.array([1.0, np.nan, 3.0])).tolist() == [1, 2, 3]
    assert predicted_seconds(np.array([np.nan])).tolist() == [1]
    assert predicted_seconds(np.array([])).tolist() == []


def test_a_budget_in_seconds_is_filled_with_what_tests_stay_below(
    store: EvidenceStore, now: float
) -> None:
    """The order is the same, its prefix shorter: the run holds where all tests are slow at once."""
    high = np.where(np.arange(len(store.tests)) == 3, np.nan, store.seconds * 2.0)
    timed = dataclasses.replace(store, seconds_high=high)
    total = float(predicted_seconds(store.seconds).sum())
    for part in np.linspace(0.05, 1.9, 12).tolist():
        found = run(timed, now, budget=Budget(seconds=part * total))
        assert found.chosen_seconds_high is None or found.chosen_seconds_high <= part * total
        half = run(store, now, budget=Budget(seconds=part * total / 2))
        assert names(found) == names(half)
        assert half.chosen_seconds_high is None
        # A share is one of the usual time, whatever is known of the rest.
        share = Budget(share=part / 2)
        assert names(run(timed, now, budget=share)) == names(run(store, now, budget=share))
    whole = run(timed, now, budget=Budget(seconds=2.001 * total))
    assert whole.chosen_seconds_high == pytest.approx(2.0 * whole.chosen_seconds)
    assert not whole.rest


@pytest.mark.parametrize(
    ("usual", "high", "wanted"),
    [
        ([1.0, 2.0], [np.nan, np.nan], None),
        ([1.0, 2.0, 4.0], [2.0, np.nan, 4.0], [2.0, 3.0, 4.0]),  # the median ratio, 1.5
        ([1.0, 2.0], [0.5, 3.0], [1.0, 3.0]),  # never below the usual
        ([0.0, 2.0], [0.0, 3.0], [0.0, 3.0]),
        ([0.0], [1.0], None),
    ],
)
def test_what_is_not_known_is_as_uncertain_as_the_rest(
    usual: list[float], high: list[float], wanted: list[float] | None
) -> None:
    found = pessimistic_seconds(np.array(usual), np.array(high))
    assert (None if found is None else found.tolist()) == wanted


def explainer(store: EvidenceStore, now: float, query: Query = CHANGE) -> Explainer:
    frame = build(query, store, now)
    return Explainer(query, store, frame, Formula())


def test_sentences_say_all_that_is_known(store: EvidenceStore, now: float) -> None:
    told = explainer(store, now).sentences(0)
    assert told == (
        "shares the words 'left_join', 'parse' and 'query' with your change",
        "covers Parser.parse, which you changed; 2 of 6 tests do",
        "its path resembles a path that you changed",
        "imports a file that you changed",
    )
    assert "does not enter what you changed" in " ".join(explainer(store, now).sentences(3))


def test_unknown_coverage_is_told(store: EvidenceStore, now: float) -> None:
    told = explainer(store, now).sentences(5)
    assert told[-1] == "its coverage is unknown: it was not measured yet"
    assert "imports a file that you changed, 2 steps away" in told


def test_readers_of_a_table_are_told(store: EvidenceStore, now: float) -> None:
    path = "src/app/table.py"
    query = Query((FileFacts(path, touched=(Symbol(path, "<module>"),), names_set=("KEYWORDS",)),))
    told = explainer(store, now, query).sentences(2)
    assert "enters lookup, which reads what you changed" in told
    assert "no test is seen to enter what you changed" in told


def test_failures_are_told(store: EvidenceStore, now: float) -> None:
    assert "failed 100 days ago" in explainer(store, now).sentences(3)


def test_where_nothing_changed_only_rules_choose(store: EvidenceStore, now: float) -> None:
    nothing = run(store, now, Query(), budget=Budget(share=0.5))
    assert not [c for c in nothing.chosen if c.why in (Why.SCORE, Why.EXPLORED)]
    assert any("Nothing changed" in notice for notice in nothing.notices)
    everything = run(store, now, Query(), budget=Budget(share=1.0))
    assert len(everything.chosen) == len(store.tests)


def test_every_known_test_has_the_likelihood_of_its_score(store: EvidenceStore, now: float) -> None:
    new = FileFacts(
        "tests/test_x.py", FileStatus.ADDED, touched=(Symbol("tests/test_x.py", "test_x"),)
    )
    selection = run(store, now, Query((TOUCHED, new)), budget=Budget(share=0.3))
    fresh, *known = sorted(
        (*selection.chosen, *selection.rest), key=lambda c: (c.why is not Why.NEW, c.score)
    )
    assert (fresh.why, fresh.likelihood) == (Why.NEW, None)
    stated = likelihood(Formula(), np.array([c.score for c in known], np.float32))
    assert stated is not None
    assert [c.likelihood for c in known] == stated.tolist() == sorted(stated.tolist())
    assert {c.likelihood != c.score for c in known} == {True}


def test_without_a_map_no_likelihood_is_made_up(store: EvidenceStore, now: float) -> None:
    other = Formula(Constants(text=0.8))
    made = select(CHANGE, store, other, Rules(), Budget(share=0.3), now, "d1")
    assert {c.likelihood for c in (*made.chosen, *made.rest)} == {None}
