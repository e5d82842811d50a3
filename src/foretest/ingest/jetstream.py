"""A stream in NATS JetStream: what the broker stores is what waits; reading on needs no memory."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import (
    DiscardPolicy,
    RawStreamMsg,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import APIError, NotFoundError

from foretest.errors import BadConfiguration, BadStore, Busy
from foretest.ingest.lease import Lease
from foretest.ingest.loop import Loop
from foretest.ingest.messages import CODING, delivery_of, payload_of
from foretest.ingest.stream import (
    About,
    Delivery,
    Level,
    Meta,
    Receipt,
    Status,
    awaited,
    identity,
    shown,
)

STREAM = "FORETEST"
SUBJECT = "foretest.reports"
LIMIT = 1 << 30
WINDOW = 7200.0
"""Seconds in which the broker itself knows a report that is sent twice."""
RETRY_AFTER = 2.0
_ANSWER = 20.0
_REFUSED = 5.0
"""Seconds after which a broker that refuses connections, or us, is given up."""
_PATIENCE = 15.0
_PIPELINE = 16
_POLL = 0.05
_AWAY = (NatsError, OSError)
"""What a broker that is away, slow, or refuses us comes to."""
T = TypeVar("T")


class JetStream:
    """Reports in a JetStream stream, at level `process`.

    A report is acknowledged when the broker acknowledged it, which is after it wrote it to its
    file; up to version 2.9 it forces files to disk in the background only, so that a power cut can
    take what was acknowledged last. `outbox.Outbox` in front of it closes that gap.
    """

    level = Level.PROCESS

    def __init__(
        self,
        address: str,
        limit: int = LIMIT,
        patience: float = _PATIENCE,
        answer: float = _ANSWER,
    ) -> None:
        """Connect, and create the stream where there is none.

        Raises BadStore where no broker answers, BadConfiguration where the stream that is there
        would lose reports.

        `answer` is how long one answer of the broker may take, `patience` how long a report is sent
        and the reader's place asked for, again and again; both in seconds.
        """
        self._address, self._limit, self._patience = shown(address), limit, patience
        self._answer = answer
        self.connections = 0
        """How often a connection was made: what a broker said before may not hold after."""
        self._heard: Exception | None = None
        """What the library met with last: the better reason where an answer is only late."""
        self._loop = Loop()
        try:
            self._client, self._js = self._loop.run(self._connect(address), answer)
        except BadConfiguration:
            self._loop.close()
            raise
        except _AWAY as error:
            self._loop.close()
            raise self._away(error) from error

    def append(self, report: bytes, meta: Meta) -> Receipt:
        """Keep a report; see `stream.Stream`. It is sent again until the broker has answered."""
        payload, coding = payload_of(
            report, meta.stamped(self.level), self._client.max_payload, self._address
        )
        repository = hashlib.blake2b(meta.origin.repository.encode(), digest_size=6).hexdigest()
        headers = {"Nats-Msg-Id": identity(report, meta), CODING: coding}
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._connected()  # else it is sent at the next connection, with nobody listening
                sending = self._js.publish(
                    f"{SUBJECT}.{repository}", payload, timeout=self._answer, headers=headers
                )
                ack = self._loop.run(sending, self._answer + 1, self._losing())
                return Receipt(ack.seq, self.level, bool(ack.duplicate))
            except APIError as error:
                raise self._refused(error) from error
            except _AWAY as error:
                if time.monotonic() >= deadline:
                    raise self._away(error, "nothing was acknowledged") from error
                time.sleep(_POLL)

    def fits(self, report: bytes, meta: Meta) -> None:
        """Raise BadReport where the broker would never take a report of this size."""
        payload_of(report, meta, self._client.max_payload, self._address)

    @contextmanager
    def reader(self) -> Iterator[JetStreamReader]:
        """The one reader, by a lease that the broker keeps. Raises Busy, BadStore."""
        lease = Lease(self._client, self._js, self._address)
        self._patiently(lease.take, 2 * self._answer)
        try:
            yield JetStreamReader(self, lease)
        finally:
            with suppress(BadStore):
                self._run(lease.give_back(), self._answer)

    def status(self) -> Status:
        state = self.info().state
        return Status(self._address, self.level, state.messages, state.bytes, self._limit)

    def close(self) -> None:
        with suppress(BadStore):
            self._run(self._client.close(), self._answer)
        self._loop.close()

    def hold(self, lease: Lease) -> bool:
        """Make sure of the lease; whether it had to be taken anew. Raises Busy, BadStore."""
        return self._run(lease.hold(), 2 * self._answer)

    def info(self) -> StreamInfo:
        """The stream as the broker has it. Raises BadStore."""
        return self._run(self._js.stream_info(STREAM), self._answer)

    def fetch(self, first: int, count: int) -> list[RawStreamMsg | None]:
        """Messages by sequence, asked for together; None where the broker has none of a number."""
        return self._run(self._fetch(first, count), 3 * self._answer)

    def delete(self, sequence: int) -> None:
        """Remove one message, its bytes overwritten. Raises BadStore."""
        self._run(self._js.delete_msg(STREAM, sequence), self._answer)

    def release(self, upto: int) -> None:
        """Remove the messages up to and including `upto`. Raises BadStore while nobody is there.

        A request must never wait for the next connection: behind it these numbers may be of others.
        """
        try:
            self._connected()
        except OSError as error:
            raise self._away(error) from error
        self._run(self._js.purge_stream(STREAM, seq=upto + 1), 3 * self._answer)

    def _losing(self) -> Callable[[], bool]:
        """Tells when the connection that there is now is lost: no answer comes over another."""
        if not self._client.is_connected:
            return lambda: False
        now = self.connections
        return lambda: not self._client.is_connected or self.connections != now

    def _connected(self) -> None:
        if not self._client.is_connected:
            raise ConnectionError(str(self._heard or "not connected"))

    async def _connect(self, address: str) -> tuple[Client, JetStreamContext]:
        ends = time.monotonic() + _REFUSED

        async def hears(error: Exception) -> None:  # every failing call raises for itself
            self._heard = error
            late = isinstance(error, TimeoutError)
            if not (late or self.connections) and time.monotonic() > ends:
                raise error

        async def again() -> None:
            self.connections += 1

        client = await nats.connect(
            address,
            error_cb=hears,
            reconnected_cb=again,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,
            connect_timeout=self._answer,
        )
        self.connections += 1
        js = client.jetstream(timeout=self._answer)
        try:
            info = await js.stream_info(STREAM)
        except NotFoundError:
            info = await js.add_stream(
                StreamConfig(
                    name=STREAM,
                    subjects=[f"{SUBJECT}.>"],
                    storage=StorageType.FILE,
                    discard=DiscardPolicy.NEW,  # full means refused, never that the oldest go
                    max_bytes=self._limit,
                    duplicate_window=WINDOW,
                    allow_direct=True,
                )
            )
        if faults := _faults(info.config):
            await client.close()
            raise BadConfiguration(
                f"The stream {STREAM} at {self._address} may lose reports: it {', '.join(faults)}.",
                f"Save what waits there, remove it (`nats stream rm {STREAM}`), and the next call "
                "makes a sound one; or change its settings as docs/ingestion.md says.",
            )
        self._limit = info.config.max_bytes or self._limit
        return client, js

    async def _fetch(self, first: int, count: int) -> list[RawStreamMsg | None]:
        return await asyncio.gather(*(self._get(first + i) for i in range(count)))

    async def _get(self, sequence: int) -> RawStreamMsg | None:
        try:
            return await self._js.get_msg(STREAM, sequence, direct=True)
        except NotFoundError:
            return None

    def _run(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        try:
            return self._loop.run(work, timeout, self._losing())
        except _AWAY as error:
            raise self._away(error) from error

    def _patiently(self, work: Callable[[], Coroutine[Any, Any, T]], timeout: float) -> T:
        """The same again until a broker that is slow, or away for a moment, has answered."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self._run(work(), timeout)
            except BadStore:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL)

    def _away(self, error: Exception, so: str = "") -> BadStore:
        reason = str(error) or str(self._heard or "") or type(error).__name__
        return BadStore(
            f"The broker at {self._address} does not answer ({reason}){so and ': '}{so}.",
            "See that nats-server runs there with JetStream (-js), and try again: that is safe.",
        )

    def _refused(self, error: APIError) -> BadStore | Busy:
        if "maximum" in (error.description or ""):
            return Busy(
                f"Reports for the lake fill the broker's stream ({error.description}).",
                f"Nothing was taken in: try again in {RETRY_AFTER:.0f} s, and see that "
                "`foretest ingest run` runs.",
                retry_after=RETRY_AFTER,
            )
        return BadStore(
            f"The broker refused a report: {error.description}; nothing was acknowledged.",
            "Free space or memory on the broker, and send again.",
        )


