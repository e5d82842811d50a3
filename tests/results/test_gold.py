"""Real reports of real runners: what each reader makes of them, line by line."""

import re
from pathlib import Path

import pytest

from foretest.results.gathering import gather
from foretest.results.junit import DIALECTS
from foretest.results.read import DOCUMENTS, read_report

GOLD = Path(__file__).parent / "gold"
REPORTS = sorted(p for p in GOLD.iterdir() if p.suffix in (".xml", ".json", ".jsonl"))
EXPECTED = dict(
    re.findall(r"^== (\S+)\n((?:(?!==).*\n)*)", (GOLD / "expected.txt").read_text(), re.MULTILINE)
)


def told(path: Path) -> str:
    """What a report says, a result a line."""
    lines = []
    for r in read_report(path).run.results:
        seconds = "-" if r.seconds is None else f"{r.seconds:.3f}"
        test = r.test.unit if r.test.parameters is None else f"{r.test.unit} <{r.test.parameters}>"
        lines.append(f"{r.test.runner} | {test} | {r.outcome.value} | {seconds} | {r.attempt}\n")
    return "".join(lines)


@pytest.mark.parametrize("path", REPORTS, ids=lambda p: p.name)
def test_a_real_report_is_read_as_expected(path: Path) -> None:
    assert told(path) == EXPECTED[path.name]


@pytest.mark.parametrize("path", REPORTS, ids=lambda p: p.name)
def test_failures_and_only_failures_have_a_fingerprint(path: Path) -> None:
    """But for a failed attempt of which pytest's XML says nothing but that there was another."""
    for result in read_report(path).run.results:
        untold = path.name.startswith("pytest") and result.test.name == "test_passes_in_the_end"
        if not untold:
            assert (result.fingerprint is not None) == result.outcome.bad


@pytest.mark.parametrize("path", REPORTS, ids=lambda p: p.name)
def test_a_report_says_when_it_was_written(path: Path) -> None:
    """But for Surefire's before version 3, which do not: there the file's own time counts."""
    occurred = read_report(path).run.occurred_at
    if not path.name.startswith("surefire"):
        written = path.read_text().replace("Nov 2026", "2026-11")
        assert f"{occurred:%Y-%m}" in written or f"{occurred.timestamp():.0f}"[:6] in written


def test_every_runner_has_a_gold_report() -> None:
    runners = {line.partition(" | ")[0] for text in EXPECTED.values() for line in text.splitlines()}
    assert {d.runner for d in (*DIALECTS, *DOCUMENTS)} <= runners


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gtest.xml", "gtest.json"),
        ("ctest-junit.xml", "ctest-test.xml"),
        ("playwright.xml", "playwright.json"),
        ("pytest-xunit1.xml", "pytest-xunit2.xml"),
        ("surefire-jupiter.xml", "junit5-console.xml"),
        ("mocha-xunit.xml", "mocha.json"),
        ("jest-junit-files.xml", "jest.json"),
    ],
)
def test_two_reports_of_one_suite_name_the_same_tests(one: str, other: str) -> None:
    def units(name: str) -> set[tuple[str, str | None]]:
        results = read_report(GOLD / name).run.results
        tests = {(r.test.unit, r.test.parameters) for r in results}
        ends = {u.partition("jest/")[2] for u, _ in tests if "jest/" in u}
        return {(end, None) for end in ends if "::" in end} or tests

    assert units(one) == units(other)


def test_bazel_names_targets_and_groups_their_attempts() -> None:
    gathered = gather([GOLD / "bazel-testlogs"])
    (run,) = gathered.runs
    told = [(str(r.test), r.test.unit, r.outcome.value, r.attempt) for r in run.results]
    assert sorted(told) == [
        ("//pkg:fine_test", "//pkg:fine_test", "passed", 1),
        ("//pkg:flaky_test", "//pkg:flaky_test", "error", 1),
        ("//pkg:flaky_test", "//pkg:flaky_test", "passed", 2),
        ("//pkg:inner_test[Sum::Adds1]", "//pkg:inner_test", "passed", 1),
        ("//pkg:inner_test[Sum::Adds2]", "//pkg:inner_test", "passed", 1),
        ("//pkg:wrong_test", "//pkg:wrong_test", "error", 1),
    ]
    assert {r.test.runner for r in run.results} == {"bazel"}


def test_a_folder_of_surefire_is_one_run_without_its_summaries() -> None:
    gathered = gather([GOLD / "surefire-folder"])
    (run,) = gathered.runs
    assert [r.test.unit for r in run.results] == [
        "org.acme.FirstIT::works",
        "org.acme.OtherIT::works",
    ]
    assert gathered.refused == []
    assert gathered.notices == ["2 of the files found there are no reports."]


def test_gold_reports_name_no_machine() -> None:
    for path in GOLD.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert not re.search(r"/(root|home|work)/|\bvm\b|/tmp/", text), path.name
