"""IDoFT: known flaky tests with their category and what became of them (pr-data.csv, py-data.csv).

Written from the set's documentation.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import polars as pl

from foretest.datasets.contract import BATCH, Facts, repository_of
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Flaw, Ledger
from foretest.datasets.sources import each, sound_lines
from foretest.errors import BadReport

DOCUMENTED = True
TABLE = "known_flaky_tests"
_FILES = ("pr-data.csv", "py-data.csv", "gr-data.csv")
_TEST = re.compile(r"test name", re.IGNORECASE)
_SHA = re.compile(r"[0-9a-f]{7,40}")
SCHEMA: dict[str, pl.DataType] = {
    "repository": pl.String(),
    "commit": pl.String(),
    "test": pl.String(),
    "category": pl.String(),  # such as ID, OD, NOD; several joined by ;
    "status": pl.String(),
}


def files(path: Path) -> list[Path]:
    found = [path / name for name in _FILES] if path.is_dir() else [path]
    return [file for file in found if file.is_file()]


def read(path: Path, ledger: Ledger, _: Pseudonyms) -> Iterator[Facts]:
    rows = each(files(path), lambda file: _rows(file, ledger), ledger)
    while batch := list(islice(rows, BATCH)):
        yield Facts(TABLE, pl.DataFrame(batch, schema=SCHEMA, orient="row"))


def _rows(file: Path, ledger: Ledger) -> Iterator[tuple[str, ...]]:
    seen: set[tuple[str, ...]] = set()
    with file.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as text:
        lines = csv.DictReader(text)
        names = list(lines.fieldnames or ())
        test = next((name for name in names if _TEST.search(name)), None)
        if test is None or not {"Project URL", "SHA Detected", "Category", "Status"} <= set(names):
            raise BadReport(f"{file} is not one of IDoFT's.", "Give its folder or pr-data.csv.")
        for number, line in enumerate(sound_lines(lines, file.name, ledger), 2):
            ledger.rows += 1
            cells = [line[n] for n in ("Project URL", "SHA Detected", test, "Category", "Status")]
            if any(cell is None for cell in cells):
                ledger.note(Flaw.UNREADABLE, f"{file.name} line {number}")
                continue
            url, commit, name, category, status = (cell.strip() for cell in cells)
            if not _SHA.fullmatch(commit):
                ledger.note(Flaw.IMPOSSIBLE, f"{file.name} line {number}: commit '{commit}'")
            repository = repository_of("idoft", "/".join(url.rstrip("/").split("/")[-2:]))
            row = (repository, commit, name, category, status)
            if row in seen:
                ledger.note(Flaw.DUPLICATES, f"{file.name} line {number}: {name}")
                continue
            seen.add(row)
            ledger.saw(repository, name)
            yield row
