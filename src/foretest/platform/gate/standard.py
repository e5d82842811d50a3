"""Standard cases: what is caught at 5, 10 and 20 % of suite time, and when the first failure is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from foretest.platform.gate.exam import CANDIDATE, Exam
from foretest.platform.gate.verdict import Check
from foretest.replay.compare import compare_verdicts
from foretest.replay.judge import ALL
from foretest.replay.metrics import SHARES
from foretest.replay.table import Line, tabulate

NOTHING = "no faulty change of a repository that both can be judged on"
ONE_COMMIT = "one commit alone has no interval"


def checks(exam: Exam) -> Iterator[Check]:
    """At each budget a floor, and not worse than the rival; the same for the first failure."""
    lines = lines_of(exam)
    mine, rival = lines.get(CANDIDATE), lines.get(exam.rival_name)
    for share, floor in exam.limits.floors:
        yield _floor(share, floor, mine)
        yield _beside(exam, share, rival)
    yield _latest(exam, mine)
    yield _sooner(exam, mine)


def lines_of(exam: Exam, part: str = ALL) -> dict[str, Line]:
    """The replay's table of one slice, by contender."""
    lines = tabulate((v for v in exam.verdicts if v.slice == part), CANDIDATE)
    return {line.strategy: line for line in lines}


def _floor(share: float, floor: float, line: Line | None) -> Check:
    name, wanted = f"standard: caught in {share:.0%}", f"at least {floor:.0%}"
    if line is None:
        return Check(name, None, "-", wanted, NOTHING)
    caught = line.caught[SHARES.index(share)]
    told = f"{caught.mean:.1%} [{caught.low:.1%}, {caught.high:.1%}]"
    return Check(name, caught.mean >= floor, told, wanted, "fewer than any model here should catch")


def _beside(exam: Exam, share: float, rival: Line | None) -> Check:
    """Not worse: the bad end of the paired interval stays within the margin."""
    margin = exam.limits.margin
    name = f"standard: in {share:.0%} beside the {exam.rival_name}"
    wanted = f"above {-100 * margin:+.1f} points"
    if rival is None:
        return Check(name, None, "-", wanted, NOTHING)
    behind = rival.behind[SHARES.index(share)]
    told = f"{100 * behind.mean:+.1f} [{100 * behind.low:+.1f}, {100 * behind.high:+.1f}] points"
    if np.isnan(behind.low):
        return Check(name, None, told, wanted, ONE_COMMIT)
    why = f"it may catch {100 * -behind.low:.1f} points fewer than the {exam.rival_name}"
    return Check(name, behind.low > -margin, told, wanted, why)


def _latest(exam: Exam, line: Line | None) -> Check:
    name, wanted = "standard: first failure", f"within {exam.limits.latest:.0%} of suite time"
    if line is None:
        return Check(name, None, "-", wanted, NOTHING)
    told = f"{line.first.mean:.2%} [{line.first.low:.2%}, {line.first.high:.2%}]"
    return Check(
        name, line.first.mean <= exam.limits.latest, told, wanted, "the first failure comes late"
    )


def _sooner(exam: Exam, line: Line | None) -> Check:
    name = f"standard: first failure beside the {exam.rival_name}"
    wanted = f"below {100 * exam.limits.later:+.1f} points"
    if line is None:
        return Check(name, None, "-", wanted, NOTHING)
    apart = compare_verdicts(exam.verdicts, CANDIDATE, exam.rival_name, ALL).first.difference
    told = f"{100 * apart.mean:+.2f} [{100 * apart.low:+.2f}, {100 * apart.high:+.2f}] points"
    if np.isnan(apart.high):
        return Check(name, None, told, wanted, ONE_COMMIT)
    why = f"it may come {100 * apart.high:.1f} points of suite time later"
    return Check(name, apart.high < exam.limits.later, told, wanted, why)
