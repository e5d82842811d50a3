"""The promise: what it states is held against repositories that it was not calibrated on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from foretest.models.contract import identity
from foretest.platform.gate.exam import Candidate, Exam
from foretest.platform.gate.verdict import Check
from foretest.records import Basis
from foretest.selection.promise import Calibration, Case, decisive, needed, percent
from foretest.training.calibrate import caught, scores_of
from foretest.training.pool import Taught

Cases = Mapping[str, tuple[Case, ...]]


def checks(exam: Exam) -> Iterator[Check]:
    """At each level: left out one by one, repositories are caught as often as is stated."""
    cases = cases_of(exam.candidate, exam.facts)
    for level in exam.limits.levels:
        yield _check(exam, level, cases)


def _check(exam: Exam, level: float, cases: Cases) -> Check:
    name, wanted = f"promise: {percent(level)}", f"{percent(level)}, within two standard errors"
    made = exam.candidate.promise
    if made is None:
        return Check(name, False, "-", wanted, "no calibration came with it: nothing is promised")
    if made.model != identity(exam.candidate.model):
        return Check(name, False, "-", wanted, "its calibration is of another model")
    held = [n for n in cases if n in made.groups]
    least = needed(level)
    if least is None or len(held) - 1 < least:
        why = f"{len(held)} repositories are too few to state {percent(level)} without one of them"
        return Check(name, None, "-", wanted, why, essential=False)
    shares, all_ran = [], 0
    for out in held:
        groups = {n: g for n, g in made.groups.items() if n != out}
        threshold = replace(made, groups=groups).threshold(level)
        all_ran += threshold is None
        shares.append(caught({out: cases[out]}, threshold))
    mean, error = float(np.mean(shares)), float(np.std(shares, ddof=1) / len(shares) ** 0.5)
    worst = held[int(np.argmin(shares))]
    told = f"{mean:.1%} caught in {len(held)} left out (worst {worst} {min(shares):.0%})"
    if all_ran == len(held):
        return Check(name, None, told, wanted, "everything ran, which tests nothing", False)
    why = f"{100 * (level - mean):.1f} points short, the standard error is {100 * error:.1f}"
    return Check(name, mean >= level - 2 * error, told, wanted, why)


def cases_of(candidate: Candidate, facts: Sequence[Taught]) -> dict[str, tuple[Case, ...]]:
    """What catches each faulty change, by repository, scored by a model that never saw it.

    Not even what came earlier: what is pooled is stated for repositories that nobody knows.
    """
    found = {}
    for lesson, age in facts:
        model = candidate.without(lesson.repository)
        if model is None:
            continue
        scored = scores_of(lesson.trials, lesson.store, model, age, candidate.rules)
        if scored:
            found[lesson.repository] = tuple(case for _, case in scored)
    return found


def calibrated(candidate: Candidate, facts: Sequence[Taught], **lineage: object) -> Candidate:
    """The candidate with the pooled calibration that these facts give it."""
    groups = cases_of(candidate, facts)
    rules = decisive(candidate.rules)
    made = Calibration(Basis.POOLED, groups, identity(candidate.model), rules, lineage)
    return replace(candidate, promise=made)
