"""From the lab's cases to trials, tables and the report's nouns."""

from dataclasses import replace
from math import isnan

import pytest
from test_replay_judge import TESTS, evidence, trial

from foretest.bundle import Bundle
from foretest.errors import NothingToReplay
from foretest.lab.labels import Case, CaseFile
from foretest.records import FileStatus, Source, Symbol
from foretest.replay.cases import trials_of
from foretest.replay.judge import ALL, ELSEWHERE, FAULTS
from foretest.replay.run import replay
from foretest.report.page import render
from foretest.selection.policy import Freshness, Rules

CASE = Case(
    case_id="undone-abc-0",
    repository="r",
    source=Source.UNDONE,
    commit="c0",
    files=(
        CaseFile(
            "src/a.py", FileStatus.MODIFIED, touched=(Symbol("src/a.py", "beta"),), names_set=("B",)
        ),
    ),
    undone_commit="abcdef0123456789",
    hunk=0,
    author_time=77,
    removed={"word6": 2},
    failed=(TESTS[6],),
    modified_tests=(TESTS[6],),
)


def test_a_case_becomes_a_trial_with_all_its_facts():
    (got,) = trials_of([CASE], "c0")
    assert (got.commit, got.time, got.broken) == ("abcdef0123456789", 77.0, "")
    assert got.failed == got.modified == frozenset({TESTS[6]})
    assert got.query.touched == (Symbol("src/a.py", "beta"),)
    assert got.query.names_set == ("B",)
    assert got.query.removed == {"word6": 2}
    assert got.title == "abcdef0123, hunk 1"


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"broken": "import"}, "import"),
        ({"broken": "none-failed", "failed": ()}, "none-failed"),
        ({"failed": ()}, "none-failed"),
        ({"ran": {TESTS[6]: 1.0}}, "sampled"),
        ({"ran": {TESTS[6]: 1.0}, "broken": "timeout"}, "timeout"),
    ],
)
def test_what_sets_a_case_apart(change, broken):
    (got,) = trials_of([replace(CASE, **change)], "c0")
    assert got.broken == broken


def test_the_report_shows_what_was_judged_and_what_was_not():
    trials = [
        *trials_of([CASE], "c0"),
        trial("other", 1, time=99.0),
        trial("import", 1, broken="import"),
    ]
    progress = []
    replayed = replay(
        trials,
        Bundle(evidence(), lineage={"suite_seconds": 9.5}),
        rules=Rules(),
        fresh=Freshness(),
        title="t",
        repository="r",
        progress=lambda *step: progress.append(step),
    )
    report = replayed.report
    assert progress[-1] == ("Judging", 3, 3)
    assert {row.n for row in report.rows} == {2}
    assert all(0 <= row.caught <= 1 for row in report.rows)
    assert len(report.first_failures) == 2 * len({row.strategy for row in report.rows})
    assert {case.case_id for case in report.cases} == {"undone-abc-0", "other"}
    assert all(case.rank and case.reason for case in report.cases)
    assert report.notices[0] == "1 change broke an import, which any run shows: in no figure."
    assert ALL not in {row.slice for row in report.slices}
    ours = next(line for line in replayed.lines if (line.slice, line.strategy) == (ALL, "foretest"))
    assert ours.wall_median >= 1.5  # 9.5 seconds of suite, 8 of them in tests
    assert replayed.text().count("\n\n") == 0
    assert replayed.text(slices=True).count("\n\n") > 0


def test_nothing_to_judge_by_is_said_with_what_to_do():
    with pytest.raises(NothingToReplay, match="none broke a test") as raised:
        replay(
            [trial("x", broken="none-failed")],
            Bundle(evidence()),
            rules=Rules(),
            fresh=Freshness(),
            title="t",
            repository="r",
        )
    assert "foretest learn --undo" in raised.value.remedy


def judged(cases, at="c0"):
    return replay(
        list(trials_of(cases, at)),
        Bundle(evidence()),
        rules=Rules(),
        fresh=Freshness(),
        title="t",
        repository="r",
    )


FAULT = replace(CASE, case_id="fault-1", source=Source.FAULT, author_time=0, edits=("drop: beta",))


def test_injected_faults_have_no_time_and_stand_beside():
    (got,) = trials_of([FAULT], "c0")
    assert isnan(got.time)
    assert got.beside == FAULTS
    both, alone = judged([CASE, FAULT]), judged([CASE])
    assert {line.slice: line.n for line in both.lines}[ALL] == 1
    assert {line.slice: line.n for line in both.lines}[FAULTS] == 1
    assert [v for v in both.judgement.verdicts if v.slice != FAULTS] == [*alone.judgement.verdicts]
    assert "Injected faults: 1 tried, 1 judged in a slice of their own alone." in (
        both.report.notices
    )
    assert [case.case_id for case in both.report.cases] == [CASE.case_id]


def test_a_fault_knows_no_history():
    """The same fault beside changes that broke the same test is judged as if it were alone."""
    several = [replace(CASE, case_id=f"x{i}", undone_commit=f"{i}") for i in range(3)]
    both, alone = judged([FAULT, *several]), judged([FAULT])
    picked = [v for v in both.judgement.verdicts if v.slice == FAULTS]
    assert picked == [*alone.judgement.verdicts]


def test_faults_alone_are_shown_and_make_a_page():
    replayed = judged([FAULT])
    assert replayed.text().startswith(FAULTS)
    assert replayed.judgement.judged == 0
    assert FAULTS in render(replayed.report)


def test_cases_of_another_commit_are_not_in_the_headline():
    gone = replace(CASE, case_id="gone", failed=(TESTS[6], "tests/old.py::test_z"))
    replayed = judged([CASE, gone], at="c1")
    assert {line.slice: line.n for line in replayed.lines} == {ELSEWHERE: 1}
    assert replayed.judgement.apart == {"other-commit": 1}
    assert any("tried at another commit" in notice for notice in replayed.report.notices)


def test_a_replay_says_what_it_cannot_show():
    notices = " ".join(judged([CASE]).report.notices)
    assert "changed tests always run is at rest" in notices
    assert "these changes included" in notices
