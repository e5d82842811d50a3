"""Reads a report of any known format: looks at how it begins, picks the reader, cleans the run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from foretest.errors import BadReport
from foretest.records import Configuration, TestRun
from foretest.results import junit, report
from foretest.results.joining import Units
from foretest.results.normalise import clean

_SNIFFED = 4096


@dataclass(frozen=True, slots=True)
class Origin:
    """What the caller knows of a run that its report may not say."""

    repository: str = ""
    commit: str | None = None
    """The state that ran, where somebody said so."""
    head: str | None = None
    """The state that a report of a format without states presumably ran at.

    Never that of the plugin's own report: where it names none, the work tree had been edited.
    """
    configuration: Configuration | None = None
    """None means the interpreter and system that read the report."""
    run_id: str = ""
    """Empty means that the report's content is its id: the same report twice is one run."""
    ci_run: str = ""
    """What CI calls the run: stands before the digest in the id of a report that has no other."""
    attempt: int = 1
    shard: str | None = None
    decision_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReadReport:
    """A run as a report tells it, and what is to be said about the reading."""

    run: TestRun
    skipped: tuple[str, ...] = ()
    """Sentences: what could not be read."""
    unmatched: int = 0
    """Results whose test is not among the known units; they are kept under a guessed id."""


def read_report(
    path: Path, known_units: Iterable[str] = (), origin: Origin | None = None
) -> ReadReport:
    """Read one report. Raises BadReport for a file that is missing, empty or of no known format."""
    origin = origin or Origin()
    units = Units(known_units)
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFFED)
    except OSError as error:
        raise BadReport(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    begin = head.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").replace(b"\0", b"")
    if begin.startswith(b"{"):
        return _plugin(path, origin)
    if begin.startswith(b"<"):
        return _junit(path, begin, units, origin)
    what = "is empty" if not head.strip() else "is of no format that foretest knows"
    raise BadReport(f"{path} {what}.", "Give JUnit XML or the report of `pytest --foretest`.")


def _plugin(path: Path, origin: Origin) -> ReadReport:
    parsed = report.parse(path)
    # The plugin saw the tests themselves: its ids are right, and what is not known is new.
    return ReadReport(clean(placed(parsed.run, origin)), parsed.notices)


def placed(run: TestRun, origin: Origin) -> TestRun:
    """The run of a plugin's report with what the caller knows and it does not say."""
    return replace(
        run,
        repository=run.repository or origin.repository,
        commit=run.commit or origin.commit,
        decision_id=run.decision_id or origin.decision_id,
    )


def _junit(path: Path, begin: bytes, units: Units, origin: Origin) -> ReadReport:
    with path.open("rb") as file:
        entries = junit.read(file, units)
    if not entries.results and not any(root in begin for root in junit.ROOTS):
        problem = f" ({entries.problem})" if entries.problem else ""
        raise BadReport(f"{path} is XML, but no JUnit report{problem}.", "Give JUnit XML.")
    skipped: tuple[str, ...] = ()
    if entries.problem:
        skipped = (f"{path.name} was read up to the first damage: {entries.problem}.",)
    received = datetime.now(UTC)
    run = TestRun(
        run_id=origin.run_id or _content_id(path, origin.ci_run),
        repository=origin.repository,
        commit=origin.commit or origin.head,
        configuration=origin.configuration or report.here(),
        occurred_at=entries.began or datetime.fromtimestamp(path.stat().st_mtime, UTC),
        received_at=received,
        results=tuple(entries.results),
        attempt=origin.attempt,
        shard=origin.shard,
        decision_id=origin.decision_id,
        complete=not entries.problem,
    )
    return ReadReport(clean(run), skipped, entries.unmatched)


def _content_id(path: Path, ci_run: str) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:24]
    return f"{ci_run or 'junit'}-{digest}"
