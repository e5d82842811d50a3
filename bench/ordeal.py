"""Kills producers, broker and consumer while reports flow, then counts what is in the lake.

    python -m bench.ordeal --rounds 40 [--nats] [--seed 1] [--folder FOLDER]

Two producers append small reports and note down each one that was acknowledged; a consumer moves
them into the lake. At moments drawn by lot one of the processes (or the broker) is killed with
SIGKILL and started again. In the end every acknowledged report must be in the lake exactly once.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORIES = 3


@dataclass
class Verdict:
    """What an ordeal came to."""

    acknowledged: int = 0
    in_lake: int = 0
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    """Reports of one producer and repository that stand in the lake before an earlier one."""
    poison: int = 0
    kills: collections.Counter[str] = field(default_factory=collections.Counter)

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.out_of_order or self.poison)

    def sentence(self) -> str:
        kills = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        return (
            f"{self.acknowledged:,} acknowledged, {self.in_lake:,} in the lake, {self.lost} lost, "
            f"{self.doubled} doubled, {self.out_of_order} out of order, {self.poison} set aside; "
            f"killed: {kills or 'nothing'}"
        )


class Processes:
    """The processes of one ordeal, each started again after it was killed."""

    def __init__(self, folder: Path, level: str, broker: Path | None) -> None:
        self._folder, self._level, self._broker = folder, level, broker
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._lives: collections.Counter[str] = collections.Counter()
        self.address = f"spool:{folder / 'stream'}"
        if broker is not None:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self._port = str(probe.getsockname()[1])
            self.address = f"nats://127.0.0.1:{self._port}"

    @property
    def names(self) -> list[str]:
        return ["producer-0", "producer-1", "consumer", *(["broker"] if self._broker else [])]

    def start(self, name: str) -> None:
        self._lives[name] += 1
        own = [sys.executable, "-m", "bench.ordeal", "--play", name, "--folder", str(self._folder)]
        own += ["--stream", self.address, "--level", self._level, "--life", str(self._lives[name])]
        if name == "broker":
            own = [str(self._broker), "-a", "127.0.0.1", "-p", self._port, "-js"]
            own += ["-sd", str(self._folder / "jetstream")]
        quiet = subprocess.DEVNULL
        log = (self._folder / f"{name}.log").open("ab")
        root = Path(__file__).resolve().parents[1]
        with log:
            self.running[name] = subprocess.Popen(own, stdout=quiet, stderr=log, cwd=root)
        if name == "broker":
            _wait_for(int(self._port))

    def await_work(self, name: str) -> None:
        """Until the process has done some of its work: a kill before that tells little."""
        sign = self._folder / f"acknowledged-{name}-{self._lives[name]}"
        for _ in range(6000):  # three minutes: the machine may have much else to do
            if name == "broker" or (sign.exists() and sign.stat().st_size):
                return
            time.sleep(0.03)
        raise RuntimeError(f"{name} does nothing")

    def kill(self, name: str) -> None:
        self.running[name].send_signal(signal.SIGKILL)
        self.running[name].wait()

    def wait(self, name: str, timeout: float) -> int:
        return self.running[name].wait(timeout)

    def end(self) -> None:
        for process in self.running.values():
            with suppress(OSError):
                process.kill()
            process.wait()


def ordeal(
    folder: Path, *, rounds: int, seed: int, level: str = "process", broker: Path | None = None
) -> Verdict:
    """Run one ordeal in `folder`, which must be empty. The kills' schedule follows from `seed`."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = random.Random(seed)
    processes = Processes(folder, level, broker)
    verdict = Verdict()
    try:
        for name in reversed(processes.names):
            processes.start(name)
        for _ in range(rounds):
            name = drawn.choice(processes.names)
            processes.await_work(name)
            time.sleep(drawn.uniform(0.0, 0.4))
            processes.kill(name)
            verdict.kills[name.partition("-")[0]] += 1
            time.sleep(drawn.choice([0.0, 0.0, 0.3]))
            processes.start(name)
        (folder / "stop").touch()
        for name in ("producer-0", "producer-1", "consumer"):
            if name == "consumer":
                (folder / "sent").touch()
            if processes.wait(name, 600):  # the machine may have much else to do
                raise RuntimeError(f"{name} failed: {(folder / f'{name}.log').read_text()[-2000:]}")
    finally:
        processes.end()
    return _counted(folder, verdict)


