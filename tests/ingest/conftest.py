"""Reports by the handful, and a NATS server of one's own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from foretest.ingest.stream import Meta
from foretest.results.read import Origin


def report(run_id: str, tests: int = 3, repository: str = "h/o/n", **more: object) -> bytes:
    """A plugin's report."""
    header = {
        "format": "foretest-report",
        "version": 1,
        "run_id": run_id,
        "attempt": 1,
        "shard": None,
        "decision_id": None,
        "repository": repository,
        "commit": "c" * 40,
        "configuration": {"os": "linux", "python": "3.11", "flags": []},
        "started_at": "2025-03-01T12:00:00+00:00",
        "tests": tests,
        **more,
    }
    lines = [
        {
            "id": f"tests/test_a.py::test_{i}",
            "outcome": "passed" if i else "failed",
            "seconds": 0.5,
            "attempt": 1,
            "fingerprint": None if i else "abcd",
            "phase": "call",
            "inclusion": 1.0,
        }
        for i in range(tests)
    ]
    footer = {"finished_at": "2025-03-01T12:01:00+00:00", "exit": 0, "stopped": False}
    return b"".join(json.dumps(line).encode() + b"\n" for line in (header, *lines, footer))


def meta(name: str = "report.jsonl", **origin: object) -> Meta:
    return Meta(Origin(**origin), name)  # type: ignore[arg-type]


class Broker:
    """A nats-server that can be killed and started again on the same port and store."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"nats://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [self._program, "-a", "127.0.0.1", "-p", str(self.port), "-js"]
        self._process = subprocess.Popen(
            [*command, "-sd", str(self._folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError("nats-server did not come up")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    program = shutil.which("nats-server")
    if program is None:
        pytest.skip("nats-server is not installed: nothing about NATS is tested here")
    running = Broker(program, tmp_path / "jetstream")
    running.start()
    yield running
    running.kill()


@pytest.fixture
def make_report() -> Callable[..., bytes]:
    return report


@pytest.fixture
def make_meta() -> Callable[..., Meta]:
    return meta
