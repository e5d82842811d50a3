"""Which tests always run, whatever their score: the rules, in the order in which they speak."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from foretest.changes.layout import is_test_file, is_test_module
from foretest.config import Config
from foretest.evidence.store import EvidenceStore
from foretest.features.build import DAY, entries
from foretest.features.query import FileFacts, Query, is_shared_body, unit_of
from foretest.records import FileStatus, Why
from foretest.selection.bodies import changed_bodies
from foretest.selection.widening import beside, linked, widen

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user set about selection."""

    must_run: tuple[str, ...] = ()
    never_widen: tuple[str, ...] = ()
    recent_days: float = 14.0
    max_coverage_age: float = 200.0
    explore: float = 0.01

    @classmethod
    def of(cls, config: Config) -> Rules:
        return cls(
            config.must_run,
            config.never_widen,
            config.recent_days,
            config.max_coverage_age,
            config.explore,
        )


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far the evidence lies behind the change, in commits; what git cannot tell is unknown."""

    ages: tuple[float, ...] | None = None
    """For each of the store's coverage commits; NaN = unknown."""
    age: float = math.nan
    """Of the state that the store describes."""
    is_ancestor: bool | None = None
    """Whether that state lies in the change's own past."""


@dataclass(slots=True)
class Verdict:
    """What the rules decided; rows are those of the store."""

    present: Mask
    """Tests that still exist."""
    new: tuple[str, ...] = ()
    """Units that the store does not know."""
    rules: dict[int, tuple[Why, str]] = field(default_factory=dict)
    """Numbered rules that spoke: why, and the reason in a few words."""
    rule_of: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """The first rule that chose each test; 0 where none did."""
    named: dict[Why, Mask] = field(default_factory=dict)
    """All tests that rules of a kind name, whichever rule was first."""
    run_all: str = ""
    """Why everything runs; empty where it does not."""
    factor: float = 1.0
    """By which the budget grows, for evidence that is not quite this change's."""
    notices: list[str] = field(default_factory=list)

    @property
    def always(self) -> Mask:
        return self.rule_of > 0

    def add(self, tests: Mask, why: Why, reason: str) -> None:
        """Choose these tests; one that is chosen already keeps its first reason."""
        self.rules[len(self.rules) + 1] = (why, reason)
        self.rule_of[tests & self.present & (self.rule_of == 0)] = len(self.rules)
        self.named[why] = self.named.get(why, False) | (tests & self.present)


def apply_rules(
    query: Query,
    store: EvidenceStore,
    rules: Rules,
    now: float,
    *,
    units: Sequence[str] | None = None,
    freshness: Freshness | None = None,
) -> Verdict:
    """Decide who runs regardless of scores. `units` are the tests that exist now, where known."""
    n = len(store.tests)
    verdict = Verdict(_present(query, store, units), rule_of=np.zeros(n, np.int32))
    verdict.new = _new(query, store, units)
    verdict.add(changed_bodies(query, store), Why.CHANGED, "its own code changed")
    if rules.must_run:
        pattern = re.compile("|".join(fnmatch.translate(glob) for glob in rules.must_run))
        must = np.fromiter((pattern.match(test) is not None for test in store.tests), bool, n)
        verdict.add(must, Why.MUST_RUN, "must_run names it")
    days = (now - store.last_failed_at) / DAY
    verdict.add(
        (days >= 0) & (days <= rules.recent_days),  # NaN, never failed, is neither
        Why.RECENTLY_FAILED,
        f"failed within the last {rules.recent_days:g} days",
    )
    _widen_tests(query, store, verdict)
    for widened in widen(query, store, rules.never_widen):
        verdict.notices.append(widened.notice)
        if widened.tests is None:
            verdict.run_all = verdict.run_all or widened.reason
        else:
            verdict.add(widened.tests, Why.WIDENED, widened.reason)
    _stale(store, rules, freshness or Freshness(), verdict)
    return verdict


def _present(query: Query, store: EvidenceStore, units: Sequence[str] | None) -> Mask:
    n = len(store.tests)
    present = np.ones(n, bool)
    if units is not None:
        now = set(units)
        return np.fromiter((test in now for test in store.tests), bool, n)
    gone = {f.path for f in query.files if f.status is FileStatus.DELETED}
    gone |= {f.known_as for f in query.files if f.status is FileStatus.RENAMED}
    for path in gone:
        if is_test_file(path):
            present &= ~_in_file(store, path)
    return present


