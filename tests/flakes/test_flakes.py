"""Flaky tests of a recorded history: found, ranked by cost, explained; quarantine ends."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from foretest.errors import BadConfiguration, BadStore
from foretest.flakes.cleaning import flaky_labels
from foretest.flakes.history import FlakyHistory, read_history
from foretest.flakes.quarantine import Entry, add, parse_term, read, release, split
from foretest.flakes.ranking import rank
from foretest.history.lake import Lake
from foretest.records import Configuration, Outcome, TestId, TestResult, TestRun
from small_project import Project

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
FLAKY, BROKEN, SOUND = (TestId("t.py", (), f"test_{n}") for n in ("flaky", "broken", "sound"))
KEY = "h/o/n"


def run(number: int, commit: str | None, results: list[TestResult]) -> TestRun:
    when = NOON + timedelta(hours=number)
    place = Configuration("linux", "3.11")
    return TestRun(f"r{number}", KEY, commit, place, when, when, tuple(results))


def history(tmp_path: Path, coverage: dict[str, dict[str, bool]] | None = None) -> FlakyHistory:
    """30 commits; one test flips on commits 10 and 20, one is broken from 25 on."""
    lake = Lake(tmp_path / "lake")
    runs = []
    for n in range(30):
        flips = n in (10, 20)
        results = [
            TestResult(FLAKY, Outcome.FAILED if flips else Outcome.PASSED, 1.0, 1, "port"),
            TestResult(BROKEN, Outcome.FAILED if n >= 25 else Outcome.PASSED, 9.0, 1, "sum"),
            TestResult(SOUND, Outcome.PASSED, 10.0),
        ]
        if flips:
            results.append(TestResult(FLAKY, Outcome.PASSED, 1.0, 2))
        runs.append(run(n, f"c{n}", results))
    lake.append(runs)
    told = coverage or {}
    found = read_history(lake.scan(KEY), told.get)
    assert found is not None
    return found


def test_flips_are_flaky_and_what_stays_broken_is_not(tmp_path: Path) -> None:
    found = history(tmp_path)
    said = {(f.unit, f.commit): f.flaky for f in found.failures}
    assert min(said[FLAKY.unit, c] for c in ("c10", "c20")) > 0.9
    assert said[BROKEN.unit, "c29"] < 0.2
    ranked = rank(found)
    assert [test.unit for test in ranked] == [FLAKY.unit]
    (test,) = ranked
    assert test.low < 2 / 30 < test.high
    assert "it passed on the same commit" in test.evidence[0]
    assert flaky_labels(found.failures) >= {(FLAKY.unit, "c10"), (FLAKY.unit, "c20")}
    assert (BROKEN.unit, "c29") not in flaky_labels(found.failures)


def test_cost_counts_people_and_runs(tmp_path: Path) -> None:
    found = history(tmp_path)
    cheap, dear = rank(found, interruption=0.0)[0], rank(found, interruption=600.0)[0]
    assert found.run_seconds == 20.0
    assert cheap.cost == pytest.approx(cheap.per_week * 20.0)
    assert dear.cost == pytest.approx(cheap.per_week * 620.0)


def test_a_failure_outside_the_change_looks_flaky(tmp_path: Path) -> None:
    plain = history(tmp_path / "a")
    outside = history(tmp_path / "b", {"c25": {BROKEN.unit: False}})

    def said(found: FlakyHistory) -> float:
        return next(f.flaky for f in found.failures if (f.unit, f.commit) == (BROKEN.unit, "c25"))

    assert said(outside) > said(plain)
    (told,) = (f for f in outside.failures if (f.unit, f.commit) == (BROKEN.unit, "c25"))
    assert "it enters nothing that the commit changed" in told.sentence()


def test_reruns_of_one_commit_are_one_state_and_edited_trees_are_none(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    bad, good = TestResult(FLAKY, Outcome.FAILED, 1.0), TestResult(FLAKY, Outcome.PASSED, 1.0)
    lake.append([run(0, "c", [good]), run(1, "d", [bad]), run(2, "d", [good])])
    lake.append([run(3, None, [bad]), run(4, None, [good])])
    found = read_history(lake.scan(KEY))
    assert found is not None
    assert found.states == 4
    assert [(f.commit, f.failed, f.passed) for f in found.failures] == [("d", 1, 1), (None, 1, 0)]
    assert read_history(lake.scan("nobody")) is None


def test_a_parameter_that_passes_is_no_flip_of_another(tmp_path: Path) -> None:
    """One set of parameters fails whenever it runs; another fails once and passes when retried."""

    def of(name: str, parameters: str, bad: bool, attempt: int = 1) -> TestResult:
        test = TestId("t.py", (), name, parameters)
        return TestResult(test, Outcome.FAILED if bad else Outcome.PASSED, 1.0, attempt)

    lake = Lake(tmp_path / "lake")
    wrong = [of("test_wrong", "1", bad=False), of("test_wrong", "2", bad=True)]
    retried = [of("test_port", p, bad=p == "2") for p in "123"]
    lake.append([run(0, "c", [*wrong, *retried, of("test_port", "2", bad=False, attempt=2)])])
    lake.append([run(1, "c", [*wrong, *(of("test_port", p, bad=False) for p in "123")])])
    found = read_history(lake.scan(KEY))
    assert found is not None
    told = {f.unit: (f.failed, f.passed) for f in found.failures}
    assert told == {"t.py::test_wrong": (2, 0), "t.py::test_port": (1, 2)}
    assert [test.unit for test in rank(found)] == ["t.py::test_port"]


def test_a_quarantine_ends(tmp_path: Path) -> None:
    day = date(2025, 3, 1)
    add(tmp_path, Entry("t.py::a", day + timedelta(days=1), "port"))
    add(tmp_path, Entry("t.py::b", day, ""))
    entries = read(tmp_path, [f"t.py::c until {day + timedelta(days=3)}: x, y"])
    held, told = split(entries, day)
    assert held == {
        "t.py::a": "quarantined until 2025-03-02: port",
        "t.py::c": "quarantined until 2025-03-04: x, y",
    }
    assert told == ("The quarantine of t.py::b ended on 2025-03-01: its failure fails the run.",)
    assert split(entries, day + timedelta(days=9))[0] == {}
    assert split([Entry("t", day + timedelta(days=90))], day)[0]
    held, told = split([Entry("t", day + timedelta(days=91))], day)
    assert not held
    assert "longer than the 90 days" in told[0]
    assert release(tmp_path, "t.py::a")
    assert not release(tmp_path, "t.py::a")
    assert Entry("t", day, "x").setting() == "t until 2025-03-01: x"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "14",
        "0d",
        "91d",
        "9" * 12 + "d",
        "9" * 5000 + "w",
        "2025-02-01",
        "2026-01-01",
        "soon",
        "-1d",
    ],
)
def test_a_term_without_a_near_end_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_term(text, date(2025, 3, 1))


def test_terms(tmp_path: Path) -> None:
    start = date(2025, 3, 1)
    assert parse_term("14d", start) == parse_term(" 2 w ", start) == date(2025, 3, 15)
    assert parse_term("2025-03-02", start) == date(2025, 3, 2)
    with pytest.raises(BadConfiguration, match="cannot be read"):
        read(tmp_path, ["t.py::a forever"])
    with pytest.raises(BadConfiguration, match="cannot be read"):
        read(tmp_path, ["t.py::a until 2025-13-01"])


@pytest.mark.parametrize(
    "text",
    [
        "[{}]",
        "{broken",
        "[3]",
        '[{"test": 5, "until": "2030-12-31", "reason": ""}]',
        '[{"test": "a", "until": 20301231, "reason": ""}]',
        '[{"test": "a", "until": "2030-12-31", "reason": null}]',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "quarantine.json").write_text(text)
    with pytest.raises(BadStore, match="damaged"):
        read(tmp_path)


def test_the_command(unlearnt: Project) -> None:
    assert "No failure on record" in unlearnt.foretest("flaky").check().out
    assert "has an end" in unlearnt.foretest("flaky", "quarantine", "t.py::a").check(2).err
    told = unlearnt.foretest("flaky", "quarantine", "t.py::a[1]", "--for", "2w", "--reason", "x")
    assert 'quarantine = ["t.py::a until' in told.check().out
    for spelled in ("t.py::a", "t.py::a[1]"):
        unlearnt.foretest("flaky", "quarantine", spelled, "--for", "2w").check()
        assert "out of quarantine" in unlearnt.foretest("flaky", "release", spelled).check().out
    words = ("flaky", "quarantine", "t.py::a", "--for", "2w", "--reason", 'says "no" \\ more')
    line = unlearnt.foretest(*words).check().out.partition("settings: ")[2]
    assert tomllib.loads(line)["quarantine"][0].endswith('says "no" \\ more')
    unlearnt.foretest("flaky", "release", "t.py::a").check()
    assert (
        "is no test" in unlearnt.foretest("flaky", "quarantine", "a\nb", "--for", "2w").check(2).err
    )
    unlearnt.foretest("flaky", "release", "t.py::a").check(1)
