"""Lets quarantined tests run and fail without failing the run; what they did is still recorded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping

import pytest

MARK = "foretest_quarantined"
"""Attribute of a report whose failure was forgiven; it travels from xdist's workers."""


class ForgiveFailures:
    """Turns the failure of a quarantined test into an expected one, in the process that ran it.

    pytest then counts it as xfailed: it does not end the run with `-x` or `--maxfail`, is not in
    `--lf`, and does not make the exit status 1. A crash of the whole process is not forgiven.
    """

    def __init__(self, held: Mapping[str, str], unit: Callable[[pytest.Item], str]) -> None:
        self._held = held
        self._unit = unit

    # Outermost, so that plugins which look at the failure itself have seen it.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        why = self._held.get(self._unit(item))
        if why is not None and report.outcome == "failed":
            report.outcome = "skipped"
            report.wasxfail = why
            setattr(report, MARK, why)
        return report


def forgiven(report: pytest.TestReport) -> str:
    """Why the report's failure does not count; empty where it does, or where none is."""
    return str(getattr(report, MARK, ""))
