"""What a stream of reports is: durable appends, reading in order, given up after the commit."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from foretest.errors import BadReport
from foretest.records import Configuration
from foretest.results.read import Origin
from foretest.results.report import ATTEMPTS

_TEXTS = ("repository", "commit", "head", "run_id", "ci_run", "shard", "decision_id")


class Level(StrEnum):
    """What an acknowledged report survives."""

    PROCESS = "process"
    """Any process of ours or of the broker killed at any moment; the machine stays up."""
    POWER = "power"
    """The machine's power cut as well: the bytes were forced to disk before the acknowledgement."""


def highest(levels: Iterable[Level]) -> Level:
    """The level that keeps every one of these promises."""
    return Level.POWER if Level.POWER in levels else Level.PROCESS


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of a report besides its bytes."""

    origin: Origin
    name: str = "report"
    """The file's name, for messages."""
    received_at: datetime | None = None
    """When the report was first taken in; None until a stream sets it."""
    level: Level = Level.PROCESS
    """What was promised when it was acknowledged: whoever takes it on owes the same."""

    def stamped(self, level: Level) -> Meta:
        """The same with a moment of receipt, the one it has or else now, and at least `level`."""
        moment = self.received_at or datetime.now(UTC)
        return replace(self, received_at=moment, level=highest((self.level, level)))


UNKNOWN = Meta(Origin())
"""Of a report whose meta data could not be read."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Says that a report is kept. Nothing that raised instead of giving one was acknowledged."""

    sequence: int
    """Place in the stream, from 1."""
    level: Level
    duplicate: bool = False
    """The stream held the very same report already and did not take it twice."""
    waits: str = ""
    """Why it is kept on this machine alone; it goes to the broker as soon as that takes it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One report on its way to the lake."""

    sequence: int
    meta: Meta
    report: bytes
    problem: str = ""
    """Why the stream itself could not make sense of it; such a report is only to be set aside."""


@dataclass(frozen=True, slots=True)
class Status:
    """A stream at one moment."""

    address: str
    level: Level
    waiting: int
    """Reports acknowledged and not yet in the lake."""
    waiting_bytes: int
    limit_bytes: int
    notices: tuple[str, ...] = ()


About = Callable[[Meta, bytes], bool]
"""Whether a report is meant; of bytes that are no report anybody can read, the meta is UNKNOWN."""


class Reader(Protocol):
    """The one consumer's end of a stream."""

    notices: list[str]
    """What is to be said of the stream itself, such as reports that somebody removed."""

    def read(self, reports: int, size: int, wait: float) -> Sequence[Delivery]:
        """The next reports in order of receipt: at most `reports`, about `size` bytes.

        Waits at most `wait` seconds for the first. What was read and not acknowledged comes again
        to the next reader, so everything read is also acknowledged or read again: at least once.
        """
        ...

    def rewind(self) -> None:
        """Begin again with the first report that was not given up."""
        ...

    def forget(self, about: About) -> int:
        """Remove the bytes of every report that matches, those given up too; how many there were.

        The places of all others stay as they are. Raises BadStore or Busy where not all are gone.
        """
        ...

    def acknowledge(self, sequence: int) -> None:
        """Give up every report up to `sequence`: the lake, or the poison folder, has them now."""
        ...


def awaited(look: Callable[[], list[Delivery]], wait: float, pause: float) -> list[Delivery]:
    """What `look` finds, asked every `pause` seconds until it is something or `wait` is over."""
    deadline = time.monotonic() + wait
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(pause)
    return found


class Stream(Protocol):
    """A durable queue of reports."""

    def append(self, report: bytes, meta: Meta) -> Receipt:
        """Keep a report; returns only once it is kept.

        Raises Busy (with `retry_after`) where too much waits for the lake, BadStore where it cannot
        be written or reached: in both cases nothing was acknowledged, and trying again is safe.
        """
        ...

    def reader(self) -> AbstractContextManager[Reader]:
        """The consumer's end; one at a time. Raises Busy where another consumer holds it."""
        ...

    def status(self) -> Status: ...

    def close(self) -> None: ...


def shown(address: str) -> str:
    """A stream's address as it may be printed: without the password, or token, of its broker."""
    return re.sub(r"//[^/]*@", "//", address)


def identity(report: bytes, meta: Meta) -> str:
    """Names a report by what it says and what is said of it: sent twice, it is the same report.

    The moment of receipt, the level and the file's name are no part of it. The lake's own key
    (repository, run id, attempt, shard) is final; this one only spares the stream what a producer
    sends again.
    """
    origin = _origin(meta.origin)
    origin.pop("root", None)  # where the sender's checkout lay says nothing of the report
    said = json.dumps(origin, sort_keys=True).encode()
    return hashlib.blake2b(said + b"\0" + report, digest_size=16).hexdigest()


def encode(meta: Meta) -> bytes:
    """The meta data as JSON."""
    moment = meta.received_at.isoformat() if meta.received_at else None
    whole = {
        "name": meta.name,
        "received_at": moment,
        "level": meta.level,
        "origin": _origin(meta.origin),
    }
    return json.dumps(whole, separators=(",", ":")).encode()


def decode(data: bytes) -> Meta:
    """What `encode` wrote. Raises BadReport where it makes no sense."""
    try:
        whole = json.loads(data)
        said = dict(whole["origin"])
        place = said.pop("configuration", None)
        known = {field.name for field in fields(Origin)}  # a newer producer may say more
        said = {name: value for name, value in said.items() if name in known}
        if place is not None:
            said["configuration"] = Configuration(
                str(place["os"]), str(place["python"]), tuple(map(str, place["flags"]))
            )
        attempt = said.get("attempt", 1)
        if type(attempt) is not int or not 1 <= attempt <= ATTEMPTS:
            raise ValueError(attempt)
        if not all(isinstance(said.get(name, ""), str) for name in _TEXTS):
            raise TypeError(said)
        if said.get("root") is not None:
            said["root"] = Path(said["root"])
        received = whole["received_at"]
        moment = datetime.fromisoformat(received) if received else None
        level = Level(whole.get("level", Level.PROCESS))
        return Meta(Origin(**said), str(whole["name"]), moment, level)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadReport("A report came without usable meta data.", "Send it again.") from error


def _origin(origin: Origin) -> dict[str, Any]:
    said = {name: value for name, value in asdict(origin).items() if value not in (None, "")}
    if origin.root is not None:
        said["root"] = origin.root.as_posix()
    return said
