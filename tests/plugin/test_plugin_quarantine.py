"""Quarantine as a run meets it: the test runs, its failure is told and recorded, and forgiven."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from foretest.flakes.quarantine import Entry, add
from small_project import Project

FILE = "tests/test_own.py"
UNIT, BROKEN = f"{FILE}::test_bad", f"{FILE}::test_fixture"
SOURCE = """
import pytest

@pytest.fixture
def port():
    raise OSError("taken")

def test_bad():
    assert 0

def test_fixture(port):
    pass

def test_good():
    pass
"""

SHARED = """
import pytest

@pytest.fixture(scope="module", params=["one", "two"])
def parted(request):
    yield
    if request.param == {broken!r}:
        raise RuntimeError("shared database is corrupt")

@pytest.fixture
def mine():
    yield
    assert 0, "only mine"

def test_first(parted):
    pass

def test_held(parted, mine):
    pass
"""
HELD = f"{FILE}::test_held"


@pytest.fixture
def own(unlearnt: Project) -> Project:
    Path(unlearnt.root, FILE).write_text(SOURCE)
    (unlearnt.root / ".foretest").mkdir(exist_ok=True)
    return unlearnt


def quarantine(project: Project, unit: str, days: int = 3) -> None:
    add(project.root / ".foretest", Entry(unit, date.today() + timedelta(days=days), "port taken"))


@pytest.mark.parametrize("more", [("-x",), ("-n", "2")])
def test_a_quarantined_failure_is_told_recorded_and_forgiven(
    own: Project, more: tuple[str, ...]
) -> None:
    quarantine(own, UNIT)
    quarantine(own, BROKEN)
    report = own.root / "report.jsonl"
    options = ("--foretest-quarantine", f"--foretest-report={report}", FILE, *more)
    ran = own.pytest(*options).check(0)
    assert f"{UNIT}, quarantined until" in ran.out
    assert "port taken" in ran.out
    assert "2 quarantined tests FAILED; they do not fail the run" in ran.out
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    told = {line["id"]: line for line in lines if "outcome" in line}
    assert (told[UNIT]["outcome"], told[BROKEN]["outcome"]) == ("failed", "error")
    assert told[UNIT]["fingerprint"]


@pytest.mark.parametrize(
    ("broken", "status", "more"),
    [("none", 0, ()), ("one", 1, ()), ("two", 1, ("-n", "1", "--dist=loadfile"))],
)
def test_the_end_of_a_shared_fixture_is_not_forgiven(
    own: Project, broken: str, status: int, more: tuple[str, ...]
) -> None:
    """Told in the last test's teardown ("two") or in the set-up of the next parameter ("one")."""
    (own.root / FILE).write_text(SHARED.format(broken=broken))
    quarantine(own, HELD)
    quarantine(own, f"{FILE}::test_first")
    ran = own.pytest("--foretest-quarantine", FILE, *more)
    assert ran.status == status, ran.out
    assert "quarantined tests FAILED" in ran.out or "quarantined test FAILED" in ran.out
    assert ("shared database is corrupt" in ran.out) == bool(status)
    assert ("shared with tests that are not in quarantine" in ran.out) == bool(status)


def test_a_classs_teardown_is_not_forgiven(own: Project) -> None:
    (own.root / FILE).write_text(
        "import unittest\n\nclass TestIt(unittest.TestCase):\n    def tearDown(self):\n"
        "        assert 0\n    def test_held(self):\n        pass\n"
    )
    quarantine(own, f"{FILE}::TestIt::test_held")
    own.pytest("--foretest-quarantine", FILE).check(0)
    text = (own.root / FILE).read_text()
    text = text.replace("    def tearDown(self)", "    @classmethod\n    def tearDownClass(cls)")
    (own.root / FILE).write_text(text)
    own.pytest("--foretest-quarantine", FILE).check(1)


@pytest.mark.parametrize("more", [(), ("-n", "1")])
def test_a_quarantine_of_nothing_and_one_without_end_are_told(
    own: Project, more: tuple[str, ...]
) -> None:
    quarantine(own, UNIT, days=10_000)
    quarantine(own, f"{FILE}::test_baad")
    quarantine(own, "tests/test_gone.py::test_bad")
    ran = own.pytest("--foretest-quarantine", FILE, *more).check(1)
    assert f"{UNIT} until " in ran.out
    assert "longer than the 90 days allowed and does not count: its failure fails" in ran.out
    assert f"{FILE}::test_baad is quarantined, and there is no such test" in ran.out
    assert "test_gone.py::test_bad is quarantined, and there is no such test" in ran.out
    assert "test_baad" not in own.pytest("--foretest-quarantine", f"{FILE}::test_good").check(0).out


def test_an_expired_quarantine_bites_again_and_says_so(own: Project) -> None:
    quarantine(own, UNIT, 0)
    quarantine(own, BROKEN)
    ran = own.pytest("--foretest-quarantine", FILE).check(1)
    assert f"The quarantine of {UNIT} ended on" in ran.out
    assert "1 failed" in ran.out


def test_settings_count_and_a_damaged_file_is_not_obeyed(own: Project) -> None:
    later = date.today() + timedelta(days=9)
    entries = [f"{UNIT} until {later}: the port", f"{BROKEN} until {later}"]
    (own.root / "foretest.toml").write_text(f"quarantine = {json.dumps(entries)}\n")
    ran = own.pytest("--foretest-quarantine", FILE).check(0)
    assert f"{UNIT}, quarantined until {later}: the port" in ran.out
    assert "quarantine" not in own.pytest(FILE).check(1).out
    (own.root / ".foretest" / "quarantine.json").write_text("{")
    assert "No test is quarantined" in own.pytest("--foretest-quarantine", FILE).check(1).out
