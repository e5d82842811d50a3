"""Judges every strategy on past changes in time order; a pure function of cases and evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from foretest.evidence.store import EvidenceStore
from foretest.features.build import entries, seen_symbols
from foretest.features.query import Query
from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.records import MODULE_LEVEL
from foretest.replay.metrics import Mask, RandomOrders, oracle, score
from foretest.replay.strategies import (
    ORACLE,
    OURS,
    RANDOM,
    STRATEGIES,
    Moment,
    Past,
    Ranker,
    Ranking,
)
from foretest.replay.table import Verdict
from foretest.selection.compose import predicted_seconds
from foretest.selection.policy import Freshness, Rules

ALL = "all faulty changes"
UNTOUCHED = "failing tests that the change did not touch"
MODIFIED = "failing tests that the change modified"
ADDED = "failing tests that came with the change"
MODULE = "module-level code changed"
UNSEEN = "no changed function is entered by any test"
SINGLE = "exactly one failing test"
FAULTS = "injected faults"
ELSEWHERE = "changes tried at another commit"
SLICES = (ALL, UNTOUCHED, MODIFIED, ADDED, MODULE, UNSEEN, SINGLE, FAULTS, ELSEWHERE)
"""In the order in which tables show them."""

SAMPLED = "sampled"
NOT_COUNTED = {
    "collection": "broke the collection, which any run shows",
    "import": "broke an import, which any run shows",
    "timeout": "ran out of time",
    "crash": "crashed the test process",
    "none-failed": "failed no test",
    SAMPLED: "ran a sample of the suite alone",
    "other-commit": "tried at another commit failed tests that the evidence does not know",
    "unknown": "failed only tests that the evidence does not know",
}
"""What sets a case apart, in the words of a report. None of these is in any figure."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A past change and its outcome, as far as judging needs them."""

    case_id: str
    repository: str
    commit: str
    """Where the change comes from; trials of one commit do not know each other's outcome."""
    time: float
    """When the change was made, seconds since 1970; NaN = unknown."""
    query: Query
    failed: frozenset[str] = frozenset()
    modified: frozenset[str] = frozenset()
    """Tests that the commit itself modified."""
    added: frozenset[str] = frozenset()
    broken: str = ""
    """A key of NOT_COUNTED; empty where tests failed that can be judged."""
    title: str = ""
    beside: str = ""
    """FAULTS or ELSEWHERE: judged in this slice alone, knowing no history and being none."""
    ran: Mapping[str, float] | None = None
    """Inclusion probability of each test that ran; None where all ran."""


@dataclass(frozen=True, slots=True)
class OurCase:
    """What our strategy made of one case."""

    trial: Trial
    share: float
    rank: int
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """All verdicts on one suite, our own strategy case by case, and what was set apart.

    `cases` are those of the headline, ALL.
    """

    verdicts: tuple[Verdict, ...]
    cases: tuple[OurCase, ...]
    apart: Mapping[str, int]
    tests: int
    suite_seconds: float

    @property
    def judged(self) -> int:
        return len(self.cases)


@dataclass(frozen=True, slots=True)
class Setting:
    """What does not depend on the case."""

    model: Model = field(default_factory=Formula)
    rules: Rules = field(default_factory=lambda: Rules(recent_days=-1.0, explore=0.0))
    """Nobody ever met the failures of undone changes: by default no test runs for having failed."""
    freshness: Freshness = field(default_factory=Freshness)
    start_up: float = 0.0
    """Seconds from the start of the test process to its first test."""
    collected: Sequence[str] = ()
    """Units in collection order; empty means the evidence's own order."""
    strategies: Mapping[str, Ranker] = field(default_factory=lambda: STRATEGIES)
    """What is judged beside the oracle and random orders. `OURS` is among them."""
    draws: int = 200
    """Random orders."""
    seed: int = 0


