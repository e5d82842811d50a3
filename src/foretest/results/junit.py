"""JUnit XML of pytest, Surefire and their kin, in constant memory: attempts grouped, ids joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO

from foretest.records import Outcome, TestId, TestResult
from foretest.results.joining import Units, guess, resolve
from foretest.results.normalise import fingerprint_of_text
from foretest.results.xmlstream import DamagedError, Element, elements

ROOTS = (b"<testsuites", b"<testsuite")
"""How a JUnit report begins, for whoever sniffs at formats."""

_RERUN = {"rerunFailure": Outcome.FAILED, "rerunError": Outcome.ERROR}
_FLAKY = {"flakyFailure": Outcome.FAILED, "flakyError": Outcome.ERROR}
_BAD = {"failure": Outcome.FAILED, "error": Outcome.ERROR}


@dataclass(slots=True)
class Entries:
    """What a report holds, filled while its results are read."""

    results: list[TestResult] = field(default_factory=list)
    began: datetime | None = None
    unmatched: int = 0
    problem: str = ""
    """Why reading stopped before the end; empty where it did not."""


def read(file: IO[bytes], units: Units) -> Entries:
    """Read every test case up to the end, or up to the first damage, which is then named."""
    entries = Entries()
    attempts: Counter[TestId] = Counter()
    runner = "junit"
    try:
        for element in elements(file, {"testcase"}, {"testsuite", "testsuites"}):
            if element.tag != "testcase":
                runner = _runner(element, runner)
                entries.began = _earlier(entries.began, element.attributes.get("timestamp", ""))
                continue
            test, joined = _identify(element, units, runner)
            entries.unmatched += bool(units) and not joined
            for result in _attempts(element, test, attempts[test]):
                attempts[test] = result.attempt
                entries.results.append(result)
    except DamagedError as damage:
        entries.problem = str(damage)
    return entries


def _runner(suite: Element, before: str) -> str:
    """pytest names its only suite and its root so; everything else keeps its own id spelling."""
    if suite.tag == "testsuites" and suite.attributes.get("name") != "pytest tests":
        return before
    named = suite.attributes.get("name", "")
    return "pytest" if named in ("pytest", "pytest tests") else before


def _identify(case: Element, units: Units, runner: str) -> tuple[TestId, bool]:
    classname = case.attributes.get("classname", "")
    name = case.attributes.get("name", "")
    file = case.attributes.get("file", "")
    known = resolve(classname, name, file, units)
    if known is not None:
        return known, True
    return guess(classname, name, file, "pytest" if file.endswith(".py") else runner), False


def _attempts(case: Element, test: TestId, before: int) -> Iterator[TestResult]:
    """The attempts that one test case tells of, in time order, numbered after those `before`.

    `flakyFailure` means that it failed and then passed; `rerunFailure` that it failed again after
    the failure named first. The case's own time is its last attempt's where it is flaky, else its
    first's; an attempt without a time of its own has None.
    """
    time = _seconds(case.attributes.get("time"))
    own = next((c for c in case.children if c.tag in _BAD), None)
    flaky = [c for c in case.children if c.tag in _FLAKY]
    again = [c for c in case.children if c.tag in _RERUN]
    failures = [(c, _FLAKY[c.tag], _seconds(c.attributes.get("time"))) for c in flaky]
    if own is not None:
        failures.append((own, _BAD[own.tag], time))
    failures += [(c, _RERUN[c.tag], _seconds(c.attributes.get("time"))) for c in again]
    for failure, outcome, seconds in failures:
        before += 1
        yield TestResult(test, outcome, seconds, before, _fingerprint(failure))
    if own is None and not again:
        yield TestResult(test, _good(case), time, before + 1)


def _good(case: Element) -> Outcome:
    skipped = next((c for c in case.children if c.tag == "skipped"), None)
    if skipped is None:
        status = case.attributes.get("status", "").lower()
        return Outcome.SKIPPED if status in ("notrun", "disabled", "skipped") else Outcome.PASSED
    kind = skipped.attributes.get("type", "")
    return Outcome.XFAILED if kind == "pytest.xfail" else Outcome.SKIPPED


def _fingerprint(failure: Element) -> str:
    traces = [c.text for c in failure.children if c.tag == "stackTrace"]
    text = failure.text if failure.text.strip() else "\n".join(traces)
    kind = failure.attributes.get("type", "")
    return fingerprint_of_text(kind, failure.attributes.get("message", ""), text)


def _seconds(text: str | None) -> float | None:
    """A duration; some writers put a comma between thousands, some before the decimals."""
    if not text:
        return None
    if "," in text:
        whole, _, rest = text.rpartition(",")
        thousands = "." in rest or len(rest) == 3
        text = text.replace(",", "") if thousands else f"{whole.replace(',', '')}.{rest}"
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None


def _earlier(before: datetime | None, text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return before
    return moment if before is None else min(before, moment)
