"""The search for a culprit: always right where the answers are, and cheaper with a good prior."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from foretest.blame import Suspect, find_culprit


def suspects(weights: list[float]) -> list[Suspect]:
    return [Suspect(f"{i:040x}", f"change {i}", w) for i, w in enumerate(weights)]


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=60), st.data())
def test_finds_the_culprit_whatever_the_prior(weights: list[float], data: st.DataObject) -> None:
    culprit = data.draw(st.integers(0, len(weights) - 1))
    verdict = find_culprit(suspects(weights), lambda i: i >= culprit, max_runs=100)
    assert verdict.culprit is not None
    assert verdict.culprit.commit == f"{culprit:040x}"


@given(st.integers(1, 200), st.data())
def test_equal_weights_are_plain_bisection(n: int, data: st.DataObject) -> None:
    culprit = data.draw(st.integers(0, n - 1))
    verdict = find_culprit(suspects([1.0] * n), lambda i: i >= culprit)
    assert verdict.runs <= verdict.plain_runs


def test_a_good_prior_needs_few_runs() -> None:
    weights = [0.01] * 1000
    weights[137] = 100.0
    verdict = find_culprit(suspects(weights), lambda i: i >= 137)
    assert verdict.runs <= 4 < verdict.plain_runs


def test_a_test_that_passes_at_the_end_is_called_flaky() -> None:
    verdict = find_culprit(suspects([1, 1]), lambda i: False)
    assert verdict.culprit is None
    assert "flaky" in verdict.note


def test_a_test_that_failed_before_has_no_culprit() -> None:
    verdict = find_culprit(suspects([1, 1]), lambda i: True)
    assert verdict.culprit is None
    assert "before" in verdict.note


def test_states_that_do_not_build_are_stepped_around() -> None:
    verdict = find_culprit(suspects([1] * 9), lambda i: None if i == 4 else i >= 7)
    assert verdict.culprit is not None
    assert verdict.culprit.subject == "change 7"


def test_says_which_commits_remain_when_nothing_between_builds() -> None:
    verdict = find_culprit(suspects([1] * 4), lambda i: None if i in (1, 2) else i >= 3)
    assert verdict.culprit is None or verdict.culprit.subject == "change 3"
    verdict = find_culprit(suspects([1] * 4), lambda i: None if i in (0, 1, 2) else i >= 3)
    assert verdict.culprit is None
    assert "could not be run" in verdict.note
