"""NATS: the same promises with a broker in between, which may die as well."""

import asyncio
import contextlib
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from foretest.errors import BadConfiguration, BadReport, BadStore, Busy
from foretest.ingest.addresses import level_of, open_stream
from foretest.ingest.belonging import about
from foretest.ingest.jetstream import STREAM, SUBJECT, JetStream
from foretest.ingest.outbox import Away, Outbox
from foretest.ingest.spool import Spool
from foretest.ingest.stream import Level, Meta

Make = Callable[..., Meta]
PATIENCE = 120.0
"""Seconds for what comes at once but where a machine has much else to do."""


def patient(broker: Any, **more: Any) -> JetStream:
    return JetStream(broker.address, **{"patience": PATIENCE, "answer": PATIENCE, **more})


@pytest.fixture
def stream(broker: Any) -> Any:
    opened = patient(broker)
    yield opened
    opened.close()


def bodies(stream: Any, acknowledge: bool = False) -> list[bytes]:
    with stream.reader() as reader:
        found = list(reader.read(1000, 1 << 30, 0))
        if found and acknowledge:
            reader.acknowledge(found[-1].sequence)
    return [delivery.report for delivery in found]


def test_in_order_once_and_given_up(stream: Any, make_meta: Make) -> None:
    for i in range(40):
        stream.append(b"%d" % i, make_meta())
    again = stream.append(b"7", make_meta())
    assert again.duplicate
    with stream.reader() as reader:
        first = reader.read(30, 1 << 20, 0)
        assert [delivery.report for delivery in first] == [b"%d" % i for i in range(30)]
        assert first[0].meta.received_at is not None
        reader.acknowledge(first[9].sequence)
        assert [d.report for d in reader.read(99, 1 << 20, 0)] == [b"%d" % i for i in range(30, 40)]
    assert stream.status().waiting == 30
    assert bodies(stream, acknowledge=True) == [b"%d" % i for i in range(10, 40)]
    assert bodies(stream) == []


def test_one_reader_at_a_time(stream: Any, broker: Any) -> None:
    other = patient(broker)
    with stream.reader(), pytest.raises(Busy), other.reader():
        pass
    with other.reader():
        pass
    other.close()


def test_of_many_readers_at_once_one_gets_in(broker: Any) -> None:
    """Real processes that all ask within the same moment, again and again."""
    code = textwrap.dedent("""
        import sys, time
        from foretest.errors import Busy
        from foretest.ingest.jetstream import JetStream
        stream = JetStream(sys.argv[1], patience=120, answer=120)  # a machine may be busy
        print("ready", flush=True)
        for line in sys.stdin:
            try:
                with stream.reader():
                    print("reader", flush=True)
                    sys.stdin.readline()
            except Busy:
                print("busy", flush=True)
                sys.stdin.readline()
            print("rested", flush=True)
        stream.close()
    """)
    command = [sys.executable, "-c", code, broker.address]
    pipe = subprocess.PIPE
    rivals = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]

    def each(say: str = "") -> list[str]:
        for rival in rivals if say else ():
            print(say, file=rival.stdin, flush=True)
        return [rival.stdout.readline().strip() for rival in rivals]

    try:
        assert each() == ["ready"] * 3
        for _ in range(5):
            assert sorted(each("go")) == ["busy", "busy", "reader"]
            assert each("rest") == ["rested"] * 3
        held = each("go").index("reader")
        rivals[held].kill()  # a dead owner is replaced, whatever it left
        rivals[held].wait()
        stream = patient(broker)
        with stream.reader():
            pass
        stream.close()
    finally:
        for rival in rivals:
            rival.kill()
            rival.communicate()


