"""Lets quarantined tests run and fail without failing the run; what they did is still recorded."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterator, Mapping

import pytest

MARK = "foretest_quarantined"
"""Attribute of a report whose failure was forgiven; it travels from xdist's workers."""


class ForgiveFailures:
    """Turns the failure of a quarantined test into an expected one, in the process that ran it.

    pytest then counts it as xfailed: it does not end the run with `-x` or `--maxfail`, is not in
    `--lf`, and does not make the exit status 1. Not forgiven are a crash of the whole process, and
    what pytest blames on the test though others share it: the end of a fixture of wider scope.
    """

    def __init__(self, held: Mapping[str, str], unit: Callable[[pytest.Item], str]) -> None:
        self.unknown: tuple[str, ...] = ()
        """Tests in quarantine that the files collected here do not hold."""
        self._held = held
        self._unit = unit

    # First, so that no test is left out yet.
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        narrowed = any("::" in arg for arg in config.args) or config.getoption("lf", False)
        if narrowed:
            return  # files are collected in part
        units = set(map(self._unit, items))
        files = {unit.partition("::")[0] for unit in units}
        held = (test for test in self._held if test.partition("::")[0] in files)
        self.unknown = tuple(test for test in held if test not in units)

    # Outermost, so that plugins which look at the failure itself have seen it.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        why = self._held.get(self._unit(item))
        if why is None or report.outcome != "failed":
            return report
        if call.excinfo is not None and not _own(call.excinfo.value, call.when):
            told = "Not forgiven: what failed is shared with tests that are not in quarantine."
            report.sections.append(("foretest quarantine", told))
            return report
        report.outcome = "skipped"
        report.wasxfail = why
        setattr(report, MARK, why)
        return report


def forgiven(report: pytest.TestReport) -> str:
    """Why the report's failure does not count; empty where it does, or where none is."""
    return str(getattr(report, MARK, ""))


def _own(error: BaseException, when: str) -> bool:
    """Whether all that failed belongs to the one test.

    A teardown takes down whatever the next test does not need, and reports it on the last one; a
    set-up first takes down a wider fixture whose parameter changes.
    """
    own = {"function"} if when == "teardown" else {"function", ""}
    return own.issuperset(_ended(error, ""))


def _ended(error: BaseException, within: str) -> Iterator[str]:
    """Scope of the fixture in whose end each error rose; empty where it was in none."""
    scope = within
    for frame, _ in traceback.walk_tb(error.__traceback__):
        fixture = frame.f_locals.get("self")
        if frame.f_code.co_name == "finish" and hasattr(fixture, "argname"):
            scope = str(getattr(fixture, "scope", ""))
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _ended(part, scope)
    else:
        yield scope
