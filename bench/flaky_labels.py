"""What cleaning labels does to a ranker: flaky failures put into recorded history, then cleaned.

Undone changes (proof/) are what truly broke. A repository's suite is given flaky tests at
FlakeFlagger's rates; each past change is one CI run, in time order, in which failing tests are
tried once more. A strategy sees the history of these runs: true, raw, or cleaned by the classifier,
which knows nothing but attempts and the coverage of the change. It is judged on what truly broke.

The history is all that differs. `model` may be any model that reads history (`fail_rate`, time
since the last failure); `label_table(..., model=...)` takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.campaign import FACTS
from bench.flaky_streams import Project
from foretest.evidence.store import EvidenceStore
from foretest.features.build import entries, seen_symbols
from foretest.flakes.cleaning import DOUBT
from foretest.models.contract import Model
from foretest.models.flaky import Watch
from foretest.models.formula import Formula
from foretest.platform.corpus.facts import FRESH, lessons_of, names_in
from foretest.replay.judge import ALL, Setting, Trial, judge
from foretest.replay.strategies import Moment, Past, Ranker, Ranking, by_score, ours
from foretest.replay.table import Verdict, as_text, tabulate

TRUE, RAW, CLEANED = "true labels", "raw labels", "cleaned labels"
KINDS = (TRUE, RAW, CLEANED)
RETRY_REPEATS = 0.4
"""Chance that a retry repeats a flaky failure whatever the test's rate."""
PROJECT_RUNS = 20
"""Runs on unchanged code, such as nightly ones, between two changes: where flakes show as well."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Noisy:
    """Labels of one repository's changes, as each kind of history knows them."""

    labels: Mapping[str, Mapping[str, Mask]]
    """By kind, then by case."""
    injected: int
    removed: int
    """Flaky failures that cleaning took out."""
    lost: int
    """True failures that cleaning took out."""
    true: int


def label_table(
    projects: Sequence[Project], seeds: int, model: Model | None = None
) -> Iterator[str]:
    """The table, for the product's ranker and for a ranker by failures alone."""
    model = model or Formula()
    verdicts: list[Verdict] = []
    totals = np.zeros(4, np.int64)
    for seed in range(seeds):
        for lesson, age in lessons_of(FACTS, names_in(FACTS), FRESH):
            trials = [t for t in lesson.trials if not t.beside and not t.broken]
            noisy = contaminate(trials, lesson.store, projects, seed)
            totals += (noisy.injected, noisy.removed, noisy.true, noisy.lost)
            setting = Setting(
                model=model, freshness=age, draws=2, strategies=strategies(trials, noisy)
            )
            judged = judge(trials, lesson.store, setting).verdicts
            verdicts += [replace(v, case_id=f"{v.case_id}/{seed}") for v in judged]
    injected, removed, true, lost = totals.tolist()
    yield f"flaky failures injected: {injected:,}; cleaning took out {removed:,}"
    yield f"true failures: {true:,}; cleaning took out {lost:,}"
    yield as_text(tabulate([v for v in verdicts if v.slice == ALL], OURS_CLEANED), intervals=True)


OURS_CLEANED = "foretest"
"""The judge expects a strategy of this name: ours with cleaned labels."""


def contaminate(
    trials: Sequence[Trial], store: EvidenceStore, projects: Sequence[Project], seed: int
) -> Noisy:
    """Flaky tests at the rates of one of FlakeFlagger's projects that has some, and the labels."""
    draw = np.random.default_rng((seed, *store.repository.encode()))
    flaky = [p for p in projects if p.rates.any()]
    rates = draw.choice(flaky[int(draw.integers(len(flaky)))].rates, len(store.tests))
    watch = Watch(len(store.tests))
    labels: dict[str, dict[str, Mask]] = {kind: {} for kind in KINDS}
    counts = np.zeros(4, np.int64)
    for trial in sorted(trials, key=lambda t: (t.time, t.commit, t.case_id)):
        for _ in range(PROJECT_RUNS):
            _run(draw, watch, rates, np.zeros(len(rates), np.bool_), None)
        true = _mask(store, trial.failed)
        raw, cleaned = _run(draw, watch, rates, true, _covered(trial, store))
        for kind, mask in zip(KINDS, (true, raw, cleaned), strict=True):
            labels[kind][trial.case_id] = mask
        extra = raw & ~true
        counts += (extra.sum(), (extra & ~cleaned).sum(), (true & ~cleaned).sum(), true.sum())
    return Noisy(labels, *counts.tolist())


