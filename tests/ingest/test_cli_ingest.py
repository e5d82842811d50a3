"""`foretest ingest` from outside: what is said, and what a stranger's mistakes come to."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from foretest.cli.ingest import command
from foretest.errors import BadConfiguration, BadReport, StateNotFound
from foretest.history.lake import Lake

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


def test_mistakes_are_told_before_anything_is_kept(here: Path) -> None:
    with pytest.raises(BadReport, match="--repository-key"):
        said("append", "r.xml")
    with pytest.raises(BadConfiguration, match="nats://"):
        said("append", "--stream", "kafka", "--repository-key", "h/o/n", "r.xml")
    with pytest.raises(StateNotFound):
        said("poison", "show", "../../etc/passwd")
    assert said("append", "missing.xml").exit_code == 2
    assert "0 reports wait" in said("status").output


def test_selection_does_not_load_what_ingestion_needs() -> None:
    code = "import sys, foretest.cli.ingest; print([m for m in sys.modules if m in %r])"
    heavy = ("nats", "polars", "deltalake", "numpy")
    done = subprocess.run(
        [sys.executable, "-c", code % (heavy,)], capture_output=True, text=True, env=os.environ
    )
    assert done.stdout.strip() == "[]", done.stderr
