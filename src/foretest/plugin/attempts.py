"""Groups pytest's reports of set-up, call and tear-down into attempts, reruns included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from foretest.plugin.quarantining import forgiven
from foretest.records import Outcome


@dataclass(slots=True)
class Attempt:
    """One attempt of one test, as far as it has come."""

    node_id: str
    number: int
    seconds: float = 0.0
    outcome: Outcome | None = None
    """None until a phase has decided it."""
    phase: str = "call"
    fingerprint: str | None = None
    rerun: bool = False
    """True where a plugin runs the test again."""

    @property
    def final(self) -> bool:
        return not self.rerun


class Attempts:
    """Fed with every report of a session in order; gives each attempt once it is over.

    With xdist the reports of several workers are interleaved; each worker runs one test at a time.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Attempt] = {}
        self._reruns: Counter[str] = Counter()

    def feed(self, report: pytest.TestReport) -> Iterator[Attempt]:
        key = (getattr(report, "worker_id", ""), report.nodeid)
        if report.when == "setup" and key in self._open:
            yield self._close(key)  # older pytest-rerunfailures reports no tear-down before a rerun
        if key not in self._open:
            number = self._reruns[report.nodeid] + 1
            self._open[key] = Attempt(report.nodeid, number)
        _add(self._open[key], report)
        if report.when not in ("setup", "call"):  # "???" is xdist's: the worker died in this test
            yield self._close(key)

    def remaining(self) -> Iterator[Attempt]:
        """Attempts that failed before the session broke off; of the others nothing is known."""
        for key, attempt in list(self._open.items()):
            if attempt.outcome is not None and attempt.outcome.bad:
                yield self._close(key)

    def _close(self, key: tuple[str, str]) -> Attempt:
        attempt = self._open.pop(key)
        attempt.outcome = attempt.outcome or Outcome.PASSED
        if attempt.rerun:
            self._reruns[attempt.node_id] += 1
        else:
            del self._reruns[attempt.node_id]
        return attempt


def _add(attempt: Attempt, report: pytest.TestReport) -> None:
    subtest = hasattr(report, "context")
    if not subtest:  # a subtest's time is within its test's
        attempt.seconds += report.duration
    if str(report.outcome) == "rerun":
        attempt.rerun = True
    outcome = _outcome(report)
    if outcome is None or (attempt.outcome is not None and attempt.outcome.bad):
        return
    if outcome.bad or not subtest:
        attempt.outcome, attempt.phase = outcome, str(report.when)
    if outcome.bad:
        attempt.fingerprint = _fingerprint(report)


def _outcome(report: pytest.TestReport) -> Outcome | None:
    """What this phase decides; None where it leaves the matter to another."""
    if report.outcome not in ("passed", "skipped") or forgiven(report):  # failed, rerun
        return Outcome.FAILED if report.when == "call" else Outcome.ERROR
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped:
        return Outcome.XFAILED if expected_failure else Outcome.SKIPPED
    if report.when != "call":
        return None
    return Outcome.XPASSED if expected_failure else Outcome.PASSED


def _fingerprint(report: pytest.TestReport) -> str:
    from foretest.results.normalise import fingerprint_of_text

    crash = getattr(report.longrepr, "reprcrash", None)
    return fingerprint_of_text("", getattr(crash, "message", ""), report.longreprtext)
