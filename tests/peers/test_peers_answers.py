"""Facts on disk, what the tools are told, and what their answers are worth."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.evidence.collect import with_results
from foretest.evidence.store import EvidenceStore
from foretest.features.query import Query
from foretest.peers.answers import Answer, read_answers
from foretest.peers.asking import shares_of
from foretest.peers.desk import faulty_changes
from foretest.peers.environment import last_words
from foretest.peers.tools import TOOLS, Layout, Question, filled, layout_of, spelled
from foretest.peers.verdicts import as_text, judge_answer, peer_rows
from foretest.replay.judge import Trial
from foretest.replay.metrics import Score
from foretest.replay.strategies import ORACLE, OURS
from foretest.replay.table import Verdict
from foretest.selection.compose import predicted_seconds

ANSWER = Answer(
    case_id="undone-abc-0",
    commit="c0",
    question="testmon",
    asked="--testmon",
    version="2.2.0",
    before="",
    chosen=("tests/test_a.py::test_grün",),
    seconds=1.5,
)
SELECTS = Question("testmon", ("--testmon",))
ORDERS = Question("ranking", ("--rank",), orders=True)


@pytest.mark.parametrize("chosen", [None, (), ("a.py::b", "a.py::c")])
def test_an_answer_is_read_as_it_was_written(tmp_path, chosen):
    path = tmp_path / "answers.jsonl"
    answer = replace(ANSWER, chosen=chosen, said="" if chosen else "crashed")
    path.write_text(answer.to_line(), encoding="utf-8")
    assert list(read_answers(path)) == [answer]


def test_what_is_damaged_or_torn_is_passed_over(tmp_path):
    path = tmp_path / "answers.jsonl"
    record = json.loads(ANSWER.to_line())
    hostile = [
        "{",
        "[]",
        "null",
        "{}",
        json.dumps({**record, "chosen": "tests"}),
        json.dumps({**record, "chosen": [1]}),
        json.dumps({**record, "seconds": "soon"}),
        json.dumps({**record, "shares": [1]}),
        json.dumps({**record, "shares": {"a": 2}}),
        json.dumps({**record, "shares": {"a": "b"}}),
        json.dumps({**record, "newer": 1}),
    ]
    torn = ANSWER.to_line()[:-20]
    path.write_text("\n".join(hostile) + "\n" + ANSWER.to_line() + torn, encoding="utf-8")
    assert list(read_answers(path)) == [ANSWER]
    assert list(read_answers(tmp_path / "none")) == []


@pytest.mark.parametrize(
    "change", [{"commit": "c1"}, {"version": "3"}, {"asked": "--other"}, {"before": "undone-x-0"}]
)
def test_another_state_version_question_or_past_is_asked_again(change):
    assert replace(ANSWER, **change).key != ANSWER.key


# --- what they are told ---


@pytest.mark.parametrize(
    ("files", "units", "layout"),
    [
        (["sqlparse/__init__.py", "sqlparse/lexer.py", "setup.py"], ["tests/test_a.py::t"],
         Layout("sqlparse", "tests")),
        (["src/shop/__init__.py", "src/shop/a.py", "noxfile.py"], ["tests/deep/test_a.py::t"],
         Layout("src/shop", "tests/deep")),
        (["small/__init__.py", "large/__init__.py", "large/a.py"], ["large/tests/test_a.py::t"],
         Layout("large", "large/tests")),
        (["single.py"], ["test_single.py::t"], Layout("single", "")),
        (["a/__init__.py"],
         ["tests/x/test_a.py::t", "tests/y/test_b.py::t", "integration/test_c.py::t"],
         Layout("a", "tests")),
        ([], [], Layout("", "")),
    ],
)  # fmt: skip
def test_where_package_and_tests_are(files, units, layout):
    assert layout_of(files, units) == layout


def test_an_argument_without_its_place_is_left_out():
    args = ("--on", "--module={package}", "--tests={tests}", "--rc={own}/rc")
    assert filled(args, Layout("src/a", ""), "/o") == ["--on", "--module=src/a", "--rc=/o/rc"]


def test_every_tool_is_pinned_and_every_row_has_a_name_of_its_own():
    names = [question.name for tool in TOOLS for question in tool.questions]
    assert len(set(names)) == len(names)
    for tool in TOOLS:
        assert bool(tool.requirement) == bool(tool.version)
        assert tool.state or not tool.meets_failures
        for question in tool.questions:
            assert "{" not in spelled(question, Layout("a", "b"))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "nothing"),
        ("  \n==\n", "nothing"),
        ("one\ntwo\n", "two"),
        ("ERROR: No matching distribution\nnotice: update\n", "ERROR: No matching distribution"),
        ("INTERNALERROR> ValueError: x\n", "ValueError: x"),
        ("x" * 900, "x" * 300),
    ],
)
def test_the_line_that_tells_most(output, words):
    assert last_words(output) == words


# --- what they are worth ---


@pytest.fixture
def known(store: EvidenceStore) -> EvidenceStore:
    return with_results(store, seconds=dict.fromkeys(store.tests, 1.0))


def trial(name="x", failed=(), commit=None, time=1000.0):
    return Trial(name, "r", commit or name, time, Query(()), frozenset(failed))


def judged(store, question, chosen, failed, **more):
    answer = replace(ANSWER, chosen=chosen, **more)
    seconds = predicted_seconds(store.seconds)
    return judge_answer(answer, question, trial(failed=failed), store, seconds)


def test_a_selection_without_the_failing_test_misses_it_at_any_budget(known):
    got = judged(known, SELECTS, known.tests[:2], [known.tests[4]])
    assert not got.verdict.score.selected
    assert set(got.verdict.score.caught) == {0.0}
    assert got.time == pytest.approx(2 / 7)


def test_a_selection_runs_in_the_tools_own_order(known):
    tests = known.tests
    got = judged(known, SELECTS, (tests[5], tests[3], "gone.py::test"), [tests[3]])
    assert got.verdict.score.selected
    assert got.verdict.score.first == pytest.approx(2 / 7)


def test_an_order_leaves_nothing_out_and_what_it_does_not_name_comes_last(known):
    got = judged(known, ORDERS, known.tests[1:2], [known.tests[6]])
    assert got.verdict.score.selected
    assert (got.verdict.score.first, got.time) == (1.0, 1.0)


def test_without_an_answer_everything_runs_in_the_suites_order(known):
    got = judged(known, SELECTS, None, [known.tests[2]], said="crashed")
    assert got.verdict.score.selected
    assert got.verdict.score.first == pytest.approx(3 / 7)
    assert got.time == 1.0


def test_a_tool_that_chooses_parameters_takes_their_time_alone(known):
    """Else ours would be given the time of parameters that the tool never ran."""
    whole = judged(known, SELECTS, known.tests[:2], [known.tests[0]])
    part = judged(known, SELECTS, known.tests[:2], [known.tests[0]], shares={known.tests[0]: 0.25})
    assert (whole.time, part.time) == (pytest.approx(2 / 7), pytest.approx(1.25 / 7))
    assert part.verdict.score == whole.verdict.score
    row = peer_rows({"testmon": [part]}, {OURS: [ours("x", 0.2)]})[0]
    assert (row.time[0], row.ours_missed[0]) == (pytest.approx(1.25 / 7), 1.0)


def test_shares_are_of_units_chosen_in_part():
    collected = ["a.py::t[1]", "a.py::t[2]", "a.py::u", "a.py::v[x::y]", "a.py::v[z]"]
    chosen = ["a.py::t[2]", "a.py::u", "a.py::v[z]", "a.py::v[x::y]"]
    assert shares_of(chosen, collected) == {"a.py::t": 0.5}
    assert shares_of([], collected) == {}
    assert shares_of(["a.py::late"], collected) == {}


def test_choosing_nothing_misses_and_costs_nothing(known):
    got = judged(known, SELECTS, (), [known.tests[2]])
    assert (got.verdict.score.selected, got.time) == (False, 0.0)


@given(chosen=st.lists(st.integers(0, 9)), failed=st.sets(st.integers(0, 6), min_size=1))
def test_a_miss_is_a_selection_apart_from_the_failing_tests(chosen, failed):
    names = [f"t.py::test_{i}" for i in range(10)]
    store = Known(tuple(names[:7]))
    answer = replace(ANSWER, chosen=tuple(dict.fromkeys(names[i] for i in chosen)))
    units = [names[i] for i in failed]
    got = judge_answer(answer, SELECTS, trial(failed=units), store, np.ones(7))
    assert got.verdict.score.selected == bool(set(chosen) & failed)
    assert got.time == pytest.approx(len({i for i in chosen if i < 7}) / 7)


class Known:
    """The two things that judging an answer asks of the evidence."""

    def __init__(self, tests):
        self.tests = tests
        self.test_index = {test: place for place, test in enumerate(tests)}


def ours(case, first, strategy=OURS):
    caught = tuple(float(first <= share) for share in (0.01, 0.05, 0.10, 0.20, 0.33))
    return Verdict("s", strategy, case, "r", case, Score(caught, True, first, first, 0.5, 0.5))


def test_ours_is_given_the_time_that_the_tool_took_on_each_change(known):
    tests = known.tests
    hit = judged(known, SELECTS, tests[:1], [tests[0]])  # a seventh of the time, caught
    miss = judged(known, SELECTS, tests[:3], [tests[4]])  # three sevenths, missed
    cases = ("x", "y")
    theirs = [
        replace(each, verdict=replace(each.verdict, case_id=case, commit=case))
        for each, case in zip((hit, miss), cases, strict=True)
    ]
    orders = {
        ORACLE: [ours(case, 0.01, ORACLE) for case in cases],
        OURS: [ours("x", 0.15), ours("y", 0.40)],  # too late for a seventh, in time for three
    }
    row, *references = peer_rows({"testmon": theirs}, orders)
    assert (row.n, row.missed[0], row.ours_missed[0], row.fewer[0]) == (2, 0.5, 0.5, 0.0)
    assert row.time[0] == pytest.approx(2 / 7)
    assert (row.seconds, row.unanswered) == (1.5, 0)
    assert {r.strategy: r.missed[0] for r in references} == {
        "oracle in 5%": 0.0, "oracle in 10%": 0.0, "oracle in 20%": 0.0,
        "foretest in 5%": 1.0, "foretest in 10%": 1.0, "foretest in 20%": 0.5,
    }  # fmt: skip
    text = as_text((row, *references))
    assert "foretest in that time" in text
    assert "50 [" in text


def test_a_tool_asked_about_other_changes_is_refused(known):
    got = judged(known, SELECTS, (), [known.tests[0]])
    with pytest.raises(ValueError, match="testmon"):
        peer_rows({"testmon": [got]}, {OURS: [ours("other", 0.1)], ORACLE: []})


def test_one_change_has_no_interval(known):
    got = judged(known, SELECTS, known.tests[:1], [known.tests[0]])
    row = peer_rows({"testmon": [got]}, {OURS: [ours("x", 0.1)]})[0]
    assert row.missed[0] == 0.0
    assert math.isnan(row.missed[1])


def test_the_change_before_is_of_an_earlier_commit():
    trials = [
        trial("c-0", commit="c", time=3.0),
        trial("b-1", commit="b", time=2.0),
        trial("b-0", commit="b", time=2.0),
        trial("a-0", commit="a", time=1.0),
    ]
    patches = {t.case_id: t.case_id.encode() for t in trials}
    found = faulty_changes(trials, patches, ["c-0", "b-0", "b-1", "a-0"])
    assert [c.trial.case_id for c in found] == ["c-0", "b-0", "b-1", "a-0"]
    assert [c.before and c.before.trial.case_id for c in found] == ["b-1", "a-0", "a-0", None]
    assert found[0].patch == b"c-0"
