"""From an address to a stream: `spool:FOLDER`, or `nats://HOST:PORT`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from foretest.errors import BadConfiguration, BadStore, ExtraMissing
from foretest.ingest.spool import LIMIT, Spool
from foretest.ingest.stream import Level, Stream, shown

FOLDER = "stream"
"""Under the state directory: the spool of whoever names no stream."""
OUTBOX = "outbox"
"""Under the state directory: what a broker alone might lose after it acknowledged it."""
POISON = "poison"
"""Under the state directory: reports that nobody can read."""
STATES = "states"
"""Under the state directory: a snapshot of history for each repository of a consumer."""
_BROKERS = ("nats://", "tls://", "ws://", "wss://")


def level_of(text: str) -> Level:
    """Raises BadConfiguration for anything but `process` and `power`."""
    try:
        return Level(text)
    except ValueError as error:
        raise BadConfiguration(
            f"'{text}' is no level of durability.", "There are two: process and power."
        ) from error


def open_stream(address: str, level: Level, state: Path, limit: int = LIMIT) -> Stream:
    """The stream at an address; `state` is where this machine keeps what is its own.

    `limit` is how many bytes may wait. A broker that does not answer only delays what is appended:
    whatever else is asked of it raises BadStore. Raises BadConfiguration, ExtraMissing.
    """
    if not address or address.startswith("spool:"):
        folder = Path(address.removeprefix("spool:")) if address else state / FOLDER
        return Spool(folder.expanduser(), level, limit)
    if not _is_broker(address):
        raise BadConfiguration(
            f"'{shown(address)}' is no stream.", "Give spool:FOLDER or nats://HOST:PORT."
        )
    try:
        from foretest.ingest.jetstream import JetStream
        from foretest.ingest.outbox import Away, Outbox
    except ImportError as error:
        raise ExtraMissing(
            "The library for NATS is not installed.", "pip install 'foretest[platform]'"
        ) from error
    try:
        broker: JetStream | Away = JetStream(address, limit)
    except BadStore as error:
        broker = Away(address, error)
    return Outbox(state / OUTBOX, broker, level)


def _is_broker(address: str) -> bool:
    """Whether it names a host; one that nobody can ever reach would only fill the outbox."""
    try:
        parts = urlsplit(address)
        return address.startswith(_BROKERS) and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port beyond all ports
        return False
