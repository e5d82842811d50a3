"""The examination: every family of checks in turn, over the kept facts alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from foretest.models.contract import identity
from foretest.models.formula import Formula
from foretest.platform.gate import (
    behaviour,
    cost,
    domain,
    failures,
    promise,
    slices,
    standard,
)
from foretest.platform.gate.exam import CANDIDATE, Candidate, Exam, Limits
from foretest.platform.gate.verdict import Check, Verdict, as_text
from foretest.platform.tracking.plots import plotted
from foretest.replay.judge import ALL
from foretest.replay.metrics import SHARES
from foretest.replay.table import tabulate
from foretest.training.pool import Taught

if TYPE_CHECKING:
    from foretest.platform.tracking.runs import Run

Family = Callable[[Exam], Iterator[Check]]
FAMILIES: dict[str, Family] = {
    "standard": standard.checks,
    "domain": domain.checks,
    "slices": slices.checks,
    "failures": failures.checks,
    "behaviour": behaviour.checks,
    "promise": promise.checks,
    "cost": cost.checks,
}
Progress = Callable[..., None]


def examine(
    candidate: Candidate,
    champion: Candidate | None,
    facts: Iterable[Taught],
    *,
    limits: Limits | None = None,
    run: Run | None = None,
    progress: Progress = lambda *_: None,
) -> Verdict:
    """Examine a candidate beside the champion, without one beside the formula.

    `facts` hold each repository once. All that is said of catching failures comes from `replay/`.
    A `run` of the tracker is told the verdict and every metric by slice.
    """
    return examined(exam_of(candidate, champion, facts, limits), run=run, progress=progress)


def examined(
    exam: Exam, *, run: Run | None = None, progress: Progress = lambda *_: None
) -> Verdict:
    """Go through every family of checks."""
    found: list[Check] = []
    for place, (family, checks) in enumerate(FAMILIES.items()):
        progress("Examining", place, len(FAMILIES), family)
        found.extend(checks(exam))
    progress("Examining", len(FAMILIES), len(FAMILIES))
    verdict = Verdict(
        identity(exam.candidate.model),
        f"the {exam.rival_name} ({identity(exam.rival.model)})",
        tuple(found),
        len({(v.repository, v.case_id) for v in exam.verdicts if v.slice == ALL}),
        len({v.repository for v in exam.verdicts}),
    )
    if run is not None:
        log(run, verdict, exam)
    return verdict


def exam_of(
    candidate: Candidate,
    champion: Candidate | None,
    facts: Iterable[Taught],
    limits: Limits | None = None,
) -> Exam:
    """The examination; where nothing can fairly judge the champion, the formula stands in for it.

    That is so where it was fitted on all of these repositories and brings no stand-ins.
    """
    seen = tuple(facts)
    names = [lesson.repository for lesson, _ in seen]
    if champion is None or not any(champion.judged_by(name) for name in names):
        champion = Candidate(Formula())
    return Exam(candidate, champion, seen, limits or Limits())


def log(run: Run, verdict: Verdict, exam: Exam) -> None:
    """Tell the tracker the verdict, and every contender by slice; all of them as a plot."""
    run.tags({"gate": "passed" if verdict.passed else "not passed"})
    run.metric("gate/passed", float(verdict.passed))
    run.artifact(as_text(verdict).encode(), "gate.txt")
    run.table("gate", {
        "check": [c.name for c in verdict.checks],
        "outcome": [c.mark for c in verdict.checks],
        "measured": [c.measured for c in verdict.checks],
        "wanted": [c.wanted for c in verdict.checks],
        "why": [c.why for c in verdict.checks],
    })  # fmt: skip
    lines = tabulate(exam.verdicts, CANDIDATE)
    plotted(run, lines, CANDIDATE)
    for line in lines:
        at = f"{line.slice}/{line.strategy}"
        run.metrics({
            **{f"{at} caught at {100 * s:.0f} percent": c.mean
               for s, c in zip(SHARES, line.caught, strict=True)},
            f"{at} first failure": line.first.mean,
        })  # fmt: skip
