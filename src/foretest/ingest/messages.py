"""A report as one message of a broker: what is said of it, its bytes, compressed where large."""

from __future__ import annotations

import struct
import zlib

from nats.js.api import RawStreamMsg

from foretest.errors import BadReport
from foretest.ingest.stream import UNKNOWN, Delivery, Meta, decode, encode

CODING = "Foretest-Coding"
"""The header that says how the report is written."""
LARGEST = 256 << 20
"""Bytes of a compressed report once it is unpacked again."""
_LENGTH = struct.Struct("<I")


def payload_of(report: bytes, meta: Meta, largest: int, address: str) -> tuple[bytes, str]:
    """One message's payload, compressed where the broker would refuse it as it is."""
    said = encode(meta)
    payload = _LENGTH.pack(len(said)) + said + report
    room = largest - 4096  # for subject and headers
    if len(payload) <= room:
        return payload, "plain"
    if len(report) <= LARGEST:
        payload = _LENGTH.pack(len(said)) + said + zlib.compress(report, 1)
        if len(payload) <= room:
            return payload, "zlib"
    raise BadReport(
        f"{meta.name} ({len(report) / 1e6:,.1f} MB) is too large for {address}, compressed too.",
        "Raise max_payload in the broker's configuration, or send the report in parts (shards).",
    )


def delivery_of(sequence: int, message: RawStreamMsg) -> Delivery:
    """The report of a message, or the bytes and the problem."""
    data = message.data or b""
    coding = (message.headers or {}).get(CODING, "plain")
    try:
        (length,) = _LENGTH.unpack_from(data)
        meta, report = decode(data[4 : 4 + length]), data[4 + length :]
    except (struct.error, BadReport):
        return Delivery(sequence, UNKNOWN, data, "It came without usable meta data.")
    if coding != "zlib":
        return Delivery(sequence, meta, report)
    unpacking = zlib.decompressobj()
    try:
        plain = unpacking.decompress(report, LARGEST)
    except zlib.error:
        return Delivery(sequence, meta, report, "It could not be unpacked.")
    if not unpacking.eof:
        return Delivery(sequence, meta, report, f"It is larger than {LARGEST >> 20} MiB unpacked.")
    return Delivery(sequence, meta, plain)
