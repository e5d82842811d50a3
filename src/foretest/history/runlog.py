"""What each run came to, one row a run: a table kept beside the results, never ahead of them.

It is derived from the results alone. Whoever appends results adds their runs here; a writer that
was killed in between leaves it behind, and the next one brings it on. Readers add what is missing
from the results themselves, so what they see is exact at every moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable

from foretest.history.delta import Delta
from foretest.history.rows import EVENT, RUN, SCHEMA, by_unit
from foretest.records import Source

FOLDER = "_runs"
"""Under the results' own address: what begins with `_` is no part of that table to Delta Lake."""

RUNS: dict[str, pl.DataType] = {
    **{name: SCHEMA[name] for name in RUN},
    "results": pl.Int64(),
    "units": pl.Int64(),
    "failed": pl.Int64(),  # units whose last attempt failed
    "flaky": pl.Int64(),  # units whose attempts disagree within the run
    "seconds": pl.Float64(),  # sum of the known durations
}


def runs_of(rows: pl.DataFrame) -> pl.DataFrame:
    """A row a run, with the columns of `RUNS`, of rows with the columns of the results."""
    event = list(EVENT)
    units = by_unit(rows)
    counts = units.group_by(event).agg(
        pl.len().cast(pl.Int64).alias("units"),
        pl.col("bad").sum().cast(pl.Int64).alias("failed"),
        pl.col("flaky").sum().cast(pl.Int64),
        pl.col("seconds").fill_nan(None).sum(),
    )
    said = rows.group_by(event, maintain_order=True).agg(
        pl.col([name for name in RUN if name not in EVENT]).first(),
        pl.len().cast(pl.Int64).alias("results"),
    )
    return said.join(counts, on=event, how="left", maintain_order="left").select(list(RUNS))


@dataclass(frozen=True, slots=True)
class Covered:
    """The run log at one moment, and up to which version of the results it reaches."""

    table: DeltaTable
    upto: int
    """Greatest `sequence` in it; -1 where it is empty."""


class RunLog:
    """The table of runs beside the results at `address`."""

    def __init__(self, address: str, options: Mapping[str, str]) -> None:
        self._delta = Delta(f"{address.rstrip('/')}/{FOLDER}", RUNS, options)

    def covered(self) -> Covered:
        """The log as it is now. Raises BadStore."""
        table = self._delta.ready()
        with self._delta.honest():
            upto = self._delta.frame(table).select(pl.col("sequence").max()).collect().item()
        return Covered(table, -1 if upto is None else int(upto))

    def frame(self, covered: Covered) -> pl.LazyFrame:
        """The runs, lazily; columns as in `RUNS`."""
        return self._delta.frame(covered.table)

    def add(self, covered: Covered, rows: pl.DataFrame) -> bool:
        """Enter the runs of the result rows that follow; False where another writer was first."""
        return self._delta.commit(covered.table, runs_of(rows))

    def compact(self, target: int | None = None) -> None:
        """Join files of less than `target` bytes."""
        self._delta.compact(target)


def daily(runs: pl.LazyFrame) -> pl.DataFrame:
    """What the runs of each day came to, oldest first; runs with faults put in are left out.

    Columns: day, runs, failed_runs, results, failed, flaky (units), seconds (sum), and the median
    and 90 % quantile of a run's seconds.
    """
    return (
        runs.filter(pl.col("source") == Source.RECORDED.value)
        .group_by(pl.col("occurred_at").dt.date().alias("day"))
        .agg(
            pl.len().cast(pl.Int64).alias("runs"),
            (pl.col("failed") > 0).sum().cast(pl.Int64).alias("failed_runs"),
            pl.col("results", "failed", "flaky", "seconds").sum(),
            pl.col("seconds").quantile(0.5, "higher").alias("run_seconds_p50"),
            pl.col("seconds").quantile(0.9, "higher").alias("run_seconds_p90"),
        )
        .sort("day")
        .collect()
    )
