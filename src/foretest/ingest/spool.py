"""A stream in a folder: segments that are only appended to, by any process; one reader."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from foretest.durable import atomic_write, lock, sync_directory, sync_upwards, write_text
from foretest.errors import BadReport, BadStore, Busy, ForetestError
from foretest.ingest.frames import TOP, Damage, Frame, blanked, pack, scan
from foretest.ingest.segments import (
    DAMAGED,
    Cursor,
    Tail,
    acknowledged,
    backlog,
    chunk_of,
    cursor_or_none,
    frames_of,
    note_acknowledged,
    read_cursor,
    recovered,
    sizes_of,
)
from foretest.ingest.stream import (
    UNKNOWN,
    About,
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
        self._tail: Tail | None = None
        self._lasting = False
        """Whether the folder and those above it were forced to disk."""

    def append(self, report: bytes, meta: Meta) -> Receipt:
        """Keep a report; see `stream.Stream`."""
        ticket = _Ticket(encode(meta.stamped(self.level)), report)
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
    def reader(self, patience: float = 0.0) -> Iterator[SpoolReader]:
        """The one reader; raises Busy where another process reads for `patience` seconds more."""
        with lock(self.folder / "reader.lock", patience):
            yield SpoolReader(self.folder)

    def status(self) -> Status:
        cursor, sizes = read_cursor(self.folder), sizes_of(self.folder)
        found = (frame for name in sizes for frame in frames_of(self.folder / name, cursor))
        waiting = sum(not frame.blank for frame in found)
        damaged = sorted(path.name for path in self.folder.glob(f"*{DAMAGED}"))
        notices = [f"{name} could not be read and was set aside in the spool." for name in damaged]
        return Status(
            f"spool:{self.folder}",
            self.level,
            waiting,
            backlog(sizes, cursor),
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
        cursor, sizes = cursor_or_none(self.folder), sizes_of(self.folder)
        held = backlog(sizes, cursor)
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
        if taken:
            note_acknowledged(self.folder, tail.next - 1)
        for place, ticket in enumerate(taken):
            ticket.receipt = Receipt(first + place, self.level)

    def _ready(self, cursor: Cursor, sizes: dict[str, int]) -> Tail:
        """The segment to append to: the last one, its torn end cut off, or a new one."""
        newest = max(sizes, default="")
        tail = self._tail
        if tail is None or tail.path.name != newest or tail.end != sizes[newest]:
            self.close()
            tail = recovered(self.folder, newest, cursor) if newest else None
            if tail and self.level is Level.POWER:  # whoever began it may have owed less
                sync_directory(self.folder)
        # A segment shorter than what was read of it was truncated: the reader looks past it.
        lost = tail and cursor.segment == tail.path.name and cursor.offset > tail.end
        if tail is None or lost or tail.end >= SEGMENT:
            following = max(
                tail.next if tail else acknowledged(self.folder) + 1, cursor.sequence + 1
            )
            if tail is not None:
                tail.close()
            tail = Tail.new(self.folder, following, self.level)
        self._tail = tail
        if self.level is Level.POWER and not self._lasting:
            sync_upwards(self.folder)
            self._lasting = True
        return tail


class SpoolReader:
    """Reads on from where the last reader gave reports up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._at = read_cursor(folder)
        self._ends: dict[int, Cursor] = {}
        self._missed = 0
        """Up to which number it was told that reports are missing at the end."""
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
        for name in sizes_of(self._folder):
            if name < cursor.segment:
                (self._folder / name).unlink(missing_ok=True)

    def forget(self, about: About) -> int:
        """Put zeros in place of what matches; see `stream.Reader`."""

        def meant(frame: Frame) -> bool:
            return about(_meta(frame), frame.report)

        gone = 0
        with lock(self._folder / "append.lock", _PATIENCE, pause=_PAUSE):
            for path in sorted(self._folder.glob(f"*{DAMAGED}")):
                if about(UNKNOWN, path.read_bytes()):
                    path.unlink()
                    gone += 1
            names = sorted(sizes_of(self._folder))
            for name in names:
                path = self._folder / name
                with suppress(BadStore):  # without a beginning: producers set it aside
                    _, found = blanked(path.read_bytes(), meant, partial(about, UNKNOWN))
                    if found and name == names[-1]:
                        self._begin_another(name)  # producers hold this one open
                    if found:
                        kept, found = blanked(path.read_bytes(), meant, partial(about, UNKNOWN))
                        atomic_write(path, kept)
                        gone += found
        return gone

    def _begin_another(self, newest: str) -> None:
        """Have producers go on in a new segment."""
        tail = recovered(self._folder, newest, read_cursor(self._folder))
        if tail is not None:
            tail.close()
            Tail.new(self._folder, tail.next, Level.POWER).close()

    def _read(self, reports: int, size: int) -> list[Delivery]:
        found: list[Delivery] = []
        held = 0
        promised = acknowledged(self._folder)  # what a receipt was given for is there by now
        names = [name for name in sorted(sizes_of(self._folder)) if name >= self._at.segment]
        for place, name in enumerate(names):
            sealed = place + 1 < len(names)  # a later one was there before this one is read
            for delivery in self._segment(name, size - held, sealed):
                found.append(delivery)
                held += len(delivery.report)
                if len(found) >= reports or held >= size:
                    return found
        if promised > max(self._at.sequence, self._missed):
            self._missed = promised
            self._tell_missing(self._at.sequence + 1, promised)
        return found

    def _segment(self, name: str, size: int, sealed: bool) -> Iterator[Delivery]:
        """Deliveries of one segment from where reading stands; the place moves with each."""
        if name != self._at.segment:
            self._at = Cursor(name, TOP, self._at.sequence)
        chunk = max(size, 1 << 20)
        while True:
            start = self._at.offset
            mark, data, more = chunk_of(self._folder / name, start, chunk)
            if mark is None:
                if sealed:
                    self.notices.append(f"{name} has no usable beginning; it is passed over.")
                return
            for piece in scan(data, mark):
                if (delivery := self._delivery(name, start, piece, data)) is not None:
                    yield delivery
            if not more:
                if sealed and self._at.offset < start + len(data):
                    self.notices.append(f"The end of {name} was cut off.")
                return
            if self._at.offset == start:
                chunk *= 2

    def _delivery(
        self, name: str, start: int, piece: Frame | Damage, data: bytes
    ) -> Delivery | None:
        """What a piece delivers; nothing where its content was removed for good."""
        expected = self._at.sequence + 1
        if isinstance(piece, Damage):
            self._move(name, start + piece.end, expected)
            problem = "Its bytes were damaged in the spool."
            return Delivery(expected, UNKNOWN, data[piece.start : piece.end], problem)
        if piece.sequence > expected and piece.sequence - 1 > self._missed:
            self._tell_missing(expected, piece.sequence - 1)
        self._move(name, start + piece.end, piece.sequence)
        if piece.blank:
            return None
        try:
            return Delivery(piece.sequence, decode(piece.meta), piece.report)
        except BadReport as error:
            return Delivery(piece.sequence, UNKNOWN, piece.report, error.message)

    def _tell_missing(self, first: int, last: int) -> None:
        self.notices.append(
            f"Reports {first:,} to {last:,} of the spool are missing: a segment was truncated or "
            "removed."
        )

    def _move(self, name: str, offset: int, sequence: int) -> None:
        self._at = self._ends[sequence] = Cursor(name, offset, sequence)


def _meta(frame: Frame) -> Meta:
    try:
        return decode(frame.meta)
    except BadReport:
        return UNKNOWN
