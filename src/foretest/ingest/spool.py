"""A stream in a folder: segments that are only appended to, by any process; one reader."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from foretest.durable import lock, refused, sync_directory, write_text
from foretest.errors import BadReport, BadStore, Busy, ForetestError
from foretest.ingest.frames import TOP, Damage, Frame, mark_of, pack, scan, top
from foretest.ingest.stream import (
    UNKNOWN,
    Delivery,
    Level,
    Meta,
    Receipt,
    Status,
    awaited,
    decode,
    encode,
)

SEGMENT = 64 << 20
"""Bytes after which a new segment begins; a segment that was read to its end is removed."""
LIMIT = 1 << 30
"""Bytes that may wait for the lake before producers are told to come later."""
RETRY_AFTER = 2.0
_PATIENCE = 30.0
_PAUSE = 0.001
_POLL = 0.02
_ENDING = ".seg"
_DAMAGED = ".damaged"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where the reader has given reports up."""

    segment: str = ""
    offset: int = 0
    sequence: int = 0


@dataclass(slots=True)
class _Ticket:
    """One report that waits for its turn to be written."""

    meta: bytes
    report: bytes
    receipt: Receipt | None = None
    error: ForetestError | None = None


class Spool:
    """Reports in a folder. Threads that append at once share one write and one fsync."""

    def __init__(self, folder: Path, level: Level = Level.PROCESS, limit: int = LIMIT) -> None:
        self.folder = folder
        self.level = level
        self.limit = limit
        self._waiting: list[_Ticket] = []
        self._mutex = threading.Lock()
        self._turn = threading.Lock()
        self._tail: _Tail | None = None

    def append(self, report: bytes, meta: Meta) -> Receipt:
        """Keep a report; see `stream.Stream`."""
        ticket = _Ticket(encode(meta.stamped()), report)
        with self._mutex:
            self._waiting.append(ticket)
        with self._turn:  # whoever comes first writes for all who wait
            if ticket.receipt is None and ticket.error is None:
                with self._mutex:
                    tickets, self._waiting = self._waiting, []
                self._write(tickets)
        if ticket.error is not None:
            raise ticket.error
        assert ticket.receipt is not None
        return ticket.receipt

    @contextmanager
    def reader(self) -> Iterator[SpoolReader]:
        """The one reader; raises Busy where another process reads."""
        with lock(self.folder / "reader.lock", timeout=0):
            yield SpoolReader(self.folder)

    def status(self) -> Status:
        cursor, sizes = read_cursor(self.folder), _sizes(self.folder)
        waiting = sum(1 for name in sizes for _ in _frames(self.folder / name, cursor))
        damaged = sorted(path.name for path in self.folder.glob(f"*{_DAMAGED}"))
        notices = [f"{name} could not be read and was set aside in the spool." for name in damaged]
        return Status(
            f"spool:{self.folder}",
            self.level,
            waiting,
            _backlog(sizes, cursor),
            self.limit,
            tuple(notices),
        )

    def close(self) -> None:
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    def _write(self, tickets: list[_Ticket]) -> None:
        """Write, and force to disk where the level asks for it, before anybody gets a receipt."""
        try:
            with lock(self.folder / "append.lock", _PATIENCE, pause=_PAUSE):
                self._write_locked(tickets)
        except ForetestError as error:
            for ticket in tickets:
                if ticket.error is None:
                    ticket.receipt, ticket.error = None, error

    def _write_locked(self, tickets: list[_Ticket]) -> None:
        cursor, sizes = read_cursor(self.folder), _sizes(self.folder)
        held = _backlog(sizes, cursor)
        tail = self._ready(cursor, sizes)
        taken: list[_Ticket] = []
        frames: list[bytes] = []
        for ticket in tickets:
            size = len(ticket.report) + len(ticket.meta)
            if held and held + size > self.limit:
                ticket.error = Busy(
                    f"{held / 1e6:,.0f} MB of reports wait for the lake in {self.folder}.",
                    f"Nothing was taken in: try again in {RETRY_AFTER:.0f} s, and see that "
                    "`foretest ingest run` runs.",
                    retry_after=RETRY_AFTER,
                )
                continue
            frames.append(pack(tail.mark, tail.next + len(taken), ticket.meta, ticket.report))
            taken.append(ticket)
            held += size
        first = tail.next
        tail.write(b"".join(frames), len(frames), self.level)
        for place, ticket in enumerate(taken):
            ticket.receipt = Receipt(first + place, self.level)

    def _ready(self, cursor: Cursor, sizes: dict[str, int]) -> _Tail:
        """The segment to append to: the last one, its torn end cut off, or a new one."""
        newest = max(sizes, default="")
        tail = self._tail
        if tail is None or tail.path.name != newest or tail.end != sizes[newest]:
            self.close()
            tail = _recovered(self.folder, newest, cursor) if newest else None
        # A segment shorter than what was read of it was truncated: the reader looks past it.
        lost = tail and cursor.segment == tail.path.name and cursor.offset > tail.end
        if tail is None or lost or tail.end >= SEGMENT:
            following = max(tail.next if tail else 1, cursor.sequence + 1)
            if tail is not None:
                tail.close()
            tail = _Tail.new(self.folder, following, self.level)
        self._tail = tail
        return tail


@dataclass(slots=True)
class _Tail:
    """The segment that is appended to, open, as this process knows it."""

    path: Path
    handle: int
    mark: bytes
    end: int
    next: int

    @classmethod
    def new(cls, folder: Path, sequence: int, level: Level) -> _Tail:
        path = folder / f"{sequence:020d}{_ENDING}"
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


