"""JUnit XML: real reports of real runners, hostile ones, and ids that join."""

import io
import tracemalloc
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.errors import BadReport
from foretest.records import Outcome, TestResult
from foretest.results.joining import Units
from foretest.results.junit import Reading, batches
from foretest.results.ledger import Ledger
from foretest.results.read import Origin, read_report
from foretest.results.xmlstream import DamagedError

GOLD = Path(__file__).parent / "gold"
KNOWN = [
    "pkg/tests/test_it.py::TestOuter::TestInner::test_deep",
    *(
        f"pkg/tests/test_it.py::test_{n}"
        for n in ("fails", "known", "skipped", "setup", "both", "passes_in_the_end")
    ),
]


@pytest.fixture(params=["xunit1", "xunit2"])
def pytest_report(request: pytest.FixtureRequest) -> Path:
    return GOLD / f"pytest-{request.param}.xml"


def test_pytest_ids_join_without_files_and_with_nested_classes(pytest_report: Path) -> None:
    report = read_report(pytest_report, KNOWN, Origin("h/o/n", "c"))
    assert report.unmatched == 1  # the module that could not be collected
    assert report.skipped == ()
    assert {r.test.unit for r in report.run.results} == {*KNOWN, "tests/test_broken.py"}
    outcomes = {r.test.name: r.outcome for r in report.run.results}
    assert outcomes["test_fails"] is Outcome.FAILED
    assert outcomes["test_known"] is Outcome.XFAILED
    assert outcomes["test_skipped"] is Outcome.SKIPPED
    assert outcomes["test_setup"] is Outcome.ERROR
    both = [(r.outcome, r.attempt) for r in report.run.results if r.test.name == "test_both"]
    assert both == [(Outcome.FAILED, 1)]
    repeated = [(r.outcome, r.attempt) for r in report.run.results if "end" in r.test.name]
    assert repeated == [(Outcome.FAILED, 1), (Outcome.PASSED, 2)]
    parameters = [r.test.parameters for r in report.run.results if r.test.name == "test_deep"]
    assert parameters[:2] == ["a::b", "c [d]"]
    failed = [r for r in report.run.results if r.outcome.bad and "end" not in r.test.name]
    assert all(r.fingerprint for r in failed)
    assert (report.run.repository, report.run.commit, report.run.complete) == ("h/o/n", "c", True)


def test_the_same_report_is_the_same_run(pytest_report: Path) -> None:
    first, second = read_report(pytest_report), read_report(pytest_report)
    assert first.run.run_id == second.run.run_id
    assert first.run.results == second.run.results


def test_unknown_tests_are_guessed_counted_and_kept(pytest_report: Path) -> None:
    report = read_report(pytest_report, ["tests/test_other.py::test_else"])
    assert report.unmatched == len(report.run.results) > 0
    known = {unit.removeprefix("pkg/") for unit in KNOWN}
    assert {r.test.unit for r in report.run.results} == {*known, "tests/test_broken.py"}


@dataclass
class Entries:
    """What a report holds."""

    results: tuple[TestResult, ...] = ()
    began: datetime | None = None
    problem: str = ""


def read(file: IO[bytes], units: Units) -> Entries:
    ledger, reading, problem = Ledger(), Reading(), ""
    try:
        for batch in batches(file, units, reading):
            ledger.take(batch)
    except DamagedError as error:
        problem = str(error)
    return Entries(ledger.results(), reading.began, problem)


def entries(text: str | bytes, known: tuple[str, ...] = ()) -> Entries:
    data = text.encode() if isinstance(text, str) else text
    return read(io.BytesIO(data), Units(known))


SUREFIRE = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="org.FlakyTest" time="1.5" tests="3" timestamp="2025-03-01T12:00:00">
  <properties><property name="a" value="b"/></properties>
  <testcase name="flaky" classname="org.FlakyTest" time="0.2">
    <flakyFailure message="x" type="java.lang.AssertionError"><stackTrace>
      java.lang.AssertionError: x
        at org.FlakyTest.flaky(FlakyTest.java:9)</stackTrace></flakyFailure>
    <flakyError message="y" type="java.io.IOException"/>
  </testcase>
  <testcase name="broken" classname="org.FlakyTest$Nested" time="1,234.5">
    <failure message="z" type="java.lang.AssertionError">trace</failure>
    <rerunFailure message="z" type="java.lang.AssertionError" time="0.3"/>
    <system-out><![CDATA[<testcase name="not one"/>]]></system-out>
  </testcase>
  <testcase name="off" classname="org.FlakyTest" time="-1"><skipped/></testcase>
</testsuite>"""


def test_surefire_attempts_are_grouped() -> None:
    read_entries = entries(SUREFIRE)
    told = [(r.test.name, r.attempt, r.outcome.value, r.seconds) for r in read_entries.results]
    assert told == [
        ("flaky", 1, "failed", None),
        ("flaky", 2, "error", None),
        ("flaky", 3, "passed", 0.2),
        ("broken", 1, "failed", 1234.5),
        ("broken", 2, "failed", 0.3),
        ("off", 1, "skipped", None),
    ]
    assert read_entries.began.isoformat() == "2025-03-01T12:00:00+00:00"


def test_a_test_that_stands_twice_has_two_attempts() -> None:
    case = '<testcase classname="t" name="x" time="1"{}</testcase>'
    text = f"<testsuite>{case.format('><failure/>')}{case.format('>')}</testsuite>"
    results = entries(text).results
    assert [(r.attempt, r.outcome.value) for r in results] == [(1, "failed"), (2, "passed")]


@pytest.mark.parametrize(
    ("counted", "outcomes"),
    [
        ("2", ["passed", "passed"]),  # pytest --dist=each: once on every worker
        ("9", ["passed", "passed"]),  # subtests are counted and stand nowhere
        ("1", ["failed", "passed"]),  # pytest-rerunfailures: the first attempt is not counted
        ("", ["passed", "passed"]),
        ("\u0661", ["passed", "passed"]),
    ],
)
def test_only_an_uncounted_repetition_hides_a_failure(counted: str, outcomes: list[str]) -> None:
    case = '<testcase classname="t" name="x" time="1"/>'
    other = f'<testsuite name="pytest" tests="1">{case.replace("x", "y")}</testsuite>'
    suite = f'<testsuite name="pytest" tests="{counted}">{case}{case}</testsuite>'
    results = entries(f"<testsuites>{other}{suite}</testsuites>").results
    assert [r.outcome.value for r in results if r.test.name == "x"] == outcomes


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<testsuite><testcase name="&b;" classname="t"/></testsuite>"""
EXTERNAL = """<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<testsuite><testcase name="&a;" classname="t"/></testsuite>"""