def _counted(folder: Path, verdict: Verdict) -> Verdict:
    from foretest.history.lake import Lake
    from foretest.ingest.poison import PoisonFolder

    acknowledged: list[str] = []
    for notes in sorted(folder.glob("acknowledged-producer-*")):
        lines = notes.read_text().split("\n")
        acknowledged += lines[:-1]  # a kill may have cut the last note: it then never counted
    runs = Lake(folder / "lake").runs().sort("sequence", "position").collect()
    held = collections.Counter(runs["run_id"].to_list())
    rows = Lake(folder / "lake").scan().select("run_id", "line").collect()
    verdict.acknowledged = len(set(acknowledged))
    verdict.in_lake = len(held)
    verdict.lost = len(set(acknowledged) - set(held))
    verdict.doubled = sum(count - 1 for count in held.values())
    verdict.doubled += len(rows) - len(rows.unique())
    newest: dict[tuple[str, str], tuple[int, int]] = {}
    for repository, run_id in runs.select("repository", "run_id").iter_rows():
        producer, life, number = run_id.split("-")
        place = (int(life), int(number))
        verdict.out_of_order += place < newest.get((repository, producer), place)
        newest[repository, producer] = max(place, newest.get((repository, producer), place))
    verdict.poison = len(PoisonFolder(folder / "poison").list())
    return verdict


def produce(folder: Path, stream: str, level: str, name: str, life: int) -> None:
    """Append reports until told to stop; note each acknowledgement after it was given."""
    from foretest.errors import BadStore, Busy
    from foretest.ingest.outbox import Outbox
    from foretest.ingest.stream import Meta
    from foretest.results.read import Origin

    opened = _opened(stream, level, folder / name)
    number = 0
    with (folder / f"acknowledged-{name}-{life}").open("ab", buffering=0) as notes:
        while not (folder / "stop").exists():
            run_id = f"{name.rpartition('-')[2]}-{life}-{number}"
            body = _report(run_id, f"h/o/{number % REPOSITORIES}")
            while True:
                try:
                    opened.append(body, Meta(Origin()))
                    break
                except (BadStore, Busy):
                    time.sleep(0.02)
            os.write(notes.fileno(), f"{run_id}\n".encode())
            number += 1
            time.sleep(0.002)
    # What was acknowledged while the broker was away lies here until it is back.
    while isinstance(opened, Outbox):
        try:
            opened.settle()
            break
        except (BadStore, Busy):
            time.sleep(0.05)
    opened.close()


def consume(folder: Path, stream: str, level: str, life: int) -> None:
    """Move reports into the lake until the producers are done and nothing waits."""
    from foretest.errors import BadStore, Busy
    from foretest.history.lake import Lake
    from foretest.ingest.consumer import Consumer, Totals
    from foretest.ingest.poison import PoisonFolder
    from foretest.ingest.reading import DeliveryReader
    from foretest.ingest.stream import Level

    consumer = Consumer(
        Lake(folder / "lake"), PoisonFolder(folder / "poison"), DeliveryReader(), Level(level)
    )
    quiet = 0
    while quiet < 3:
        try:
            opened = _opened(stream, level, folder / "consumer")
            with opened.reader() as reader:
                while quiet < 3:
                    taken = consumer.step(reader, Totals(), 0.2)
                    if taken:
                        (folder / f"acknowledged-consumer-{life}").write_text(f"{taken}")
                    quiet = 0 if taken or not (folder / "sent").exists() else quiet + 1
            opened.close()
        except (BadStore, Busy) as error:
            print(error, file=sys.stderr, flush=True)
            time.sleep(0.1)


def _opened(stream: str, level: str, state: Path):  # type: ignore[no-untyped-def]
    from foretest.errors import BadStore
    from foretest.ingest.addresses import open_stream
    from foretest.ingest.stream import Level

    while True:
        try:
            return open_stream(stream, Level(level), state)
        except BadStore:
            time.sleep(0.1)


def _report(run_id: str, repository: str) -> bytes:
    header = {
        "format": "foretest-report",
        "version": 1,
        "run_id": run_id,
        "repository": repository,
        "commit": None,
        "configuration": {"os": "linux", "python": "3.11", "flags": []},
        "started_at": "2025-03-01T12:00:00+00:00",
    }
    result = {"id": "t.py::a", "outcome": "passed", "seconds": 0.1, "attempt": 1}
    result |= {"fingerprint": None, "inclusion": 1.0}
    lines = (header, result, {**result, "id": "t.py::b"}, {"finished_at": "x"})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _wait_for(port: int) -> None:
    for _ in range(6000):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError("nats-server did not come up")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nats", action="store_true")
    parser.add_argument("--level", default="process", choices=["process", "power"])
    parser.add_argument("--folder", type=Path)
    for hidden in ("--play", "--stream"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--life", type=int, default=1, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.play == "consumer":
        consume(asked.folder, asked.stream, asked.level, asked.life)
        return 0
    if asked.play:
        produce(asked.folder, asked.stream, asked.level, asked.play, asked.life)
        return 0
    program = shutil.which("nats-server") if asked.nats else None
    if asked.nats and program is None:
        parser.error("nats-server is not installed")
    broker = Path(program) if program else None
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        verdict = ordeal(
            Path(folder), rounds=asked.rounds, seed=asked.seed, level=asked.level, broker=broker
        )
    print(f"{'nats' if asked.nats else 'spool'}, level {asked.level}: {verdict.sentence()}")
    return not verdict.good


if __name__ == "__main__":
    sys.exit(main())