def _recovered(folder: Path, name: str, cursor: Cursor) -> _Tail | None:
    """The last segment, opened by whoever holds the lock: a torn end was never acknowledged.

    None where it has no usable beginning; it then lies aside for a person to look at.
    """
    path = folder / name
    data = path.read_bytes()
    try:
        mark = mark_of(data)
    except BadStore:
        if len(data) < TOP:
            path.unlink()
        else:
            path.replace(path.with_name(f"{name}{_DAMAGED}"))
        return None
    end, following = TOP, max(int(path.stem), cursor.sequence + 1)
    for found in scan(data[TOP:], mark):
        end = TOP + found.end
        following = max(following, found.sequence + 1 if isinstance(found, Frame) else 0)
    handle = os.open(path, os.O_RDWR)
    if end < len(data):
        os.ftruncate(handle, end)
    return _Tail(path, handle, mark, end, following)


class SpoolReader:
    """Reads on from where the last reader gave reports up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._at = read_cursor(folder)
        self._ends: dict[int, Cursor] = {}
        self.notices: list[str] = []

    def read(self, reports: int, size: int, wait: float) -> Sequence[Delivery]:
        """The next reports; see `stream.Reader`."""
        return awaited(lambda: self._read(reports, size), wait, _POLL)

    def rewind(self) -> None:
        """Begin again behind the cursor."""
        self._at, self._ends = read_cursor(self._folder), {}

    def acknowledge(self, sequence: int) -> None:
        """Move the cursor, which is forced to disk; remove segments that are behind it."""
        cursor = self._ends[sequence]
        write_text(
            self._folder / "cursor.json",
            json.dumps(
                {"segment": cursor.segment, "offset": cursor.offset, "sequence": cursor.sequence}
            ),
        )
        self._ends = {s: c for s, c in self._ends.items() if s > sequence}
        for name in _sizes(self._folder):
            if name < cursor.segment:
                (self._folder / name).unlink(missing_ok=True)

    def _read(self, reports: int, size: int) -> list[Delivery]:
        found: list[Delivery] = []
        held = 0
        names = [name for name in sorted(_sizes(self._folder)) if name >= self._at.segment]
        for place, name in enumerate(names):
            sealed = place + 1 < len(names)  # a later one was there before this one is read
            for delivery in self._segment(name, size - held, sealed):
                found.append(delivery)
                held += len(delivery.report)
                if len(found) >= reports or held >= size:
                    return found
        return found

    def _segment(self, name: str, size: int, sealed: bool) -> Iterator[Delivery]:
        """Deliveries of one segment from where reading stands; the place moves with each."""
        if name != self._at.segment:
            self._at = Cursor(name, TOP, self._at.sequence)
        chunk = max(size, 1 << 20)
        while True:
            start = self._at.offset
            mark, data, more = _chunk(self._folder / name, start, chunk)
            if mark is None:
                if sealed:
                    self.notices.append(f"{name} has no usable beginning; it is passed over.")
                return
            for piece in scan(data, mark):
                yield self._delivery(name, start, piece, data)
            if not more:
                if sealed and self._at.offset < start + len(data):
                    self.notices.append(f"The end of {name} was cut off.")
                return
            if self._at.offset == start:
                chunk *= 2

    def _delivery(self, name: str, start: int, piece: Frame | Damage, data: bytes) -> Delivery:
        expected = self._at.sequence + 1
        if isinstance(piece, Damage):
            self._move(name, start + piece.end, expected)
            problem = "Its bytes were damaged in the spool."
            return Delivery(expected, UNKNOWN, data[piece.start : piece.end], problem)
        if piece.sequence > expected:
            self.notices.append(
                f"Reports {expected:,} to {piece.sequence - 1:,} of the spool are missing: a "
                "segment was truncated or removed."
            )
        self._move(name, start + piece.end, piece.sequence)
        try:
            return Delivery(piece.sequence, decode(piece.meta), piece.report)
        except BadReport as error:
            return Delivery(piece.sequence, UNKNOWN, piece.report, error.message)

    def _move(self, name: str, offset: int, sequence: int) -> None:
        self._at = self._ends[sequence] = Cursor(name, offset, sequence)


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


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every segment by name, oldest first by name."""
    try:
        with os.scandir(folder) as entries:
            return {e.name: e.stat().st_size for e in entries if e.name.endswith(_ENDING)}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise refused(folder, error) from error


def _backlog(sizes: dict[str, int], cursor: Cursor) -> int:
    """Bytes that nobody has given up yet, frames' heads included."""
    total = 0
    for name, size in sizes.items():
        if name >= cursor.segment:
            total += max(0, size - (cursor.offset if name == cursor.segment else TOP))
    return total


def _chunk(path: Path, start: int, size: int) -> tuple[bytes | None, bytes, bool]:
    """The segment's mark, `size` bytes from `start` on (-1: all), and whether there are more."""
    try:
        with path.open("rb") as file:
            mark = mark_of(file.read(TOP))
            file.seek(start)
            data = file.read(size)
            return mark, data, os.fstat(file.fileno()).st_size > start + len(data)
    except (FileNotFoundError, BadStore):
        return None, b"", False


def _frames(path: Path, cursor: Cursor) -> Iterator[Frame]:
    if path.name < cursor.segment:
        return
    start = cursor.offset if path.name == cursor.segment else TOP
    mark, data, _ = _chunk(path, start, -1)
    if mark is not None:
        yield from (piece for piece in scan(data, mark) if isinstance(piece, Frame))
