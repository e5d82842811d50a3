"""Recording at bad moments: twice, at once, on a full disk, beside a learner; nothing is lost."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from pathlib import Path

import pytest

from foretest import remembering
from foretest.bundle import read
from foretest.config import load_config
from foretest.durable import lock
from foretest.evidence.traced import TracedRun, write_traced
from foretest.history.catalogue import Catalogue
from foretest.history.lake import Lake
from foretest.records import Configuration
from foretest.results.report import ReportWriter, here
from small_project import UNITS, Project

JUNIT = """<testsuite name="s">
<testcase classname="tests.test_stock" name="test_total" time="0.5"/>
<testcase classname="tests.test_stock" name="test_missing" time="0.1"><failure message="no"/></testcase>
</testsuite>
"""  # noqa: E501


def report(project: Project, name: str, *, done: bool = True) -> ReportWriter:
    """A report in the spool, as the plugin leaves it."""
    writer = ReportWriter(
        project.state / "spool" / f"report-{name}.jsonl",
        run_id=name,
        repository=repository(project),
        commit=project.git("rev-parse", "HEAD"),
        configuration=Configuration("linux", "3.11"),
    )
    writer.write("tests/test_stock.py::test_total", "passed", 0.5)
    writer.write("tests/test_stock.py::test_missing", "failed", 0.1)
    if done:
        writer.close(1, 2)
    return writer


def repository(project: Project) -> str:
    return f"root:{project.git('rev-list', '--max-parents=0', 'HEAD')}"


def runs(project: Project) -> list[str]:
    lake = Lake(project.state / "lake")
    return sorted(run.run_id for run in lake.events(repository(project)))


def counted(project: Project, column: str = "runs") -> float:
    """What the bundle says of a test that failed in each report."""
    store = read(project.bundle).store
    return float(getattr(store, column)[store.test_index["tests/test_stock.py::test_missing"]])


def test_recording_twice_changes_nothing(project: Project) -> None:
    file = project.home / "report.xml"
    file.write_text(JUNIT)
    assert "Recorded 1 run: 2 results, 1 failed." in project.foretest("record", str(file)).out
    kept = project.bundle.read_bytes()
    again = project.foretest("record", str(file), str(file)).check()
    assert "Nothing new: 1 run had been recorded before." in again.out
    assert project.bundle.read_bytes() == kept
    assert counted(project) == counted(project, "failures") == 1
    assert len(runs(project)) == 1


def test_nothing_to_record(project: Project) -> None:
    assert "Nothing to record" in project.foretest("record").check().out
    empty = project.home / "empty.xml"
    empty.write_text("<testsuite/>")
    told = project.foretest("record", str(empty)).check().out
    assert told == "Nothing to record: what was named holds no result that can be read.\n"


@pytest.mark.parametrize("text", ["", "<html/>", "{}", "\x00\x01", "<testsuite", "plain"])
def test_what_is_no_report_is_refused(project: Project, text: str) -> None:
    file = project.home / "report"
    file.write_text(text)
    before = project.snapshot()
    done = project.foretest("record", str(file)).check(0, 2)
    assert str(file) in done.err or "report" in done.err
    assert project.snapshot() == before
    assert runs(project) == []


def test_a_damaged_report_in_the_spool_is_set_aside(project: Project) -> None:
    report(project, "good")
    bad = project.state / "spool" / "report-bad.jsonl"
    bad.write_text("nonsense")
    done = project.foretest("record").check()
    assert "Recorded 1 run" in done.out
    assert "report-bad.jsonl" in done.err
    assert [f.name for f in bad.parent.iterdir()] == ["report-bad.jsonl.damaged"]
    assert project.foretest("record").check().err == ""


def test_one_damaged_coverage_file_costs_no_other(project: Project) -> None:
    spool = project.state / "spool"
    good, bad = spool / "coverage-a.jsonl", spool / "coverage-b.jsonl.gz"
    spool.mkdir()
    bad.write_bytes(b"nonsense")
    unit = "tests/test_stock.py::test_total"
    run = TracedRun(("src/shop/stock.py",), ((0, "brand_new"),), {unit: [0]})
    write_traced(good, run, project.git("rev-parse", "HEAD"))
    done = project.foretest("record").check()
    assert "coverage-b.jsonl.gz cannot be read" in done.err
    store = read(project.bundle).store
    assert store.symbols[store.coverage.row(store.test_index[unit])[0]].endswith("brand_new")
    assert [file.name for file in spool.iterdir()] == ["coverage-b.jsonl.gz.damaged"]
    assert project.foretest("record").check().err == ""


def test_a_run_of_an_edited_tree_is_no_commits(project: Project) -> None:
    project.state.mkdir(exist_ok=True)
    project.break_tax()
    project.pytest("--foretest=observe").check(1)
    project.foretest("record").check()
    (run,) = Lake(project.state / "lake").events(repository(project))
    assert run.commit is None
    assert run.configuration == here()


def test_the_name_in_the_settings_is_the_name_of_the_history(project: Project) -> None:
    project.write("foretest.toml", 'repository = "shop"\n', commit="name")
    project.pytest("--foretest=observe").check()
    project.foretest("record").check()
    assert [run.repository for run in Lake(project.state / "lake").events("shop")] == ["shop"]
    assert counted(project) == 1


def test_a_report_still_being_written_is_left_alone(project: Project) -> None:
    writer = report(project, "slow", done=False)
    report(project, "whole")
    project.foretest("record").check()
    assert runs(project) == ["whole"]
    writer.write("tests/test_stock.py::test_total_of_nothing", "passed", 0.1)
    writer.close(1, 3)
    assert "3 results" in project.foretest("record").check().out
    assert runs(project) == ["slow", "whole"]
    assert list((project.state / "spool").iterdir()) == []


def test_beside_a_learner_the_results_are_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembering, "PATIENCE", 0.1)
    report(project, "one")
    with lock(project.state / "learn.lock"):
        done = project.foretest("record").check()
    assert "The bundle is being learnt anew" in done.err
    assert runs(project) == ["one"]
    assert counted(project) == 0
    project.foretest("record").check()
    assert counted(project) == 1


def test_a_damaged_snapshot_is_made_anew(project: Project) -> None:
    report(project, "one")
    project.foretest("record").check()
    (project.state / "history.npz").write_bytes(b"nothing")
    report(project, "two")
    done = project.foretest("record").check()
    assert "made anew" in done.err
    assert counted(project) == 2


def test_a_damaged_catalogue(project: Project) -> None:
    (project.state / "catalogue.db").write_bytes(b"no database" * 1000)
    report(project, "one")
    for verb in ("record", "stats"):
        done = project.foretest(verb).check(2)
        assert "catalogue.db is damaged." in done.err
        assert "Move the file away" in done.err
    assert runs(project) == ["one"]
    assert counted(project) == 1
    (project.state / "catalogue.db").unlink()
    project.foretest("record").check()
    with Catalogue(remembering.address(load_config(project.root))) as catalogue:
        assert [run.run_id for run in catalogue.runs()] == ["one"]
    assert counted(project) == 1
    project.foretest("select").check()


def test_a_damaged_lake(project: Project) -> None:
    report(project, "one")
    project.foretest("record").check()
    aside = project.home / "lake"
    shutil.copytree(project.state / "lake", aside)
    for log in (project.state / "lake" / "_delta_log").iterdir():
        log.write_text("nonsense")
    report(project, "two")
    done = project.foretest("record").check(2)
    assert "  -> Restore the folder from a backup" in done.err
    assert (project.state / "spool" / "report-two.jsonl").exists()
    assert project.foretest("select").check().units
    shutil.rmtree(project.state / "lake")
    shutil.copytree(aside, project.state / "lake")
    project.foretest("record").check()
    assert runs(project) == ["one", "two"]
    assert counted(project) == 2


def test_two_at_once_lose_and_double_nothing(project: Project) -> None:
    project.break_tax()
    before = project.snapshot()
    names = [f"r{i}" for i in range(4)]
    for name in names:
        report(project, name)
    file = project.home / "report.xml"
    file.write_text(JUNIT)
    verbs = (["record"], ["record"], ["record", str(file)], ["learn"], ["select", "--time", "1h"])
    started = [project.start(*project.command(*verb)) for verb in verbs]
    told = [process.communicate(timeout=600) for process in started]
    for process, (_, err) in zip(started, told, strict=True):
        assert process.returncode == 0, err
        assert "Traceback" not in err
    assert len(told[-1][0].splitlines()) in (1, UNITS)  # everything, spelt one way or the other
    project.foretest("record").check()
    assert len(runs(project)) == len(names) + 1
    assert counted(project) == counted(project, "failures") == len(names) + 1
    assert list((project.state / "spool").iterdir()) == []
    assert project.snapshot() == before


def _full() -> None:
    """Let every write beyond a few kilobytes fail, as on a full disk; the signal is ignored."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_a_disk_that_is_full(project: Project) -> None:
    project.foretest("select").check()
    report(project, "one")
    project.break_tax()
    before = project.snapshot()

    def held() -> dict[Path, bytes]:
        kept = ("bundle.ftb", "report-one.jsonl")
        return {p: p.read_bytes() for p in project.state.rglob("*") if p.name in kept}

    kept = held()
    for verb in ("record", "learn"):
        done = project.process(*project.command(verb), preexec_fn=_full).check(2)
        assert "  -> " in done.err
        assert held() == kept
    command = project.command("select", "--target", "50%")
    done = project.process(*command, preexec_fn=_full).check()
    assert "tests/test_prices.py::test_tax" in done.units
    assert "The decision could not be kept" in done.err
    assert project.snapshot() == before
    project.foretest("record").check()
    assert runs(project) == ["one"]
    assert counted(project) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_an_output_that_is_full(project: Project) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = project.process(
            *project.command("select"), capture_output=False, stdout=full, stderr=-1
        )
    done.check(2)
    assert "No space left on device" in done.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_rest_that_cannot_be_written_gives_no_list(project: Project) -> None:
    done = project.foretest("select", "--rest", "/dev/full/rest.txt").check(2)
    assert done.out == ""
    assert "/dev/full/rest.txt cannot be written" in done.err
    done = project.foretest("select", "--summary", "/dev/full").check()
    assert done.units
    assert "no summary in /dev/full" in done.err


def test_left_over_temporary_files_do_no_harm(project: Project) -> None:
    report(project, "one")
    for folder in (project.state, project.state / "spool"):
        (folder / f".bundle.ftb.{os.getpid()}-abcd.tmp").write_bytes(b"half")
    project.foretest("record").check()
    project.foretest("select").check()
    assert counted(project) == 1