class JetStreamReader:
    """Reads from the first message that the broker still has: what is in the lake is removed."""

    def __init__(self, stream: JetStream, lease: Lease) -> None:
        self._stream = stream
        self._lease = lease
        self._at = 0
        self._connection = stream.connections
        self.notices: list[str] = []

    def read(self, reports: int, size: int, wait: float) -> Sequence[Delivery]:
        """The next reports; see `stream.Reader`."""
        return awaited(lambda: self._read(reports, size), wait, _POLL)

    def rewind(self) -> None:
        """Begin again with what the broker still has."""
        self._at = 0

    def acknowledge(self, sequence: int) -> None:
        """Have the broker remove what is in the lake.

        Raises BadStore where it was connected anew since the reports were read: a broker that was
        killed may have lost the last of them, and given their numbers to others since.
        """
        if self._connection != self._stream.connections or self._stream.hold(self._lease):
            raise BadStore(
                "The broker was away while reports were taken in: they are read once more.",
                "Nothing is lost or doubled: the lake knows them.",
            )
        self._stream.release(sequence)

    def forget(self, about: About) -> int:
        """Have the broker overwrite and remove what matches; see `stream.Reader`."""
        state, gone = self._stream.info().state, 0
        for first in range(state.first_seq, state.last_seq + 1, _PIPELINE):
            count = min(_PIPELINE, state.last_seq - first + 1)
            for sequence, message in enumerate(self._stream.fetch(first, count), first):
                if message is not None:
                    delivery = delivery_of(sequence, message)
                    if about(delivery.meta, delivery.report):
                        self._stream.delete(sequence)
                        gone += 1
        return gone

    def _read(self, reports: int, size: int) -> list[Delivery]:
        if self._connection != self._stream.connections:
            self._connection, self._at = self._stream.connections, 0
        state = self._stream.info().state
        if state.last_seq < self._at:  # a broker that lost its disk counts anew
            self._at = 0
        if state.last_seq > self._at and self._stream.hold(self._lease):
            self._at = 0  # another consumer was here meanwhile
        at = max(self._at + 1, state.first_seq)
        found: list[Delivery] = []
        held = 0
        while at <= state.last_seq and len(found) < reports and held < size:
            count = min(_PIPELINE, state.last_seq - at + 1, reports - len(found))
            for message in self._stream.fetch(at, count):
                if message is not None:
                    found.append(delivery_of(at, message))
                    held += len(found[-1].report)
                self._at = at
                at += 1
        return found


def _faults(config: StreamConfig) -> list[str]:
    """By what an existing stream would lose acknowledged reports, or could not be read."""
    wrong = {
        "keeps them in memory": config.storage != StorageType.FILE,
        "lets the oldest go when it is full": config.discard != DiscardPolicy.NEW,
        "drops what somebody has read": config.retention != RetentionPolicy.LIMITS,
        f"holds {config.max_msgs} messages at most": (config.max_msgs or -1) > 0,
        f"holds {config.max_msgs_per_subject} messages a subject at most": (
            (config.max_msgs_per_subject or -1) > 0
        ),
        f"drops them after {config.max_age or 0:g} s": (config.max_age or 0) > 0,
        "acknowledges nothing": bool(config.no_ack),
        "lets nothing be removed": config.deny_delete or config.deny_purge or config.sealed,
        "allows no direct reading (allow_direct)": not config.allow_direct,
        f"does not take {SUBJECT}.>": f"{SUBJECT}.>" not in (config.subjects or []),
    }
    return [fault for fault, there in wrong.items() if there]
