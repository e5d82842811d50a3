"""Reads a report of any known format: looks at how it begins, picks the reader, cleans the run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO

from foretest.errors import BadReport
from foretest.records import Configuration, TestRun
from foretest.results import junit, report
from foretest.results.batch import Batch, batches
from foretest.results.dialects import bazel, go
from foretest.results.dialects.contract import Document, Files, Scene
from foretest.results.dialects.javascript import (
    JEST_JSON,
    MOCHA_JSON,
    PLAYWRIGHT_JSON,
    VITEST_JSON,
)
from foretest.results.dialects.native import CTEST_XML, GTEST_JSON
from foretest.results.joining import Units
from foretest.results.jsonstream import has_list
from foretest.results.ledger import Ledger
from foretest.results.normalise import clean, moment_of
from foretest.results.xmlstream import PROLOGUE, DamagedError

DOCUMENTS = (JEST_JSON, VITEST_JSON, PLAYWRIGHT_JSON, MOCHA_JSON, GTEST_JSON, go.GO, CTEST_XML)
"""Formats of their own; everything else in XML is JUnit's."""
KNOWN = (
    "JUnit XML, the JSON of jest, Vitest, Playwright, Mocha, GoogleTest or `go test -json`, "
    "CTest's Test.xml, or the report of `pytest --foretest`"
)
_PLUGIN = re.compile(rb'\{\s*"format"\s*:\s*"foretest-report"')
_NO_RESULTS = re.compile(PROLOGUE + rb"<(?:testng-results|failsafe-summary)\b")
"""Roots of what lies among Surefire's reports and repeats or counts what stands in them."""
_SNIFFED = 4096
_MOMENT = re.compile(
    rb'"(?:Time|start|startTime|timestamp)"\s*:\s*"?([0-9][^",\s}]{9,40})|<StartTestTime>(\d+)'
)


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
    root: Path | None = None
    """The repository's folder: paths in reports of other machines are looked for below it."""


@dataclass(frozen=True)
class ReadReport:
    """A run as a report tells it, and what is to be said about the reading."""

    head: TestRun
    """What is said of all results; without them, but for the plugin's report."""
    ledger: Ledger | None = None
    """The results by column; None for the plugin's own report, whose `head` has them."""
    skipped: tuple[str, ...] = ()
    """Sentences: what could not be read, or lacks what joins it to other runs."""
    named: bool = True
    """Whether the run has an id of its own; without one the report's content is its id."""

    @cached_property
    def run(self) -> TestRun:
        """The run with its results, an object each."""
        if self.ledger is None:
            return self.head
        return replace(self.head, results=self.ledger.results())

    @property
    def unmatched(self) -> int:
        """Results whose test is not among the known units; they are kept under a guessed id."""
        return 0 if self.ledger is None else self.ledger.unmatched


