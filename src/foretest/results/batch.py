"""Results by column: what readers hand on, so that a plain result costs no object of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import polars as pl

from foretest.records import Outcome
from foretest.results.normalise import (
    VOLATILE,
    fingerprint_of_text,
    printable,
    seconds_or_none,
    stable,
)

CASES = 2048
"""Cases in one batch of a format that is read case by case."""

COLUMNS: dict[str, pl.DataType] = {
    "position": pl.UInt32(),
    "suite": pl.Int32(),
    "unit": pl.String(),
    "parameters": pl.String(),
    "outcome": pl.String(),
    "seconds": pl.Float64(),
    "attempt": pl.Int32(),
    "fingerprint": pl.String(),
    "known": pl.Boolean(),
}
"""A row an attempt; `attempt` counts within one entry, `position` orders the entries.

`suite` says which of the report's suites it stands in, counted from 1; 0 where there is none.
"""
WRITTEN: dict[str, pl.DataType] = {"written_unit": pl.String(), "written_parameters": pl.String()}
"""How a test was spelled whose stable spelling is another; both null elsewhere."""


@dataclass(slots=True)
class Attempt:
    """One attempt as a report tells it; `kind`, `message` and `text` are of its failure."""

    outcome: Outcome
    seconds: float | None = None
    kind: str = ""
    message: str = ""
    text: str = ""


@dataclass(slots=True)
class Case:
    """One entry of a report: a test's unit and parameters, and its attempts in time order."""

    unit: str
    parameters: str | None
    attempts: Sequence[Attempt]
    known: bool = True
    """Whether it is one of the known tests, where there are any."""


@dataclass(slots=True)
class Batch:
    """Normalised results of one runner."""

    runner: str
    rows: pl.DataFrame
    """COLUMNS, and WRITTEN where some spelling was not stable."""
    uncounted: Mapping[int, int] = field(default_factory=dict)
    """By suite, entries beyond those that it counts, in the sum over its batches."""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class Entries:
    """Cases that were read one by one, on their way into columns."""

    _rows: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, case: Case, position: int = 0, suite: int = 0) -> None:
        """Take in the attempts of one case."""
        unit = case.unit if case.unit.isascii() else printable(case.unit)
        parameters = None if case.parameters is None else printable(case.parameters)
        for number, told in enumerate(case.attempts, start=1):
            mark = None
            if told.outcome.bad:
                mark = fingerprint_of_text(told.kind, told.message, told.text)
            seconds = seconds_or_none(told.seconds)
            row = (unit, parameters, told.outcome.value, seconds, number, mark, case.known)
            self._rows.append((position, suite, *row))

    def frame(self) -> pl.DataFrame:
        """All of them, spelled as they were written."""
        return pl.DataFrame(self._rows, schema=COLUMNS, orient="row")


def steady(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with stable spellings; files stay as they are."""
    told = pl.col("unit", "parameters").str.contains(VOLATILE).fill_null(value=False)
    doubtful = pl.any_horizontal(told)
    suspects = rows.select(doubtful).to_series().arg_true().to_list()
    changed: dict[int, tuple[str, str | None]] = {}
    for index in suspects:
        written = (rows["unit"][index], rows["parameters"][index])
        shown = _stable_spelling(*written)
        if shown != written:
            changed[index] = shown
    if not changed:
        return rows
    written_rows = pl.Series(list(changed), dtype=pl.UInt32)
    units, parameters = zip(*changed.values(), strict=True)
    here = pl.int_range(pl.len(), dtype=pl.UInt32).is_in(written_rows.to_list())
    marked = rows.with_columns(
        written_unit=pl.when(here).then("unit"), written_parameters=pl.when(here).then("parameters")
    )
    return marked.with_columns(
        marked["unit"].scatter(written_rows, pl.Series(units, dtype=pl.String)),
        marked["parameters"].scatter(written_rows, pl.Series(parameters, dtype=pl.String)),
    )


def _stable_spelling(unit: str, parameters: str | None) -> tuple[str, str | None]:
    place, colons, name = unit.rpartition("::")
    return f"{place}{colons}{stable(name)}", None if parameters is None else stable(parameters)


def batches(runner: str, cases: Iterable[Case]) -> Iterator[Batch]:
    """The cases of one runner, some thousand at a time.

    What was read before an error in the `cases` comes before the error.
    """
    rest = iter(cases)
    ended: Exception | None = None
    while ended is None:
        entries, count = Entries(), 0
        try:
            for case in islice(rest, CASES):
                entries.add(case)
                count += 1
        except Exception as error:
            ended = error
        if count:
            yield Batch(runner, steady(entries.frame()))
        if count < CASES and ended is None:
            return
    raise ended
