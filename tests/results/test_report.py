"""The plugin's report: what is written is read; what is damaged is said."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.errors import BadReport
from foretest.records import Configuration, Outcome, TestId, TestResult
from foretest.results import report
from foretest.results.report import ReportWriter

HERE = Configuration("linux", "3.11", ("cov",))


def writer(path: Path, **more: object) -> ReportWriter:
    given = {"run_id": "r", "repository": "h/o/n", "commit": "c", "configuration": HERE, **more}
    return ReportWriter(path, **given)  # type: ignore[arg-type]


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.jsonl"
    out = writer(path, attempt=2, shard="1/4", decision_id="d")
    out.write("tests/é a.py::T::test[x::y [z]]", "failed", 0.5, fingerprint="f", inclusion=0.25)
    out.write("t.py::test", Outcome.PASSED, None)
    out.close(1, collected=2, deselected=7)
    run = report.read(path)
    assert (run.run_id, run.attempt, run.shard, run.decision_id) == ("r", 2, "1/4", "d")
    assert (run.repository, run.commit, run.configuration, run.complete) == (
        *("h/o/n", "c", HERE),
        True,
    )
    assert run.results == (
        TestResult(
            TestId("tests/é a.py", ("T",), "test", "x::y [z]"), Outcome.FAILED, 0.5, 1, "f", 0.25
        ),
        TestResult(TestId("t.py", (), "test"), Outcome.PASSED, None),
    )


@given(st.text(), st.floats(), st.floats())
def test_nothing_that_a_test_is_called_breaks_the_report(
    tmp_path_factory: pytest.TempPathFactory, name: str, seconds: float, inclusion: float
) -> None:
    path = tmp_path_factory.mktemp("r") / "r.jsonl"
    out = writer(path)
    out.write(f"t.py::test[{name}]", "passed", seconds, inclusion=inclusion)
    out.close(0, 1)
    (result,) = report.read(path).results
    assert result.test.unit == "t.py::test"
    assert result.test.parameters == name.encode("utf-8", "backslashreplace").decode()
    assert result.seconds is None or 0 <= result.seconds < math.inf
    assert 0 < result.inclusion <= 1


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from foretest.records import Configuration
    from foretest.results.report import ReportWriter
    out = ReportWriter(Path(sys.argv[1]), run_id="r", repository="", commit=None,
                       configuration=Configuration("linux", "3.11"))
    out.write("t.py::test_a", "passed", 0.1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_leaves_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(path)], timeout=600, check=False
    )
    assert done.returncode == -signal.SIGKILL
    parsed = report.parse(path)
    assert [str(r.test) for r in parsed.run.results] == ["t.py::test_a"]
    assert not parsed.run.complete
    assert "cut short" in parsed.notices[-1]


def test_damaged_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    out = writer(path)
    out.write("t.py::test_a", "passed", 0.1)
    out.close(0, 1)
    header, line, footer = path.read_bytes().splitlines()
    bad = [
        b'{"id": 3, "outcome": "passed"}',
        b'{"id": "x", "outcome": "odd"}',
        line[:20],
        b"[" * 9999,
    ]
    path.write_bytes(b"\n".join([header, *bad, b"\xff\xfe", line, footer]))
    parsed = report.parse(path)
    assert [str(r.test) for r in parsed.run.results] == ["t.py::test_a"]
    assert parsed.run.complete
    assert parsed.notices == (
        "3 damaged lines left out.",
        "2 lines without a usable result left out.",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a report"),
        ('{"format": "other"}\n', "not a report"),
        ('{"format": "foretest-report", "version": 99}\n', "format version 99"),
        ('{"format": "foretest-report", "version": 1}\n', "damaged first line"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    with pytest.raises(BadReport, match=reason) as caught:
        report.read(path)
    assert caught.value.remedy


def test_workers_files_become_one_run_and_attempts_stay_visible(tmp_path: Path) -> None:
    for worker, (outcome, ended) in enumerate([("failed", True), ("passed", False)]):
        out = writer(tmp_path / f"{worker}.jsonl")
        out.write("t.py::test", outcome, 0.1)
        if ended:
            out.close(0, 1)
    first, second = tmp_path / "0.jsonl", tmp_path / "1.jsonl"
    (run,) = report.read_all([first, second, first])
    assert [(r.outcome, r.attempt) for r in run.results] == [("failed", 1), ("passed", 2)]
    assert not run.complete
    assert len(report.merge([report.read(first), writer_run(tmp_path, shard="2")])) == 2


def writer_run(tmp_path: Path, **more: object) -> report.TestRun:
    writer(tmp_path / "other.jsonl", **more).close(0, 0)
    return report.read(tmp_path / "other.jsonl")


def test_a_full_disk_fails_no_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = writer(tmp_path / "r.jsonl")
    monkeypatch.setattr(os, "write", lambda handle, data: len(data) // 2)
    out.write("t.py::test", "passed", 0.1)
    assert out.failed
    monkeypatch.undo()
    out.close(0, 1)
    assert not report.read(tmp_path / "r.jsonl").complete


def test_a_place_that_cannot_be_written_fails_no_test(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = writer(tmp_path / "file" / "r.jsonl")
    out.write("t.py::test", "passed", 0.1)
    out.close(0, 1)
    assert out.failed


def test_lines_are_as_documented(tmp_path: Path) -> None:
    out = writer(tmp_path / "r.jsonl", tests=3)
    out.write("t.py::test", "passed", 0.1, phase="setup")
    out.close(5, collected=3, deselected=2)
    header, line, footer = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert (header["format"], header["version"], header["tests"]) == ("foretest-report", 1, 3)
    assert set(line) == {
        *("id", "outcome", "seconds", "attempt", "fingerprint", "phase", "inclusion"),
    }
    assert (footer["exit"], footer["collected"], footer["deselected"]) == (5, 3, 2)
