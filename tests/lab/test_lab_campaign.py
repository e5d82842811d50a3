"""Campaigns: resumable, parallel, safe against a kill."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foretest.changes.git import Repository
from foretest.errors import Busy, SuiteFailed
from foretest.lab.campaign import read_cases, read_kept, repair, run_campaign
from foretest.lab.faults import fault_candidates
from foretest.lab.undo import undo_candidates


def cases(out):
    return list(read_cases(out / "cases.jsonl"))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def undone(project):
    return undo_candidates(Repository(project.root), "HEAD")


def test_an_undone_fix_becomes_a_case_once(calculator, out):
    seen = []
    tally = run_campaign(
        calculator.root,
        calculator.config(),
        undone(calculator),
        workers=1,
        out=out,
        progress=lambda case, tally: seen.append(case),
    )
    (case,) = cases(out)
    assert seen == [case]
    assert (tally.tried, tally.faulty, tally.broken) == (1, 1, 0)
    assert case.failed == case.untouched == ("tests/test_calc.py::test_add",)
    assert [str(symbol) for symbol in case.files[0].touched] == ["src/calc/__init__.py::add"]
    assert case.undone_commit == calculator.git("rev-parse", "HEAD")
    assert case.ran is None
    again = run_campaign(
        calculator.root, calculator.config(), undone(calculator), workers=1, out=out
    )
    assert (again.tried, again.known) == (0, 1)
    assert len(cases(out)) == 1


def test_two_workers_share_the_faults_and_leave_nothing(calculator, out):
    faults = list(fault_candidates(Repository(calculator.root), "HEAD", seed=1, count=6, edits=2))
    run_campaign(calculator.root, calculator.config(), faults, workers=2, out=out)
    found = cases(out)
    assert sorted(c.case_id for c in found) == sorted(c.case_id for c in faults)
    assert any(c.faulty for c in found)
    assert all(c.edits for c in found)
    assert not list(calculator.cache.glob("*/workers/*"))
    assert calculator.git("status", "--porcelain") == ""


def test_sampled_runs_log_their_probabilities(calculator, out):
    chosen = {"tests/test_calc.py::test_clamp": 1.0, "tests/test_calc.py::test_add": 0.25}
    run_campaign(
        calculator.root,
        calculator.config(),
        undone(calculator),
        workers=1,
        out=out,
        select_tests=lambda change, candidate: chosen,
    )
    (case,) = cases(out)
    assert case.ran == chosen
    assert case.failed == ("tests/test_calc.py::test_add",)


def test_a_failure_that_does_not_repeat_is_no_failure(calculator, out, tmp_path):
    flag = tmp_path / "flag"
    # Fails once alone: the first time that the code is wrong.
    test = (
        "import pathlib\nfrom calc import add\n"
        "def test_once():\n"
        f"    flag = pathlib.Path({str(flag)!r})\n"
        "    if add(1, 1) != 2 and not flag.exists():\n"
        "        flag.touch()\n"
        "        assert False\n"
    )
    calculator.commit({"tests/test_once.py": test})
    run_campaign(calculator.root, calculator.config(), undone(calculator), workers=1, out=out)
    (case,) = cases(out)
    assert case.failed == ("tests/test_calc.py::test_add",)


def test_a_case_is_known_at_its_commit_alone(calculator, out):
    def tried():
        config = calculator.config()
        return run_campaign(calculator.root, config, undone(calculator), workers=1, out=out).tried

    assert tried() == 1
    calculator.commit({"README": "later"})
    assert tried() == 1
    assert tried() == 0
    first, second = cases(out)
    assert first.case_id == second.case_id
    assert first.commit != second.commit


def test_lines_that_are_no_case_are_counted_and_passed_over(calculator, out):
    run_campaign(calculator.root, calculator.config(), undone(calculator), workers=1, out=out)
    path = out / "cases.jsonl"
    (good,) = path.read_bytes().splitlines(keepends=True)
    record = json.loads(good)
    bad = [
        {},
        [],
        "text",
        record | {"what_is_this": 1},
        record | {"source": "dreamt"},
        record | {"author_time": "late"},
        record | {"files": [{"path": "x"}]},
        record | {"files": ["x"]},
    ]
    lines = [json.dumps(each).encode() + b"\n" for each in bad]
    path.write_bytes(b"".join([b"\n", b"\xff\x00\n", *lines, good]))
    kept = read_kept(path)
    assert (len(kept.cases), kept.unreadable) == (1, len(bad) + 2)
    assert "10 lines" in kept.notices()[0]
    again = run_campaign(
        calculator.root, calculator.config(), undone(calculator), workers=1, out=out
    )
    assert (again.tried, again.known) == (0, 1)


def test_a_reader_leaves_a_line_alone_that_another_process_writes(tmp_path):
    path = tmp_path / "cases.jsonl"
    assert read_kept(path).cases == ()
    path.write_bytes(b'{"case_id": "half')
    kept = read_kept(path)
    assert (kept.cases, kept.unreadable, kept.notices()) == ((), 0, ())
    assert path.read_bytes() == b'{"case_id": "half'


def test_a_torn_last_line_is_cut_off(tmp_path):
    path = tmp_path / "cases.jsonl"
    assert not repair(path)
    path.write_bytes(b"{whole}\n{to" + b"x" * 200_000)
    assert repair(path)
    assert path.read_bytes() == b"{whole}\n"
    assert not repair(path)
    path.write_bytes(b"{to")
    assert repair(path)
    assert path.read_bytes() == b""


def test_a_budget_that_is_spent_starts_nothing(calculator, out):
    tally = run_campaign(
        calculator.root, calculator.config(), undone(calculator), budget_seconds=0, out=out
    )
    assert tally.tried == 0


def test_errors_come_out_and_leave_nothing(calculator, out):
    def fails(change, candidate):
        raise SuiteFailed("no", "do this")

    with pytest.raises(SuiteFailed, match="no"):
        run_campaign(
            calculator.root,
            calculator.config(),
            undone(calculator),
            out=out,
            select_tests=fails,
        )
    wrong = undo_candidates(Repository(calculator.root), "HEAD")
    calculator.commit({"later.py": "x = 1\n"})
    with pytest.raises(SuiteFailed, match="Candidate"):
        run_campaign(calculator.root, calculator.config(), [*wrong], commit="HEAD", out=out)
    assert not list(calculator.cache.glob("*/workers/*"))


SCRIPT = """
import sys
from pathlib import Path
from foretest.changes.git import Repository
from foretest.config import Config
from foretest.lab.campaign import run_campaign
from foretest.lab.faults import fault_candidates

