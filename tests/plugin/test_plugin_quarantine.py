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
