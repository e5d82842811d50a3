"""Files of a set as strangers give them: what is damaged is counted, and the rest is read."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import polars as pl

from foretest.datasets.quality import Flaw, Ledger
from foretest.errors import BadReport

T = TypeVar("T")
LARGEST = 2**63 - 1
"""The greatest number that a column takes."""
_REMEDY = "Download it anew; see docs/datasets.md."
_DAMAGES = (csv.Error, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)


def each(files: Iterable[Path], read: Callable[[Path], Iterator[T]], ledger: Ledger) -> Iterator[T]:
    """What every file gives. One that cannot be read is counted as such, up to where it can be.

    Raises BadReport, that of the first, where there is no other.
    """
    refused: BadReport | None = None
    sound = 0
    for file in files:
        try:
            yield from read(file)
            sound += 1
            continue
        except BadReport as error:
            problem = error
        except _DAMAGES as error:
            said = next(iter(str(error).splitlines()), type(error).__name__)
            problem = BadReport(f"{file} is damaged: {said}.", _REMEDY)
        ledger.note(Flaw.DAMAGED, f"{file.name}: {problem.message}")
        refused = refused or problem
    if refused is not None and not sound:
        raise refused


def sound_lines(lines: Iterator[T], name: str, ledger: Ledger) -> Iterator[T]:
    """The lines of a CSV reader; one that it refuses (a giant field) is only counted."""
    while True:
        try:
            line = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            ledger.rows += 1
            ledger.note(Flaw.UNREADABLE, f"{name}: {error}")
            continue
        yield line


def parquet(file: Path, columns: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Those columns of a file; what is no value of its column's type is null.

    Raises BadReport where a column is missing.
    """
    frame = pl.scan_parquet(file)
    found = frame.collect_schema()
    missing = columns.keys() - found.keys()
    if missing:
        raise BadReport(
            f"{file} has no column {', '.join(sorted(missing))}.",
            "Give the folder of the set as it was published.",
        )
    foreign = (pl.col(n).cast(t, strict=False) for n, t in columns.items() if found[n] != t)
    return frame.select(list(columns)).with_columns(foreign)
