"""Repositories in a bad way: every verb says what is wrong, and selecting answers all the same."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from small_project import Done, Project, make

EVERYTHING = ["tests"]
"""How pytest's list says that everything runs: the project's own `testpaths`."""


def all_run(done: Done, reason: str) -> None:
    """A selection that could not be made: everything, exit 0, the reason."""
    done.check()
    assert done.units in (EVERYTHING, ["."])
    assert "All tests run: " in done.err
    assert reason in done.err
    assert done.err.splitlines()[-1] == "foretest: everything runs."


@pytest.fixture
def untouched(project: Project) -> Iterator[None]:
    """Whatever happens in the test, the user's tree and `.git` stay as they were before."""
    before = project.snapshot()
    yield
    assert project.snapshot() == before


def test_no_repository(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = project.home / "outside"
    outside.mkdir()
    monkeypatch.chdir(outside)
    all_run(project.foretest("select"), "not inside a git work tree")
    for verb in ("learn", "explain", "record", "blame", "stats", "summary"):
        done = project.foretest(verb).check(2)
        assert "not inside a git work tree" in done.err
        assert "  -> Run `git init`" in done.err
    assert "BAD  " in project.foretest("doctor").check(1).out
    assert list(outside.iterdir()) == []


def test_the_plugin_outside_a_repository(project: Project) -> None:
    shutil.rmtree(project.root / ".git")
    done = project.pytest("--foretest").check()
    assert "15 passed" in done.out
    assert "all tests ran, nothing was left out" in done.out
    assert "not inside a git work tree" in done.out


@pytest.mark.usefixtures("untouched")
def test_git_is_not_installed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project.home))
    all_run(project.foretest("select"), "git is not installed, or not on PATH.")
    done = project.foretest("learn").check(2)
    assert "Install git" in done.err
    project.environment["PATH"] = str(project.home)
    done = project.pytest("--foretest").check()
    assert "15 passed" in done.out
    assert "git is not installed" in done.out


def test_an_empty_repository(project: Project) -> None:
    shutil.rmtree(project.root / ".git")
    project.git("init", "-q", "-b", "main")
    before = project.snapshot()
    all_run(project.foretest("select"), "commit")
    for verb in ("learn", "blame"):
        assert "no commit" in project.foretest(verb).check(2).err
    project.foretest("doctor").check(1)
    assert "15 passed" in project.pytest("--foretest").check().out
    assert project.snapshot() == before


def test_one_commit_alone(project: Project) -> None:
    shutil.rmtree(project.root / ".git")
    project.git("init", "-q", "-b", "main")
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "All")
    all_run(project.foretest("select"), "Name a base: --base REF.")


def test_a_detached_head(project: Project) -> None:
    project.git("checkout", "-q", "--detach", "HEAD")
    project.break_tax()
    before = project.snapshot()
    done = project.foretest("select", "--base", "HEAD", "--target", "50%").check()
    assert "tests/test_prices.py::test_tax" in done.units
    assert "All tests run" not in done.err
    project.foretest("learn").check()
    assert project.snapshot() == before


@pytest.mark.usefixtures("untouched")
def test_a_missing_base(project: Project) -> None:
    for base in ("origin/nowhere", "f" * 40, "--output=x", "", "HEAD~99"):
        all_run(project.foretest("select", f"--base={base}"), "names no commit here")
    done = project.foretest("explain", "--base", "origin/nowhere").check(2)
    assert "git fetch origin nowhere" in done.err
    done = project.pytest("--foretest", "--foretest-base=origin/nowhere").check()
    assert "15 passed" in done.out
    assert "git fetch origin nowhere" in done.out
    done = project.foretest("blame", "x::y", "--good", "nowhere").check(2)
    assert "'nowhere' names no commit here" in done.err


