"""Durable ingest end to end: producer -> stream -> consumer -> lake, at each level of durability.

    python -m bench.ingest [--results 1000000] [--size 2000] [--folder FOLDER]

One producer process sends GENERATED reports while this process consumes: two cores are in use, and
the broker's process besides where it is NATS. Time runs from the first append until the last result
is in the lake; the reports exist before. Told beside it: CPU seconds of producer and consumer
together, which say what the machine could do where it had other work at the same time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.synchronize import Event
from pathlib import Path

from foretest.errors import Busy
from foretest.history.lake import Lake
from foretest.ingest.addresses import open_stream
from foretest.ingest.consumer import Consumer, Totals
from foretest.ingest.poison import PoisonFolder
from foretest.ingest.reading import DeliveryReader
from foretest.ingest.stream import Level, Meta
from foretest.results.read import Origin

REPOSITORIES = 5


def plugin_report(number: int, size: int) -> bytes:
    """A GENERATED report of the plugin's form; runs of a repository have the same tests."""
    drawn, repository = random.Random(number), number % REPOSITORIES
    header = {
        "format": "foretest-report",
        "version": 1,
        "run_id": f"run-{number}",
        "attempt": 1,
        "repository": f"generated.example/team/repository-{repository}",
        "commit": f"{number:040x}",
        "configuration": {"os": "linux", "python": "3.12", "flags": []},
        "started_at": "2025-03-01T12:00:00+00:00",
    }
    lines = [json.dumps(header, separators=(",", ":"))]
    for i in range(size):
        bad = drawn.random() < 0.003
        seconds = round(drawn.lognormvariate(-4, 1.5), 6)
        result = {
            "id": f"tests/unit/area_{i // 200}/test_{i // 20}.py::TestPart::test_{i}[case-{i % 7}]",
            "outcome": "failed" if bad else "passed",
            "seconds": seconds,
            "attempt": 1,
            "fingerprint": f"{i:016x}" if bad else None,
            "phase": "call",
            "inclusion": 1.0,
        }
        lines.append(json.dumps(result, separators=(",", ":")))
    lines.append('{"finished_at":"2025-03-01T12:09:00+00:00","exit":0,"stopped":false}')
    return ("\n".join(lines) + "\n").encode()


def junit_report(number: int, size: int) -> bytes:
    """The same as JUnit XML, as pytest writes it."""
    drawn = random.Random(number)
    cases = []
    for i in range(size):
        inner = '<failure message="assert 1 == 2">E   assert 1 == 2\n\nt.py:3: AssertionError'
        inner = f"{inner}</failure>" if drawn.random() < 0.003 else ""
        name = f'classname="tests.unit.area_{i // 200}.test_{i // 20}.TestPart" name="test_{i}"'
        cases.append(f'<testcase {name} time="{drawn.random():.3f}">{inner}</testcase>')
    head = '<testsuites><testsuite name="pytest" timestamp="2025-03-01T12:00:00">'
    return f"{head}{''.join(cases)}</testsuite></testsuites>".encode()


def produce(address: str, level: str, state: Path, reports: Path, go: Event) -> None:
    """Send every report; told to come later, it does."""
    stream = open_stream(address, Level(level), state)
    origin = "generated.example/team/repository-{}"
    go.wait()
    for number, path in enumerate(sorted(reports.iterdir())):
        meta = Meta(Origin(origin.format(number % REPOSITORIES), run_id=f"run-{number}"), path.name)
        while True:
            try:
                stream.append(path.read_bytes(), meta)
                break
            except Busy as busy:
                time.sleep(busy.retry_after / 10)
    stream.close()


def measure(address: str, level: str, folder: Path, reports: Path, results: int) -> str:
    """One run from empty stream to full lake."""
    spawning = multiprocessing.get_context("spawn")
    go = spawning.Event()
    arguments = (address, level, folder / "producer", reports, go)
    producer = spawning.Process(target=produce, args=arguments)
    producer.start()
    lake = Lake(folder / "lake")
    lake.append([])
    consumer = Consumer(lake, PoisonFolder(folder / "poison"), DeliveryReader(), Level(level))
    stream = open_stream(address, Level(level), folder / "consumer")
    totals = Totals()
    time.sleep(2)  # until the producer has started
    before = _cpu()
    began = time.perf_counter()
    go.set()
    with stream.reader() as reader:
        while totals.results < results:
            consumer.step(reader, totals, 1.0)
    took = time.perf_counter() - began
    producer.join()
    stream.close()
    cpu = _cpu() - before
    held = lake.runs().select("results").sum().collect().item()
    if held != results or totals.poison:
        raise SystemExit(f"{held:,} results in the lake, {results:,} sent, {totals.poison} poison")
    return (
        f"{results / took:>10,.0f} results/s of wall time, {results / cpu:>9,.0f} per CPU second "
        f"({took:.1f} s, {cpu:.1f} CPU s, {totals.commits} commits)"
    )


def _cpu() -> float:
    here = os.times()
    return here.user + here.system + here.children_user + here.children_system


@contextmanager
def broker(folder: Path) -> Iterator[str | None]:
    """Address of a nats-server of our own; None where none is installed."""
    program = shutil.which("nats-server")
    if program is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=2000, help="results a report")
    parser.add_argument("--form", choices=["plugin", "junit"], default="plugin")
    parser.add_argument("--folder", type=Path, help="scratch folder on the disk to be measured")
    asked = parser.parse_args()
    count = asked.results // asked.size
    make = plugin_report if asked.form == "plugin" else junit_report
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        reports = Path(scratch, "reports")
        reports.mkdir()
        for number in range(count):
            (reports / f"{number:07}").write_bytes(make(number, asked.size))
        total = count * asked.size
        load = os.getloadavg()[0]
        told = f"{count:,} GENERATED reports ({asked.form}) of {asked.size:,} results"
        print(f"{told}; load before {load:.1f}")
        for level in ("process", "power"):
            folder = Path(scratch, f"spool-{level}")
            told = measure(f"spool:{folder / 'stream'}", level, folder, reports, total)
            print(f"spool, level {level:<8}{told}", flush=True)
        for level in ("process", "power"):
            folder = Path(scratch, f"nats-{level}")
            with broker(folder / "jetstream") as address:
                if address is None:
                    print("nats: not measured, nats-server is not installed")
                    break
                told = measure(address, level, folder, reports, total)
                print(f"nats,  level {level:<8}{told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
