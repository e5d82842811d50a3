"""The plugin's own report: JSON lines, one an attempt; light, since it is written beside tests."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from foretest.durable import claim
from foretest.errors import BadReport
from foretest.records import Configuration, Outcome, TestId, TestResult, TestRun
from foretest.results.normalise import in_zone, number_attempts, seconds_or_none

FORMAT = "foretest-report"
VERSION = 1

ATTEMPTS = 1_000_000
"""The greatest number of an attempt, of a run or of a test."""
_KEY, _NAME = 200, 1000
"""Bytes of a repository's key, as a folder is called by it, and characters of all other names."""
_LINE_LIMIT = 1 << 20
"""Characters of the longest line that is read: no honest result comes near."""


def here() -> Configuration:
    """The configuration of this very process: patch releases of Python count as one."""
    return Configuration(platform.system().lower(), f"{sys.version_info[0]}.{sys.version_info[1]}")


class ReportWriter:
    """Writes one report, a line at a time, so that a killed run leaves what it had.

    A disk that fills up must not fail the tests: writing then stops, `failed` says why, and the
    report, having no footer, reads as incomplete.
    """

    def __init__(
        self,
        path: Path,
        *,
        run_id: str,
        repository: str,
        commit: str | None,
        configuration: Configuration,
        attempt: int = 1,
        shard: str | None = None,
        decision_id: str | None = None,
        started_at: datetime | None = None,
        tests: int | None = None,
    ) -> None:
        self.path = path
        self.failed = ""
        self._handle = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Appending by the kernel keeps lines whole even where a fork of the process writes too.
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            self._handle = os.open(path, flags, 0o666)
            claim(self._handle)  # until it is closed, `record` leaves it alone
        except OSError as error:
            self.failed = str(error)
        self._line(
            {
                "format": FORMAT,
                "version": VERSION,
                "run_id": run_id,
                "attempt": attempt,
                "shard": shard,
                "decision_id": decision_id,
                "repository": repository,
                "commit": commit,
                "configuration": {
                    "os": configuration.os,
                    "python": configuration.python,
                    "flags": list(configuration.flags),
                },
                "started_at": (started_at or datetime.now(UTC)).isoformat(),
                "tests": tests,
            }
        )

    def write(
        self,
        node_id: str,
        outcome: str,
        seconds: float | None,
        *,
        attempt: int = 1,
        fingerprint: str | None = None,
        phase: str = "call",
        inclusion: float = 1.0,
    ) -> None:
        """Add one attempt of one test; `phase` is where it was decided (setup, call, teardown)."""
        if seconds is not None and not math.isfinite(seconds):
            seconds = None
        self._line(
            {
                "id": node_id,
                "outcome": str(outcome),
                "seconds": seconds,
                "attempt": attempt,
                "fingerprint": fingerprint,
                "phase": phase,
                "inclusion": inclusion,
            }
        )

    def close(
        self, exit_code: int, collected: int, deselected: int = 0, *, stopped: bool = False
    ) -> None:
        """Write the footer: the process came to its own end, whatever its tests said.

        `stopped` says that it ended before every test had its turn (Ctrl-C, `-x`).
        """
        footer = {"finished_at": datetime.now(UTC).isoformat(), "exit": int(exit_code)}
        counts = {"collected": collected, "deselected": deselected, "stopped": stopped}
        self._line({**footer, **counts})
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _line(self, data: Mapping[str, Any]) -> None:
        if self.failed or self._handle < 0:
            return
        line = json.dumps(data, separators=(",", ":")).encode() + b"\n"
        try:
            if os.write(self._handle, line) < len(line):
                self.failed = "The disk is full."
        except OSError as error:
            self.failed = str(error)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A report as read: the run, and in plain sentences what could not be read."""

    run: TestRun
    notices: tuple[str, ...] = ()


def read(path: Path) -> TestRun:
    """The run that a report tells of. Raises BadReport where there is no header to go by."""
    return parse(path).run


def read_all(paths: Iterable[Path]) -> list[TestRun]:
    """The runs of several reports; files of one run's workers become one run."""
    return merge(read(path) for path in paths)


