"""PyTorch's published statistics: seconds per test file by week, and tests disabled as flaky."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from foretest.datasets.contract import BATCH, Facts, repository_of
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Flaw, Ledger
from foretest.datasets.sources import each, parquet
from foretest.results.normalise import moment_of

DOCUMENTED = False
TIMES, EVENTS = "test_times", "disabled_tests"
REPOSITORY = repository_of("pytorch", "pytorch")
_TIMES: dict[str, pl.DataType] = {
    **dict.fromkeys(("date", "job_config", "test_file"), pl.String()),
    "seconds": pl.Float64(),
}
_EVENTS: dict[str, pl.DataType] = {
    **dict.fromkeys(("time", "event", "test"), pl.String()),
    "issue": pl.Int64(),
    "platforms": pl.String(),
}
_READ = {
    "test_times_weekly.parquet": (TIMES, _TIMES, ("date", "test_file")),
    "disabled_tests_events.parquet": (EVENTS, _EVENTS, ("time", "event", "test")),
}
"""File, its table, its columns, and those without which a row says nothing."""


def files(path: Path) -> list[Path]:
    found = [path / name for name in _READ] if path.is_dir() else [path]
    return [file for file in found if file.is_file() and file.name in _READ]


def read(path: Path, ledger: Ledger, _: Pseudonyms) -> Iterator[Facts]:
    yield from each(files(path), lambda file: _file(file, ledger), ledger)


def _file(file: Path, ledger: Ledger) -> Iterator[Facts]:
    table, columns, needed = _READ[file.name]
    frame = parquet(file, columns)
    rows = int(frame.select(pl.len()).collect().item())
    disabled: set[str] = set()
    for start in range(0, rows, BATCH):
        part = frame.slice(start, BATCH).collect()
        ledger.rows += part.height
        said = part.drop_nulls(needed)
        lacking = part.height - said.height
        ledger.note(Flaw.UNREADABLE, f"{file.name}: a row without {' or '.join(needed)}", lacking)
        told = _times(said, ledger) if table == TIMES else _events(said, ledger, disabled)
        yield Facts(table, told)


def _times(rows: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    key = ["date", "job_config", "test_file"]
    kept = rows.unique(key, keep="first", maintain_order=True)
    if kept.height < rows.height:
        twice = rows.filter(rows.select(key).is_duplicated()).row(0)
        ledger.note(Flaw.DUPLICATES, " ".join(map(str, twice)), rows.height - kept.height)
    odd = ~pl.col("seconds").is_between(0, 1e9)  # NaN is in no range
    for name, condition in (
        (Flaw.MISSING_DURATIONS, pl.col("seconds").is_null()),
        (Flaw.ZERO_DURATIONS, pl.col("seconds") == 0),
        (Flaw.IMPOSSIBLE, odd | pl.col("seconds").is_nan()),
    ):
        found = kept.filter(condition)
        if found.height:
            ledger.note(name, " ".join(map(str, found.row(0))), found.height)
    for day in kept["date"].unique(maintain_order=True):
        _moment(f"{day}T00:00:00+00:00", "a week's times", ledger)
    for test in kept["test_file"].unique(maintain_order=True):
        ledger.saw(REPOSITORY, test)
    return kept.filter(pl.col("seconds").is_null() | ~odd).select(
        pl.lit(REPOSITORY).alias("repository"), "date", "job_config", "test_file", "seconds"
    )


def _events(rows: pl.DataFrame, ledger: Ledger, disabled: set[str]) -> pl.DataFrame:
    """`disabled` goes from batch to batch: what may be enabled again must have been disabled."""
    kept = rows.unique(maintain_order=True)
    ledger.note(Flaw.DUPLICATES, "one event told twice", rows.height - kept.height)
    for time, event, test in kept.select("time", "event", "test").iter_rows():
        _moment(time, test, ledger)
        if event == "disabled":
            disabled.add(test)
        elif test not in disabled:
            ledger.note(Flaw.IMPOSSIBLE, f"{test} enabled, never disabled")
        else:
            disabled.discard(test)
    return kept.select(
        pl.lit(REPOSITORY).alias("repository"), "time", "event", "test", "issue", "platforms"
    )


def _moment(text: str, example: str, ledger: Ledger) -> None:
    when = moment_of(text)
    if when is None:
        ledger.note(Flaw.IMPOSSIBLE, f"{example} at '{text}'")
    else:
        ledger.moment(when, example)
