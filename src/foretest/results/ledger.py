"""Puts the batches of one report together: attempts numbered over all of it, ids kept apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from foretest.records import Outcome, TestId, TestResult
from foretest.results.batch import COLUMNS, WRITTEN, Batch

_TEST = ("unit", "parameters")


class Ledger:
    """The results of one run, by column, in the order of the report."""

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []
        self._rows: pl.DataFrame | None = None
        self._count = 0
        self._uncounted: Counter[int] = Counter()
        self.unmatched = 0

    def __len__(self) -> int:
        return self._count

    def take(self, batch: Batch) -> None:
        """Append a batch."""
        rows = batch.rows.select(pl.exclude("position"), runner=pl.lit(batch.runner))
        self._parts.append(rows)
        self._count += len(batch)
        self._uncounted.update(batch.uncounted)
        self.unmatched += len(batch) - int(batch.rows["known"].sum())
        self._rows = None

    @property
    def last(self) -> str:
        """The unit that was read last; empty where there is none."""
        return str(self._parts[-1]["unit"][-1]) if self._count else ""

    def frame(self) -> pl.DataFrame:
        """The results: unit, parameters, runner, outcome, seconds, attempt, fingerprint."""
        if self._rows is None:
            rows = pl.concat(self._parts, how="diagonal") if self._parts else _EMPTY
            self._rows = _numbered(_told_apart(rows), +self._uncounted)
        return self._rows

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """The results under the names of the lake's columns."""
        rows = self.frame()
        named = rows.with_columns(result_attempt="attempt", inclusion=pl.lit(1.0))
        wanted = ("runner", "outcome", "seconds", "result_attempt", "fingerprint", "inclusion")
        return {name: named[name].to_list() for name in (*_TEST, *wanted)}

    def results(self) -> tuple[TestResult, ...]:
        """The results, an object each."""
        told = self.frame().select(*_TEST, "runner", "outcome", "seconds", "attempt", "fingerprint")
        return tuple(_result(*row) for row in told.iter_rows())

    @property
    def failed(self) -> int:
        """Attempts that failed."""
        bad = [outcome.value for outcome in Outcome if outcome.bad]
        return int(self.frame()["outcome"].is_in(bad).sum())


_EMPTY = pl.DataFrame(schema={**COLUMNS, "runner": pl.String()})


def _result(
    unit: str,
    parameters: str | None,
    runner: str,
    outcome: str,
    seconds: float | None,
    attempt: int,
    mark: str | None,
) -> TestResult:
    file, *classes = unit.split("::")
    name = classes.pop() if classes else ""
    test = TestId(file, tuple(classes), name, parameters, runner)
    return TestResult(test, Outcome(outcome), seconds, attempt, mark)


def _told_apart(rows: pl.DataFrame) -> pl.DataFrame:
    """Give tests their written spelling back that would otherwise become one test."""
    if "written_unit" not in rows.columns:
        return rows
    differs = pl.col("written_unit").is_not_null()
    as_written = pl.struct(
        pl.coalesce("written_unit", "unit"),
        pl.when(differs).then("written_parameters").otherwise("parameters").alias("parameters"),
    )
    shared = differs & (as_written.n_unique().over(_TEST) > 1)
    return rows.with_columns(
        unit=pl.when(shared).then("written_unit").otherwise("unit"),
        parameters=pl.when(shared).then("written_parameters").otherwise("parameters"),
    ).drop(list(WRITTEN))


def _numbered(rows: pl.DataFrame, uncounted: Collection[int]) -> pl.DataFrame:
    """Attempts of a test that stands in the report more than once follow one another.

    pytest writes a failed attempt that it will repeat as if it had passed, and does not count it:
    a suite that holds no more than it counts (`uncounted` are those that do) ran such a test
    several times on purpose, as `--dist=each` does.
    """
    if rows["unit"].n_unique() == len(rows) or not rows.select(_TEST).is_duplicated().any():
        return rows
    place = (*_TEST, "suite")
    repeated = pl.int_range(pl.len()).over(place) < pl.len().over(place) - 1
    passed = (pl.col("runner") == "pytest") & (pl.col("outcome") == Outcome.PASSED.value)
    hidden = passed & repeated & pl.col("suite").is_in(list(uncounted))
    return rows.with_columns(
        attempt=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over(_TEST),
        outcome=pl.when(hidden).then(pl.lit(Outcome.FAILED.value)).otherwise("outcome"),
    )
