"""Files that survive: atomic writes and locks between processes; standard library only."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from foretest.errors import BadStore, Busy

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FULL = (errno.ENOSPC, errno.EDQUOT)
LEAST_ROOM = 1 << 20
"""Bytes below which a disk counts as full: a library may need some for its own files."""
_PAUSE = 0.02
"""Seconds between two tries for a lock: short beside any work done under one."""


def atomic_write(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: readers see the old file or the new one. Raises BadStore."""
    with writing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8, as `atomic_write` does."""
    atomic_write(path, text.encode("utf-8"))


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file that takes the place of `path` if the block ends well, and vanishes if not.

    The bytes lie in a file beside the target, are forced to disk, renamed, and the folder is
    forced to disk as well. Raises BadStore where the disk is full or the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):  # the new file keeps the old one's permissions
            temporary.chmod(path.stat().st_mode & 0o7777)
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise refused(path, error) from error
    finally:
        with suppress(OSError):  # gone already where all went well
            temporary.unlink()


def refused(path: Path, error: OSError) -> BadStore:
    """Say in the user's words why `path` could not be written, and what to do."""
    if error.errno in _FULL:
        return BadStore(
            f"The disk is full: {path} was not written.", "Free some space and try again."
        )
    reason = error.strerror or str(error)
    return BadStore(f"{path} cannot be written: {reason}.", "Check the folder's permissions.")


def full(folder: Path, needed: int = LEAST_ROOM) -> bool:
    """Whether the folder's disk has fewer bytes left than needed; not where nobody can tell."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free < needed
    return False


def sync_directory(path: Path) -> None:
    """Force a folder's entries to disk, so that a rename survives a power cut."""
    with suppress(OSError):  # some file systems do not let a folder be opened or synced
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_upwards(path: Path) -> None:
    """Force the entries of a folder and of all above it to disk: some may have been made just now.

    A file system that refuses some of them keeps those by other means, or nobody can help it.
    """
    whole = path.absolute()
    for folder in (whole, *whole.parents):
        sync_directory(folder)


@contextmanager
def lock(path: Path, timeout: float = 30.0, pause: float = _PAUSE) -> Iterator[None]:
    """Hold `path` as a lock between processes; raises Busy after `timeout` seconds.

    `pause` is the time between two tries, in seconds.

    The kernel drops the lock when its owner ends, however it ends: there are no stale locks. The
    file stays behind on purpose, since removing it would let two owners in; its text is the
    owner's process id, for the message only.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:
        raise refused(path, error) from error
    try:
        _wait(handle, path, timeout, pause)
        with suppress(OSError):  # a full disk must not keep a lock from being taken
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, f"{os.getpid():<20}\n".encode())
        try:
            yield
        finally:
            _release(handle)  # closing alone would leave it with children forked meanwhile
    finally:
        os.close(handle)


def claim(handle: int) -> None:
    """Mark an open file as being written until this process ends or closes it."""
    with suppress(OSError):  # a file system without locks: readers then take it for finished
        _taken(handle)


def claimed(path: Path) -> bool:
    """Whether a process that still runs has claimed the file."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _taken(handle)
    except OSError:
        return False
    finally:
        os.close(handle)


def _wait(handle: int, path: Path, timeout: float, pause: float) -> None:
    deadline = time.monotonic() + timeout
    while not _taken(handle):
        if time.monotonic() >= deadline:
            owner = _owner(handle)
            raise Busy(
                f"{path.parent} is in use by another foretest process{owner}.",
                "Wait until it ends, or end it, and try again.",
            )
        time.sleep(pause)


if sys.platform == "win32":
    _AT = 1 << 30  # locked bytes cannot be read by others: lie far behind the owner's id

    def _taken(handle: int) -> bool:
        os.lseek(handle, _AT, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _release(handle: int) -> None:
        os.lseek(handle, _AT, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:

    def _taken(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


def _owner(handle: int) -> str:
    with suppress(OSError):
        os.lseek(handle, 0, os.SEEK_SET)
        text = os.read(handle, 32).decode("ascii", "replace").strip()
        if text.isdigit():
            return f" (process {text})"
    return ""
