"""A PostgreSQL server of the tests' own, where its programs are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """SQLAlchemy's address of an empty database on the loopback; ended with the tests."""
    programs = _programs()
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if programs is None or (as_user and not _has_user()):
        pytest.skip("LEFT OUT: no PostgreSQL here (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="LEFT OUT: psycopg is not installed")
    # Not among pytest's own folders: every other session closes those to the server's user.
    folder = Path(tempfile.mkdtemp(prefix="foretest-postgres-"))
    if as_user:
        shutil.chown(folder, "postgres")
    data, port = folder / "data", _free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    start = ["-D", data, "-w", "-l", folder / "log", "-o", options, "start"]
    try:
        _run([*as_user, programs / "initdb", "-D", data, "-U", "me", "--auth=trust", "-N"])
        _run([*as_user, programs / "pg_ctl", *start])
        try:
            yield f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"
        finally:
            _run([*as_user, programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder)


def _programs() -> Path | None:
    """The folder that holds initdb and pg_ctl; Debian keeps them off the PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    places = [*debian, *([Path(found).parent] if found else [])]
    return next((p for p in places if (p / "initdb").exists() and (p / "pg_ctl").exists()), None)


def _has_user() -> bool:
    import pwd

    return any(entry.pw_name == "postgres" for entry in pwd.getpwall())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
