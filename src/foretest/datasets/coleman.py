"""COLEMAN's sets: test executions per CI build of alibaba-druid and DUNE, ids anonymised."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from foretest.datasets.contract import BATCH, Facts, repository_of
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Flaw, Ledger
from foretest.datasets.sources import each, parquet
from foretest.records import Configuration, Outcome, TestId, TestResult, TestRun
from foretest.results.normalise import moment_of

DOCUMENTED = False
_FILE = "features-engineered.parquet"
_COLUMNS: dict[str, pl.DataType] = {
    **dict.fromkeys(("Id", "BuildId", "Verdict"), pl.Int64()),
    "Name": pl.String(),
    "Duration": pl.Float64(),
    "LastRun": pl.String(),
}


def files(path: Path) -> list[Path]:
    """One file a project; `contextual` and `variants` files hold the same results once more."""
    return sorted(path.rglob(_FILE)) if path.is_dir() else [path] * (path.name == _FILE)


def read(path: Path, ledger: Ledger, _: Pseudonyms) -> Iterator[TestRun | Facts]:
    yield from each(files(path), lambda file: _project(file, ledger), ledger)


def _project(file: Path, ledger: Ledger) -> Iterator[TestRun]:
    project = file.parent.name
    every = parquet(file, _COLUMNS)
    whole = pl.all_horizontal(pl.col("BuildId", "Name").is_not_null())
    nameless = every.select((~whole).sum()).collect().item()
    ledger.note(Flaw.UNREADABLE, f"{project}: a row without a test or a build", nameless)
    frame = every.filter(whole)
    latest: datetime | None = None
    for first, last in _windows(frame):
        rows = frame.filter(pl.col("BuildId").is_between(first, last)).collect()
        rows = rows.sort("BuildId", "LastRun", "Id")
        for part in rows.partition_by("BuildId", maintain_order=True):
            run = _run(project, part, ledger)
            if run is None:
                continue
            if latest is not None and run.occurred_at < latest:
                ledger.note(Flaw.CLOCK_SKEW, f"{project} {run.run_id} is older than the one before")
            latest = run.occurred_at
            yield run


def _windows(frame: pl.LazyFrame) -> Iterator[tuple[int, int]]:
    """Ranges of builds, both ends included, of about `BATCH` rows."""
    sizes = frame.group_by("BuildId").len().sort("BuildId").collect()
    first, held = None, 0
    build = 0
    for build, rows in sizes.iter_rows():
        first = build if first is None else first
        held += rows
        if held >= BATCH:
            yield first, build
            first, held = None, 0
    if first is not None:
        yield first, build


def _run(project: str, rows: pl.DataFrame, ledger: Ledger) -> TestRun | None:
    """One build. Several rows of one test are its attempts, in the order of their times.

    None for one that has no time: it has no place among the others.
    """
    repository, build = repository_of("coleman", project), rows["BuildId"][0]
    ledger.rows += rows.height
    moments = rows["LastRun"].drop_nulls().unique().sort().to_list()
    occurred = min((when for when in map(moment_of, moments) if when), default=None)
    if occurred is None:
        ledger.note(Flaw.UNREADABLE, f"{project} build {build} has no time", rows.height)
        return None
    if len(moments) > 1:
        ledger.note(
            Flaw.CLOCK_SKEW, f"{project} build {build} has {len(moments)} times", len(moments) - 1
        )
    seen: dict[str, list[bool]] = {}
    results = []
    for name, duration, verdict in rows.select("Name", "Duration", "Verdict").iter_rows():
        told = f"{project} test {name} in build {build}"
        if verdict not in (0, 1):
            ledger.note(Flaw.IMPOSSIBLE, f"{told}: verdict {verdict}")
            continue
        bad = verdict == 1
        seconds = ledger.duration(duration, told)
        attempts = seen.setdefault(name, [])
        attempts.append(bad)
        ledger.saw(repository, name, passed=not bad, failed=bad)
        outcome = Outcome.FAILED if bad else Outcome.PASSED
        test = TestId(name, (), "", runner="coleman")
        results.append(TestResult(test, outcome, seconds, attempt=len(attempts)))
    for name, attempts in seen.items():
        told = f"{project} test {name} stands {len(attempts)} times in build {build}"
        ledger.note(Flaw.DUPLICATES, told, len(attempts) - 1)
        ledger.note(Flaw.CONTRADICTIONS, told, int(len(set(attempts)) > 1))
    ledger.moment(occurred, f"{project} build {build}")
    return TestRun(
        run_id=f"build-{build}",
        repository=repository,
        commit=None,
        configuration=Configuration("unknown", "unknown", (project,)),
        occurred_at=occurred,
        received_at=datetime.now(UTC),
        results=tuple(results),
    )