def _new(query: Query, store: EvidenceStore, units: Sequence[str] | None) -> tuple[str, ...]:
    known = store.test_index
    if units is not None:
        return tuple(unit for unit in dict.fromkeys(units) if unit not in known)
    found: list[str] = []
    for file in query.files:
        if file.status is FileStatus.DELETED or not is_test_file(file.path):
            continue
        moved = file.known_as != file.path
        bodies = [] if moved else [s for s in file.touched if not is_shared_body(s, store)]
        touched = [unit for symbol in bodies if (unit := unit_of(symbol)) is not None]
        found.extend(unit for unit in touched if unit not in known)
        # A file that is new as a whole runs as a whole.
        whole = moved or file.status in (FileStatus.ADDED, FileStatus.COPIED)
        if whole and not touched and is_test_module(file.path):
            found.append(file.path)
    return tuple(dict.fromkeys(found))


def _widen_tests(query: Query, store: EvidenceStore, verdict: Verdict) -> None:
    """Code that tests share: all that may use it, where coverage does not tell who does."""
    for file in query.files:
        test_code = is_test_file(file.path) and file.path.endswith(".py") and not file.binary
        if not test_code or file.path.endswith("conftest.py"):
            continue
        shared = [str(s) for s in file.touched if unit_of(s) is None or is_shared_body(s, store)]
        if file.touched and _entered(store, shared):
            continue
        near = _in_file(store, file.path) if is_test_module(file.path) else _users(file, store)
        if near.any():
            verdict.add(near, Why.WIDENED, f"shared code of {file.path} changed")
            n = int((near & verdict.present).sum())
            verdict.notices.append(f"Shared code of {file.path} changed: its {n:,} tests run.")


def _users(file: FileFacts, store: EvidenceStore) -> Mask:
    """Tests that import a file of test code, else those below its folder."""
    near = linked(store, file.known_as)
    return near if near.any() else beside(store, file.path)


def _entered(store: EvidenceStore, symbols: Iterable[str]) -> bool:
    """Whether coverage knows tests that enter each of the symbols."""
    places = [store.symbol_index.get(symbol, -1) for symbol in symbols]
    if -1 in places:
        return False
    wanted = np.zeros(len(store.symbols), bool)
    wanted[places] = True
    return len(np.unique(entries(store.coverage, wanted)[1])) == len(set(places))


def _stale(store: EvidenceStore, rules: Rules, freshness: Freshness, verdict: Verdict) -> None:
    most = rules.max_coverage_age
    if not store.tests:
        verdict.run_all = verdict.run_all or "nothing has been learnt yet"
        verdict.notices.append("All tests run: the bundle knows no tests. Run 'foretest learn'.")
    elif not store.commit:
        verdict.run_all = verdict.run_all or "no evidence links tests to code yet"
        verdict.notices.append(
            "All tests run, in the order of past results: nothing links them to code yet. "
            "Run 'foretest learn'."
        )
    elif freshness.age > most:
        verdict.run_all = verdict.run_all or "the evidence is too old"
        verdict.notices.append(
            f"All tests run: the bundle is {freshness.age:,.0f} commits old, more than "
            f"{most:,.0f}. Run 'foretest learn'."
        )
    elif freshness.is_ancestor is False and math.isnan(freshness.age):
        verdict.run_all = verdict.run_all or "the evidence is of another history"
        verdict.notices.append(
            f"All tests run: the bundle describes {store.commit[:12] or 'an unknown state'}, which "
            "has no history in common with this change here. Run 'foretest learn'."
        )
    elif freshness.is_ancestor is False:
        verdict.factor = 2.0
        verdict.notices.append(
            f"The budget is doubled: the bundle describes {store.commit[:12] or 'another state'}, "
            "which is not in this change's past."
        )
    unknown = ~store.has_coverage
    if freshness.ages is not None:
        # An age that git cannot tell is no sign of freshness.
        old = np.array([*(not age <= most for age in freshness.ages), False])[store.coverage_commit]
        if old.any():
            verdict.notices.append(
                f"Coverage of {int(old.sum()):,} of {len(old):,} tests is more than {most:,.0f} "
                "commits old, or of unknown age: what it does not show is not held against them."
            )
    if unknown.any():
        verdict.notices.append(
            f"Coverage of {int(unknown.sum()):,} of {len(unknown):,} tests is unknown: "
            "words, imports and history judge them."
        )


def _in_file(store: EvidenceStore, path: str) -> Mask:
    prefix = f"{path}::"
    found = (test.startswith(prefix) for test in store.tests)
    return np.fromiter(found, bool, len(store.tests))
