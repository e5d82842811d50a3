"""Behaviour by templates over real changes: what must not matter, and what must not hurt.

Metamorphic and directional tests after CheckList (Ribeiro, Wu, Guestrin, Singh, ACL 2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from foretest.changes.words import words
from foretest.evidence.rows import SparseRows
from foretest.features.build import entries, name_query, seen_symbols
from foretest.models.contract import Scores
from foretest.platform.gate.exam import Candidate, Exam, Instance
from foretest.platform.gate.templates import holds
from foretest.platform.gate.verdict import Check
from foretest.selection.promise import needed

HEAD = 0.10
"""Share of the tests that stand first, of which changes that say nothing new move few."""
LITTLE = 0.8
"""Share of the first tests that stay first where little may change."""
ROUNDING = 1e-6
FRESH = ("qzlocalone", "qzlocaltwo")
"""Words that stand in no code."""
PROSE = (
    *("note", "that", "this", "must", "stay", "as", "it", "is", "because", "callers", "rely"),
    *("on", "the", "order", "see", "above", "for", "why"),
)
"""A comment as people write them."""
MORE = 0.02
"""Share of the suite that a comment may draw in."""


def checks(exam: Exam) -> Iterator[Check]:
    candidate = exam.candidate
    for name, template in (
        ("renaming a local variable changes little", renamed),
        ("naming the failing test never lowers it", named),
        ("more evidence never ranks lower", more_evidence),
        ("a hunk twice changes little", twice),
    ):
        yield holds(exam, f"behaviour: {name}", partial(template, candidate))
    silent = partial(comment, candidate, stands_out(exam))
    yield holds(exam, "behaviour: a comment selects almost nothing", silent)


def renamed(candidate: Candidate, instance: Instance) -> bool | None:
    """A word of the changed lines that is no symbol's name gives way to a new one."""
    query = instance.moment.query
    symbols = {*name_query(query), *(w for s in query.touched for w in words(str(s)))}
    local = sorted(w for w in {*query.removed, *query.added} if w not in symbols and len(w) > 1)
    if not local:
        return None
    word = local[instance.random.integers(len(local))]
    removed, added = (
        {FRESH[0] if w == word else w: n for w, n in part.items()}
        for part in (query.removed, query.added)
    )
    after = candidate.score(instance.moment, replace(query, removed=removed, added=added))
    return overlap(candidate.score(instance.moment), after) >= LITTLE


def named(candidate: Candidate, instance: Instance) -> bool | None:
    """The change says the name of a test that fails: the test does not fall behind others."""
    query, before = instance.moment.query, candidate.score(instance.moment)
    test = int(np.flatnonzero(instance.failed)[0])
    added = dict(query.added)
    for word in words(instance.moment.known.tests[test].rpartition("::")[2]):
        added[word] = added.get(word, 0) + 1
    after = candidate.score(instance.moment, replace(query, added=added))
    return place(after, test) <= place(before, test)


def more_evidence(candidate: Candidate, instance: Instance) -> bool | None:
    """Coverage shows that a test enters changed code after all: it does not fall behind others."""
    store, random = instance.moment.known, instance.random
    symbols = seen_symbols(instance.moment.query, store)
    if not len(symbols):
        return None
    symbol = int(symbols[random.integers(len(symbols))])
    wanted = np.zeros(len(store.symbols), bool)
    wanted[symbol] = True
    without = store.has_coverage.copy()
    without[entries(store.coverage, wanted)[0]] = False
    if not without.any():
        return None
    test = int(random.choice(np.flatnonzero(without)))
    entry = SparseRows.from_pairs(
        [test], [symbol], None, (store.coverage.n_rows, store.coverage.n_columns)
    )
    more = replace(instance.moment, known=replace(store, coverage=store.coverage.union(entry)))
    return place(candidate.score(more), test) <= place(candidate.score(instance.moment), test)


def stands_out(exam: Exam) -> float:
    """The score from which on tests run for the lowest promise, 1 where nothing is promised.

    With few groups a promise asks for nearly all tests: then the score that earns half.
    """
    made, level = exam.candidate.promise, exam.limits.levels[0]
    if made is None:
        return 1.0
    enough = made.size >= 2 * (needed(level) or math.inf)
    threshold = made.threshold(level if enough else 0.5)
    return 1.0 if threshold is None else threshold


def comment(candidate: Candidate, least: float, instance: Instance) -> bool | None:
    """Prose is added and no symbol is touched: it draws in few tests that would not run."""
    silent = [replace(file, touched=(), names_set=()) for file in instance.moment.query.files]
    query = replace(instance.moment.query, files=tuple(silent), removed={}, added={})
    commented = replace(query, added=dict.fromkeys(PROSE, 1))
    before, after = (
        int((candidate.score(instance.moment, asked) >= least).sum())
        for asked in (query, commented)
    )
    return after - before <= math.ceil(MORE * len(instance.failed))


def twice(candidate: Candidate, instance: Instance) -> bool | None:
    """The same lines change in the same way at two places: a word counts as its logarithm."""
    query = instance.moment.query
    removed, added = (
        {word: 2 * n for word, n in part.items()} for part in (query.removed, query.added)
    )
    doubled = replace(query, files=(*query.files, *query.files), removed=removed, added=added)
    after = candidate.score(instance.moment, doubled)
    return overlap(candidate.score(instance.moment), after) >= LITTLE


def place(scores: Scores, test: int) -> int:
    """How many tests stand before this one."""
    return int((scores > scores[test] + ROUNDING).sum())


def overlap(before: Scores, after: Scores) -> float:
    """Share of the tests that stood first that still stand among the first; ties count as both."""
    count = max(1, math.ceil(HEAD * len(before)))
    first = np.argsort(-before, kind="stable")[:count]
    least = np.sort(after)[-count]
    return float((after[first] >= least - ROUNDING).mean())
