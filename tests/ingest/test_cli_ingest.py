"""`foretest ingest` from outside: what is said, and what a stranger's mistakes come to."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from foretest.changes.git import Repository
from foretest.cli.forget import command as forget_command
from foretest.cli.ingest import command
from foretest.config import load_config
from foretest.errors import (
    BadConfiguration,
    BadReport,
    BadStore,
    Busy,
    MissingBase,
    NotARepository,
    StateNotFound,
)
from foretest.history.lake import Lake
from foretest.ingest.spool import Spool
from foretest.remembering import record

CASE = '<testcase classname="t" name="a"/>'
JUNIT = f'<testsuites><testsuite name="pytest">{CASE}</testsuite></testsuites>'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.xml").write_text(JUNIT)
    (tmp_path / "bad.txt").write_text("junk")
    return tmp_path


def said(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_from_a_report_to_the_lake_and_back_from_poison(here: Path) -> None:
    key = ("--repository-key", "h/o/n")
    assert "r.xml kept as 1 (level process)" in said("append", *key, "r.xml", "bad.txt").output
    assert "2 reports wait" in said("status").output
    assert "1 runs with 1 results (1 set aside)" in said("run", "--drain").output
    listed = said("poison", "list").output
    name = listed.split()[0]
    assert "bad.txt" in listed
    assert "junk" in said("poison", "show", name).output
    assert "waits for the lake again" in said("poison", "retry", name).output
    assert "Nothing is set aside." in said("poison", "list").output
    assert "1 reports wait" in said("status").output


def test_the_level_is_told(here: Path) -> None:
    kept = said("append", "--durability", "power", "--repository-key", "h/o/n", "r.xml")
    assert "(level power)" in kept.output


def git(folder: Path, *arguments: str) -> None:
    name = ("-c", "user.name=n", "-c", "user.email=n@example.invalid")
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(here: Path) -> Path:
    """A git repository with a remote and a file of tests, which is where CI jobs stand."""
    (here / "src").mkdir()
    (here / "src/a.test.js").write_text("test('ok')\n")
    git(here, "init", "-q")
    git(here, "remote", "add", "origin", "https://git.example/acme/shop.git")
    git(here, "add", "src")
    git(here, "commit", "-q", "-m", "first")
    return here


def test_in_a_checkout_the_repository_names_itself(checkout: Path) -> None:
    assert "r.xml kept as 1" in said("append", "r.xml").output
    assert "1 runs with 1 results" in said("run", "--drain").output
    (run,) = Lake(checkout / ".foretest/lake").events("git.example/acme/shop")
    assert run.commit is not None


def test_in_a_checkout_to_a_broker(checkout: Path, broker: Any) -> None:
    stream = ("--stream", broker.address)
    assert "r.xml kept as 1" in said("append", *stream, "r.xml").output
    power = ("--durability", "power")
    assert "bad.txt kept" in said("append", *stream, *power, "bad.txt").output
    assert "1 runs with 1 results (1 set aside)" in said("run", *stream, "--drain").output


def test_a_broker_that_is_away_only_delays(checkout: Path, broker: Any) -> None:
    stream = ("--stream", broker.address)
    said("append", *stream, "--run-id", "first", "r.xml")
    broker.kill()
    kept = said("append", *stream, "--run-id", "second", "r.xml")
    assert "r.xml kept as 2 (level process; waits here until the broker answers)" in kept.output
    assert "note: The broker at nats://127.0.0.1" in kept.stderr
    with pytest.raises(BadStore, match="nats-server"):
        said("run", *stream, "--drain")
    broker.start()
    said("append", *stream, "--run-id", "third", "r.xml")
    assert "3 runs with 3 results" in said("run", *stream, "--drain").output


def surefire(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        case = f'<testcase classname="org.acme.Case{i}Test" name="adds" time="0.5"/>'
        suite = f'<testsuite name="org.acme.Case{i}Test" tests="1">{case}</testsuite>'
        (folder / f"TEST-org.acme.Case{i}Test.xml").write_text(suite)


@pytest.mark.parametrize("named", ["files", "folder", "pattern"])
@pytest.mark.parametrize("run_id", ["R", ""])
def test_many_files_are_one_run_and_none_is_lost(checkout: Path, named: str, run_id: str) -> None:
    surefire(checkout / "target/reports", 5)
    places = {
        "files": [str(path) for path in sorted((checkout / "target/reports").iterdir())],
        "folder": ["target"],
        "pattern": ["target/**/TEST-*.xml"],
    }[named]
    kept = said("append", *places, *(("--run-id", run_id) if run_id else ()))
    assert kept.output.count("kept as") == 1
    assert "1 runs with 5 results" in said("run", "--drain").output
    (run,) = Lake(checkout / ".foretest/lake").events("git.example/acme/shop")
    assert {result.test.runner for result in run.results} == {"junit"}
    assert run.run_id == run_id or not run_id
    assert len({result.test.unit for result in run.results}) == 5


def test_what_is_sent_equals_what_is_recorded(checkout: Path) -> None:
    surefire(checkout / "target", 3)
    config = load_config(checkout)
    record(config, [Path("target")], run_id="R")
    (recorded,) = Lake(checkout / ".foretest/lake").events("git.example/acme/shop")
    said("append", "target", "--run-id", "R")
    assert "1 known already" in said("run", "--drain").output
    said("append", "target", "--run-id", "S")
    said("run", "--drain")
    (_, sent) = Lake(checkout / ".foretest/lake").events("git.example/acme/shop")
    assert replace(sent, run_id="R", received_at=recorded.received_at) == recorded


def test_paths_of_another_machine_are_placed_where_the_checkout_is(checkout: Path) -> None:
    assertion = {"ancestorTitles": ["A"], "title": "b", "status": "passed", "duration": 5}
    test = {"name": "/builds/app/src/a.test.js", "assertionResults": [assertion]}
    jest = {"numFailedTestSuites": 0, "startTime": 1740830400000, "testResults": [test]}
    (checkout / "jest.json").write_text(json.dumps(jest))
    said("append", "jest.json")
    (checkout / "src/a.test.js").unlink()  # the consumer need not have it
    assert "1 runs with 1 results" in said("run", "--drain").output
    (run,) = Lake(checkout / ".foretest/lake").events("git.example/acme/shop")
    assert run.results[0].test.unit == "src/a.test.js::A b"


def test_forgotten_wherever_it_waits(checkout: Path) -> None:
    state, key = checkout / ".foretest", "git.example/acme/shop"
    (checkout / "r.xml").write_text(JUNIT.replace('"a"', '"Zanzibar"'))
    (checkout / "bad.txt").write_text("Zanzibar, junk")
    said("append", "r.xml", "bad.txt", "--run-id", "taken-in")
    said("append", "--repository-key", "h/o/other", "r.xml")
    said("run", "--drain")
    said("append", "r.xml", "--run-id", "waiting")
    assert len(list((state / "states").iterdir())) == 2
    told = CliRunner().invoke(forget_command, [key, "--yes"], catch_exceptions=False).output
    assert "4 reports" in told  # three in the stream's file, and what had been set aside
    assert "0 runs with 0 results" in said("run", "--drain").output
    assert "0 reports are set aside" in said("status").output
    assert len(list((state / "states").iterdir())) == 1
    stream = b"".join(path.read_bytes() for path in (state / "stream").iterdir())
    assert key.encode() not in stream
    assert b"waiting" not in stream
    lake = Lake(state / "lake").runs().collect()
    assert lake["repository"].to_list() == ["h/o/other"]


def test_a_server_without_a_repository_forgets_too(here: Path) -> None:
    with pytest.raises(NotARepository):  # nothing is kept here: it is the wrong folder
        CliRunner().invoke(forget_command, ["h/o/n", "--yes"], catch_exceptions=False)
    assert not (here / ".foretest").exists()
    for key in ("h/o/n", "h/o/other"):
        said("append", "--repository-key", key, "r.xml")
    said("run", "--drain")
    told = CliRunner().invoke(forget_command, ["h/o/n", "--yes"], catch_exceptions=False).output
    assert "1 results deleted" in told
    lake = Lake(here / ".foretest/lake").runs().collect()
    assert lake["repository"].to_list() == ["h/o/other"]


def test_a_repository_that_the_lake_never_held_is_refused_too(checkout: Path, broker: Any) -> None:
    stream = ("--stream", broker.address)
    said("append", *stream, "r.xml")
    (outbox,) = (checkout / ".foretest/outbox").glob("*.seg")
    kept = outbox.read_bytes()
    arguments = ["git.example/acme/shop", "--yes", *stream]
    told = CliRunner().invoke(forget_command, arguments, catch_exceptions=False).output
    assert "The lake held no results of it; 2 reports" in told
    outbox.write_bytes(kept)  # as an outbox elsewhere would have it, and send it again
    broker.kill()
    shutil.rmtree(checkout / "jetstream")  # else the broker knows that it had it
    broker.start()
    said("append", *stream, "--repository-key", "h/o/other", "r.xml")
    drained = said("run", *stream, "--drain").output
    assert "1 runs with 1 results (1 of a repository that was deleted)" in drained


def test_forgetting_waits_for_no_consumer_that_runs(checkout: Path) -> None:
    said("append", "r.xml")
    with Spool(checkout / ".foretest/stream").reader(), pytest.raises(Busy):
        CliRunner().invoke(forget_command, ["k", "--yes"], catch_exceptions=False)
    assert "1 runs with 1 results" in said("run", "--drain").output


def test_mistakes_are_told_before_anything_is_kept(here: Path) -> None:
    with pytest.raises(BadReport, match="--repository-key"):
        said("append", "r.xml")
    with pytest.raises(BadConfiguration, match="nats://"):
        said("append", "--stream", "kafka", "--repository-key", "h/o/n", "r.xml")
    with pytest.raises(StateNotFound):
        said("poison", "show", "../../etc/passwd")
    with pytest.raises(BadReport, match="missing"):
        said("append", "missing.xml")
    (here / "empty.xml").write_text("<testsuites/>")
    with pytest.raises(BadReport, match="no results"):
        said("append", "--repository-key", "h/o/n", "empty.xml")
    assert "0 reports wait" in said("status").output


def test_what_nobody_can_read_is_told_at_once_and_leaves_the_run_cut_short(here: Path) -> None:
    key = ("--repository-key", "h/o/n")
    (here / "empty.xml").write_bytes(b"")
    alone = said("append", *key, "empty.xml")
    assert alone.exit_code == 0
    assert "note: empty.xml" in alone.stderr
    assert "set aside" in alone.stderr
    assert "cut short" not in alone.stderr
    mixed = said("append", *key, "--run-id", "mix", "r.xml", "bad.txt")
    assert "note: bad.txt" in mixed.stderr
    assert "cut short" in mixed.stderr
    assert "1 runs with 1 results (2 set aside)" in said("run", "--drain").output
    (run,) = Lake(here / ".foretest/lake").events("h/o/n")
    assert not run.complete


def test_what_somebody_cut_off_the_spool_is_told(here: Path) -> None:
    said("append", "--repository-key", "h/o/n", "r.xml")
    (segment,) = (here / ".foretest/stream").glob("*.seg")
    os.truncate(segment, segment.stat().st_size - 5)
    assert "note: Reports 1 to 1 of the spool are missing" in said("run", "--drain").output


@pytest.mark.parametrize("commit", ["zz;--", "nosuchcommit", "abc", ""])
def test_a_commit_that_is_none_is_refused(checkout: Path, commit: str) -> None:
    with pytest.raises(MissingBase, match="names no commit here"):
        said("append", "--commit", commit, "r.xml")
    with pytest.raises(MissingBase, match="hexadecimal"):
        said("append", "--repository-key", "h/o/n", "--commit", commit, "r.xml")
    assert "0 reports wait" in said("status").output


def test_a_commit_is_kept_by_its_id(checkout: Path) -> None:
    said("append", "--commit", "HEAD", "--run-id", "1", "r.xml")
    said("append", "--commit", "ABCDEF1234", "--run-id", "2", "r.xml")  # known elsewhere
    said("run", "--drain")
    head = Repository(checkout).head()
    runs = Lake(checkout / ".foretest/lake").events("git.example/acme/shop")
    assert [run.commit for run in runs] == [head, "abcdef1234"]


@pytest.mark.parametrize("key", ["a/../../b", "a\n/b", "a//b", ".", "a/b\x1b[0m"])
def test_a_key_that_names_no_repository_is_refused(here: Path, key: str) -> None:
    refused = said("append", "--repository-key", key, "r.xml")
    assert refused.exit_code == 2
    assert "names no repository" in refused.output
    assert "\x1b" not in refused.output


def test_an_attempt_that_no_store_takes_is_refused(here: Path) -> None:
    refused = said("append", "--repository-key", "h/o/n", "--attempt", "99999999999", "r.xml")
    assert refused.exit_code == 2
    assert "1000000" in refused.output


def test_selection_does_not_load_what_ingestion_needs() -> None:
    code = "import sys, foretest.cli.ingest; print([m for m in sys.modules if m in %r])"
    heavy = ("nats", "polars", "deltalake", "numpy")
    done = subprocess.run(
        [sys.executable, "-c", code % (heavy,)], capture_output=True, text=True, env=os.environ
    )
    assert done.stdout.strip() == "[]", done.stderr
