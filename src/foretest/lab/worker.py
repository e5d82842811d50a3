"""The engine's end of a zygote: starts it, sends it runs, and starts it again when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from foretest.config import child_environment
from foretest.errors import SuiteFailed

ZYGOTE = Path(__file__).with_name("zygote.py")

REMOVED = (
    "COVERAGE_PROCESS_START",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_WORK_TREE",
    "PYTEST_ADDOPTS",
    "PYTEST_CURRENT_TEST",
    "PYTEST_XDIST_WORKER",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONWARNINGS",
)
"""Variables that would lead a run of the suite to another repository, suite or interpreter."""

_ONE_THREAD = dict.fromkeys(("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Several workers share the cores, and threads do not survive a fork."""


class WorkerDiedError(Exception):
    """The zygote ended without an answer."""


class Worker:
    """A zygote that is started when first needed and replaced when it has died."""

    def __init__(
        self, python: str, tree: Path, temporary: Path, path: Sequence[str], log: Path
    ) -> None:
        # A path holds from here, not from the tree; a bare name is looked for as usual.
        self.python = str(Path(python).absolute()) if os.sep in python else python
        self.tree = tree
        self.temporary = temporary
        self.path = tuple(path)
        self.log = log
        self.preparation: dict[str, Any] = {"packages": [], "modules": []}
        self.sources: tuple[str, ...] = ()
        self.tests: tuple[str, ...] = ()
        self.prepared: Mapping[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: IO[bytes] | None = None
        self._answers: IO[bytes] | None = None

    def warm(
        self,
        packages: Sequence[str],
        modules: Sequence[str],
        sources: Sequence[str] = (),
        tests: Sequence[str] = (),
    ) -> None:
        """Start a zygote that imports third-party modules and compiles the project beforehand."""
        self.preparation = {"packages": list(packages), "modules": list(modules)}
        self.preparation |= {"sources": list(sources), "tests": list(tests)}
        self.close()
        self._start()

    def run(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The lines of one run, `end` last; raises WorkerDiedError where the zygote did."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        child = 0
        try:
            self._send({"kind": "run", "path": self.path, "tree": str(self.tree), **request})
            while True:
                line = self._receive()
                if line["kind"] == "child":
                    child = line["pid"]
                    continue
                yield line
                if line["kind"] == "end":
                    return
        except BaseException:
            # Left halfway, by an error or by a reader that has had enough: nothing may run on.
            if child:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(child, signal.SIGKILL)
            self.close()
            raise

    def stop(self) -> None:
        """Make a run that another thread waits for end at once."""
        if self._requests is not None:
            with suppress(OSError):
                self._requests.close()

    def close(self) -> None:
        """End the zygote and all that it started."""
        process = self._process
        for pipe in (self._requests, self._answers):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process = self._requests = self._answers = None
        if process is None:
            return
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self) -> None:
        requests_out, requests_in = os.pipe()
        answers_out, answers_in = os.pipe()
        try:
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    [self.python, "-B", str(ZYGOTE), str(requests_out), str(answers_in)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.tree,
                    env=self._environment(),
                    pass_fds=(requests_out, answers_in),
                    start_new_session=True,
                )
        except OSError as error:
            os.close(requests_in)
            os.close(answers_out)
            raise SuiteFailed(
                f"{self.python} cannot be started: {error.strerror}.",
                "Set `python` to the interpreter that runs the project's tests.",
            ) from error
        finally:
            os.close(requests_out)
            os.close(answers_in)
        self._requests = os.fdopen(requests_in, "wb", buffering=0)
        self._answers = os.fdopen(answers_out, "rb")
        try:
            self._receive()
            preparation = {"sources": [], "tests": [], **self.preparation}
            self._send({"kind": "prepare", **preparation})
            self.prepared = self._receive()
        except WorkerDiedError as error:
            self.close()
            said = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
            raise SuiteFailed(
                f"The project's interpreter ended at its start. It said: {said[0]}",
                f"Check that `{self.python} -m pytest --version` works.",
            ) from error

    def _environment(self) -> dict[str, str]:
        changes = {
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": os.pathsep.join(self.path),
            "TMPDIR": str(self.temporary),
            **_ONE_THREAD,
        }
        return child_environment(REMOVED, changes)

    def _send(self, record: Mapping[str, Any]) -> None:
        data = memoryview((json.dumps(record) + "\n").encode())
        assert self._requests is not None
        try:
            while data:
                data = data[self._requests.write(data) or 0 :]
        except (BrokenPipeError, OSError) as error:
            raise WorkerDiedError from error

    def _receive(self) -> dict[str, Any]:
        assert self._answers is not None
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise WorkerDiedError
        record: dict[str, Any] = json.loads(line)
        return record


def supported() -> bool:
    """True where processes can be forked."""
    return hasattr(os, "fork") and sys.platform != "win32"
