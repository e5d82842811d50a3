"""A real Buildbot, master and worker, over several commits of a small project.

It lies in an environment of its own, which `scripts/buildbot_environment.sh` makes: named by
BUILDBOT_ENVIRONMENT, else `.cache/buildbot`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import IncompleteRead
from pathlib import Path
from typing import Any, TypeVar

import pytest
from ci_machine import Machine

from foretest.ci.templates import template
from foretest.history.lake import Lake
from small_project import UNITS, Project, clean_environment

ROOT = Path(__file__).parents[2]
ENVIRONMENT = Path(os.environ.get("BUILDBOT_ENVIRONMENT", ROOT / ".cache" / "buildbot"))
PATIENCE = 300.0
"""Seconds until a build must have ended, on the busiest machine."""

T = TypeVar("T")

RESULTS = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")
"""What Buildbot's numbers mean."""


@dataclass
class Buildbot:
    """A running master with one worker; builds are started through its REST interface."""

    folder: Path
    web: str

    @property
    def workspace(self) -> Path:
        return self.folder / "worker" / "tests" / "build"

    def get(self, path: str, **asked: object) -> Any:
        query = urllib.parse.urlencode(asked)
        with urllib.request.urlopen(f"{self.web}/api/v2/{path}?{query}", timeout=60) as answer:
            return json.load(answer)

    def force(self, branch: str, *, learn: bool = False) -> Built:
        """Start a build as a person does by the button, and wait until it has ended."""
        asked = {"branch": branch, "learn": learn}
        call = {"jsonrpc": "2.0", "method": "force", "id": 1, "params": asked}
        request = urllib.request.Request(
            f"{self.web}/api/v2/forceschedulers/force",
            json.dumps(call).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            _, requests = json.load(answer)["result"]
        (number,) = requests.values()
        return self._told(_awaited(lambda: self._ended(number), f"the build of {branch}"))

    def _ended(self, number: int) -> dict[str, Any] | None:
        try:
            builds = self.get("builds", buildrequestid=number, complete="true")["builds"]
        except IncompleteRead:  # a busy master may cut an answer short: it is asked again
            return None
        return builds[0] if builds else None

    def _told(self, build: dict[str, Any]) -> Built:
        results, texts = {}, {}
        for step in self.get(f"builds/{build['buildid']}/steps")["steps"]:
            results[step["name"]] = RESULTS[step["results"]]
            logs = self.get(f"steps/{step['stepid']}/logs")["logs"]
            texts[step["name"]] = "".join(self._text(log["logid"]) for log in logs)
        return Built(build["number"], RESULTS[build["results"]], results, texts)

    def _text(self, log: int) -> str:
        chunks = self.get(f"logs/{log}/contents")["logchunks"]
        lines = "".join(chunk["content"] for chunk in chunks).splitlines()
        return "\n".join(line[1:] for line in lines)  # the first letter says which stream


@dataclass
class Built:
    """A build that has ended: its result, and each step's result and text."""

    number: int
    result: str
    steps: dict[str, str]
    texts: dict[str, str]

    def __str__(self) -> str:
        told = (f"== {name}: {self.steps[name]}\n{text}" for name, text in self.texts.items())
        return "\n".join(told)


@pytest.fixture
def buildbot(project: Project, tmp_path: Path) -> Iterator[Buildbot]:
    """Master and worker by the template, in processes of ours that end with the test."""
    programs = ENVIRONMENT / "bin"
    if not (programs / "buildbot-worker").exists():
        pytest.skip(
            f"no real Buildbot is tried: {ENVIRONMENT} holds none."
            " scripts/buildbot_environment.sh makes it."
        )
    folder = tmp_path / "buildbot"
    worker_port, web_port = _free_port(), _free_port()
    shims = Machine("buildbot", project, folder, None).shims
    environment = clean_environment(folder / "home") | {
        "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}",
        "REPOSITORY": project.root.as_uri(),
        "WORKER_PORT": f"tcp:{worker_port}:interface=127.0.0.1",
        "WEB_PORT": f"tcp:{web_port}:interface=127.0.0.1",
        "WORKER_PASSWORD": "secret",
        "FORETEST_MODE": "select",
        "FORETEST_TARGET": "0.5",
        "PYTEST_ADDOPTS": "-p no:randomly",
    }
    address = f"127.0.0.1:{worker_port}"
    made = (
        ("buildbot", "create-master", "--quiet", "master"),
        ("buildbot-worker", "create-worker", "--quiet", "worker", address, "worker", "secret"),
    )
    for program, *args in made:
        command = [str(programs / program), *args]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    # Builds are forced, one after the other: changes found besides would mix theirs in.
    text = template("buildbot").replace("pollInterval=60", "pollInterval=86_400")
    assert text != template("buildbot")
    (folder / "master" / "master.cfg").write_text(text)
    running = [_start(programs, folder / name, environment) for name in ("master", "worker")]
    try:
        there = Buildbot(folder, f"http://127.0.0.1:{web_port}")
        _awaited(lambda: _connected(there, running), f"Buildbot in {folder}")
        yield there
    finally:
        for process in reversed(running):
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(programs: Path, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [str(programs / "twistd"), "--nodaemon", "--no_save", "-y", "buildbot.tac"]
    with (folder / "output.log").open("wb") as output:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _connected(there: Buildbot, running: list[subprocess.Popen[bytes]]) -> bool:
    ended = [process.args for process in running if process.poll() is not None]
    assert not ended, "\n".join(path.read_text() for path in there.folder.glob("*/*.log"))
    try:
        (worker,) = there.get("workers")["workers"]
    except (OSError, ValueError):
        return False
    return bool(worker["connected_to"])


def _awaited(ask: Callable[[], T | None], what: str) -> T:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if answer := ask():
            return answer
        time.sleep(0.2)
    raise AssertionError(f"waited in vain for {what}")


def test_select_pytest_record_over_several_commits(buildbot: Buildbot, project: Project) -> None:
    tip = project.git("rev-parse", "main")

    # Nothing is known: everything runs, all is learned, and the state is left for others.
    night = buildbot.force("main", learn=True)
    assert night.result == "success", night
    assert "everything runs" in night.texts["select"]
    assert "15 passed" in night.texts["tests"]
    assert "Recorded 1 run: 15 results, 0 failed" in night.texts["record"]
    assert f"Pushed the state of {tip[:12]}" in night.texts["push"]

    # A faulty branch: the state is found, the tests of the change run and fail, all is recorded.
    project.git("switch", "-q", "-c", "topic")
    project.edit("src/shop/prices.py", "/ 100", "/ 10", "Faulty")
    faulty = buildbot.force("topic")
    assert faulty.result == "failure", faulty
    assert f"Pulled the state of {tip[:12]}, 1 commit back" in faulty.texts["pull"]
    told = f"Compared with {tip[:10]}, the base that Buildbot names (main)."
    assert told in faulty.texts["select"]
    assert told in faulty.texts["tests"]
    assert "tests/test_prices.py::test_tax" in faulty.texts["tests"]
    assert " deselected" in faulty.texts["tests"]
    assert faulty.steps["tests"] == "failure"
    assert faulty.steps["record"] == faulty.steps["summary"] == "success"
    assert "of 11 tests run" in faulty.texts["summary"]
    assert (faulty.steps["learn"], faulty.steps["push"]) == ("skipped", "skipped")

    # Another branch, elsewhere in the code: other tests run, and those that failed lately.
    project.git("switch", "-q", "-c", "stock", "main")
    project.edit("src/shop/stock.py", "set(wanted)", "set(wanted or ())", "Stock")
    sound = buildbot.force("stock")
    assert sound.result == "success", sound

    # The mended branch is merged: on main everything runs.
    project.git("switch", "-q", "topic")
    project.edit("src/shop/prices.py", "/ 10", "/ 100.0", "Mended")
    project.git("switch", "-q", "main")
    project.git("merge", "-q", "--no-ff", "-m", "Merge", "topic")
    merged = buildbot.force("main")
    assert merged.result == "success", merged
    assert "15 passed" in merged.texts["tests"]
    assert "Pushed the state of" in merged.texts["push"]

    _check_lake(buildbot, [night, faulty, sound, merged], project)

    # What `record` finds wanting fails the build, as green as its tests are.
    (buildbot.folder / "shims" / "record-fails").touch()
    unjoined = buildbot.force("main")
    assert (unjoined.result, unjoined.steps["tests"]) == ("failure", "success"), unjoined
    assert "Pushed the state of" in unjoined.texts["push"]


def _check_lake(buildbot: Buildbot, builds: list[Built], project: Project) -> None:
    """The lake holds one run a build, in order, with its commit and the tests that it ran."""
    runs = list(Lake(buildbot.workspace / ".foretest" / "lake").events("root:" + _root(project)))
    assert [run.run_id.rpartition("-")[0] for run in runs] == [
        f"buildbot-{build.number}-tests" for build in builds
    ]
    commits = [project.git("rev-parse", name) for name in ("main~1", "topic~1", "stock", "main")]
    assert [run.commit for run in runs] == commits
    ran = [{result.test.unit for result in run.results} for run in runs]
    assert ran[0] == ran[3]
    assert len(ran[0]) == UNITS
    assert {"tests/test_prices.py::test_tax", "tests/test_prices.py::test_gross"} <= ran[1]
    assert "tests/test_stock.py::test_missing" in ran[2]
    assert len(ran[1]) < UNITS > len(ran[2])
    failed = [{r.test.unit for r in run.results if r.outcome.bad} for run in runs]
    assert [bool(found) for found in failed] == [False, True, False, False]
    assert "tests/test_prices.py::test_tax" in failed[1]


def _root(project: Project) -> str:
    return project.git("rev-list", "--max-parents=0", "main")
