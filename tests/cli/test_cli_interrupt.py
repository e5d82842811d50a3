"""Ctrl-C and kill -9 at any moment: no traceback, no touched tree, and the next call goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from small_project import PYTEST, Done, Project

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

READY = (
    "import sys\n"
    "from foretest.__main__ import main\n"
    "print('ready', file=sys.stderr, flush=True)\n"
    "sys.exit(main())\n"
)
"""Before this is reached the signal meets Python's own start, which no program can help."""


def started(project: Project, *args: str) -> subprocess.Popen[str]:
    """The command line, begun a moment ago."""
    process = project.start(sys.executable, "-c", READY, *args)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    return process


def interrupted(process: subprocess.Popen[str], after: float) -> Done:
    """Wait a while, press Ctrl-C (the whole group gets it), wait for the end."""
    time.sleep(after)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return Done(process.returncode, out, err)


def awaited(file: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has made a file."""
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)


def left_behind(project: Project) -> list[str]:
    """Processes of the lab that outlived their master, by their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if os.fsencode(str(project.home)) in command:
            found.append(command.decode(errors="replace"))
    return found


def settled(project: Project) -> None:
    """Whatever was interrupted, a new call works, and cleans up what a kill left behind."""
    deadline = time.monotonic() + 30
    while left_behind(project) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_behind(project) == []
    project.foretest("learn").check()
    assert list((project.home / "cache" / "foretest").glob("*/workers/*")) == []
    selected = project.foretest("select", "--target", "50%").check()
    assert "tests/test_prices.py::test_tax" in selected.units


@pytest.mark.parametrize("part", range(4))
def test_ctrl_c_while_selecting(project: Project, part: int) -> None:
    project.break_tax()
    before = project.snapshot()
    moment = random.Random().uniform(part, part + 1) * 0.12
    done = interrupted(started(project, "select"), moment)
    done.check(0, 130)
    if done.status == 130:
        assert done.err.splitlines()[-1].startswith("foretest: interrupted")
    assert project.snapshot() == before
    project.foretest("explain" if done.status == 0 else "select").check()


@pytest.mark.parametrize("part", range(4))
def test_ctrl_c_while_learning(project: Project, part: int) -> None:
    project.break_tax()
    before = project.snapshot()
    moment = random.Random().uniform(part, part + 1) * 0.8
    done = interrupted(started(project, "learn", "--faults", "4"), moment)
    done.check(0, 130)
    assert project.snapshot() == before
    assert list((project.home / "cache" / "foretest").glob("*/workers/*")) == []
    assert [f for f in (project.home / "tmp").iterdir() if f.name.startswith("ft-")] == []
    project.foretest("select").check()


def test_ctrl_c_twice(project: Project) -> None:
    project.break_tax()
    before = project.snapshot()
    process = started(project, "learn", "--faults", "4")
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    interrupted(process, 0.01).check(0, 130)
    assert project.snapshot() == before
    settled(project)


@pytest.mark.parametrize("part", range(2))
def test_kill_while_learning(project: Project, part: int) -> None:
    project.break_tax()
    before = project.snapshot()
    process = started(project, "learn", "--faults", "4")
    time.sleep(random.Random().uniform(0.3 + part, 1.3 + part))
    process.kill()
    process.communicate(timeout=60)
    assert project.snapshot() == before
    settled(project)
    assert project.snapshot() == before


def test_ctrl_c_while_tests_run(project: Project) -> None:
    project.write(
        "tests/test_slow.py",
        """
        import os
        import pathlib
        import time


        def test_first():
            pass


        def test_long():
            pathlib.Path(os.environ["HOME"], "running").write_text("now")
            time.sleep(300)
        """,
        commit="A slow test",
    )
    before = project.snapshot()
    command = [sys.executable, "-B", "-m", "pytest", *PYTEST, "--foretest", "tests/test_slow.py"]
    process = project.start(*command)
    awaited(project.home / "running", process)
    interrupted(process, 0.0).check(2)
    assert project.snapshot() == before
    recorded = project.foretest("record").check()
    assert "Recorded 1 run: 1 results, 0 failed" in recorded.out
    assert "the run was cut short" in recorded.err
    assert project.snapshot() == before


@pytest.mark.parametrize("call", [1, 6, 12])
def test_ctrl_c_while_the_plugin_selects(project: Project, call: int) -> None:
    """The moment is one at which the plugin waits for git: pytest's own moments are its own."""
    git = shutil.which("git")
    shim = project.home / "bin" / "git"
    shim.parent.mkdir()
    shim.write_text(
        f"#!/bin/sh\necho >> '{project.home}/calls'\n"
        f'if [ "$(wc -l < "{project.home}/calls")" -eq {call} ]; then\n'
        f"  touch '{project.home}/waiting'; exec sleep 300\nfi\n"
        f'exec "{git}" "$@"\n'
    )
    shim.chmod(0o755)
    before = project.snapshot()
    path = os.environ["PATH"]
    project.environment["PATH"] = f"{shim.parent}{os.pathsep}{path}"
    process = project.start(sys.executable, "-B", "-m", "pytest", *PYTEST, "--foretest")
    awaited(project.home / "waiting", process)
    interrupted(process, 0.0).check(2)
    project.environment["PATH"] = path
    assert project.snapshot() == before
    assert "15 passed" in project.pytest("--foretest", "--foretest-time=1h").check().out
    project.foretest("record").check()
