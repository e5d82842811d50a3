"""Known ways to fail: what other models were caught at, each put to the candidate on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from foretest.evidence.rows import SparseRows
from foretest.evidence.store import UNKNOWN, EvidenceStore
from foretest.features.build import build
from foretest.features.catalogue import CATALOGUE
from foretest.features.frame import FeatureFrame
from foretest.models.formula import Formula
from foretest.platform.gate.exam import Candidate, Exam, Instance
from foretest.platform.gate.templates import holds
from foretest.platform.gate.verdict import Check
from foretest.records import Budget, Why
from foretest.replay.metrics import prefix
from foretest.selection.policy import Freshness

NEW = "tests/test_that_nobody_knows.py::test_new"
OLD = 500.0
"""Commits by which the evidence lies behind."""
TIGHT, BLIND = 0.01, 0.20
BLIND_LEAST = 0.5
"""Share of the changes that are caught in BLIND of suite time by words and imports alone."""


def checks(exam: Exam) -> Iterator[Check]:
    candidate = exam.candidate
    told = partial(holds, exam)
    yield told("failures: scores differ between tests", partial(differing, candidate))
    yield told("failures: features that are missing", partial(missing, candidate), 1.0)
    yield _blind(exam)
    yield told("failures: a test that the bundle does not know", partial(unknown, candidate), 1.0)
    yield told("failures: evidence 500 commits old", partial(old, candidate), 1.0)


def differing(candidate: Candidate, instance: Instance) -> bool | None:
    """Where the evidence tells tests apart, so does the candidate."""
    evidence = Candidate(Formula(), candidate.rules).score(instance.moment)
    if len(np.unique(evidence)) < 3:
        return None
    selection = candidate.decide(instance.moment)
    return len({choice.score for choice in selection.chosen}) > 1


def missing(candidate: Candidate, instance: Instance) -> bool | None:
    """One feature after the other unknown, then all of them: still scores within 0..1."""
    moment = instance.moment
    frame = build(moment.query, moment.store, moment.now, only=candidate.model.inputs)
    absent = np.full(frame.size, np.nan, np.float32)
    names = [f.name for f in CATALOGUE if f.missing and f.name in frame.columns]
    for lost in (*([name] for name in names), names):
        columns = {n: absent if n in lost else column for n, column in frame.columns.items()}
        candidate.predict(FeatureFrame(frame.size, columns))
    return True


def unknown(candidate: Candidate, instance: Instance) -> bool | None:
    """It runs, however small the budget."""
    units = (*instance.moment.known.tests, NEW)
    selection = candidate.decide(instance.moment, units=units, budget=Budget(share=TIGHT))
    return any(c.test == NEW and c.why is Why.NEW for c in selection.chosen)


def old(candidate: Candidate, instance: Instance) -> bool | None:
    """Everything runs, and it is said."""
    commits = instance.moment.known.coverage_commits
    age = Freshness(tuple(OLD for _ in commits), OLD, is_ancestor=True)
    selection = candidate.decide(instance.moment, freshness=age, budget=Budget(share=TIGHT))
    return selection.run_all and any("commits old" in notice for notice in selection.notices)


def _blind(exam: Exam) -> Check:
    """Without coverage words and imports still find failing tests."""
    caught = [blind(exam.candidate, instance) for instance in exam.instances]
    name, wanted = "failures: no coverage at all", f"at least {BLIND_LEAST:.0%}"
    if not caught:
        return Check(name, None, "-", wanted, "no change lends itself to it")
    share = float(np.mean(caught))
    told = f"{share:.0%} of {len(caught)} caught in {BLIND:.0%}"
    return Check(name, share >= BLIND_LEAST, told, wanted, "without coverage it is hardly of use")


def blind(candidate: Candidate, instance: Instance) -> bool:
    """Whether a failing test runs in BLIND of suite time where coverage is unknown."""
    moment = instance.moment
    order = np.argsort(-candidate.score(moment, store=uncovered(moment.store)), kind="stable")
    ran = prefix(order, moment.seconds, BLIND * float(moment.seconds.sum()))
    return bool(instance.failed[ran].any())


def uncovered(store: EvidenceStore) -> EvidenceStore:
    """The same evidence without coverage: unknown, which is not zero."""
    return replace(
        store,
        coverage=SparseRows.empty(len(store.tests), len(store.symbols)),
        coverage_commit=np.full(len(store.tests), UNKNOWN, np.int32),
    )
