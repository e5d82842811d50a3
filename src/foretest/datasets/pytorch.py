"""PyTorch's published statistics: seconds per test file by week, and tests disabled as flaky."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import polars as pl

from foretest.datasets.contract import BATCH, Facts, repository_of
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Flaw, Ledger
from foretest.errors import BadReport

DOCUMENTED = False
TIMES, EVENTS = "test_times", "disabled_tests"
REPOSITORY = repository_of("pytorch", "pytorch")
_READ = {
    "test_times_weekly.parquet": (TIMES, ("date", "job_config", "test_file", "seconds")),
    "disabled_tests_events.parquet": (EVENTS, ("time", "event", "test", "issue", "platforms")),
}


def files(path: Path) -> list[Path]:
    found = [path / name for name in _READ] if path.is_dir() else [path]
    return [file for file in found if file.is_file() and file.name in _READ]


def read(path: Path, ledger: Ledger, _: Pseudonyms) -> Iterator[Facts]:
    for file in files(path):
        table, columns = _READ[file.name]
        frame = pl.scan_parquet(file)
        if set(columns) - set(frame.collect_schema()):
            raise BadReport(f"{file} lacks columns.", f"It needs {', '.join(columns)}.")
        rows = int(frame.select(pl.len()).collect().item())
        disabled: set[str] = set()
        for start in range(0, rows, BATCH):
            part = frame.select(columns).slice(start, BATCH).collect()
            ledger.rows += part.height
            if table == TIMES:
                yield Facts(table, _times(part, ledger))
            else:
                yield Facts(table, _events(part, ledger, disabled))


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
        ledger.moment(datetime.fromisoformat(f"{day}T00:00:00+00:00"), "a week's times")
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
        ledger.moment(datetime.fromisoformat(time), test)
        if event == "disabled":
            disabled.add(test)
        elif test not in disabled:
            ledger.note(Flaw.IMPOSSIBLE, f"{test} enabled, never disabled")
        else:
            disabled.discard(test)
    return kept.select(
        pl.lit(REPOSITORY).alias("repository"), "time", "event", "test", "issue", "platforms"
    )
