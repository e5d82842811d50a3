"""What one test case of JUnit XML tells: its attempts, with outcomes, durations and failures."""

from __future__ import annotations

from foretest.records import Outcome
from foretest.results.batch import Attempt
from foretest.results.dialects.native import COULD_NOT_RUN
from foretest.results.normalise import LONGEST
from foretest.results.xmlstream import Element

_RERUN = {"rerunFailure": Outcome.FAILED, "rerunError": Outcome.ERROR}
_FLAKY = {"flakyFailure": Outcome.FAILED, "flakyError": Outcome.ERROR}
_BAD = {"failure": Outcome.FAILED, "error": Outcome.ERROR}
_TEARDOWN = "failed on teardown with"


def attempts_of(case: Element) -> list[Attempt]:
    """The attempts that one test case tells of, in time order.

    `flakyFailure` means that it failed and then passed; `rerunFailure` that it failed again after
    the failure named first. The case's own time is its last attempt's where it is flaky, else its
    first's; an attempt without a time of its own has None.
    """
    time = seconds_of(case.attributes.get("time"))
    own = [c for c in case.children if c.tag in _BAD]
    flaky = [c for c in case.children if c.tag in _FLAKY]
    again = [c for c in case.children if c.tag in _RERUN]
    attempts = [_failure(c, _FLAKY[c.tag], seconds_of(c.attributes.get("time"))) for c in flaky]
    if own:
        attempts.append(_failure(own[0], _BAD[own[0].tag], time, case))
    attempts += [_failure(c, _RERUN[c.tag], seconds_of(c.attributes.get("time"))) for c in again]
    if not own and not again:
        attempts.append(_good(case, time))
    return attempts


def _failure(
    element: Element, outcome: Outcome, seconds: float | None, case: Element | None = None
) -> Attempt:
    """CTest says of a failure only what the test printed."""
    traces = [c.text for c in element.children if c.tag == "stackTrace"]
    text = element.text if element.text.strip() else "\n".join(traces)
    if case is not None and not (text or element.attributes.get("message")):
        text = next((c.text for c in case.children if c.tag == "system-out"), "")
    told = element.attributes
    return Attempt(outcome, seconds, told.get("type", ""), told.get("message", ""), text)


def _good(case: Element, time: float | None) -> Attempt:
    skipped = next((c for c in case.children if c.tag == "skipped"), None)
    status, result = (case.attributes.get(a, "").lower() for a in ("status", "result"))
    if skipped is not None:
        if skipped.attributes.get("type", "") == "pytest.xfail":
            return Attempt(Outcome.XFAILED, time)
        said = skipped.attributes.get("message", "")
        if status == "notrun" and COULD_NOT_RUN.search(said):
            return Attempt(Outcome.ERROR, None, "", said, said)
        return Attempt(Outcome.SKIPPED)
    if status == "fail":
        return Attempt(Outcome.FAILED, time)
    idle = status in ("notrun", "disabled", "skipped") or result in ("suppressed", "skipped")
    return Attempt(Outcome.SKIPPED) if idle else Attempt(Outcome.PASSED, time)


def only_teardown(attempts: list[Attempt]) -> bool:
    """Whether pytest tells here of nothing but a teardown that failed."""
    return len(attempts) == 1 and attempts[0].message.startswith(_TEARDOWN)


def seconds_of(text: str | None) -> float | None:
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
    return value if 0 <= value < LONGEST else None
