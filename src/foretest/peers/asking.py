"""One peer in a work tree of its own: seeded on the unchanged code, asked on each faulty state."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from foretest.config import Config, child_environment
from foretest.errors import PeerUnavailable
from foretest.lab import recorder
from foretest.lab.layout import import_roots
from foretest.lab.worker import REMOVED
from foretest.lab.workspace import Workspace
from foretest.peers import answering
from foretest.peers.answering import MARKER
from foretest.peers.answers import Answer
from foretest.peers.environment import Environment, last_words
from foretest.peers.tools import Layout, Question, Tool, filled, spelled
from foretest.records import TestId

_PLUGINS = {"foretest_answer": answering.__file__, "foretest_recorder": recorder.__file__}

_ALWAYS = (
    "-p", "foretest_answer", "-p", "no:randomly", "-p", "no:foretest",
    "-o", "cache_dir=.pytest_cache", "-o", "strict_config=false",
    "--continue-on-collection-errors", "--tb=line", "-q",
)  # fmt: skip
"""Nothing may shuffle or choose but the peer, and its state lies where it is looked for."""

_ENDED_WELL = (0, 1, 5)
"""Exit codes of pytest: all passed, some failed, none were collected."""


@dataclass(frozen=True, slots=True)
class _Run:
    """How one process of pytest ended."""

    code: int
    seconds: float
    ids: tuple[str, ...] | None
    collected: tuple[str, ...]
    """Ids before the tool left any out."""
    said: str

    @property
    def well(self) -> bool:
        return self.code in _ENDED_WELL and self.ids is not None


class Place:
    """A tool, its environment and its own copy of the project at one commit."""

    def __init__(
        self,
        tool: Tool,
        environment: Environment,
        workspace: Workspace,
        layout: Layout,
        config: Config,
        files: Sequence[str],
    ) -> None:
        self.tool = tool
        self.environment = environment
        self.workspace = workspace
        self.layout = layout
        self.config = config
        self._roots = [workspace.tree / root for root in import_roots(files)]
        self._own = workspace.tree.parent / "peer"
        self._own.mkdir(exist_ok=True)
        for name, source in _PLUGINS.items():
            shutil.copyfile(str(source), self._own / f"{name}.py")
        for name, text in tool.files.items():
            (self._own / name).write_text(text, encoding="utf-8")
        self._seeded = self._own / "seeded"
        self._met = self._own / "met"
        self._met_of = ""

    def seed(self) -> None:
        """Run the unchanged suite once with the tool. Raises PeerUnavailable where that fails."""
        self._seeded.mkdir(exist_ok=True)
        if self.tool.seed is None:
            return
        run = self._run((*self.config.pytest_args, *self.config.tests), self.tool.seed)
        if not run.well:
            raise PeerUnavailable(
                f"{self.tool.name} could not run the unchanged suite. It said: {run.said}",
                "Try it in the project by hand; the other tools are asked without it.",
            )
        self._keep(self._seeded)
        self.workspace.restore()

    def meet(self, case_id: str, patch: bytes, failed: Collection[str]) -> None:
        """Let the tool meet an earlier change's failures, and then the code without that change.

        Its failing tests alone run: for the rest of the suite the tool knows its seeding run.
        """
        if self._met_of == case_id:
            return
        self._met_of = ""
        self._give(self._seeded)
        if self.workspace.apply(patch):
            met = self._run((*self.config.pytest_args, *sorted(failed)), self.tool.seed or ())
            self._keep(self._met)
            self.workspace.restore()
            self._give(self._met)
            if met.well and self._run(self._suite, ("--collect-only",)).well:
                self._keep(self._met)
                self._met_of = case_id
        self.workspace.restore()

    def ask(self, question: Question, case_id: str, patch: bytes, before: str) -> Answer:
        """Ask the tool about one change, which lies uncommitted in its tree."""
        self._give(self._met if before else self._seeded)
        try:
            if before != self._met_of and before:
                run = _nothing("the failing tests of the change before could not be run")
            elif not self.workspace.apply(patch):
                run = _nothing("the change no longer fits the code")
            else:
                run = self._run(self._suite, (*question.args, "--collect-only"))
        finally:
            self.workspace.restore()
        units, shares = None, dict[str, float]()
        if run.well and run.ids is not None:
            units = tuple(dict.fromkeys(TestId.parse(node).unit for node in run.ids))
            shares = shares_of(run.ids, run.collected)
        return Answer(
            case_id=case_id,
            commit=self.workspace.commit,
            question=question.name,
            asked=spelled(question, self.layout),
            version=self.environment.version,
            before=before,
            chosen=units,
            seconds=round(run.seconds, 3),
            said="" if run.well else run.said,
            shares=shares,
        )

    @property
    def _suite(self) -> tuple[str, ...]:
        return (*self.config.pytest_args, *self.config.tests)

    def _keep(self, target: Path) -> None:
        """Copy what the tool left in its tree."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for pattern in self.tool.state:
            for left in self.workspace.tree.glob(pattern):
                _copy(left, target / left.name)

    def _give(self, kept: Path) -> None:
        """Put what was kept back into the tree, which is then as the tool left it."""
        for pattern in self.tool.state:
            for left in self.workspace.tree.glob(pattern):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        for left in kept.glob("*"):
            _copy(left, self.workspace.tree / left.name)

    def _run(self, project: Sequence[str], peer: Sequence[str]) -> _Run:
        """Run pytest with the project's arguments and the peer's."""
        answer, log = self._own / "answer.json", self._own / "log"
        answer.unlink(missing_ok=True)
        command = [self.environment.python, "-B", "-m", "pytest", *project, f"{MARKER}={answer}"]
        command += [f"--rootdir={self.workspace.tree}", f"--confcutdir={self.workspace.tree}"]
        command += [*_ALWAYS, *filled(peer, self.layout, str(self._own))]
        began = time.monotonic()
        code = self._wait(command, log)
        seconds = time.monotonic() - began
        ids, collected = None, ()
        with suppress(OSError, ValueError, KeyError, TypeError):
            data = json.loads(answer.read_bytes())
            ids, collected = tuple(data["ids"]), tuple(data["collected"])
        said = f"ran out of time after {seconds:.0f} s" if code is None else _said(log)
        return _Run(-1 if code is None else code, seconds, ids, collected, said)

    def _wait(self, command: Sequence[str], log: Path) -> int | None:
        """The exit code; None where the time was up. Nothing of the process is left behind."""
        path = os.pathsep.join(map(str, (*self._roots, self._own)))
        changes = {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        changes["TMPDIR"] = str(self.workspace.temporary)
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.workspace.tree,
                env=child_environment(REMOVED, changes),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return process.wait(self.config.timeout)
            except subprocess.TimeoutExpired:
                return None
            finally:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def shares_of(ids: Iterable[str], collected: Iterable[str]) -> dict[str, float]:
    """Units of which only some of the collected parameters were chosen: what share of them."""
    some, all_ = (Counter(TestId.parse(node).unit for node in each) for each in (ids, collected))
    return {unit: n / all_[unit] for unit, n in some.items() if n < all_[unit]}


def _nothing(said: str) -> _Run:
    return _Run(-1, 0.0, None, (), said)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _said(log: Path) -> str:
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8192))
        return last_words(file.read().decode("utf-8", "replace"))
