"""What per-test coverage costs in wall time: our tracer beside Coverage.py and pytest-testmon.

Example, in an environment per interpreter that can run the project's tests:

    python bench/coverage_overhead.py CHECKOUT --python venv/bin/python --json out.json

Each environment needs pytest and the project's dependencies; `pytest-cov` and `pytest-testmon` are
measured where they are installed. Every round runs each way once, in a rotated order, on a copy of
the checkout; a ratio compares runs of the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"

COVERAGE_SETTINGS = "[run]\nsource = .\n"

WAYS: dict[str, tuple[str, list[str]]] = {
    # name: (module that must be there, arguments to pytest)
    "plain": ("pytest", []),
    "foretest": (
        "pytest",
        ["-p", "foretest.pytest_plugin", "--foretest-coverage=.coverage-foretest.jsonl.gz"],
    ),
    "coverage": (
        "pytest_cov",
        ["--cov", "--cov-context=test", "--cov-report=", "--cov-config=.overheadrc"],
    ),
    "testmon": ("testmon", ["--testmon"]),
}


@dataclass(frozen=True)
class Row:
    """One way beside plain runs in one environment; ratios are paired by round."""

    python: str
    way: str
    seconds: list[float]
    ratios: list[float]
    tests: str

    @property
    def summary(self) -> str:
        low, middle, high = spread(self.ratios)
        seconds = statistics.median(self.seconds)
        ratios = f"{low:7.2f} {middle:7.2f} {high:7.2f}"
        return f"{self.python:8} {self.way:9} {seconds:8.2f} {ratios}  {self.tests}"


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def run_once(python: Path, way: str, checkout: Path, arguments: list[str]) -> tuple[float, str]:
    """Seconds of one run of the suite, and pytest's last line."""
    for left in [*checkout.glob(".coverage*"), *checkout.glob(".testmondata*")]:
        left.unlink()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SOURCE), *source_roots(checkout)]),
        "COVERAGE_CORE": "ctrace",
        "PYTHONHASHSEED": "0",
    }
    command = [str(python), "-m", "pytest", "-q", "-p", "no:randomly"]
    command += [*WAYS[way][1], *arguments]
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode not in (0, 1):
        raise SystemExit(
            f"{way} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    counted = [line for line in done.stdout.splitlines() if " passed" in line]
    return seconds, counted[-1].partition(" in ")[0].strip("= ") if counted else "no tests"


def source_roots(checkout: Path) -> list[str]:
    return [str(path) for path in (checkout / "src", checkout) if path.is_dir()]


def installed(python: Path, module: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([str(python), "-c", code], check=False).returncode == 0


def version(python: Path) -> str:
    code = "import platform; print(platform.python_version())"
    return subprocess.check_output([str(python), "-c", code], text=True).strip()


def measure(python: Path, checkout: Path, rounds: int, arguments: list[str]) -> list[Row]:
    ways = [way for way, (module, _) in WAYS.items() if installed(python, module)]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    tests: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(checkout, copy, symlinks=True)
        (copy / ".overheadrc").write_text(COVERAGE_SETTINGS)
        run_once(python, "plain", copy, arguments)  # compiles the bytecode
        for turn in range(rounds):
            shift = turn % len(ways)
            for way in ways[shift:] + ways[:shift]:
                taken, tests[way] = run_once(python, way, copy, arguments)
                seconds[way].append(taken)
    name = version(python)
    return [
        Row(
            name,
            way,
            seconds[way],
            [a / b for a, b in zip(seconds[way], seconds["plain"], strict=True)],
            tests[way],
        )
        for way in ways
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Overhead of per-test coverage, paired runs.")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--python", type=Path, action="append", help="interpreter; may be repeated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    parser.add_argument("--pytest", default="", help="more arguments for pytest, as one string")
    options = parser.parse_args()
    print(f"{'python':8} {'way':9} {'seconds':>8} {'min':>7} {'median':>7} {'max':>7}  tests")
    rows: list[Row] = []
    for python in options.python or [Path(sys.executable)]:
        for row in measure(
            python.absolute(), options.checkout, options.rounds, shlex.split(options.pytest)
        ):
            print(row.summary, flush=True)
            rows.append(row)
    if options.json:
        figures = {"project": options.checkout.resolve().name, "rows": [asdict(r) for r in rows]}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