def test_a_reader_that_was_replaced_gives_nothing_up(
    stream: Any, broker: Any, make_meta: Make
) -> None:
    stream.append(b"one", make_meta())
    other = patient(broker)
    with stream.reader() as reader:
        (delivery,) = reader.read(9, 1 << 20, 0)
        stream._loop.run(reader._lease._listening.unsubscribe(), PATIENCE)  # as if it were cut off
        with other.reader():
            with pytest.raises(Busy):
                reader.acknowledge(delivery.sequence)
            reader.rewind()
            with pytest.raises(Busy):
                reader.read(9, 1 << 20, 0)
    other.close()
    assert bodies(stream) == [b"one"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"storage": StorageType.MEMORY}, "in memory"),
        ({"discard": DiscardPolicy.OLD}, "lets the oldest go"),
        ({"retention": RetentionPolicy.INTEREST}, "somebody has read"),
        ({"max_msgs": 1}, "1 messages at most"),
        ({"max_age": 60.0}, "after 60 s"),
    ],
)
def test_a_stream_that_would_lose_reports_is_refused(
    broker: Any, settings: dict[str, Any], said: str
) -> None:
    sound = {
        "name": STREAM,
        "subjects": [f"{SUBJECT}.>"],
        "storage": StorageType.FILE,
        "discard": DiscardPolicy.NEW,
        "allow_direct": True,
    }

    async def made(config: StreamConfig) -> None:
        client = await nats.connect(broker.address)
        await client.jetstream().add_stream(config)
        await client.close()

    asyncio.run(made(StreamConfig(**{**sound, **settings})))
    with pytest.raises(BadConfiguration, match=said) as refused:
        patient(broker)
    assert "nats stream rm FORETEST" in refused.value.remedy


def test_a_sound_stream_of_somebody_elses_making_is_used(broker: Any, make_meta: Make) -> None:
    async def made() -> None:
        client = await nats.connect(broker.address)
        await client.jetstream().add_stream(
            StreamConfig(
                name=STREAM,
                subjects=[f"{SUBJECT}.>"],
                discard=DiscardPolicy.NEW,
                allow_direct=True,
            )
        )
        await client.close()

    asyncio.run(made())
    stream = patient(broker)
    stream.append(b"one", make_meta())
    assert bodies(stream) == [b"one"]
    stream.close()


def test_what_is_forgotten_is_gone_from_the_broker(
    stream: Any, tmp_path: Path, make_meta: Make
) -> None:
    for i in range(40):
        name = b"Zanzibar %d" if i % 3 == 0 else b"kept %d"
        stream.append(name % i, make_meta(repository=f"h/o/{i % 3}"))
    with stream.reader() as reader:
        assert reader.forget(about("h/o/0")) == 14
    assert bodies(stream, acknowledge=True) == [b"kept %d" % i for i in range(40) if i % 3]
    held = [path for path in (tmp_path / "jetstream").rglob("*") if path.is_file()]
    assert not [path for path in held if b"Zanzibar" in path.read_bytes()]


def test_the_level_travels_through_the_outbox(broker: Any, tmp_path: Path, make_meta: Make) -> None:
    outbox = Outbox(tmp_path / "outbox", patient(broker), Level.POWER)
    outbox.append(b"one", make_meta())
    with outbox.reader() as reader:
        assert [d.meta.level for d in reader.read(9, 1 << 20, 0)] == [Level.POWER]
    outbox.close()


def test_a_broker_killed_and_started_again_kept_everything(
    stream: Any, broker: Any, make_meta: Make
) -> None:
    stream.append(b"one", make_meta())
    broker.kill()
    threading.Timer(0.5, broker.start).start()
    stream.append(b"two", make_meta())  # is sent until the broker is back
    assert bodies(stream) == [b"one", b"two"]


def test_a_broker_that_stays_away_acknowledges_nothing(broker: Any, make_meta: Make) -> None:
    stream = patient(broker, patience=0.2, answer=30.0)
    broker.kill()
    with pytest.raises(BadStore, match="nothing was acknowledged"):
        stream.append(b"x", make_meta())
    stream.close()
    with pytest.raises(BadStore, match="nats-server"):
        JetStream(broker.address, answer=0.5)
    with pytest.raises(BadStore, match="Connect call failed"):  # not that time was up
        JetStream(broker.address, answer=PATIENCE)


def test_what_waits_for_a_broker_that_is_away_is_counted(tmp_path: Path, make_meta: Make) -> None:
    away = Away("nats://broker.example", BadStore("It does not answer."))
    outbox = Outbox(tmp_path / "outbox", away)
    assert outbox.append(b"one", make_meta()).waits == "It does not answer."
    with pytest.raises(BadStore, match="1 reports wait for it in the outbox on this"):
        outbox.status()
    outbox.close()