def judge(
    trials: Sequence[Trial],
    store: EvidenceStore,
    setting: Setting | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Judgement:
    """Judge every strategy on each trial, the earliest first.

    What a strategy may know of failures comes from the commits before the trial's own: hunks of one
    commit break the same tests, and knowing one would give the others away.
    """
    setting = setting or Setting()
    apart: Counter[str] = Counter()
    seconds = predicted_seconds(store.seconds)
    randoms = RandomOrders(seconds, setting.draws, setting.seed)
    verdicts: list[Verdict] = []
    cases: list[OurCase] = []
    for trial, moment, failed in moments(trials, store, setting, apart, progress):
        rankings = {name: strategy(moment) for name, strategy in setting.strategies.items()}
        verdicts.extend(_verdicts(trial, moment, rankings, randoms, setting.start_up))
        if not trial.beside:
            cases.append(_our_case(trial, rankings[OURS], moment, failed))
    verdicts.sort(key=lambda verdict: SLICES.index(verdict.slice))
    suite = float(seconds.sum())
    return Judgement(tuple(verdicts), tuple(cases), dict(apart), len(store.tests), suite)


def moments(
    trials: Sequence[Trial],
    store: EvidenceStore,
    setting: Setting,
    apart: Counter[str],
    progress: Callable[[], None] = lambda: None,
    *,
    sampled: bool = False,
) -> Iterator[tuple[Trial, Moment, Mask]]:
    """Each trial that counts, the earliest first, as seen just before its outcome is known.

    Judging and training both walk through here, so that a model learns from what it will be shown.
    What sets a trial apart is counted in `apart`. With `sampled`, trials of which a sample of the
    suite ran are among them: who learns can weigh what ran, while no judge can tell what a strategy
    would have caught. They tell nobody's history of their failures, since of most tests none knows.
    """
    seconds = predicted_seconds(store.seconds)
    collected = _collection_order(store, setting.collected)
    nothing = Past.none(len(store.tests))
    past = nothing
    for group in _in_order(trials):
        outcomes = []
        for trial in group:
            progress()
            failed = _mask(store, trial.failed)
            kind = _not_counted(trial, failed)
            in_part = sampled and kind == SAMPLED and bool(failed.any())
            if kind and not in_part:
                apart[kind] += 1
                continue
            known = nothing if trial.beside else past
            yield trial, Moment(
                trial.query, trial.time, store, known, seconds,
                collected, setting.model, setting.rules, setting.freshness,
            ), failed  # fmt: skip
            if not trial.beside and not in_part:
                outcomes.append(failed)
        for failed in outcomes:
            past = past.after(failed, group[0].time)


def slices_of(trial: Trial, store: EvidenceStore) -> dict[str, frozenset[str]]:
    """The slices that a trial is in, each with the failing tests that count there."""
    if trial.beside:
        return {trial.beside: trial.failed}
    touched = trial.modified | trial.added
    slices = {
        ALL: trial.failed,
        UNTOUCHED: trial.failed - touched,
        MODIFIED: trial.failed & trial.modified,
        ADDED: trial.failed & trial.added,
    }
    wanted = np.zeros(len(store.symbols), dtype=bool)
    wanted[seen_symbols(trial.query, store)] = True
    if any(symbol.qualname == MODULE_LEVEL for symbol in trial.query.touched):
        slices[MODULE] = trial.failed
    if not entries(store.coverage, wanted)[0].size:
        slices[UNSEEN] = trial.failed
    if len(trial.failed) == 1:
        slices[SINGLE] = trial.failed
    return slices


def _in_order(trials: Sequence[Trial]) -> Iterator[list[Trial]]:
    """Trials of one commit together, the earliest first; then those that stand beside, each alone.

    Unknown times order nothing, which is why what stands beside is kept out of the order.
    """
    dated = [trial for trial in trials if not trial.beside]
    dated.sort(key=lambda t: (t.time, t.commit, t.case_id))
    for _, group in groupby(dated, key=lambda t: (t.commit, t.time)):
        yield list(group)
    beside = [trial for trial in trials if trial.beside]
    yield from ([trial] for trial in sorted(beside, key=lambda t: t.case_id))


def _not_counted(trial: Trial, failed: Mask) -> str:
    """The key of NOT_COUNTED that sets a trial apart; empty where it is judged."""
    if trial.broken:
        return trial.broken
    # Another commit's suite is another one: only what failed there and is known here compares.
    if trial.beside == ELSEWHERE and int(failed.sum()) < len(trial.failed):
        return "other-commit"
    return "" if failed.any() else "unknown"


def _verdicts(
    trial: Trial,
    moment: Moment,
    rankings: Mapping[str, Ranking],
    randoms: RandomOrders,
    start_up: float,
) -> Iterator[Verdict]:
    for name, units in slices_of(trial, moment.store).items():
        targets = _mask(moment.store, units)
        if not targets.any():
            continue
        scores = {ORACLE: oracle(moment.seconds, targets)}
        for strategy, ranking in rankings.items():
            scores[strategy] = score(
                ranking.order, moment.seconds, targets, ranking.eligible, ranking.nested
            )
        scores[RANDOM] = randoms.score(targets)
        for strategy, value in scores.items():
            yield Verdict(
                name, strategy, trial.case_id, trial.repository, trial.commit, value, start_up
            )


def _our_case(trial: Trial, ranking: Ranking, moment: Moment, failed: Mask) -> OurCase:
    place = int(np.flatnonzero(failed[ranking.order])[0])
    share = float(moment.seconds[ranking.order[: place + 1]].sum() / moment.seconds.sum())
    reason = ranking.reasons[place].reason if place < len(ranking.reasons) else ""
    return OurCase(trial, share, place + 1, reason)


def _mask(store: EvidenceStore, units: frozenset[str]) -> Mask:
    mask = np.zeros(len(store.tests), dtype=bool)
    for unit in units:
        place = store.test_index.get(unit)
        if place is not None:
            mask[place] = True
    return mask


def _collection_order(
    store: EvidenceStore, collected: Sequence[str]
) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Rows in collection order; tests that were not collected come last, in the store's order."""
    index = store.test_index
    first = [index[unit] for unit in dict.fromkeys(collected) if unit in index]
    rest = np.setdiff1d(np.arange(len(store.tests)), first, assume_unique=True)
    return np.concatenate((np.array(first, dtype=np.intp), rest.astype(np.intp)))
