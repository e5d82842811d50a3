"""Writes the run's own report while it goes on, and keeps the tallies that the summary needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from foretest.plugin.attempts import Attempt, Attempts
from foretest.plugin.place import Names, Place

if TYPE_CHECKING:
    from foretest.results.report import ReportWriter


class Recording:
    """Takes every attempt of the session; lives in the process that sees all results."""

    def __init__(self, names: Names, writers: tuple[ReportWriter, ...]) -> None:
        self.inclusion: Mapping[str, float] = {}
        """Probability with which each unit was in the run; 1 for those not named."""
        self.seconds: dict[str, float] = {}
        """Time of each unit, its parameters together, last attempts alone."""
        self.failed: set[str] = set()
        """Units with a test that failed at its last attempt."""
        self._names = names
        self._writers = writers
        self._attempts = Attempts()

    @property
    def problem(self) -> str:
        """Why a report is cut short; empty where none is."""
        failed = next((w for w in self._writers if w.failed), None)
        return f"The report {failed.path} could not be written: {failed.failed}" if failed else ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for attempt in self._attempts.feed(report):
            self._take(attempt)

    def finish(self, exit_code: int, collected: int, deselected: int, *, stopped: bool) -> None:
        """Write the footers; `stopped` says that not every test had its turn."""
        for attempt in self._attempts.remaining():
            self._take(attempt)
        for writer in self._writers:
            writer.close(exit_code, collected, deselected, stopped=stopped)

    def _take(self, attempt: Attempt) -> None:
        node_id = self._names.node_id(attempt.node_id)
        unit = self._names.unit(attempt.node_id)
        outcome = attempt.outcome
        assert outcome is not None
        for writer in self._writers:
            writer.write(
                node_id,
                outcome.value,
                attempt.seconds,
                attempt=attempt.number,
                fingerprint=attempt.fingerprint,
                phase=attempt.phase,
                inclusion=self.inclusion.get(unit, 1.0),
            )
        if attempt.final:
            self.seconds[unit] = self.seconds.get(unit, 0.0) + attempt.seconds
            if outcome.bad:
                self.failed.add(unit)


def open_reports(
    paths: tuple[Path, ...], place: Place, run_id: str, shard: str | None, decision_id: str | None
) -> tuple[ReportWriter, ...]:
    """A writer for each path, their headers written."""
    if not paths:
        return ()
    from foretest.results.report import ReportWriter, here

    configuration = replace(here(), flags=place.flags)
    return tuple(
        ReportWriter(
            path,
            run_id=run_id,
            repository=place.repository,
            commit=place.commit,
            configuration=configuration,
            attempt=place.attempt,
            shard=shard or place.shard,
            decision_id=decision_id,
        )
        for path in paths
    )
