"""How a report lies in a segment: length and checksum around it, found again after damage."""

from __future__ import annotations

import secrets
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from foretest.errors import BadStore

_TITLE = b"foretest-spool 1 "
_MARK = 8
TOP = len(_TITLE) + _MARK
"""Bytes of a segment before its first frame."""
_LENGTHS = struct.Struct("<QII")  # sequence, bytes of the meta data, bytes of the report
_CRC = struct.Struct("<I")
_HEAD = _MARK + _CRC.size + _LENGTHS.size


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame; `end` is the offset behind it."""

    sequence: int
    meta: bytes
    report: bytes
    end: int

    @property
    def start(self) -> int:
        return self.end - _HEAD - len(self.meta) - len(self.report)

    @property
    def blank(self) -> bool:
        """Whether its content was removed for good: only its place is left."""
        return not self.meta.strip(b"\0")


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no frame, with whole frames behind them."""

    start: int
    end: int


def top() -> bytes:
    """How a new segment begins. Its mark is drawn by lot: no report can hold a frame by intent."""
    return _TITLE + secrets.token_bytes(_MARK)


def mark_of(data: bytes) -> bytes:
    """The mark of the segment that begins so. Raises BadStore where it is no segment."""
    if len(data) < TOP or not data.startswith(_TITLE):
        raise BadStore(
            "A segment of the spool has no usable beginning.", "Restore it or remove it."
        )
    return data[len(_TITLE) : TOP]


def pack(mark: bytes, sequence: int, meta: bytes, report: bytes) -> bytes:
    """The bytes of one frame."""
    lengths = _LENGTHS.pack(sequence, len(meta), len(report))
    crc = zlib.crc32(report, zlib.crc32(meta, zlib.crc32(lengths)))
    return b"".join((mark, _CRC.pack(crc), lengths, meta, report))


def blanked(
    data: bytes, meant: Callable[[Frame], bool], damaged: Callable[[bytes], bool]
) -> tuple[bytes, int]:
    """A whole segment, zeros in place of all content that is meant, and how many pieces were.

    Every frame keeps its place, its length and its number. `damaged` is asked of bytes that are no
    frame, a cut off end included. Raises BadStore where it is no segment.
    """
    mark, kept, at, gone = mark_of(data), bytearray(data), TOP, 0
    for piece in scan(data[TOP:], mark):
        if isinstance(piece, Frame):
            at = TOP + piece.end
            if not piece.blank and meant(piece):
                nothing = bytes(len(piece.meta)), bytes(len(piece.report))
                kept[TOP + piece.start : at] = pack(mark, piece.sequence, *nothing)
                gone += 1
        elif damaged(data[TOP + piece.start : TOP + piece.end]):
            kept[TOP + piece.start : TOP + piece.end] = bytes(piece.end - piece.start)
            gone += 1
    if damaged(data[at:]):
        kept[at:] = bytes(len(data) - at)
        gone += 1
    return bytes(kept), gone


def scan(data: bytes, mark: bytes) -> Iterator[Frame | Damage]:
    """Every whole frame, and damage between frames; offsets count from the beginning of `data`.

    What is cut off at the end is not told: it may be in the writing, or not read yet.
    """
    at = 0
    while len(data) - at >= _HEAD:
        end = _end(data, at, mark)
        if end is not None and end > len(data):
            return
        frame = None if end is None else _frame(data, at, end)
        if frame is not None:
            yield frame
            at = frame.end
            continue
        later = _next(data, at + 1, mark)
        if later is None:
            return
        yield Damage(at, later)
        at = later


def _next(data: bytes, at: int, mark: bytes) -> int | None:
    """Where the next whole frame begins."""
    while (at := data.find(mark, at)) >= 0:
        end = _end(data, at, mark)
        if end is not None and end <= len(data) and _frame(data, at, end) is not None:
            return at
        at += 1
    return None


def _end(data: bytes, at: int, mark: bytes) -> int | None:
    """Where the frame at `at` says that it ends; None where no frame begins there."""
    if len(data) - at < _HEAD or data[at : at + _MARK] != mark:
        return None
    _, n_meta, n_report = _LENGTHS.unpack_from(data, at + _MARK + _CRC.size)
    return at + _HEAD + int(n_meta) + int(n_report)


def _frame(data: bytes, at: int, end: int) -> Frame | None:
    (crc,) = _CRC.unpack_from(data, at + _MARK)
    sequence, n_meta, _ = _LENGTHS.unpack_from(data, at + _MARK + _CRC.size)
    with memoryview(data) as view:
        if zlib.crc32(view[at + _MARK + _CRC.size : end]) != crc:
            return None
    body = at + _HEAD
    return Frame(sequence, data[body : body + n_meta], data[body + n_meta : end], end)
