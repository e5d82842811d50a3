"""The promise: what thresholds earn, by the theorem's arithmetic and by simulation."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foretest.client import parse_share
from foretest.config import Config
from foretest.errors import BadBundle
from foretest.evidence.store import EvidenceStore
from foretest.features.query import FileFacts, Query
from foretest.models.formula import Constants, Formula
from foretest.records import Basis, Budget, Selection, Symbol, Why
from foretest.selection import promise as promises
from foretest.selection.compose import select
from foretest.selection.formats import selection_from_json, selection_to_json
from foretest.selection.policy import Rules
from foretest.selection.promise import (
    ALWAYS,
    TOLERANCE,
    Aim,
    Calibration,
    Case,
    aim_at,
    aim_for,
    as_case,
    calibrations,
    decisive,
    identity,
    needed,
    percent,
    pooled,
)
from foretest.selection.promise_wording import explanation, sentence
from foretest.selection.summary import summary

TOUCHED = FileFacts(
    "src/app/parser.py", touched=(Symbol("src/app/parser.py", "Parser.parse"),)
)  # fmt: skip
CHANGE = Query((TOUCHED,), {"left_join": 1.0, "query": 2.0}, {"nested": 1.0})


NEVER = -1.0
"""Stands for a case none of whose failing tests can run."""
RULES = decisive(Rules())


def calibration(*groups: Any, basis: Basis = Basis.OWN) -> Calibration:
    """Of scores, or of (score, share) pairs; a share is 0 where none is given."""
    named = {f"g{i}": tuple(map(case, np.atleast_1d(g).tolist())) for i, g in enumerate(groups)}
    return Calibration(basis, named, identity(Formula()), RULES)


def case(score: float, share: float = 0.0) -> Case:
    return () if score == NEVER else ((score, share),)


def reached(*cases: tuple[float, float], basis: Basis = Basis.OWN) -> Calibration:
    """A group for each (score, share)."""
    groups = {f"g{i}": (case(*pair),) for i, pair in enumerate(cases)}
    return Calibration(basis, groups, identity(Formula()), RULES)


def even(n: int, score: float = 0.5, basis: Basis = Basis.OWN) -> Calibration:
    return calibration(*[score] * n, basis=basis)


scores = st.one_of(st.floats(0, 1, width=32), st.sampled_from([ALWAYS, NEVER, 0.0, 1.0, 0.25, 0.5]))
grouped = st.lists(st.lists(scores, min_size=1, max_size=4), min_size=1, max_size=40)
levels = st.one_of(st.sampled_from([0.5, 0.8, 0.9, 0.95]), st.floats(0.01, 0.999))


EACH_TIME_THE_SAME = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
"""The store is only read."""


# --- arithmetic ---


@given(grouped, levels, levels)
def test_more_confidence_never_runs_less(groups: list[list[float]], a: float, b: float) -> None:
    made = calibration(*groups)
    low, high = sorted((a, b))
    wide, narrow = made.threshold(high), made.threshold(low)
    if wide is not None:
        assert narrow is not None
        assert wide <= narrow


@given(grouped, levels)
def test_a_threshold_earns_its_level_and_none_larger_does(
    groups: list[list[float]], level: float
) -> None:
    made = calibration(*groups)
    threshold = made.threshold(level)
    known = {score for group in groups for score in group if 0 <= score <= 1} | {1.0}
    if threshold is None:
        assert all(made.level(t) < level for t in known)
    else:
        assert 0 <= threshold <= 1
        assert made.level(threshold) >= level - TOLERANCE
        assert all(made.level(t) < level for t in known if t > threshold)


@given(grouped, st.floats(0, 1), st.floats(0, 1))
def test_sets_are_nested_and_levels_with_them(
    groups: list[list[float]], a: float, b: float
) -> None:
    made = calibration(*groups)
    low, high = sorted((a, b))
    assert made.level(low) >= made.level(high)


@given(st.integers(0, 300), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_the_number_needed_is_where_promises_begin(n: int, level: float) -> None:
    assert (even(n).threshold(level) is not None) == (n >= (needed(level) or math.inf))


def test_the_rule_of_conformal_risk_control_by_hand() -> None:
    # Two cases in one group weigh half each: risk(0.3) = (0.5 + 0 + 0) / 3.
    made = calibration([0.2, 0.4], 0.3, 0.6)
    assert made.level(0.2) == pytest.approx(3 / 4)
    assert made.level(0.3) == pytest.approx(2.5 / 4)
    assert made.level(0.4) == pytest.approx(1.5 / 4)
    assert made.threshold(0.7) == 0.2
    assert made.threshold(0.6) == 0.3
    assert made.threshold(0.76) is None


def test_rules_catch_at_any_threshold_and_the_gone_at_none() -> None:
    assert calibration(*[ALWAYS] * 19).threshold(0.95) == 1.0
    assert calibration(*[ALWAYS] * 19, NEVER).level(0.0) == pytest.approx(19 / 21)
    assert calibration(NEVER).threshold(0.01) is None
    assert calibration().level(0.0) == 0
    assert calibration().threshold(0.5) is None


def test_hundred_percent_is_promised_by_nothing() -> None:
    assert needed(1.0) is None
    aim = aim_at(1.0, [even(10_000)])
    assert aim.threshold is None
    assert "no number of past changes suffices" in aim.notice


# --- simulation: what the theorem says must be seen ---

TRIALS = 1500
LEVEL = 0.9
ERROR = 4 * math.sqrt(LEVEL * (1 - LEVEL) / TRIALS)
"""Four Monte-Carlo errors of a mean of values in 0..1."""


def _caught(groups: int, cases: int, spread: float, *, naive: bool) -> float:
    """The share of a new group's cases that is caught, mean over many draws.

    Centres of groups differ by `spread`, cases of one group by a tenth.
    """
    random = np.random.default_rng(3)
    found = []
    for _ in range(TRIALS):
        drawn = [
            1 / (1 + np.exp(-random.normal(centre, 0.1, 1 + random.integers(cases))))
            for centre in random.normal(0, spread, groups + 1)
        ]
        *known, new = drawn
        units = np.concatenate(known) if naive else known
        threshold = calibration(*units).threshold(LEVEL)
        assert threshold is not None
        found.append(float(np.mean(new >= threshold)))
    return float(np.mean(found))


def test_exchangeable_cases_keep_the_promise_and_waste_little() -> None:
    found = _caught(39, 1, 1.0, naive=False)
    assert LEVEL - ERROR <= found <= LEVEL + 1 / 40 + ERROR


def test_groups_that_differ_keep_it_only_where_groups_are_the_units() -> None:
    assert _caught(9, 8, 1.0, naive=False) >= LEVEL - ERROR
    assert _caught(9, 8, 1.0, naive=True) < LEVEL - ERROR


@pytest.mark.parametrize("odd", [False, True])
def test_a_cut_keeps_what_it_promises(odd: bool) -> None:
    """The threshold comes from the same cases; worst where the weakest are reached first."""
    random = np.random.default_rng(5)
    promised, found = [], []
    for _ in range(TRIALS):
        drawn = [(s, 1 - s if not odd else s) for s in random.random(21).tolist()]
        *known, new = drawn
        made = reached(*known)
        threshold = made.threshold(LEVEL)
        assert threshold is not None
        promised.append(made.within(LEVEL, 0.5))
        found.append(new[0] >= threshold and new[1] <= 0.5)
    assert np.mean(promised) <= np.mean(found) + ERROR
    assert np.mean(promised) >= np.mean(found) - 0.1 - ERROR


def test_a_test_that_a_threshold_leaves_out_catches_nothing() -> None:
    assert as_case([(0.2, 0.1), (0.5, 0.3), (0.4, 0.6)]) == ((0.5, 0.3), (0.2, 0.1))
    made = Calibration(Basis.OWN, {"a": (((0.5, 0.3), (0.2, 0.1)),)}, "m", RULES)
    assert made.level(0.2, 0.1) == 0.5
    assert made.level(0.3, 0.1) == 0
    assert made.level(0.3, 0.3) == 0.5


def test_a_level_read_from_text_needs_no_group_more() -> None:
    level = parse_share("99.9%")
    assert needed(level) == 999
    aim = aim_at(level, [even(999)])
    assert (aim.threshold, aim.notice) == (0.5, "")
    assert aim.promise().made == pytest.approx(0.999)


# --- which calibration answers ---


def test_the_own_one_answers_as_soon_as_it_has_enough() -> None:
    own, other = even(19, 0.4), even(100, 0.1, Basis.POOLED)
    assert aim_at(0.95, [own, other]).threshold == 0.4
    assert aim_at(0.99, [own, other]).threshold == 0.1
    assert aim_at(0.95, [even(18, 0.4), other]).calibration is other


def test_too_few_of_both_is_said_with_numbers() -> None:
    aim = aim_at(0.95, [even(7), even(8, basis=Basis.POOLED)])
    assert aim.threshold is None
    assert "95 % cannot be promised" in aim.notice
    assert "19 faulty commits of this repository, or 19 other repositories" in aim.notice
    assert "7 faulty commits here and 8 repositories in the pooled calibration" in aim.notice
    assert "no calibration" in aim_at(0.9, []).notice


def test_enough_that_are_missed_at_any_threshold_promise_nothing() -> None:
    aim = aim_at(0.9, [calibration(*[NEVER] * 20), even(50, basis=Basis.POOLED)])
    assert aim.threshold is None
    assert "too many" in aim.notice


def test_a_calibration_of_another_model_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "pooled", lambda: None)
    kept = {"calibration": json.loads(json.dumps(even(30).to_json()))}
    other = Formula(dataclasses.replace(Constants(), text=0.5))
    assert calibrations(kept, Formula(), Rules()) == [even(30)]
    assert calibrations(kept, other, Rules()) == []
    assert calibrations({}, Formula(), Rules()) == []
    assert "with another model and is not used" in aim_for(0.9, kept, other, Rules()).notice


BASE = Rules(must_run=("a",), never_widen=("*.md",))


@pytest.mark.parametrize(
    ("now", "holds"),
    [
        (BASE, True),
        (Rules(must_run=("b", "a"), never_widen=("*.md",)), True),  # this only adds tests
        (Rules(must_run=(), never_widen=("*.md",)), False),
        (Rules(must_run=("a",), never_widen=("*.md", "*.rst")), False),
        (Rules(must_run=("a",), never_widen=()), False),
        (dataclasses.replace(BASE, max_coverage_age=1000.0), False),
        (dataclasses.replace(BASE, recent_days=1.0, explore=0.5), True),
    ],
)
def test_a_calibration_under_other_rules_is_not_used_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, now: Rules, holds: bool
) -> None:
    monkeypatch.setattr(promises, "pooled", lambda: None)
    made = dataclasses.replace(even(30), rules=decisive(BASE))
    kept = {"calibration": made.to_json()}
    assert calibrations(kept, Formula(), now) == ([made] if holds else [])
    notice = aim_for(0.9, kept, Formula(), now).notice
    assert ("made under other rules" in notice) == (not holds)


@pytest.mark.parametrize(
    "damage",
    [
        None,
        [],
        "x",
        {"groups": 3},
        {"groups": {"a": []}},
        {"groups": {"a": [0.5]}},
        {"groups": {"a": [[["0.5", 0.1]]]}},
        {"groups": {"a": [[[True, 0.1]]]}},
        {"groups": {"a": [[[1.5, 0.1]]]}},
        {"groups": {"a": [[[float("nan"), 0.1]]]}},
        {"groups": {"a": [[[0.5, float("nan")]]]}},
        {"groups": {"a": [[[0.5, 1.5]]]}},
        {"groups": {"a": [[[0.5, 0.1, 0.2]]]}},
        {"rules": {}},
        {"rules": {**RULES, "must_run": "*"}},
        {"basis": "none"},
        {"basis": "hearsay"},
        {"lineage": 7},
    ],
)
def test_damage_is_refused_with_a_remedy(damage: Any) -> None:
    whole = even(20).to_json()
    data = {**whole, **damage} if isinstance(damage, dict) else damage
    with pytest.raises(BadBundle, match="calibration of the promise cannot be read") as caught:
        Calibration.from_json(data)
    assert "foretest learn" in caught.value.remedy


def test_what_the_package_brings_is_of_the_packages_model() -> None:
    made = pooled()
    assert made is not None
    assert made.basis is Basis.POOLED
    assert made.size >= 8
    assert set(made.lineage["commits"]) == set(made.groups)
    assert made.level(0.0) <= made.size / (made.size + 1)
    assert made.model == identity(Formula())
    # It holds for a repository that sets no rules of its own, and where `must_run` adds some.
    usual = Rules.of(Config(Path()))
    assert made.holds_under(decisive(usual))
    assert made.holds_under(decisive(dataclasses.replace(usual, must_run=("x",))))
    assert not made.holds_under(decisive(dataclasses.replace(usual, never_widen=("*",))))


@pytest.mark.parametrize("damage", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"basis": "own"}'])
def test_a_damaged_pooled_one_says_to_install_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: bytes
) -> None:
    (tmp_path / promises.POOLED).parent.mkdir(parents=True)
    (tmp_path / promises.POOLED).write_bytes(damage)
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    with pytest.raises(BadBundle) as caught:
        pooled()
    assert "Install foretest again" in caught.value.remedy


def test_a_pooled_one_in_the_place_of_the_own_is_refused() -> None:
    kept = {"calibration": even(30, basis=Basis.POOLED).to_json()}
    with pytest.raises(BadBundle, match="it is pooled, where own is expected"):
        calibrations(kept, Formula(), Rules())


# --- in a selection ---


def run(store: EvidenceStore, now: float, aim: Aim | None, **more: Any) -> Selection:
    rules = more.pop("rules", Rules(explore=0.0))
    budget = more.pop("budget", Budget())
    query = more.pop("query", CHANGE)
    return select(query, store, Formula(), rules, budget, now, "d1", aim=aim, **more)


def names(selection: Selection) -> set[str]:
    return {choice.test for choice in selection.chosen}


def at(threshold: float, n: int = 20, level: float = 0.9) -> Aim:
    """An aim whose threshold is this one."""
    aim = aim_at(level, [even(n, threshold)])
    assert aim.threshold == threshold
    return aim


@given(threshold=st.floats(0, 1, width=32))
@EACH_TIME_THE_SAME
def test_the_set_is_all_above_the_threshold(
    store: EvidenceStore, now: float, threshold: float
) -> None:
    everyone = run(store, now, None)
    expected = {choice.test for choice in everyone.chosen if choice.score >= threshold}
    selection = run(store, now, at(threshold))
    assert names(selection) == expected
    assert selection.promise is not None
    assert not selection.promise.cut
    ran = 0.9 if selection.chosen else 0.0
    assert selection.promise.made == (ran if selection.rest else 1.0)
    assert selection.run_all == (not selection.rest)


def test_what_is_below_says_so(store: EvidenceStore, now: float) -> None:
    selection = run(store, now, at(0.3))
    told = {c.reason for c in selection.rest if c.score > 0.005}
    assert told == {"its score is below 0.3, from which on tests run for the promise"}


def test_rules_stay_in_force(store: EvidenceStore, now: float) -> None:
    slow = "tests/test_draw.py::test_slow"
    selection = run(store, now, at(0.9), rules=Rules(must_run=("*test_slow",), explore=0.0))
    assert slow in names(selection)
    lock = (TOUCHED, FileFacts("uv.lock"))
    widened = run(store, now, at(0.9), query=Query(lock))
    assert widened.run_all
    assert widened.promise is not None
    assert widened.promise.made == 1


def test_exploration_adds_only(store: EvidenceStore, now: float) -> None:
    plain = run(store, now, at(0.3))
    for share in (0.3, 0.9):
        drawn = run(store, now, at(0.3), rules=Rules(explore=share))
        assert names(plain) <= names(drawn)
        extra = [c for c in drawn.chosen if c.test not in names(plain)]
        assert {c.why for c in extra} <= {Why.EXPLORED}
        limited = run(store, now, at(0.3), rules=Rules(explore=share), budget=Budget(seconds=0.5))
        unexplored = run(store, now, at(0.3), budget=Budget(seconds=0.5))
        assert names(unexplored) <= names(limited)


def test_a_budget_that_holds_the_set_changes_nothing_but_the_promise(
    store: EvidenceStore, now: float
) -> None:
    wide = run(store, now, at(0.3, n=40), budget=Budget(share=0.9))
    assert names(wide) == names(run(store, now, at(0.3)))
    assert wide.promise is not None
    assert (wide.promise.made, wide.promise.cut) == (0.9, False)
    # It would cut half of the known changes: of those is the promise, not of this one.
    halves = reached(*[(0.3, 0.1), (0.3, 0.95)] * 20)
    other = run(store, now, aim_at(0.9, [halves]), budget=Budget(share=0.9))
    assert other.promise is not None
    assert not other.promise.cut
    assert other.promise.made == pytest.approx(20 / 41)
    for whole in (Budget(share=1.0), Budget(seconds=1e9)):
        unlimited = run(store, now, aim_at(0.9, [halves]), budget=whole).promise
        assert unlimited is not None
        assert unlimited.made == 0.9


@given(
    known=st.lists(st.tuples(scores, st.floats(0, 1)), min_size=9, max_size=60),
    share=st.floats(0, 0.99),
)
@EACH_TIME_THE_SAME
def test_a_cut_promises_what_the_known_cases_earn_by_then(
    store: EvidenceStore, now: float, known: list[tuple[float, float]], share: float
) -> None:
    made = reached(*((s, 0.0 if s == ALWAYS else r) for s, r in known))
    aim = aim_at(0.9, [made])
    promise = run(store, now, aim, budget=Budget(share=share)).promise
    assert promise is not None
    assert promise.made in (0.0, 1.0, made.within(0.9, share))
    assert made.within(0.9, share) <= made.level(aim.threshold or 0.0, share) + TOLERANCE


@given(grouped, levels, st.floats(0, 1), st.floats(0, 1))
def test_more_time_never_promises_less(
    groups: list[list[float]], level: float, a: float, b: float
) -> None:
    made = reached(*((score, abs(score) % 1) for group in groups for score in group))
    low, high = sorted((a, b))
    assert made.within(level, low) <= made.within(level, high) <= level


def test_an_empty_set_promises_nothing(store: EvidenceStore, now: float) -> None:
    for budget in (Budget(share=0.0), Budget(seconds=0.0)):
        nothing = run(store, now, at(0.3), budget=budget)
        assert not nothing.chosen
        assert nothing.promise is not None
        assert nothing.promise.made == 0
        assert "no rule names a test, and none runs for its score" in sentence(nothing)
    above = run(store, now, at(1.0))
    assert not above.chosen
    assert above.promise is not None
    assert above.promise.made == 0


def test_what_rules_take_beyond_the_known_is_off_the_budget(
    store: EvidenceStore, now: float
) -> None:
    early = reached(*[(0.3, 0.05)] * 40)
    rules = Rules(must_run=("*test_slow",), explore=0.0)

    def made(calibration: Calibration, share: float) -> float:
        cut = run(store, now, aim_at(0.9, [calibration]), rules=rules, budget=Budget(share=share))
        assert cut.promise is not None
        return cut.promise.made

    slow = run(store, now, at(0.3), rules=rules)
    taken = sum(c.seconds for c in slow.chosen if c.why is Why.MUST_RUN) / slow.suite_seconds
    assert taken > 0.05
    assert made(early, taken + 0.04) == 0
    assert made(early, taken + 0.06) == 0.9
    # Where the cases knew of the rule their shares hold its time already.
    knowing = dataclasses.replace(early, rules=decisive(rules))
    assert made(knowing, 0.06) == 0.9


def test_where_nothing_can_be_promised_all_run_and_it_is_said(
    store: EvidenceStore, now: float
) -> None:
    selection = run(store, now, aim_at(0.95, [even(18)]))
    assert selection.run_all
    assert not selection.rest
    assert {c.why for c in selection.chosen} == {Why.RUN_ALL}
    assert any("18 faulty commits here" in notice for notice in selection.notices)
    assert sentence(selection) == "promise (95 % asked): nothing is left out."
    other = replace(selection.chosen[-1], why=Why.OTHER_SHARD)
    part = replace(selection, chosen=selection.chosen[:-1], rest=(other,))
    assert sentence(part) == ("promise, all shards together (95 % asked): nothing is left out.")
    cut = run(store, now, aim_at(0.95, [even(18)]), budget=Budget(seconds=0.25))
    assert cut.rest
    assert not cut.run_all
    assert cut.promise is not None
    assert 0 < cut.promise.made < 0.95
    unknown = run(store, now, aim_at(0.95, []), budget=Budget(seconds=0.25))
    assert sentence(unknown).startswith("no promise (95 % asked)")


def test_where_nothing_changed_nothing_is_promised(store: EvidenceStore, now: float) -> None:
    selection = run(store, now, at(0.3), query=Query(()))
    assert not selection.chosen
    assert selection.promise is None
    assert "Nothing changed: only tests that always run are selected." in selection.notices


def test_without_an_aim_nothing_is_said(store: EvidenceStore, now: float) -> None:
    selection = run(store, now, None, budget=Budget(share=0.01))
    assert selection.promise is None
    assert sentence(selection) == ""
    assert explanation(selection) == []
    assert "Confidence: **unknown**" in summary(selection)


# --- in words ---


def test_words_say_whose_promise_it_is(store: EvidenceStore, now: float) -> None:
    own = run(store, now, at(0.3))
    assert sentence(own) == (
        "promise: 90 % of faulty changes are caught; calibrated on 20 faulty commits of this "
        "repository."
    )
    other = run(store, now, aim_at(0.9, [even(20, 0.3, Basis.POOLED)]))
    assert "calibrated on 20 other repositories, so it is not this repository's own" in sentence(
        other
    )
    assert "Promise: 90 % of faulty changes are caught" in summary(own)
    told = " ".join(explanation(own))
    assert "score of at least 0.3" in told
    assert "past changes, taken back" in told


def test_a_cut_promise_names_both_levels(store: EvidenceStore, now: float) -> None:
    spread = reached(*((s, (1 - s) / 9) for s in np.linspace(0.05, 0.95, 40).tolist()))
    cut = run(store, now, aim_at(0.95, [spread]), budget=Budget(seconds=0.15))
    assert cut.promise is not None
    assert cut.promise.cut
    assert f"{percent(cut.promise.made)} of faulty changes are caught instead of 95 %" in sentence(
        cut
    )
    assert "of that threshold and this budget together" in " ".join(explanation(cut))


def test_a_budget_in_seconds_promises_what_its_p90s_leave(store: EvidenceStore, now: float) -> None:
    spread = reached(*((s, (1 - s) / 9) for s in np.linspace(0.05, 0.95, 40).tolist()))

    def made(ratio: float | np.ndarray[Any, Any], seconds: float) -> float:
        timed = replace(store, seconds_high=store.seconds * ratio)
        cut = run(timed, now, aim_at(0.95, [spread]), budget=Budget(seconds=seconds))
        assert cut.promise is not None
        return cut.promise.made

    plain = run(store, now, aim_at(0.95, [spread]), budget=Budget(seconds=0.15)).promise
    assert plain is not None
    assert made(1.0, 0.15) == made(2.0, 0.3) == plain.made > 0
    # Whichever tests a change needs, the uncertain ones among them, they fit this share.
    uneven = np.where(np.arange(len(store.tests)) == 0, 100.0, 1.0)
    assert made(uneven, 0.15) < plain.made


@given(st.floats(0, 1))
def test_a_printed_level_is_never_rounded_up(level: float) -> None:
    assert float(percent(level).removesuffix(" %")) / 100 <= level + 1e-9


def test_json_brings_the_promise_back(store: EvidenceStore, now: float) -> None:
    for aim in (at(0.3), aim_at(0.95, []), None):
        selection = run(store, now, aim)
        wire = json.loads(json.dumps(selection_to_json(selection), allow_nan=False))
        assert selection_from_json(wire) == selection
    old = selection_to_json(run(store, now, None))
    del old["promise"]
    assert selection_from_json(old).promise is None
