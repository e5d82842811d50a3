"""COLEMAN's sets: test executions per CI build of alibaba-druid and DUNE, ids anonymised."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from foretest.datasets.contract import BATCH, Facts, repository_of
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Flaw, Ledger
from foretest.errors import BadReport
from foretest.records import Configuration, Outcome, TestId, TestResult, TestRun

DOCUMENTED = False
_FILE = "features-engineered.parquet"
_COLUMNS = ("Id", "Name", "BuildId", "Duration", "LastRun", "Verdict")


def files(path: Path) -> list[Path]:
    """One file a project; `contextual` and `variants` files hold the same results once more."""
    return sorted(path.rglob(_FILE)) if path.is_dir() else [path] * (path.name == _FILE)


def read(path: Path, ledger: Ledger, _: Pseudonyms) -> Iterator[TestRun | Facts]:
    for file in files(path):
        yield from _project(file, ledger)


def _project(file: Path, ledger: Ledger) -> Iterator[TestRun]:
    project = file.parent.name
    frame = pl.scan_parquet(file)
    missing = set(_COLUMNS) - set(frame.collect_schema())
    if missing:
        raise BadReport(
            f"{file} has no column {', '.join(sorted(missing))}.",
            "Give the folder of the set as it was published.",
        )
    latest: datetime | None = None
    for first, last in _windows(frame):
        rows = frame.filter(pl.col("BuildId").is_between(first, last)).select(_COLUMNS).collect()
        rows = rows.sort("BuildId", "LastRun", "Id")
        for part in rows.partition_by("BuildId", maintain_order=True):
            run = _run(project, part, ledger)
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


def _run(project: str, rows: pl.DataFrame, ledger: Ledger) -> TestRun:
    """One build. Several rows of one test are its attempts, in the order of their times."""
    repository, build = repository_of("coleman", project), rows["BuildId"][0]
    ledger.rows += rows.height
    moments = rows["LastRun"].unique().sort().to_list()
    if len(moments) > 1:
        ledger.note(
            Flaw.CLOCK_SKEW, f"{project} build {build} has {len(moments)} times", len(moments) - 1
        )
    seen: dict[int, list[bool]] = {}
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
        ledger.saw(repository, str(name), passed=not bad, failed=bad)
        outcome = Outcome.FAILED if bad else Outcome.PASSED
        test = TestId(str(name), (), "", runner="coleman")
        results.append(TestResult(test, outcome, seconds, attempt=len(attempts)))
    for name, attempts in seen.items():
        told = f"{project} test {name} stands {len(attempts)} times in build {build}"
        ledger.note(Flaw.DUPLICATES, told, len(attempts) - 1)
        ledger.note(Flaw.CONTRADICTIONS, told, int(len(set(attempts)) > 1))
    occurred = datetime.fromisoformat(moments[0]).replace(tzinfo=UTC)
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
