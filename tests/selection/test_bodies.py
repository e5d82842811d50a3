"""Bodies that several tests have in common, and doctests: a change of them runs its tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from foretest.evidence.rows import SparseRows
from foretest.evidence.store import EvidenceStore
from foretest.features.build import build
from foretest.features.query import FileFacts, Query
from foretest.records import Symbol, Why
from foretest.selection.policy import Rules, apply_rules

SHARED = "tests/base.py::BaseSuite.test_shared"
HEIRS = ("tests/test_a.py::TestA::test_shared", "tests/test_b.py::TestB::test_shared[1.5]")


def told(store: EvidenceStore, path: str, *names: str) -> dict[str, Why]:
    query = Query((FileFacts(path, touched=tuple(Symbol(path, name) for name in names)),))
    verdict = apply_rules(query, store, Rules(never_widen=("docs/**",)), 0.0)
    assert not verdict.run_all
    assert verdict.new == ()
    rows = np.flatnonzero(verdict.always).tolist()
    return {store.tests[row]: verdict.rules[int(verdict.rule_of[row])][0] for row in rows}


def named(store: EvidenceStore, tests: Sequence[str]) -> EvidenceStore:
    """The store with its first tests under other names."""
    return dataclasses.replace(store, tests=(*tests, *store.tests[len(tests) :]))


def inheriting(store: EvidenceStore, entered: Sequence[int]) -> EvidenceStore:
    """The store with two tests that inherit a body; `entered` tells which tests run it."""
    symbols = (*store.symbols[:-1], SHARED)
    rows = [[6] if test in entered else [0] for test in range(len(store.tests))]
    coverage = SparseRows.from_lists(rows, len(symbols))
    return dataclasses.replace(named(store, HEIRS), symbols=symbols, coverage=coverage)


def test_an_inherited_body_runs_its_heirs(store: EvidenceStore) -> None:
    seen = inheriting(store, (0, 1, 3))
    # The fourth test calls the body, but under a name of its own: coverage scores it.
    assert told(seen, "tests/base.py", "BaseSuite.test_shared") == dict.fromkeys(HEIRS, Why.CHANGED)


def test_coverage_speaks_of_an_inherited_body(store: EvidenceStore, now: float) -> None:
    seen = inheriting(store, (0, 1, 3))
    touched = (Symbol("tests/base.py", "BaseSuite.test_shared"),)
    frame = build(Query((FileFacts("tests/base.py", touched=touched),)), seen, now)
    assert np.flatnonzero(frame["coverage_share"] > 0).tolist() == [0, 1, 3]
    assert frame["change_unseen"][0] == 0


def test_an_inherited_body_that_no_test_is_seen_to_enter_widens(store: EvidenceStore) -> None:
    for unseen in (inheriting(store, ()), named(store, HEIRS)):
        ran = told(unseen, "tests/base.py", "BaseSuite.test_shared")
        assert {*HEIRS} <= ran.keys()
        assert set(ran.values()) == {Why.WIDENED}


def test_a_test_that_others_inherit_runs_with_them(store: EvidenceStore) -> None:
    own = "tests/base.py::BaseSuite::test_shared"
    seen = dataclasses.replace(inheriting(store, (0, 1, 2)), tests=(*HEIRS, own, *store.tests[3:]))
    ran = told(seen, "tests/base.py", "BaseSuite.test_shared")
    assert ran == dict.fromkeys((*HEIRS, own), Why.CHANGED)


DOCTESTS = (
    "pkg/doc.py::pkg.doc",
    "pkg/doc.py::pkg.doc.gamma",
    "pkg/doc.py::pkg.doc.Delta.go",
    "pkg/__init__.py::pkg",
    "docs/guide.rst::guide.rst",
    "pkg/doc.py::pkg.doc.__test__.extra",
)


def test_a_changed_docstring_runs_its_doctest(store: EvidenceStore) -> None:
    symbols = ("pkg/__init__.py::<module>", "pkg/doc.py::gamma", *store.symbols[2:])
    known = dataclasses.replace(named(store, DOCTESTS), symbols=symbols)
    assert told(known, "pkg/doc.py", "gamma") == {DOCTESTS[1]: Why.CHANGED}
    assert told(known, "pkg/doc.py", "Delta.go") == {DOCTESTS[2]: Why.CHANGED}
    assert told(known, "pkg/__init__.py", "<module>") == {DOCTESTS[3]: Why.CHANGED}
    own = dict.fromkeys((DOCTESTS[0], DOCTESTS[5]), Why.CHANGED)
    assert told(known, "pkg/doc.py", "<module>") == own
