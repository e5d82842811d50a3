"""Which change turned a test red: history narrows the range, probability aims the bisection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suspect:
    """One commit between the last state known good and the first known bad, oldest first."""

    commit: str
    subject: str
    weight: float
    """How likely this change is to break the test, by the evidence; any positive scale."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the search found."""

    culprit: Suspect | None
    runs: int
    """States that were run, the check of both ends included."""
    plain_runs: int
    """What a bisection that knows nothing would have needed at most, both ends included."""
    note: str = ""


def find_culprit(
    suspects: Sequence[Suspect], fails_after: Callable[[int], bool | None], max_runs: int = 50
) -> Verdict:
    """Find the first suspect after which the test fails.

    `fails_after(i)` runs the test with suspects[0..i] applied; -1 is the state before all of them. It
    returns None where that state cannot be judged (it does not build). The search splits the
    remaining probability in half instead of the remaining commits, so a well-aimed prior needs few
    runs and a useless one (all weights equal) is ordinary bisection.
    """
    plain = 2 + max(0, (len(suspects) - 1)).bit_length()
    runs = 1
    if not fails_after(len(suspects) - 1):
        return Verdict(
            None, runs, plain, "The test does not fail at the newest state: it may be flaky."
        )
    runs += 1
    if fails_after(-1):
        return Verdict(None, runs, plain, "The test fails before the first of these changes too.")
    good, bad = -1, len(suspects) - 1
    unknown: set[int] = set()
    while bad - good > 1 and runs < max_runs:
        middle = _split(suspects, good, bad, unknown)
        if middle is None:
            break
        runs += 1
        answer = fails_after(middle)
        if answer is None:
            unknown.add(middle)
        elif answer:
            bad = middle
        else:
            good = middle
    if bad - good == 1:
        return Verdict(suspects[bad], runs, plain)
    span = [s.commit[:10] for s in suspects[good + 1 : bad + 1]]
    reason = "could not be run" if unknown else "are left after the allowed number of runs"
    return Verdict(None, runs, plain, f"One of {', '.join(span)}; the states between {reason}.")


def _split(suspects: Sequence[Suspect], good: int, bad: int, unknown: set[int]) -> int | None:
    """The state whose answer halves the weight of suspects good+1..bad best; None if none can be asked."""
    total = sum(s.weight for s in suspects[good + 1 : bad + 1])
    best, distance, below = None, float("inf"), 0.0
    for index in range(good + 1, bad):
        below += suspects[index].weight
        if index not in unknown and abs(total / 2 - below) < distance:
            best, distance = index, abs(total / 2 - below)
    return best