def parse(path: Path) -> Parsed:
    """Read a report line by line; damaged lines are left out and counted, never guessed at.

    Without the footer the run is incomplete: its process was killed or still runs. A run that was
    stopped is incomplete too.
    """
    notices: list[str] = []
    try:
        with path.open("r", encoding="utf-8", errors="replace") as file:
            lines = _objects(file, notices)
            run = header(path, next(lines, None))
            results, ended = _body(lines, notices)
    except OSError as error:
        raise BadReport(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    if not ended:
        notices.append(f"{path.name} has no end: the run was cut short.")
    return Parsed(replace(run, results=tuple(results), complete=ended), tuple(notices))


def merge(runs: Iterable[TestRun]) -> list[TestRun]:
    """Join the parts of each run (one id, attempt and shard), complete only if every part is.

    A part given twice counts once; different results of one test become attempts, all visible.
    """
    parts: dict[tuple[str, str, int, str | None], TestRun] = {}
    for run in runs:
        key = (run.repository, run.run_id, run.attempt, run.shard)
        first = parts.get(key)
        parts[key] = run if first is None else _joined(first, run)
    return list(parts.values())


def _joined(first: TestRun, second: TestRun) -> TestRun:
    return replace(
        first,
        results=tuple(number_attempts(first.results + second.results)),
        occurred_at=min(first.occurred_at, second.occurred_at),
        received_at=max(first.received_at, second.received_at),
        commit=first.commit if first.commit is not None else second.commit,
        decision_id=first.decision_id if first.decision_id is not None else second.decision_id,
        complete=first.complete and second.complete,
    )


def _objects(file: Iterable[str], notices: list[str]) -> Iterator[dict[str, Any]]:
    damaged = 0
    for line in file:
        try:
            data = json.loads(line) if len(line) <= _LINE_LIMIT else None
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict):
            yield data
        elif line.strip():
            damaged += 1
    if damaged:
        notices.append(f"{damaged} damaged line{'s'[: damaged > 1]} left out.")


def header(path: Path | str, data: Mapping[str, Any] | None) -> TestRun:
    """The run, without results, that a report's first line tells of. Raises BadReport."""
    if data is None or data.get("format") != FORMAT:
        raise BadReport(f"{path} is not a report of foretest's plugin.", "Give a report file.")
    if data.get("version") != VERSION:
        raise BadReport(
            f"{path} has format version {data.get('version')}; this foretest reads {VERSION}.",
            "Use the same foretest for the run and for the record.",
        )
    try:
        place = data["configuration"]
        started = in_zone(datetime.fromisoformat(data["started_at"]))
        run = TestRun(
            run_id=_text(data["run_id"]),
            repository=_text(data["repository"]),
            commit=_optional(data.get("commit")),
            configuration=Configuration(
                _text(place["os"]), _text(place["python"]), tuple(map(_text, place["flags"]))
            ),
            occurred_at=started,
            received_at=datetime.now(UTC),
            results=(),
            attempt=_attempt(data),
            shard=_optional(data.get("shard")),
            decision_id=_optional(data.get("decision_id")),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadReport(f"{path} has a damaged first line.", "Run the tests again.") from error
    bounded(run)
    return run


def bounded(run: TestRun) -> None:
    """Raise BadReport where what a run is called by is longer or greater than any store takes."""
    names = {"run id": run.run_id, "shard": run.shard, "commit": run.commit}
    long = [what for what, name in names.items() if len(name or "") > _NAME]
    long += ["repository"] * (len(quote(run.repository, safe="")) > _KEY)
    if long:
        raise BadReport(f"The {long[0]} is too long to be a name.", "Send it with a shorter one.")
    if not 1 <= run.attempt <= ATTEMPTS:
        raise BadReport(f"{run.attempt:,} is no number of an attempt.", "Count attempts from 1.")


def _body(lines: Iterable[dict[str, Any]], notices: list[str]) -> tuple[list[TestResult], bool]:
    results: list[TestResult] = []
    ended, odd = False, 0
    for data in lines:
        if "finished_at" in data:
            ended = not data.get("stopped", False)
            continue
        try:
            results.append(_result(data))
        except (KeyError, TypeError, ValueError, OverflowError):
            odd += 1
    if odd:
        notices.append(f"{odd} line{'s'[: odd > 1]} without a usable result left out.")
    return results, ended


def _result(data: Mapping[str, Any]) -> TestResult:
    seconds = data.get("seconds")
    inclusion = float(data.get("inclusion", 1.0))
    return TestResult(
        test=TestId.parse(_text(data["id"])),
        outcome=Outcome(data["outcome"]),
        seconds=None if seconds is None else seconds_or_none(float(seconds)),
        attempt=_attempt(data),
        fingerprint=_optional(data.get("fingerprint")),
        inclusion=inclusion if 0.0 < inclusion <= 1.0 else 1.0,
    )


def _attempt(data: Mapping[str, Any]) -> int:
    attempt = max(1, int(data.get("attempt") or 1))
    if attempt > ATTEMPTS:
        raise ValueError(attempt)
    return attempt


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    # JSON may spell lone surrogates, which no store takes.
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)