def read_report(
    path: Path, known_units: Iterable[str] | Units = (), origin: Origin | None = None
) -> ReadReport:
    """Read one report. Raises BadReport for a file that is missing, empty or of no known format."""
    origin = origin or Origin()
    units = known_units if isinstance(known_units, Units) else Units(known_units)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # it is read more than once
            what = "is no plain file, and nothing can be read from it twice"
            raise BadReport(f"{path} {what}.", "Write the report to a file, and name that.")
        with path.open("rb") as file:
            begin = _beginning(file)
    except OSError as error:
        raise BadReport(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    if _PLUGIN.match(begin):
        return _plugin(path, origin)
    document = next((d for d in DOCUMENTS if d.begins.match(begin)), None)
    if document is not None:
        reading = junit.Reading(began=_began(path))
        read = _read(path, origin, lambda file, _: _documented(document, file, origin), reading)
        if document.listed and not read.ledger and not _lists(path, document.listed):
            what = f"begins like a report of {document.runner}, but holds no `{document.listed}`"
            raise BadReport(f"{path} {what}.", f"Give {KNOWN}.")
        return read
    if begin.startswith(b"<"):
        return _junit(path, begin, units, origin)
    what = "is of no format that foretest knows" if begin else "is empty"
    raise BadReport(f"{path} {what}.", f"Give {KNOWN}.")


def _beginning(file: IO[bytes]) -> bytes:
    """The first bytes in UTF-8 or nearly so, but for the blanks and marks before them."""
    begin = b""
    while not begin and (part := file.read(_SNIFFED)):
        begin = part.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return begin + file.read(_SNIFFED - len(begin)).replace(b"\0", b"")


def _lists(path: Path, name: str) -> bool:
    with path.open("rb") as file:
        try:
            return has_list(file, name)
        except DamagedError:
            return True  # cut before it may come: damaged, but of the format


def _began(path: Path) -> datetime | None:
    """The first moment that a report of its own format names, near its beginning."""
    with path.open("rb") as file:
        found = _MOMENT.search(file.read(16 * _SNIFFED))
    return moment_of((found[1] or found[2]).decode("ascii", "replace")) if found else None


def _plugin(path: Path, origin: Origin) -> ReadReport:
    parsed = report.parse(path)
    # The plugin saw the tests themselves: its ids are right, and what is not known is new.
    return ReadReport(clean(placed(parsed.run, origin)), skipped=parsed.notices)


def placed(run: TestRun, origin: Origin) -> TestRun:
    """The run of a plugin's report with what the caller knows and it does not say."""
    return replace(
        run,
        repository=run.repository or origin.repository,
        commit=run.commit or origin.commit,
        decision_id=run.decision_id or origin.decision_id,
    )


def _documented(document: Document, file: IO[bytes], origin: Origin) -> Iterator[Batch]:
    return batches(document.runner, document.cases(file, Files(origin.root)))


def _junit(path: Path, begin: bytes, units: Units, origin: Origin) -> ReadReport:
    if _NO_RESULTS.match(begin):
        raise BadReport(f"{path} counts results but names none.", f"Give {KNOWN}.")
    target = bazel.target_of(path.absolute())
    reading = junit.Reading(Scene(files=Files(origin.root)), target=target)
    read = _read(path, origin, lambda file, into: junit.batches(file, units, into), reading)
    assert read.ledger is not None
    if not len(read.ledger) and not any(root in begin for root in junit.ROOTS):
        problem = f" ({' '.join(read.skipped)})" if read.skipped else ""
        raise BadReport(f"{path} is XML, but no JUnit report{problem}.", "Give JUnit XML.")
    return read


def _read(
    path: Path,
    origin: Origin,
    batches_of: Callable[[IO[bytes], junit.Reading], Iterator[Batch]],
    reading: junit.Reading | None = None,
) -> ReadReport:
    """Everything up to the end or the first damage, which is then named."""
    reading, ledger, skipped = reading or junit.Reading(), Ledger(), []
    with path.open("rb") as file:
        try:
            for batch in _sound(batches_of(file, reading)):
                ledger.take(batch)
        except DamagedError as damage:
            place = f", after {ledger.last}" if ledger.last else ""
            skipped.append(f"{path.name} was read up to the first damage: {damage}{place}.")
    complete = not skipped
    skipped.extend(reading.notices)
    received = datetime.now(UTC)
    began = reading.began or datetime.fromtimestamp(path.stat().st_mtime, UTC)
    configuration = origin.configuration or report.here()
    head = TestRun(
        run_id=origin.run_id or _content_id(path, origin, configuration),
        repository=origin.repository,
        commit=origin.commit or origin.head,
        configuration=configuration,
        occurred_at=min(began, received),
        received_at=received,
        results=(),
        attempt=origin.attempt,
        shard=origin.shard,
        decision_id=origin.decision_id,
        complete=complete,
    )
    return ReadReport(head, ledger, tuple(skipped), named=bool(origin.run_id))


def _sound(read: Iterator[Batch]) -> Iterator[Batch]:
    """The batches; whatever an adapter stumbles over is damage, since reports are strangers'."""
    try:
        yield from read
    except (DamagedError, MemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise DamagedError(f"content of no known shape ({type(error).__name__}: {said})") from error


def _content_id(path: Path, origin: Origin, configuration: Configuration) -> str:
    """The same report of the same state and configuration is the same run."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    place = (origin.commit, configuration.os, configuration.python, configuration.flags)
    digest.update(repr(place).encode("utf-8", "backslashreplace"))
    return f"{origin.ci_run or 'report'}-{digest.hexdigest()[:24]}"