def _run(
    draw: np.random.Generator,
    watch: Watch,
    rates: NDArray[np.float64],
    true: Mask,
    covered: NDArray[np.float64] | None,
) -> tuple[Mask, Mask]:
    """One run with a retry of what failed: which tests ended red, and which of them are kept.

    Raw labels are those of the first attempt: what CI records where it does not retry.
    """
    raw = true | (draw.random(len(rates)) < rates)
    again = true | (draw.random(len(rates)) < RETRY_REPEATS) | (draw.random(len(rates)) < rates)
    failed = raw + (raw & again).astype(np.float64)
    said = watch.observe(failed, 1.0 * ~raw + (raw & ~again), covered)
    # An undone change lives in its own run alone: the next run is of sound code again.
    watch.broken[true] = 0.0
    kept = raw.copy()
    for row, flaky in said.items():
        kept[row] = flaky < DOUBT
    return raw, kept


def coverage_lines() -> Iterator[str]:
    """How many truly failing tests enter the change, and how many others, by repository."""
    total = np.zeros(4, np.int64)
    for lesson, _ in lessons_of(FACTS, names_in(FACTS), FRESH):
        own = np.zeros(4, np.int64)
        for trial in lesson.trials:
            if not trial.beside and not trial.broken:
                entered, true = _covered(trial, lesson.store), _mask(lesson.store, trial.failed)
                for place, kind in enumerate((true, ~true)):
                    known = kind & ~np.isnan(entered)
                    own[2 * place : 2 * place + 2] += (int(entered[known].sum()), known.sum())
        total += own
        yield f"{lesson.repository}: {_shares(own)}"
    yield f"all: {_shares(total)}"


def _shares(counts: NDArray[np.int64]) -> str:
    failing, others = counts[0] / max(counts[1], 1), counts[2] / max(counts[3], 1)
    return f"{failing:.3f} of {counts[1]:,} failing tests enter the change, {others:.3f} of others"


def _covered(trial: Trial, store: EvidenceStore) -> NDArray[np.float64]:
    wanted = np.zeros(len(store.symbols), np.bool_)
    wanted[seen_symbols(trial.query, store)] = True
    entered = np.zeros(len(store.tests))
    entered[entries(store.coverage, wanted)[0]] = 1.0
    return np.where(store.has_coverage & wanted.any(), entered, np.nan)


def strategies(trials: Sequence[Trial], noisy: Noisy) -> dict[str, Ranker]:
    """Each ranker with each kind of history, before every change what earlier commits left."""
    pasts = {kind: _pasts(trials, labels) for kind, labels in noisy.labels.items()}

    def known(ranker: Ranker, kind: str) -> Ranker:
        return lambda moment: ranker(replace(moment, past=pasts[kind][moment.now]))

    raced = {OURS_CLEANED: known(ours, CLEANED)}
    raced |= {f"foretest, {kind}": known(ours, kind) for kind in (TRUE, RAW)}
    return raced | {f"most failures, {kind}": known(most_failures, kind) for kind in KINDS}


def most_failures(moment: Moment) -> Ranking:
    """Tests by how often they failed before: history alone."""
    return Ranking(by_score(moment.past.failures.astype(np.float64), moment.collected))


def _pasts(trials: Sequence[Trial], labels: Mapping[str, Mask]) -> dict[float, Past]:
    """The past of each moment. Changes of one time know nothing of each other."""
    size = len(next(iter(labels.values()))) if labels else 0
    past, pasts = Past.none(size), {}
    for time in sorted({trial.time for trial in trials}):
        pasts[time] = past
        for trial in trials:
            if trial.time == time:
                past = past.after(labels[trial.case_id], time)
    return pasts


def _mask(store: EvidenceStore, units: frozenset[str]) -> Mask:
    mask = np.zeros(len(store.tests), np.bool_)
    mask[[store.test_index[unit] for unit in units if unit in store.test_index]] = True
    return mask
