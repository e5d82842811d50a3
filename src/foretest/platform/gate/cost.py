"""What serving costs: the time of a selection in this process, and the size of the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import perf_counter

import numpy as np

from foretest.models.formula import Formula
from foretest.platform.gate.exam import Candidate, Exam, Instance
from foretest.platform.gate.verdict import Check
from foretest.records import Budget

RUNS = 40
"""Selections timed of each of the two."""
BUDGET = Budget(share=0.10)


def checks(exam: Exam) -> Iterator[Check]:
    yield from _latency(exam)
    yield _size(exam)


def _latency(exam: Exam) -> Iterator[Check]:
    """Against the formula in the same run; the bound in seconds is generous and for any machine."""
    slower, seconds = exam.limits.slower, exam.limits.seconds
    names = "cost: selection beside the formula's", "cost: selection of the largest suite"
    wanted = f"at most {slower:g} times as long", f"p99 within {seconds:g} s"
    largest = max((len(i.failed) for i in exam.instances), default=0)
    instances = [i for i in exam.instances if len(i.failed) == largest]
    if not instances:
        for name, want in zip(names, wanted, strict=True):
            yield Check(name, None, "-", want, "no change to select for")
        return
    formula = Candidate(Formula(), exam.candidate.rules)
    mine, floor = timed(exam.candidate, formula, instances)
    ratio = float(np.median(mine) / np.median(floor))
    told = f"{ratio:.2f} times ({1e3 * np.median(mine):.1f} to {1e3 * np.median(floor):.1f} ms)"
    yield Check(names[0], ratio <= slower, told, wanted[0], "its scores take too long to make")
    p50, p99 = np.percentile(mine, (50, 99))
    told = f"p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms, {largest:,} tests"
    yield Check(names[1], bool(p99 <= seconds), told, wanted[1], "nobody waits as long")


def timed(
    ours: Candidate, theirs: Candidate, instances: list[Instance]
) -> tuple[list[float], list[float]]:
    """Seconds of selections over the same changes, in turns, so that both meet the same machine."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for run in range(RUNS + 1):
        moment = instances[run % len(instances)].moment
        for candidate, taken in zip((ours, theirs), seconds, strict=True):
            start = perf_counter()
            candidate.decide(moment, budget=BUDGET)
            if run:  # the first fills caches of the evidence
                taken.append(perf_counter() - start)
    return seconds


def _size(exam: Exam) -> Check:
    size = len(json.dumps(exam.candidate.model.to_json()).encode()) / 1e6
    most = exam.limits.megabytes
    return Check(
        "cost: size of the model",
        size <= most,
        f"{size:.2f} MB",
        f"at most {most:g} MB",
        "every bundle carries it",
    )