root, cache, out = map(Path, sys.argv[1:4])
config = Config(root=root, python=sys.executable, cache=str(cache))
faults = fault_candidates(Repository(root), "HEAD", 1, 6, 2)
run_campaign(root, config, faults, out=out, progress=lambda *_: print("case", flush=True))
"""


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_campaign_goes_on_after_a_blow(calculator, out, blow):
    places = [str(calculator.root), str(calculator.cache), str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *places],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "case\n"
        process.send_signal(blow)
    assert process.returncode != 0
    assert not _left(calculator.cache)
    before = len(cases(out))
    faults = fault_candidates(Repository(calculator.root), "HEAD", 1, 6, 2)
    tally = run_campaign(calculator.root, calculator.config(), faults, out=out)
    assert tally.known == before >= 1
    assert len({c.case_id for c in cases(out)}) == len(cases(out)) == 6
    assert not list(calculator.cache.glob("*/workers/*"))


def _left(cache: Path) -> list[str]:
    """Processes that still work in the cache, after a moment to notice that their owner is gone."""
    for _ in range(200):
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if str(cache) in str((entry / "cwd").readlink()):
                    found.append(entry.name)
            except OSError:
                continue
        if not found:
            return []
        time.sleep(0.05)
    return found


def test_two_campaigns_at_once_are_refused(calculator, out):
    from foretest.durable import lock

    with lock(out / "lock"), pytest.raises(Busy):
        run_campaign(calculator.root, calculator.config(), undone(calculator), out=out)
