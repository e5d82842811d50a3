"""FlakeFlagger's counts: how often each test of 17 projects failed in about 10,000 runs."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import polars as pl

from foretest.datasets.contract import BATCH, Facts, repository_of
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Flaw, Ledger
from foretest.datasets.sources import LARGEST, each, sound_lines
from foretest.errors import BadReport

DOCUMENTED = False
TABLE = "flake_counts"
RUNS = 10_000
"""Runs that each project had, as the paper says."""
_HEADER = (
    *("Project", "Test", "IsFlaky", "NumFailingRuns", "NumPassingRuns"),
    *("FirstFailingRunID", "FirstPassingRunID", "UniqueFailingExceptionTypes"),
)
_GLUED = re.compile(r"(-?\d+)(\D.*)")
SCHEMA: dict[str, pl.DataType] = {
    "repository": pl.String(),
    "test": pl.String(),
    "failing": pl.Int64(),
    "passing": pl.Int64(),
    "first_failing_run": pl.Int64(),  # null where it never failed
    "exception_types": pl.Int64(),
}


def files(path: Path) -> list[Path]:
    found = path / "test_results.csv" if path.is_dir() else path
    return [found] if found.is_file() else []


def read(path: Path, ledger: Ledger, _: Pseudonyms) -> Iterator[Facts]:
    rows = each(files(path), lambda file: _rows(file, ledger), ledger)
    while batch := list(islice(rows, BATCH)):
        yield Facts(TABLE, pl.DataFrame(batch, schema=SCHEMA, orient="row"))


def _rows(file: Path, ledger: Ledger) -> Iterator[tuple[str, str, int, int, int | None, int]]:
    seen: set[tuple[str, str]] = set()
    with file.open(encoding="utf-8", errors="backslashreplace", newline="") as text:
        lines = csv.reader(text)
        if tuple(next(lines, ())) != _HEADER:
            raise BadReport(f"{file} is not FlakeFlagger's.", "Give its test_results.csv.")
        for number, line in enumerate(sound_lines(lines, file.name, ledger), 2):
            ledger.rows += 1
            row = _row(line, f"line {number}", ledger)
            if row is None:
                continue
            repository, test, failing, passing, *_ = row
            if (repository, test) in seen:
                ledger.note(Flaw.DUPLICATES, f"line {number}: {test}")
                continue
            seen.add((repository, test))
            ledger.saw(repository, test, passed=passing, failed=failing)
            yield row


def _row(
    line: Sequence[str], where: str, ledger: Ledger
) -> tuple[str, str, int, int, int | None, int] | None:
    if len(line) < len(_HEADER):
        ledger.note(Flaw.UNREADABLE, f"{where}: {len(line)} fields")
        return None
    project, test, _, *numbers = (field.strip() for field in line[: len(_HEADER)])
    glued = _GLUED.fullmatch(numbers[-1])
    if glued:  # the line lost its end: its numbers stand, what follows belongs to no test
        ledger.note(Flaw.GLUED, f"{where} ends with '{glued[2]}'")
        numbers[-1] = glued[1]
    elif len(line) > len(_HEADER):
        ledger.note(Flaw.GLUED, f"{where} goes on with '{','.join(line[len(_HEADER) :])}'")
    try:
        failing, passing, first, _, types = map(int, numbers)
    except ValueError:
        ledger.note(Flaw.UNREADABLE, f"{where}: {','.join(numbers)}")
        return None
    if max(map(abs, (failing, passing, first, types))) > LARGEST:
        ledger.note(Flaw.IMPOSSIBLE, f"{where}: {','.join(numbers)}")
        return None
    runs = failing + passing
    if min(failing, passing) < 0 or runs == 0:
        ledger.note(Flaw.IMPOSSIBLE, f"{where}: {failing} failing and {passing} passing runs")
        return None
    if runs > RUNS:
        ledger.note(Flaw.IMPOSSIBLE, f"{where}: {runs:,} results in {RUNS:,} runs")
    known = first if first >= 0 else None
    return repository_of("flakeflagger", project), test, failing, passing, known, types
