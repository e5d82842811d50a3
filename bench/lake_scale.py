"""The lake at size, on GENERATED results: what stays fast when there are a hundred million.

    python -m bench.lake_scale FOLDER --results 100000000

Generation goes on where it stopped. Every measurement runs in a process of its own, whose greatest
memory is told beside its time. Nothing here says anything about real test suites.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from foretest.history.lake import Lake
from foretest.history.rows import RunRows
from foretest.records import Configuration, TestRun
from foretest.remembering import brought_on

REPOSITORIES = 400
LARGE = 6
"""Repositories with suites of 12,000 tests that make most of the results."""
BATCH = 250_000
"""Results a commit: what a consumer takes at once under load."""
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)


def suite(repository: int) -> list[str]:
    """Units of one repository: few have very many."""
    size = 12_000 if repository < LARGE else int(40 + 40_000 / (10 + repository))
    return [f"tests/area_{i // 400}/test_part_{i // 20}.py::test_case_{i}" for i in range(size)]


def batches(first: int, suites: list[list[str]]) -> Iterator[list[RunRows]]:
    """The runs of commit `first` and after: the same numbers give the same runs."""
    weights = np.array([8.0 if i < LARGE else 1.0 for i in range(REPOSITORIES)])
    weights /= weights.sum()
    number = first
    while True:
        random = np.random.default_rng(number)
        runs: list[RunRows] = []
        held = 0
        while held < BATCH:
            repository = int(random.choice(REPOSITORIES, p=weights))
            runs.append(generated(repository, suites[repository], number, len(runs), random))
            held += len(runs[-1])
        yield runs
        number += 1


def generated(
    repository: int, units: list[str], number: int, place: int, random: np.random.Generator
) -> RunRows:
    """One whole run: one test in 300 fails, one failure in ten passes at a second attempt."""
    count = len(units)
    bad = random.random(count) < 1 / 300
    again = np.flatnonzero(bad & (random.random(count) < 0.1)).tolist()
    outcome = np.where(bad, "failed", "passed").tolist() + ["passed"] * len(again)
    seconds = np.round(random.lognormal(-4, 1.5, count + len(again)), 4).tolist()
    at = BEGAN + timedelta(minutes=number * 600 + place)
    run = TestRun(
        run_id=f"{number}-{place}",
        repository=f"generated.example/team/repository-{repository:03}",
        commit=f"{number * 1000 + place:040x}",
        configuration=Configuration("linux", "3.12"),
        occurred_at=at,
        received_at=at + timedelta(seconds=30),
        results=(),
    )
    total = count + len(again)
    columns: dict[str, Any] = {
        "unit": units + [units[i] for i in again],
        "parameters": [None] * total,
        "runner": ["pytest"] * total,
        "outcome": outcome,
        "seconds": seconds,
        "result_attempt": [1] * count + [2] * len(again),
        "fingerprint": [f"{i % 97:016x}" if b else None for i, b in enumerate(bad)]
        + [None] * len(again),
        "inclusion": [1.0] * total,
    }
    return RunRows(run, columns)


def generate(folder: Path, wanted: int) -> None:
    """Append generated runs until the lake holds `wanted` results."""
    lake = Lake(folder / "lake")
    known = lake.runs().select("results", "run_id").collect()
    held = int(known["results"].sum())
    first = 1 + max((int(name.split("-")[0]) for name in known["run_id"]), default=-1)
    suites = [suite(i) for i in range(REPOSITORIES)]
    took: list[float] = []
    for runs in batches(first, suites):
        if held >= wanted:
            break
        began = time.perf_counter()
        lake.append(runs)
        took.append(time.perf_counter() - began)
        held += sum(map(len, runs))
        if len(took) % 20 == 0:
            print(f"  GENERATED {held:,} results; last commit {took[-1]:.2f} s", flush=True)
    if took:
        last = took[-20:]
        print(
            f"GENERATED {held:,} results; commits of {BATCH:,}: median "
            f"{statistics.median(took):.2f} s, longest of the last {len(last)} "
            f"{max(last):.2f} s (compaction included)"
        )


def _state(folder: Path, repository: str) -> str:
    began = time.perf_counter()
    state = brought_on(
        Lake(folder / "lake"), repository, folder / "states" / f"{repository[-3:]}.npz"
    )
    took = time.perf_counter() - began
    return f"{took:.2f} s ({len(state.units):,} units, {len(state.seen):,} runs)"


def state_anew(folder: Path) -> str:
    """Folded from all of its results."""
    (folder / "states" / "000.npz").unlink(missing_ok=True)
    return _state(folder, "generated.example/team/repository-000")


def state_loaded(folder: Path) -> str:
    """From its snapshot and what came since."""
    return _state(folder, "generated.example/team/repository-000")


def daily_one(folder: Path) -> str:
    """Aggregates by day of the largest repository."""
    began = time.perf_counter()
    table = Lake(folder / "lake").daily("generated.example/team/repository-000")
    return f"{time.perf_counter() - began:.2f} s ({len(table):,} days)"


def daily_all(folder: Path) -> str:
    """Aggregates by day over all repositories."""
    began = time.perf_counter()
    table = Lake(folder / "lake").daily()
    told = f"{len(table):,} days, {int(table['runs'].sum()):,} runs"
    return f"{time.perf_counter() - began:.2f} s ({told}, {int(table['results'].sum()):,} results)"


def commit(folder: Path) -> str:
    """One more commit, and the same again, which is found to be known."""
    lake = Lake(folder / "lake")
    suites = [suite(i) for i in range(REPOSITORIES)]
    names = lake.runs().select("run_id").collect()["run_id"]
    first = 1 + max((int(name.split("-")[0]) for name in names), default=-1)
    runs = next(batches(first, suites))[:8]
    began = time.perf_counter()
    new = lake.append(runs)
    between = time.perf_counter()
    again = lake.append(runs)
    ended = time.perf_counter()
    count = sum(map(len, runs))
    told = f"{between - began:.2f} s ({new} runs, {count:,} results)"
    return f"{told}, known: {ended - between:.2f} s ({again} new)"


def compact(folder: Path) -> str:
    """Small files joined."""
    began = time.perf_counter()
    files = Lake(folder / "lake").compact()
    return f"{time.perf_counter() - began:.2f} s ({files:,} files)"


def _measured(
    function: Callable[[Path], str], folder: Path, answers: multiprocessing.Queue[tuple[str, float]]
) -> None:
    told = function(folder)
    answers.put((told, peak()))


def peak() -> float:
    """Greatest memory of this process so far, in MiB; getrusage would count its parent's."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(folder: Path) -> None:
    """Print each operation's time and memory."""
    spawning = multiprocessing.get_context("spawn")
    for function in (commit, compact, state_anew, commit, state_loaded, daily_one, daily_all):
        answers = spawning.Queue()
        process = spawning.Process(target=_measured, args=(function, folder, answers))
        process.start()
        told, megabytes = answers.get()
        process.join()
        print(f"{function.__name__:<13} {told}; {megabytes:,.0f} MiB at most", flush=True)
    size = sum(f.stat().st_size for f in (folder / "lake").rglob("*") if f.is_file())
    live = Lake(folder / "lake").scan().select(pl.len()).collect().item()
    print(f"disk          {size / 1e9:.2f} GB for {live:,} GENERATED results")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="scratch folder; generation goes on there")
    parser.add_argument("--results", type=int, default=10_000_000)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    generate(asked.folder, asked.results)
    measure(asked.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