def test_a_full_stream_says_busy(broker: Any, make_meta: Make) -> None:
    stream = patient(broker, limit=3000)
    kept = 3
    for i in range(kept):
        stream.append(b"%3d" % i * 200, make_meta())
    with pytest.raises(Busy) as refused:
        stream.append(b"x" * 1500, make_meta())
    assert refused.value.retry_after > 0
    assert len(bodies(stream, acknowledge=True)) == kept
    stream.append(b"x" * 600, make_meta())
    stream.close()


def test_large_reports_are_compressed_or_refused(stream: Any, make_meta: Make) -> None:
    import os

    large = b"the same again " * 200_000
    stream.append(large, make_meta())
    assert bodies(stream) == [large]
    with pytest.raises(BadReport, match="max_payload"):
        stream.append(os.urandom(2_000_000), make_meta())


def test_the_outbox_keeps_until_the_lake_has_it(
    broker: Any, tmp_path: Path, make_meta: Make
) -> None:
    outbox = Outbox(tmp_path / "outbox", patient(broker))
    receipt = outbox.append(b"one", make_meta())
    assert receipt.level is Level.POWER
    assert outbox.settle() == 1
    assert bodies(outbox, acknowledge=True) == [b"one"]
    assert outbox.settle() == 0
    outbox.close()


def test_two_producers_of_one_outbox_wait_for_one_another(
    broker: Any, tmp_path: Path, make_meta: Make
) -> None:
    outbox = Outbox(tmp_path / "outbox", patient(broker))
    held = contextlib.ExitStack()
    held.enter_context(Spool(tmp_path / "outbox").reader())
    threading.Timer(0.5, held.close).start()
    assert not outbox.append(b"one", make_meta()).waits
    assert bodies(outbox) == [b"one"]
    outbox.close()


def test_the_outbox_sends_again_what_a_broker_lost(
    broker: Any, tmp_path: Path, make_meta: Make
) -> None:
    import shutil

    outbox = Outbox(tmp_path / "outbox", patient(broker, patience=0.1, answer=30.0))
    outbox.append(b"one", make_meta())
    broker.kill()
    outbox.append(b"two", make_meta())
    shutil.rmtree(tmp_path / "jetstream")  # a power cut, at its worst
    broker.start()
    outbox.close()
    again = Outbox(tmp_path / "outbox", patient(broker))
    again.append(b"three", make_meta())  # what waits goes first
    assert bodies(again, acknowledge=True) == [b"one", b"two", b"three"]
    assert again.settle() == 0
    again.close()


def test_the_outbox_acknowledges_while_the_broker_is_away(
    broker: Any, tmp_path: Path, make_meta: Make
) -> None:
    outbox = Outbox(tmp_path / "outbox", patient(broker, patience=0.1, answer=30.0))
    broker.kill()
    assert outbox.append(b"kept here", make_meta()).level is Level.POWER
    broker.start()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if outbox.settle():
                break
        except BadStore:
            time.sleep(0.1)
    assert bodies(outbox) == [b"kept here"]
    outbox.close()


def test_no_password_is_printed(broker: Any, tmp_path: Path) -> None:
    secret = broker.address.replace("//", "//me:S3cret@")
    opened = open_stream(secret, Level.PROCESS, tmp_path)
    assert opened.status().address == broker.address
    opened.close()
    broker.kill()
    with pytest.raises(BadStore) as away:
        JetStream(secret, answer=0.5)
    with pytest.raises(BadConfiguration) as none:
        open_stream(f"{secret}99", Level.PROCESS, tmp_path)
    for error in (away.value, none.value):
        assert "127.0.0.1" in str(error)
        assert "S3cret" not in str(error)


def test_addresses(tmp_path: Path) -> None:
    assert "stream" in open_stream("", Level.PROCESS, tmp_path).status().address
    assert str(tmp_path) in open_stream(f"spool:{tmp_path}", Level.POWER, tmp_path).status().address
    for none in ("kafka://x", "nats://", "nats://:4222", "nats://h:99999", "nats://h:x"):
        with pytest.raises(BadConfiguration, match="nats://"):
            open_stream(none, Level.PROCESS, tmp_path)
    with pytest.raises(BadConfiguration, match="process and power"):
        level_of("fsync")
