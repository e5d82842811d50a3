"""The files of a spool: segments, the end that is appended to, and up to where they were read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from foretest.durable import atomic_write, refused, sync_directory
from foretest.errors import BadStore
from foretest.ingest.frames import TOP, Frame, mark_of, scan, top
from foretest.ingest.stream import Level

ENDING = ".seg"
DAMAGED = ".damaged"
_ACKNOWLEDGED = "acknowledged"
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where the reader has given reports up."""

    segment: str = ""
    offset: int = 0
    sequence: int = 0


@dataclass(slots=True)
class Tail:
    """The segment that is appended to, open, as this process knows it."""

    path: Path
    handle: int
    mark: bytes
    end: int
    next: int

    @classmethod
    def new(cls, folder: Path, sequence: int, level: Level) -> Tail:
        path = folder / f"{sequence:020d}{ENDING}"
        beginning = top()
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise refused(path, error) from error
        tail = cls(path, handle, mark_of(beginning), 0, sequence)
        try:
            tail.write(beginning, 0, level)
        except BadStore:
            tail.close()
            with suppress(OSError):
                path.unlink()
            raise
        if level is Level.POWER:
            sync_directory(folder)
        return tail

    def write(self, data: bytes, reports: int, level: Level) -> None:
        """Add bytes whole or not at all. Raises BadStore where the disk does not take them."""
        left = memoryview(data)
        at = self.end
        try:
            while left:
                written = os.pwrite(self.handle, left, at)
                at += written
                left = left[written:]
            if level is Level.POWER:
                os.fsync(self.handle)
        except OSError as error:
            with suppress(OSError):  # what stays is torn, and cut off by whoever appends next
                os.ftruncate(self.handle, self.end)
            raise refused(self.path, error) from error
        self.end = at
        self.next += reports

    def close(self) -> None:
        os.close(self.handle)


def acknowledged(folder: Path) -> int:
    """The last number that a producer got a receipt for, as far as it was noted; 0 where none was.

    No number up to it is ever given out again, whatever became of its report.
    """
    try:
        text = (folder / _ACKNOWLEDGED).read_bytes()
    except OSError:
        return 0
    return int(text) if len(text) == _DIGITS and text.isdigit() else 0


def note_acknowledged(folder: Path, sequence: int) -> None:
    """Note a number before its receipt is given. Failing costs no report, only the telling."""
    with suppress(OSError):
        handle = os.open(folder / _ACKNOWLEDGED, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.pwrite(handle, b"%0*d" % (_DIGITS, sequence), 0)
        finally:
            os.close(handle)


def recovered(folder: Path, name: str, cursor: Cursor) -> Tail | None:
    """The last segment, opened by whoever holds the lock.

    A torn end that was never acknowledged is cut off; one that was, somebody truncated: its bytes
    lie aside for a person to look at. None where the whole segment does, having no beginning.
    """
    path = folder / name
    data = path.read_bytes()
    try:
        mark = mark_of(data)
    except BadStore:
        if len(data) < TOP:
            path.unlink()
        else:
            path.replace(path.with_name(f"{name}{DAMAGED}"))
        return None
    end, following = TOP, max(int(path.stem), cursor.sequence + 1)
    for found in scan(data[TOP:], mark):
        end = TOP + found.end
        following = max(following, found.sequence + 1 if isinstance(found, Frame) else 0)
    promised = acknowledged(folder)
    if end < len(data) and following <= promised:
        atomic_write(folder / f"{name}.{end}{DAMAGED}", data[end:])
    handle = os.open(path, os.O_RDWR)
    if end < len(data):
        os.ftruncate(handle, end)
    return Tail(path, handle, mark, end, max(following, promised + 1))


def read_cursor(folder: Path) -> Cursor:
    """Up to where reports were given up. Raises BadStore where the file is damaged."""
    try:
        said = json.loads((folder / "cursor.json").read_text("utf-8"))
        return Cursor(str(said["segment"]), int(said["offset"]), int(said["sequence"]))
    except FileNotFoundError:
        return Cursor()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadStore(
            f"{folder / 'cursor.json'} is damaged.",
            "Delete it: reports that are in the lake already are known there.",
        ) from error


def cursor_or_none(folder: Path) -> Cursor:
    """The same for producers, whom a damaged one does not concern: all then counts as waiting."""
    try:
        return read_cursor(folder)
    except BadStore:
        return Cursor()


def sizes_of(folder: Path) -> dict[str, int]:
    """Bytes of every segment by name, oldest first by name."""
    try:
        with os.scandir(folder) as entries:
            return {e.name: e.stat().st_size for e in entries if e.name.endswith(ENDING)}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise refused(folder, error) from error


def backlog(sizes: dict[str, int], cursor: Cursor) -> int:
    """Bytes that nobody has given up yet, frames' heads included."""
    total = 0
    for name, size in sizes.items():
        if name >= cursor.segment:
            total += max(0, size - (cursor.offset if name == cursor.segment else TOP))
    return total


def chunk_of(path: Path, start: int, size: int) -> tuple[bytes | None, bytes, bool]:
    """The segment's mark, `size` bytes from `start` on (-1: all), and whether there are more."""
    try:
        with path.open("rb") as file:
            mark = mark_of(file.read(TOP))
            file.seek(start)
            data = file.read(size)
            return mark, data, os.fstat(file.fileno()).st_size > start + len(data)
    except (FileNotFoundError, BadStore):
        return None, b"", False


def frames_of(path: Path, cursor: Cursor) -> Iterator[Frame]:
    if path.name < cursor.segment:
        return
    start = cursor.offset if path.name == cursor.segment else TOP
    mark, data, _ = chunk_of(path, start, -1)
    if mark is not None:
        yield from (piece for piece in scan(data, mark) if isinstance(piece, Frame))
