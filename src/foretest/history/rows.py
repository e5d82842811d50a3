"""Runs as rows of the results lake, and back: the one place that knows the columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from foretest.history.unitrun import UnitRun, place_key, run_key
from foretest.records import Configuration, Outcome, Source, TestId, TestResult, TestRun

_TIME = pl.Datetime("us", "UTC")

SCHEMA: dict[str, pl.DataType] = {
    "repository": pl.String(),
    "run_id": pl.String(),
    "attempt": pl.Int32(),
    "shard": pl.String(),
    "decision_id": pl.String(),
    "commit": pl.String(),
    "configuration": pl.String(),  # JSON: [os, python, flag, ...]
    "source": pl.String(),
    "occurred_at": _TIME,
    "received_at": _TIME,
    "unit": pl.String(),
    "parameters": pl.String(),
    "runner": pl.String(),
    "outcome": pl.String(),
    "seconds": pl.Float64(),
    "result_attempt": pl.Int32(),
    "fingerprint": pl.String(),
    "inclusion": pl.Float64(),
    "complete": pl.Boolean(),
    "sequence": pl.Int64(),  # lake version at which the row was received
    "position": pl.Int32(),  # place of the run among those received together
    "line": pl.Int32(),  # place of the result in its run
}
_RUN = (
    *("repository", "run_id", "attempt", "shard", "decision_id", "commit", "configuration"),
    *("source", "occurred_at", "received_at", "complete", "sequence", "position"),
)
_EVENT = ("sequence", "position")
ORDER = ("sequence", "position", "line")

RunKey = tuple[str, str, int, str | None]


def key_of(run: TestRun) -> RunKey:
    return run.repository, run.run_id, run.attempt, run.shard


def to_frame(runs: Iterable[TestRun], sequence: int) -> pl.DataFrame:
    """The rows of the runs, in the order given, as received at lake version `sequence`."""
    parts = [_run_frame(run, sequence, position) for position, run in enumerate(runs)]
    return pl.concat(parts) if parts else pl.DataFrame(schema=SCHEMA)


def _run_frame(run: TestRun, sequence: int, position: int) -> pl.DataFrame:
    results = run.results
    place = (run.configuration.os, run.configuration.python, *run.configuration.flags)
    columns: dict[str, Any] = {
        "unit": [r.test.unit for r in results],
        "parameters": [r.test.parameters for r in results],
        "runner": [r.test.runner for r in results],
        "outcome": [r.outcome.value for r in results],
        "seconds": [r.seconds for r in results],
        "result_attempt": [r.attempt for r in results],
        "fingerprint": [r.fingerprint for r in results],
        "inclusion": [r.inclusion for r in results],
        "line": range(len(results)),
    }
    same: dict[str, Any] = {
        "repository": run.repository,
        "run_id": run.run_id,
        "attempt": run.attempt,
        "shard": run.shard,
        "decision_id": run.decision_id,
        "commit": run.commit,
        "configuration": json.dumps(place, ensure_ascii=False),
        "source": run.source.value,
        "occurred_at": run.occurred_at.astimezone(UTC),
        "received_at": run.received_at.astimezone(UTC),
        "complete": run.complete,
        "sequence": sequence,
        "position": position,
    }
    own = {name: kind for name, kind in SCHEMA.items() if name in columns}
    frame = pl.DataFrame(columns, schema=own)
    constants = [pl.lit(value, SCHEMA[name]).alias(name) for name, value in same.items()]
    return frame.with_columns(constants).select(list(SCHEMA))


def to_runs(frame: pl.DataFrame) -> Iterator[tuple[int, TestRun]]:
    """The runs that rows in ORDER tell of, each with the lake version that received it."""
    for part in frame.partition_by("sequence", "position", maintain_order=True):
        head = part.row(0, named=True)
        yield (
            head["sequence"],
            TestRun(
                run_id=head["run_id"],
                repository=head["repository"],
                commit=head["commit"],
                configuration=_configuration(head["configuration"]),
                occurred_at=_in_utc(head["occurred_at"]),
                received_at=_in_utc(head["received_at"]),
                results=tuple(_results(part)),
                source=Source(head["source"]),
                attempt=head["attempt"],
                shard=head["shard"],
                decision_id=head["decision_id"],
                complete=head["complete"],
            ),
        )


def _results(part: pl.DataFrame) -> Iterator[TestResult]:
    names = ("unit", "parameters", "runner", "outcome", "seconds", "result_attempt")
    columns = [part[name].to_list() for name in (*names, "fingerprint", "inclusion")]
    for unit, parameters, runner, outcome, seconds, attempt, mark, chance in zip(
        *columns, strict=True
    ):
        file, *classes = unit.split("::")
        name = classes.pop() if classes else ""
        test = TestId(file, tuple(classes), name, parameters, runner)
        yield TestResult(test, Outcome(outcome), seconds, attempt, mark, chance)


def to_unit_runs(frame: pl.DataFrame) -> Iterator[UnitRun]:
    """What `unitrun.summarise` makes of each run, for all of them at once, column by column.

    Rows are in ORDER, and so are the runs and, within each, its units by their first mention.
    """
    table = _units(frame)
    heads = frame.select(_RUN).unique(list(_EVENT), keep="first", maintain_order=True)
    ends = table.group_by(_EVENT, maintain_order=True).len()["len"].cum_sum().to_list()
    units = table["unit"].to_list()
    ran, bad, flaky = (table[name].to_numpy() for name in ("ran", "bad", "flaky"))
    seconds = table["seconds"].to_numpy()
    start = 0
    for head, end in zip(heads.iter_rows(named=True), ends, strict=True):
        configuration = _configuration(head["configuration"]).key
        yield UnitRun(
            key=run_key(head["repository"], head["run_id"], head["attempt"], head["shard"]),
            place=place_key(head["commit"], configuration),
            when=head["occurred_at"].timestamp(),
            recorded=head["source"] == Source.RECORDED.value,
            units=tuple(units[start:end]),
            ran=ran[start:end],
            bad=bad[start:end],
            flaky=flaky[start:end],
            seconds=seconds[start:end],
            version=head["sequence"],
        )
        start = end


def _units(frame: pl.DataFrame) -> pl.DataFrame:
    """A row an event and unit: attempts merged by parameter set, then parameter sets by unit."""
    unit, test = [*_EVENT, "unit"], [*_EVENT, "unit", "parameters"]
    results = frame.select(*ORDER, "unit", "parameters", "outcome", "seconds", "result_attempt")
    tests = (
        results.filter(pl.col("outcome") != Outcome.SKIPPED.value)
        .with_columns(bad=pl.col("outcome").is_in([o.value for o in Outcome if o.bad]))
        .sort(*_EVENT, "result_attempt", "line")
        .group_by(test)
        .agg(
            pl.col("bad").last(),
            pl.col("line").min(),
            flaky=pl.col("bad").min() != pl.col("bad").max(),
            seconds=pl.col("seconds").drop_nulls().last(),
        )
    )
    units = tests.group_by(unit).agg(
        pl.col("bad", "flaky").any(),
        pl.when(pl.col("seconds").count() > 0).then(pl.col("seconds").sum()).alias("seconds"),
        ran=pl.lit(True),
    )
    return (
        results.unique(unit, keep="first", maintain_order=True)
        .select(unit)
        .join(units, on=unit, how="left", maintain_order="left")
        .with_columns(
            pl.col("ran", "bad", "flaky").fill_null(False), pl.col("seconds").fill_null(np.nan)
        )
    )


def _configuration(text: str) -> Configuration:
    system, python, *flags = json.loads(text)
    return Configuration(system, python, tuple(flags))


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
