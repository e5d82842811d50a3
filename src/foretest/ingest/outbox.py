"""Durability before a broker that acknowledges too early: a copy until the lake has it."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from foretest.errors import BadReport, BadStore, Busy
from foretest.ingest.jetstream import JetStream
from foretest.ingest.messages import payload_of
from foretest.ingest.spool import Spool
from foretest.ingest.stream import Level, Meta, Reader, Receipt, Status, shown

if TYPE_CHECKING:
    from nats.js.api import StreamInfo

_SETTLE = 1.0
"""Seconds between two looks at what the lake has taken over."""
_TURN = 10.0
"""Seconds to wait for another process that sends from the same outbox: each is soon done."""
_AT_ONCE = 64 << 20
_USUAL = 1 << 20
"""Bytes of one message that a broker takes unless it was told otherwise."""


class Away:
    """A broker that could not be reached: whatever is asked of it says so.

    What it would take is not known, so that a report is held to what every broker takes.
    """

    connections = 0

    def __init__(self, address: str, error: BadStore) -> None:
        self._address, self._error = shown(address), error

    def fits(self, report: bytes, meta: Meta) -> None:
        """Raise BadStore where a broker with the usual limit would not take a report so large."""
        try:
            payload_of(report, meta, _USUAL, self._address)
        except BadReport as error:
            raise self._error from error

    def append(self, *_: object) -> Receipt:
        raise self._error

    def reader(self) -> AbstractContextManager[Reader]:
        raise self._error

    def info(self) -> StreamInfo:
        raise self._error

    def status(self) -> Status:
        raise self._error

    def close(self) -> None:
        """Nothing is open."""


class Outbox:
    """A broker's stream at either level: on this machine first, then with the broker.

    The acknowledgement says that the bytes were written here, and at level `power` forced to disk.
    The broker's own is not enough even for level `process`: nats-server 2.9 may acknowledge what it
    still holds in memory, and loses it when it is killed. The copy is given up only when
    the broker no longer has the report because the lake has it; whenever a connection was made
    anew, everything that is not settled is sent again, since a broker that lost its power may have
    lost it. Reports that arrive twice are known by their identity, and in the lake by their key.
    """

    def __init__(self, folder: Path, broker: JetStream | Away, level: Level = Level.POWER) -> None:
        self.level = level
        self._spool = Spool(folder, level)
        self._broker = broker
        self._sent: dict[int, int] = {}
        """Place here -> place at the broker, as said over this connection."""
        self._connection = broker.connections
        self._behind = True
        """Something may lie here that the broker was not sent: it goes first, to keep the order."""
        self._settled_at = 0.0

    def append(self, report: bytes, meta: Meta) -> Receipt:
        """Keep a report; see `stream.Stream`. A broker that is away only delays it."""
        meta = meta.stamped(self.level)
        self._broker.fits(report, meta)
        receipt = self._spool.append(report, meta)
        try:
            if self._behind or self._connection != self._broker.connections:
                self.settle()
            else:
                self._send(receipt.sequence, report, meta)
                if time.monotonic() - self._settled_at > _SETTLE:
                    self.settle()
        except (BadStore, Busy) as error:
            return replace(receipt, waits=error.message)
        return receipt

    def settle(self) -> int:
        """Send what the broker may not have; give up what the lake has; how many are left.

        Raises BadStore or Busy where the broker does not take them now.
        """
        self._settled_at = time.monotonic()
        self._behind = True
        with self._spool.reader(_TURN) as reader:
            while waiting := reader.read(10_000, _AT_ONCE, 0):
                for delivery in waiting:
                    if delivery.sequence not in self._current():
                        self._send(delivery.sequence, delivery.report, delivery.meta)
                first = self._broker.info().state.first_seq
                done = 0
                for delivery in waiting:
                    if self._current().get(delivery.sequence, first) >= first:
                        break
                    done = delivery.sequence
                if done:
                    reader.acknowledge(done)
                    self._sent = {here: there for here, there in self._sent.items() if here > done}
                if done != waiting[-1].sequence:
                    break
        self._behind = False
        return self._spool.status().waiting

    def reader(self) -> AbstractContextManager[Reader]:
        """The broker's reader."""
        return self._broker.reader()

    def status(self) -> Status:
        """What waits with the broker, and here. Raises BadStore where the broker is away."""
        here = self._spool.status()
        try:
            there = self._broker.status()
        except BadStore as error:
            said = f"{here.waiting:,} reports wait for it in the outbox on this machine"
            raise BadStore(f"{error.message} {said}.", error.remedy) from error
        kept = f"{here.waiting:,} reports wait in the outbox until the lake is known to have them."
        return replace(there, level=self.level, notices=(*there.notices, kept))

    def close(self) -> None:
        with suppress(BadStore, Busy):
            self.settle()
        self._spool.close()
        self._broker.close()

    def _send(self, here: int, report: bytes, meta: Meta) -> None:
        connection = self._broker.connections
        try:
            there = self._broker.append(report, meta).sequence
        except (BadStore, Busy):
            self._behind = True
            raise
        if connection == self._broker.connections:
            self._current()[here] = there
        else:
            self._behind = True

    def _current(self) -> dict[int, int]:
        """What was sent over this connection; nothing of an earlier one counts."""
        if self._connection != self._broker.connections:
            self._connection, self._sent = self._broker.connections, {}
        return self._sent
