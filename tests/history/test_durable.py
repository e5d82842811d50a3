"""Atomic writes and locks: nothing half written, nothing held for ever."""

import errno
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import sqlalchemy as sa

from foretest import durable
from foretest.durable import LEAST_ROOM
from foretest.errors import BadStore, Busy
from foretest.history.database import Database
from foretest.history.delta import Delta


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.endswith(".tmp"))


def test_write_replaces_the_whole_file_and_makes_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.bin"
    durable.atomic_write(target, b"one, rather long")
    durable.atomic_write(target, b"two")
    assert target.read_bytes() == b"two"
    assert leftovers(target.parent) == []


def test_permissions_of_the_replaced_file_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_text("x")
    target.chmod(0o640)
    durable.write_text(target, "é")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.read_bytes() == "é".encode()


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path, stop: type[BaseException]) -> None:
    target = tmp_path / "f"
    target.write_text("old")

    def interrupted() -> None:
        with durable.writing(target) as file:
            file.write(b"half")
            raise stop

    with pytest.raises(stop):
        interrupted()
    assert target.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_full_disk_is_said_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "f"
    target.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadStore, match=r"disk is full.*Free some space"):
        durable.atomic_write(target, b"new")
    assert target.read_text() == "old"
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a Linux device")
def test_a_device_without_room_is_refused() -> None:
    with pytest.raises(OSError, match="space") as caught, open("/dev/full", "wb") as file:  # noqa: PTH123
        file.write(b"x" * 100_000)
    assert "disk is full" in durable.refused(Path("f"), caught.value).message


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadStore, match="cannot be written"):
        durable.atomic_write(tmp_path / "file" / "below", b"")


HOLD = """
    import sys, time
    from pathlib import Path
    from foretest.durable import lock
    with lock(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_held_lock_names_its_owner_and_falls_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = holder(path)
    try:
        with pytest.raises(Busy, match=f"process {process.pid}") as caught, durable.lock(path, 0.1):
            pass
        assert caught.value.remedy
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with durable.lock(path, timeout=60):
        pass


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError), durable.lock(tmp_path / "lock"):  # noqa: PT011
        raise ValueError
    with durable.lock(tmp_path / "lock", timeout=0):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    read, write = os.pipe()
    with durable.lock(tmp_path / "lock"):
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)  # lives on until the parent closes its end
            os._exit(0)
    try:
        with durable.lock(tmp_path / "lock", timeout=0):
            pass
    finally:
        os.close(write)
        os.waitpid(child, 0)
        os.close(read)


def test_the_module_is_light(tmp_path: Path) -> None:
    code = (
        "import sys, foretest.durable;"
        "print([m for m in ('numpy','polars','deltalake','sqlalchemy','json') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(durable.__file__).parents[1])},
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_disk_without_room_is_said_before_the_libraries_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, database = Delta(str(tmp_path / "t"), {"a": pl.Int64()}, {}), f"sqlite:///{tmp_path}/c.db"
    rows = pl.DataFrame({"a": [1]})
    left = SimpleNamespace(free=LEAST_ROOM + 7)  # a byte less than the rows take
    table = lake.ready()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: left)
    with pytest.raises(BadStore, match="disk is full"):
        lake.commit(table, rows)
    left.free += 1
    assert lake.commit(table, rows)
    for free, said in ((0, "disk is full"), (1 << 40, "disk I/O error")):
        left.free = free
        with pytest.raises(BadStore, match=said), Database(database).honest():
            raise sa.exc.OperationalError("", {}, sqlite3.OperationalError("disk I/O error"))
