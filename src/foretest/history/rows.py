"""Runs as rows of the results lake, and back: the one place that knows the columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from foretest.history.unitrun import UnitRun, configuration_key, place_key, run_key
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
RUN = (
    *("repository", "run_id", "attempt", "shard", "decision_id", "commit", "configuration"),
    *("source", "occurred_at", "received_at", "complete", "sequence", "position"),
)
OWN = (
    *("unit", "parameters", "runner", "outcome", "seconds"),
    *("result_attempt", "fingerprint", "inclusion"),
)
"""Columns that differ between the results of one run."""
EVENT = ("sequence", "position")
ORDER = ("sequence", "position", "line")
FOLDED = (*RUN, "line", "unit", "parameters", "outcome", "seconds", "result_attempt")
"""Columns that `to_unit_runs` needs."""

RunKey = tuple[str, str, int, str | None]


@dataclass(frozen=True, slots=True)
class RunRows:
    """A run whose results are columns: what is stored of many results costs no object each."""

    run: TestRun
    """What is said of all results; its own `results` are not looked at."""
    columns: Mapping[str, Sequence[Any]]
    """`OWN` by name, all of one length, in the order of the report."""

    def __len__(self) -> int:
        return len(self.columns["unit"])


def key_of(run: TestRun) -> RunKey:
    return run.repository, run.run_id, run.attempt, run.shard


def as_rows(run: TestRun | RunRows) -> RunRows:
    """The run's results by column."""
    if isinstance(run, RunRows):
        return run
    results = run.results
    columns: dict[str, Sequence[Any]] = {
        "unit": [r.test.unit for r in results],
        "parameters": [r.test.parameters for r in results],
        "runner": [r.test.runner for r in results],
        "outcome": [r.outcome.value for r in results],
        "seconds": [r.seconds for r in results],
        "result_attempt": [r.attempt for r in results],
        "fingerprint": [r.fingerprint for r in results],
        "inclusion": [r.inclusion for r in results],
    }
    return RunRows(run, columns)


def to_frame(received: Iterable[TestRun | RunRows], sequence: int) -> pl.DataFrame:
    """The rows of the runs, in the order given, as received at lake version `sequence`."""
    runs = [as_rows(run) for run in received]
    own = pl.DataFrame(
        {name: list(chain.from_iterable(r.columns[name] for r in runs)) for name in OWN},
        schema={name: SCHEMA[name] for name in OWN},
    )
    lengths = np.array([len(rows) for rows in runs], np.int64)
    ends = np.cumsum(lengths)
    line = np.arange(len(own)) - np.repeat(ends - lengths, lengths)
    said = pl.DataFrame(
        [_said(rows.run, sequence, position) for position, rows in enumerate(runs)],
        schema={name: SCHEMA[name] for name in RUN},
        orient="row",
    )
    whole = own.hstack(said[np.repeat(np.arange(len(runs)), lengths)])
    return whole.with_columns(pl.Series("line", line, SCHEMA["line"])).select(list(SCHEMA))


def _said(run: TestRun, sequence: int, position: int) -> tuple[Any, ...]:
    """What a run's rows have in common, in the order of `RUN`."""
    place = (run.configuration.os, run.configuration.python, *run.configuration.flags)
    return (
        *key_of(run),
        run.decision_id,
        run.commit,
        json.dumps(place, ensure_ascii=False),
        run.source.value,
        run.occurred_at.astimezone(UTC),
        run.received_at.astimezone(UTC),
        run.complete,
        sequence,
        position,
    )


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
    table = by_unit(frame)
    heads = frame.select(RUN).unique(list(EVENT), keep="first", maintain_order=True)
    ends = table.group_by(EVENT, maintain_order=True).len()["len"].cum_sum().to_list()
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
            configuration=configuration_key(configuration),
            version=head["sequence"],
        )
        start = end


def by_unit(frame: pl.DataFrame) -> pl.DataFrame:
    """A row an event and unit: attempts merged by parameter set, then parameter sets by unit."""
    unit, test = [*EVENT, "unit"], [*EVENT, "unit", "parameters"]
    results = frame.select(*ORDER, "unit", "parameters", "outcome", "seconds", "result_attempt")
    tests = (
        results.filter(pl.col("outcome") != Outcome.SKIPPED.value)
        .with_columns(bad=pl.col("outcome").is_in([o.value for o in Outcome if o.bad]))
        .sort(*EVENT, "result_attempt", "line")
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
