"""A tracking server of our own: MLflow on SQLite and a folder, or on PostgreSQL and S3."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from foretest.config import child_environment
from foretest.errors import TrackingFailed
from foretest.platform.tracking.delivery import QUIET, mlflow

LOOPBACK = "127.0.0.1"
PATIENCE = 600.0
"""Seconds within which it must answer: a new database takes a quiet machine about ten, a busy one
minutes. One that ends by itself is known at once."""
_GRACE = 10.0
"""Seconds that it has to end by itself."""


@contextmanager
def tracking_server(
    backend: str, artifacts: str, log: Path, *, host: str = LOOPBACK, port: int = 5000
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server for the length of the block: its address, and its process once it answers.

    `backend` is `sqlite:///FILE` or `postgresql+psycopg://...`, `artifacts` a folder or
    `s3://BUCKET/PREFIX`, which the server alone needs credentials for. Raises TrackingFailed,
    ExtraMissing.
    """
    if find_spec("mlflow") is None:  # it is the child that imports it
        mlflow()
    _free(host, port)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as lines:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server"),
                *("--host", host, "--port", str(port)),
                # Each is all of MLflow once more, and one serves a team's trainings.
                *("--workers", "1"),
            ],
            # Not on the command line, where everybody could read a password.
            env=child_environment(
                ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"),
                {
                    **QUIET,
                    "MLFLOW_BACKEND_STORE_URI": backend,
                    "MLFLOW_ARTIFACTS_DESTINATION": artifacts,
                    # Two more processes for jobs of language models.
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                },
            ),
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its children end with it, by one signal
        )
        try:
            address = f"http://{LOOPBACK if host == '0.0.0.0' else host}:{port}"
            _wait(server, address, log)
            yield address, server
        finally:
            _end(server)


def serve(
    backend: str, artifacts: str, log: Path, *, host: str, port: int, ready: Callable[[str], None]
) -> int:
    """Run a server until SIGINT or SIGTERM ends it: 0. One that ends by itself has failed: not 0.

    `ready` is called with the address once it answers.
    """

    def told(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, told)
    try:
        running = tracking_server(backend, artifacts, log, host=host, port=port)
        with running as (address, server):
            ready(address)
            return server.wait() or 1
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _free(host: str, port: int) -> None:
    """Raise TrackingFailed for a taken port: whoever has it would be asked whether we are up."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself does
            tried.bind(place)
    except OSError as error:
        raise TrackingFailed(
            f"Nobody can listen on {host}:{port}: {error.strerror or error}.",
            "If a server runs there, use that one; else name another by --host, --port.",
        ) from error


def _wait(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5.0) as answer:
            if answer.status == 200 and server.poll() is None:
                return
        time.sleep(0.2)
    last = log.read_text("utf-8", "replace")[-2000:]
    raise TrackingFailed(
        f"The tracking server did not come up at {address}.\n{last}",
        "The last lines of its log are above. Is the port free, and do backend and store answer?",
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(_GRACE)
    with suppress(ProcessLookupError):  # what did not end by itself
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