def test_a_shallow_clone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = project.home / "clone"
    project.git("branch", "far", "HEAD~2")
    project.git("clone", "-q", "--depth=1", f"file://{project.root}", str(clone))
    shutil.copytree(project.state, clone / ".foretest")
    monkeypatch.chdir(clone)
    shallow = Project(clone, project.home, project.capture, project.environment)
    before = shallow.snapshot()
    all_run(project.foretest("select", "--base", "HEAD~1"), "git fetch --unshallow")
    assert "git fetch --unshallow" in project.foretest("doctor").check(1).out
    assert "15 passed" in shallow.pytest("--foretest").check().out
    assert shallow.snapshot() == before


def test_a_merge_that_is_not_settled(project: Project) -> None:
    project.git("checkout", "-q", "-b", "other", "HEAD~1")
    project.edit("src/shop/stock.py", "sum(stock.values())", "sum(list(stock.values()))", "Other")
    with pytest.raises(Exception, match="merge"):
        project.git("merge", "main")
    before = project.snapshot()
    done = project.foretest("select").check()
    assert "tests/test_stock.py::test_total" in done.units or done.units == EVERYTHING
    project.foretest("doctor")
    assert project.snapshot() == before


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"PK\x03\x04 no zip at all",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-40],
        lambda data: data[:300] + bytes(64) + data[364:],
    ],
    ids=["empty", "no zip", "half", "no end", "holes"],
)
def test_a_corrupt_bundle(project: Project, damage: object) -> None:
    assert callable(damage)
    project.bundle.write_bytes(damage(project.bundle.read_bytes()))
    all_run(project.foretest("select"), "foretest learn")
    assert "foretest learn" in project.foretest("stats").check(2).err
    assert "BAD  " in project.foretest("doctor").check(1).out


def test_a_corrupt_bundle_is_replaced(project: Project) -> None:
    project.bundle.write_bytes(b"nothing")
    assert "15 passed" in project.pytest("--foretest").check().out
    done = project.foretest("record").check()
    assert "Recorded 1 run: 15 results, 0 failed." in done.out
    assert "History is kept, but not in the bundle" in done.err
    assert "The old bundle is set aside" in project.foretest("learn").check().err
    assert project.foretest("select").check().units != EVERYTHING


@pytest.mark.usefixtures("untouched")
def test_a_newer_bundle(project: Project) -> None:
    import json
    import zipfile

    with zipfile.ZipFile(project.bundle) as old:
        members = {name: old.read(name) for name in old.namelist()}
    manifest = json.loads(members["manifest.json"])
    manifest["format"] = 99
    members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(project.bundle, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
    kept = project.bundle.read_bytes()
    all_run(project.foretest("select"), "pgrade foretest")
    project.foretest("stats").check(2)
    project.foretest("record").check()
    assert project.bundle.read_bytes() == kept


def test_no_bundle(unlearnt: Project) -> None:
    before = unlearnt.snapshot()
    all_run(unlearnt.foretest("select"), "Run 'foretest learn' or 'foretest state pull'.")
    assert "15 passed" in unlearnt.pytest("--foretest").check().out
    assert not unlearnt.state.exists()
    assert unlearnt.snapshot() == before
    assert "foretest learn" in unlearnt.foretest("explain").check(2).err
    assert "There is no decision yet" in unlearnt.foretest("summary").check(2).err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.foretest\n", "pyproject.toml cannot be read"),
        ("[tool.foretest]\nspeed = 11\n", "Unknown setting 'speed'"),
        ("[tool.foretest]\ntarget = 'much'\n", "Setting 'target' has the value 'much'"),
        ("[tool.foretest]\ntarget = 2.0\n", "from 0 to 1"),
        ("[tool]\nforetest = 3\n", "not a table"),
        ("\x00\xff", "cannot be read"),
    ],
    ids=["no TOML", "unknown", "type", "value", "no table", "bytes"],
)
def test_bad_settings(project: Project, text: str, said: str) -> None:
    (project.root / "pyproject.toml").write_text(text, encoding="latin-1")
    all_run(project.foretest("select"), said)
    for verb in ("learn", "stats", "record"):
        assert said in project.foretest(verb).check(2).err
    assert said in project.foretest("doctor").check(1).out


