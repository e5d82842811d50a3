"""Parsing and normalising JUnit XML against junitparser: CPU time a test case, and memory.

    python bench/junit_speed.py [--cases 100000] [--repeats 5] [--kind KIND] [--json FILE]

Both run on one core of the same process, the best of the repeats counts. foretest's side is
everything from bytes to the columns that are stored: parsing, joining to known tests, stable ids,
fingerprints of failures, attempts. junitparser's side is `JUnitXml.fromfile` and one look at each
case's name, class name, time and results, without normalising anything. Memory is the peak of a
process of its own, for the report and for one ten times as long; what importing takes is told
apart. `streamed` keeps no result, `kept` all of them, as a run that is stored does.
"""

from __future__ import annotations

import os

os.environ["POLARS_MAX_THREADS"] = "1"  # one core, before the library is loaded

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from foretest.results import junit
from foretest.results.joining import Units
from foretest.results.ledger import Ledger

KINDS = {
    "passing": "pytest: every case passes",
    "usual": "pytest: 1 % fail with a trace, 2 % skipped, a third parametrised",
    "surefire": "Surefire: 1 % fail, every tenth case with a log of 2 kB",
    "vitest": "Vitest: titles of many words, cases over two lines",
    "classes": "JUnit: a suite per class of 10, every case passes",
    "ones": "JUnit: thousands of suites of 1, every case passes",
}
CASES_A_CLASS = 20
A_SUITE = {"classes": 10, "ones": 1}
"""Cases in a suite of its own, where the report is not one suite."""


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of report; times in microseconds of CPU a case, memory in MiB."""

    kind: str
    cases: int
    megabytes: float
    foretest: float
    joined: float
    junitparser: float
    streamed: tuple[float, float]
    kept: tuple[float, float]
    imports: float

    @property
    def ratio(self) -> float:
        return self.junitparser / self.foretest


def write(path: Path, kind: str, cases: int) -> None:
    """A report of that kind; the same numbers give the same bytes."""
    draw = random.Random(7)
    root = "vitest tests" if kind == "vitest" else "pytest tests"
    suite = {"surefire": "org.acme.All", "vitest": "a.test.ts"}.get(kind, "pytest")
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n')
        if kind in A_SUITE:
            file.write(f"<testsuites>{_suites(cases, A_SUITE[kind], draw)}</testsuites>")
            return
        if kind != "surefire":
            file.write(f'<testsuites name="{root}">')
        file.write(f'<testsuite name="{suite}" tests="{cases}" timestamp="2025-03-01T12:00:00">')
        for number in range(cases):
            file.write(_case(kind, number, draw))
        file.write("</testsuite>" + "</testsuites>" * (kind != "surefire"))


def _suites(cases: int, size: int, draw: random.Random) -> str:
    """As Gradle and others write one report of many classes."""
    parts = []
    for begin in range(0, cases, size):
        place = f"org.acme.m{begin // 1000}.Case{begin}Test"
        time = f"2025-03-01T{begin // 3600 % 24:02}:{begin // 60 % 60:02}:{begin % 60:02}"
        parts.append(f'\n<testsuite name="{place}" tests="{size}" timestamp="{time}">')
        for number in range(begin, begin + size):
            told = f'name="does{number}" classname="{place}" time="{draw.random():.3f}"'
            parts.append(f"\n  <testcase {told}/>")
        parts.append("\n</testsuite>")
    return "".join(parts)


def _case(kind: str, number: int, draw: random.Random) -> str:
    seconds, part = f"{draw.random():.3f}", number // CASES_A_CLASS
    if kind == "vitest":
        name = (
            f"module {part} &gt; does what number {number} says"
            if number % 50 == 0
            else (f"module {part} does what number {number} says")
        )
        head = f'\n    <testcase classname="src/{part}.test.ts" name="{name}" time="{seconds}">'
        return f"{head}\n    </testcase>"
    if kind == "surefire":
        head = f'\n  <testcase name="does{number}" classname="org.acme.m{part}.Case{part}Test"'
        inside = ""
        if number % 100 == 1:
            trace = f"at org.acme.m{part}.Case{part}Test.does{number}(Case{part}Test.java:{number})"
            inside = (
                f'<failure message="no" type="java.lang.AssertionError">E: no\n\t{trace}</failure>'
            )
        elif number % 10 == 0:
            inside = (
                f"<system-out><![CDATA[{'INFO a line that says little <x>; ' * 60}]]></system-out>"
            )
        return f'{head} time="{seconds}"' + (f">{inside}</testcase>" if inside else "/>")
    parametrised = kind == "usual" and number % 3 == 0
    name = f"test_function_{number}" + f"[{number % 7}-value-{draw.randrange(999)}]" * parametrised
    place = f"tests.package_{part // 100}.test_module_{part // 5}.TestClass{part}"
    head = f'<testcase classname="{place}" name="{name}" time="{seconds}"'
    if kind == "usual" and number % 100 == 1:
        failure = f'<failure message="assert {number} == 2">{_trace(number)}</failure>'
        return f"{head}>{failure}</testcase>"
    if kind == "usual" and number % 50 == 2:
        return f'{head}><skipped type="pytest.skip" message="no">t.py:3: no</skipped></testcase>'
    return f"{head} />"


def _trace(number: int) -> str:
    return (
        f"self = &lt;tests.T object at 0x7f{number:010x}&gt;\n\n    def test(self):\n"
        f"&gt;       assert f({number}) == 2\nE       assert {number} == 2\nE        +  where "
        f"{number} = f({number})\n\ntests/test_module.py:{number % 300}: AssertionError"
    )


def foretest(path: Path, units: Units, keep: bool = True) -> int:
    """Cases read and normalised."""
    ledger, cases = Ledger(), 0
    with path.open("rb") as file:
        for batch in junit.batches(file, units, junit.Reading()):
            cases += len(batch)
            if keep:
                ledger.take(batch)
    ledger.frame()
    return cases


def junitparser(path: Path) -> int:
    """Cases read."""
    from junitparser import JUnitXml

    cases = 0
    for case in _cases(JUnitXml.fromfile(str(path))):
        cases += 1
        _ = (case.name, case.classname, case.time)
        _ = [(result.type, result.message, result.text) for result in case.result]
    return cases


def _cases(report: object) -> Iterator[object]:
    from junitparser import TestSuite

    for part in report:
        if isinstance(part, TestSuite):
            yield from part
        else:
            yield part


def best(repeats: int, read: Callable[[], int]) -> float:
    """Least CPU time of one call, in microseconds a case."""
    least = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        cases = read()
        least = min(least, (time.process_time() - began) / cases * 1e6)
    return least


def peak(path: Path | None, keep: bool) -> float:
    """Peak memory in MiB of a process that reads the report, or nothing at all."""
    command = [sys.executable, __file__, "--peak", str(path or "")]
    done = subprocess.run(command + ["--keep"] * keep, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _high_water() -> float:
    """This process's own peak in MiB; `getrusage` would tell its parent's where that was higher."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(kind: str, cases: int, repeats: int, folder: Path) -> Line:
    """One kind of report, in time and memory."""
    path, longer = folder / f"{kind}.xml", folder / f"{kind}-10.xml"
    write(path, kind, cases)
    write(longer, kind, 10 * cases)
    ledger = Ledger()
    with path.open("rb") as file:
        for batch in junit.batches(file, Units(()), junit.Reading()):
            ledger.take(batch)
    known = Units(ledger.frame()["unit"].to_list())
    return Line(
        kind,
        cases,
        path.stat().st_size / 1e6,
        best(repeats, lambda: foretest(path, Units(()))),
        best(repeats, lambda: foretest(path, known)),
        best(repeats, lambda: junitparser(path)),
        (peak(path, keep=False), peak(longer, keep=False)),
        (peak(path, keep=True), peak(longer, keep=True)),
        peak(None, keep=False),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kind", choices=KINDS, action="append", help="this alone, or these")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak is not None:
        if options.peak:
            foretest(Path(options.peak), Units(()), options.keep)
        print(_high_water())
        return
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kind or KINDS:
            what = KINDS[kind]
            line = measure(kind, options.cases, options.repeats, Path(folder))
            lines.append(line)
            print(f"{what}: {line.cases:,} cases, {line.megabytes:.1f} MB")
            print(
                f"  µs a case: foretest {line.foretest:.2f} (joined to as many known tests "
                f"{line.joined:.2f}), junitparser {line.junitparser:.2f}: {line.ratio:.1f} times"
            )
            print(
                f"  peak MiB, 1x and 10x: streamed {line.streamed[0]:.0f}, {line.streamed[1]:.0f}; "
                f"kept {line.kept[0]:.0f}, {line.kept[1]:.0f}; imports alone {line.imports:.0f}"
            )
    if options.json:
        text = json.dumps([{**asdict(line), "ratio": line.ratio} for line in lines], indent=2)
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
