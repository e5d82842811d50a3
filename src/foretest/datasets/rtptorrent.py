"""RTPTorrent: test classes of 20 Java projects per Travis job (`USER@PROJECT/USER@PROJECT.csv`).

Written from the set's documentation. A job's commit comes from `tr_all_built_commits.csv`; its time
is not in the set: jobs are put in the order of their numbers, a second each from 2000 on, and the
quality report says so.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

from foretest.datasets.contract import repository_of
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Flaw, Ledger
from foretest.datasets.sources import each, sound_lines
from foretest.errors import BadReport
from foretest.records import Configuration, Outcome, TestId, TestResult, TestRun

DOCUMENTED = True
_COLUMNS = ("travisJobId", "testName", "duration", "count", "failures", "errors", "skipped")
_COMMITS = "tr_all_built_commits.csv"
_JOB = re.compile(r"[0-9]{1,11}")
"""Numbers of jobs: what is longer is none, and no second of any calendar."""
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
Line = Mapping[str, str | None]


def files(path: Path) -> list[Path]:
    """The results of each project; baselines, offenders and patches beside them are left."""
    found = sorted(path.rglob("*@*.csv")) if path.is_dir() else [path]
    results = [file for file in found if file.stem in ("", file.parent.name) or path.is_file()]
    return [*results, *(f for f in sorted(path.rglob(_COMMITS)) if path.is_dir())]


def read(path: Path, ledger: Ledger, _: Pseudonyms) -> Iterator[TestRun]:
    every = files(path)
    commits = _commits([file for file in every if file.name == _COMMITS], ledger)
    results = [file for file in every if file.name != _COMMITS]
    yield from each(results, lambda file: _project(file, commits, ledger), ledger)


def _commits(tables: Iterable[Path], ledger: Ledger) -> dict[str, str]:
    """Commit by job. The one table that is held whole: a line a job, not a line a result."""
    found: dict[str, str] = {}
    for table in tables:
        with table.open(encoding="utf-8", errors="backslashreplace", newline="") as text:
            for line in sound_lines(csv.DictReader(text), table.name, ledger):
                job, commit = line.get("tr_job_id"), line.get("git_commit_id")
                if job and commit:
                    found[job] = commit
    return found


def _project(file: Path, commits: Mapping[str, str], ledger: Ledger) -> Iterator[TestRun]:
    project = file.stem.replace("@", "/")  # `eclipse@jetty.project` is nobody's mail address
    repository = repository_of("rtptorrent", project)
    done: set[str] = set()
    with file.open(encoding="utf-8", errors="backslashreplace", newline="") as text:
        lines = csv.DictReader(text)
        if not set(_COLUMNS) <= set(lines.fieldnames or ()):
            raise BadReport(f"{file} is not one of RTPTorrent's.", "Give the set's folder.")
        sound = sound_lines(lines, file.name, ledger)
        for job, part in groupby(sound, key=lambda line: line["travisJobId"]):
            if job in done:
                ledger.note(Flaw.DUPLICATES, f"{project}: job {job} in several pieces")
            piece = None if job not in done else str(ledger.rows)
            done.add(job)
            results = tuple(_results(part, repository, f"{project} job {job}", ledger))
            if not _JOB.fullmatch(str(job)):
                ledger.note(Flaw.UNREADABLE, f"{project}: job '{job}'")
                continue
            ledger.note(Flaw.MISSING_TIMES, f"{project}: job {job}")
            yield TestRun(
                run_id=f"job-{job}",
                repository=repository,
                commit=commits.get(job),
                configuration=Configuration("linux", "unknown"),
                occurred_at=_EPOCH + timedelta(seconds=int(job)),
                received_at=datetime.now(UTC),
                results=results,
                shard=piece,
            )


def _results(
    lines: Iterable[Line], repository: str, where: str, ledger: Ledger
) -> Iterator[TestResult]:
    attempts: dict[str, int] = {}
    for line in lines:
        ledger.rows += 1
        name = line["testName"] or ""
        try:
            seconds = float(line["duration"]) if line["duration"] else None
            counts = [int(line[n] or 0) for n in ("count", "failures", "errors", "skipped")]
        except (TypeError, ValueError):
            ledger.note(Flaw.UNREADABLE, f"{where}: {name}")
            continue
        count, failures, errors, skipped = counts
        if min(counts) < 0 or failures + errors + skipped > count:
            ledger.note(Flaw.IMPOSSIBLE, f"{where}: {name} has {counts}")
        outcome = _outcome(count, failures, errors, skipped)
        attempts[name] = attempts.get(name, 0) + 1
        ledger.note(Flaw.DUPLICATES, f"{where}: {name}", int(attempts[name] > 1))
        passed = outcome is Outcome.PASSED
        ledger.saw(repository, name, passed=passed, failed=outcome.bad)
        seconds = ledger.duration(seconds, f"{where}: {name}")
        yield TestResult(TestId(name, (), "", runner="junit"), outcome, seconds, attempts[name])


def _outcome(count: int, failures: int, errors: int, skipped: int) -> Outcome:
    if failures > 0 or errors > 0:
        return Outcome.FAILED if failures > 0 else Outcome.ERROR
    return Outcome.SKIPPED if 0 < count <= skipped else Outcome.PASSED