@pytest.mark.parametrize("text", [BOMB, EXTERNAL])
def test_document_types_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.xml"
    path.write_text(text)
    assert entries(text).results == ()
    report = read_report(path)
    assert report.run.results == ()
    assert not report.run.complete
    assert "document type" in report.skipped[0]


def test_a_cut_report_keeps_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "r.xml"
    path.write_text(SUREFIRE[: SUREFIRE.index("<system-out>")])
    report = read_report(path)
    assert {r.test.name for r in report.run.results} == {"flaky"}
    assert not report.run.complete
    assert "first damage" in report.skipped[0]


@pytest.mark.parametrize(
    ("declared", "data"),
    [
        ("utf-8", "é".encode("latin-1")),
        ("iso-8859-1", "é".encode("latin-1")),
        ("no-such-code", "é".encode()),
        ("zlib", "é".encode()),
        ("UTF-16", "é".encode()),
        ("utf-8", b"\x00\x1b[0m"),
        ("utf-8", b"\xed\xa0\x80"),
    ],
)
def test_odd_encodings_lose_no_test(declared: str, data: bytes) -> None:
    text = f'<?xml version="1.0" encoding="{declared}"?><testsuite><testcase classname="t" name="'
    found = entries(text.encode() + data + b'"/><testcase classname="t" name="z"/></testsuite>')
    assert len(found.results) == 2
    assert found.problem == ""


def test_utf16_is_read() -> None:
    found = entries(SUREFIRE.replace("UTF-8", "UTF-16").encode("utf-16"))
    assert len(found.results) == 6


class Endless(io.RawIOBase):
    """A report of many test cases and a huge log, made as it is read."""

    def __init__(self, begin: bytes, block: bytes, count: int) -> None:
        self._parts = iter([begin, *[block] * count])

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return next(self._parts, b"")


@pytest.mark.parametrize(
    "block",
    [
        b"<testcase name='x' classname='t'><system-out>"
        + b"log " * 5000
        + b"</system-out></testcase>",
        b"log " * 5000,
        b"<deep>" * 2000,
        b"<testcase name='x'>" * 1000,
        b"<!--" + b"x" * 20000,
    ],
    ids=["cases", "text", "deep", "nested", "comment"],
)
def test_memory_stays_bounded(block: bytes) -> None:
    tracemalloc.start()
    try:
        read(Endless(b"<testsuite>", block, 2000), Units(()))  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000  # a few pieces of 1 MiB, of 40 MB read


def test_a_tag_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foretest.results.xmlstream._TOKEN_LIMIT", 100_000)
    found = read(Endless(b"<testsuite a='", b"x" * 50_000, 1000), Units(()))  # type: ignore[arg-type]
    assert "without end" in found.problem


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    entries(b"<testsuite>" + data)
    entries(data)


@pytest.mark.parametrize("text", ["", " \n", "\x7fELF", "<html><body/></html>", "TAP 13"])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r"
    path.write_text(text)
    with pytest.raises(BadReport) as caught:
        read_report(path)
    assert caught.value.remedy


def test_a_missing_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadReport, match="cannot be read"):
        read_report(tmp_path / "none.xml")


UNITS = Units(
    [
        "tests/a/test_x.py::TestA::test_m",
        "tests/b/test_x.py::TestA::test_m",
        "tests/b/test_x.py::test_f",
        "tests/c/test_y.py::Outer::Inner::test_n",
        "tests/c/test_y.py::test_n",
    ]
)


@pytest.mark.parametrize(
    ("classname", "name", "file", "expected"),
    [
        ("tests.a.test_x.TestA", "test_m", "", "tests/a/test_x.py::TestA::test_m"),
        ("b.test_x.TestA", "test_m[1]", "", "tests/b/test_x.py::TestA::test_m[1]"),
        ("repo.tests.b.test_x", "test_f", "", "tests/b/test_x.py::test_f"),
        ("test_x.TestA", "test_m", "", None),  # two fit equally well
        ("TestA", "test_m", "tests/a/test_x.py", "tests/a/test_x.py::TestA::test_m"),
        ("tests.c.test_y.Outer$Inner", "test_n", "", "tests/c/test_y.py::Outer::Inner::test_n"),
        ("Inner", "test_n", "", "tests/c/test_y.py::Outer::Inner::test_n"),
        ("tests.c.test_y", "test_n", "", "tests/c/test_y.py::test_n"),
        ("tests.c.test_y", "test_gone", "", None),
        ("", "test_f", "", None),
        ("", "test_f", "tests/b/test_x.py", "tests/b/test_x.py::test_f"),
    ],
)
def test_known_tests_are_found(classname: str, name: str, file: str, expected: str | None) -> None:
    function = name.partition("[")[0]
    wanted = None if expected is None else expected.partition("[")[0]
    assert UNITS.find(classname, function, file) == wanted