def test_a_bad_setting_in_the_environment(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORETEST_TIMEOUT", "soon")
    all_run(project.foretest("select"), "Setting 'timeout' has the value 'soon'")


@pytest.mark.usefixtures("untouched")
def test_a_corrupt_decision(project: Project) -> None:
    project.foretest("select").check()
    (last,) = (project.state / "decisions").glob("*.json")
    for text in ("", "[]", "{", '{"decision_id": 3}', '{"chosen": [1]}', "[" * 100_000):
        last.write_text(text)
        for verb in ("explain", "summary"):
            assert "Run `foretest select` again." in project.foretest(verb).check(2).err
    project.foretest("select").check()
    project.foretest("explain").check()


@pytest.mark.usefixtures("untouched")
def test_a_selection_file_that_cannot_be_read(project: Project) -> None:
    file = project.home / "selection.json"
    file.write_text('{"chosen": 1}')
    done = project.pytest("--foretest", f"--foretest-selection={file}").check()
    assert "15 passed" in done.out
    assert "cannot be read" in done.out


def test_a_state_directory_that_is_a_file(project: Project) -> None:
    shutil.rmtree(project.state)
    project.state.write_text("in the way")
    all_run(project.foretest("select"), "bundle")
    assert "cannot be" in project.foretest("learn").check(2).err
    assert "15 passed" in project.pytest("--foretest").check().out
    assert project.state.read_text() == "in the way"


def _bound() -> None:
    """Make root subject to permissions, as everybody else is, from the next program on."""
    import ctypes

    if os.getuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(sys.platform != "linux", reason="permissions of root")
def test_a_read_only_state_directory(project: Project) -> None:
    project.break_tax()
    before = project.snapshot()
    held = {path: path.read_bytes() for path in project.state.rglob("*") if path.is_file()}
    folders = [project.state, *(path for path in project.state.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        command = [*project.command("select"), "--target", "50%"]
        done = project.process(*command, preexec_fn=_bound).check()
        assert "tests/test_prices.py::test_tax" in done.units
        assert "The decision could not be kept" in done.err
        command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        options = ("--foretest", "--foretest-base=HEAD", "--foretest-target=50%")
        done = project.process(*command, *options, preexec_fn=_bound).check(1)
        assert "could not be written" in done.out
        done = project.process(*project.command("record"), preexec_fn=_bound).check(2)
        assert "Check the folder's permissions." in done.err
        done = project.process(*project.command("doctor"), preexec_fn=_bound).check(1)
        assert "cannot be written to" in done.out
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert {path: path.read_bytes() for path in project.state.rglob("*") if path.is_file()} == held
    assert project.snapshot() == before


def test_files_outside_python_and_odd_names(project: Project) -> None:
    project.write("tests/my tests/test_ä b.py", "def test_ö(): pass\n")
    (project.root / os.fsdecode(b"caf\xe9.py")).write_text("x = 1\n")
    (project.root / "line\nbreak.py").write_text("x = 1\n")
    (project.root / "link.py").symlink_to("nowhere.py")
    before = project.snapshot()
    done = project.process(*project.command("select")).check()
    assert "tests/my tests/test_ä b.py::test_ö" in done.units
    listed = project.home / "now.txt"
    listed.write_text(done.out)
    assert "1 passed" in project.pytest("-k", "test_ö", f"@{listed}").check().out
    assert project.snapshot() == before


def test_a_repository_inside_another(tmp_path: Path, project: Project) -> None:
    inner = make(project.root / "vendor" / "inner", project.home, {"a.py": "x = 1\n"})
    before = project.snapshot()
    project.foretest("select").check()
    project.foretest("select", "-C", str(inner.root)).check()
    assert project.snapshot() == before
