"""Calibrates the promise: on a repository's own past changes, or pooled over repositories."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from foretest import bundle as bundles
from foretest.bundle import Bundle
from foretest.changes.git import Repository
from foretest.config import Config
from foretest.durable import lock
from foretest.engine import freshness as freshness_of
from foretest.engine import read_bundle
from foretest.errors import ForetestError
from foretest.evidence.store import EvidenceStore
from foretest.features.timesplit import Fractions, split_in_time
from foretest.lab.campaign import read_kept
from foretest.learning import CASES, LAB
from foretest.models.contract import Model
from foretest.records import Basis, Choice, Why
from foretest.replay.cases import trials_of
from foretest.replay.judge import Trial
from foretest.replay.run import as_judged
from foretest.replay.strategies import Moment, Past, decided
from foretest.selection.compose import predicted_seconds
from foretest.selection.policy import Freshness, Rules
from foretest.selection.promise import (
    ALWAYS,
    KEY,
    NEVER,
    Calibration,
    identity,
    needed,
    percent,
)

LEVELS = (0.9, 0.95, 0.99)
"""Levels at which what was kept for the report is looked at."""
FITTED = Fractions(0.3, 0.1, 0.4, 0.2)
"""Where a model was fitted and chosen on the repository's own cases: these two parts are spent."""
GIVEN = Fractions(0.0, 0.0, 0.75, 0.25)
"""Where the model came from elsewhere, nothing is fitted or chosen here: no case is spent on it."""
REPORT = "promise"
"""Begins the names in a bundle's lineage that tell how the promise did on the latest cases."""

Scored = tuple[str, float]
"""A group and the highest score among the failing tests of one of its cases."""
Groups = Mapping[str, Sequence[float]]
Progress = Callable[..., None]
"""Called with a stage, what is done and the whole."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What one call of `calibrate` brought."""

    calibration: Calibration
    """The one that is kept in the bundle now; of size 0 where no change broke a test."""

    def sentence(self) -> str:
        """What can be promised by own cases; empty where none was ever tried."""
        size = self.calibration.size
        if not size:
            return ""
        most = max((level for level in LEVELS if size >= (needed(level) or 0)), default=None)
        if most is None:
            return (
                f"Promise: {size:,} faulty commits calibrate it, {needed(LEVELS[0])} are needed "
                f"for {percent(LEVELS[0])}. `foretest learn --undo 200` tries more."
            )
        return f"Promise: up to {percent(most)}, calibrated on {size:,} faulty commits."


def calibrate(
    config: Config, *, fractions: Fractions = GIVEN, progress: Progress = lambda *_: None
) -> Calibrated:
    """Calibrate the bundle's model on the changes tried at the bundle's commit, and keep it there.

    Commits are split in time: the calibration is made of one part, and the last one, on which
    nothing is chosen, shows what share was caught. An older calibration of the same model stays
    where it knows more commits and is not too old. Raises NoBundle, BadBundle.
    """
    with lock(config.state / "learn.lock"):
        bundle, repo = read_bundle(config), Repository.open(config.root)
        commit = bundle.store.commit
        cases = read_kept(config.state / LAB / CASES).cases
        split = split_in_time(
            faulty(trials_of(cases, commit), bundle.store),
            time=lambda trial: trial.time,
            group=lambda trial: trial.commit,
            fractions=fractions,
        )
        rules, fresh = Rules.of(config), freshness_of(repo, bundle.store, commit)
        parts = []
        for place, part in enumerate((split.calibrate, split.report)):
            progress("Calibrating", place, 2)
            parts.append(grouped(scores_of(part, bundle.store, bundle.model, fresh, rules)))
        progress("Calibrating", 2, 2)
        made = Calibration(Basis.OWN, parts[0], identity(bundle.model))
        made = replace(made, lineage={"commit": commit, "report": report(made, parts[1])})
        kept = _kept(bundle, repo, config.max_coverage_age)
        best = kept if kept is not None and kept.size > made.size else made
        if best.size or KEY in bundle.thresholds:
            bundles.write(config.bundle_path, _with(bundle, best))
    return Calibrated(best)


def faulty(trials: Iterable[Trial], store: EvidenceStore) -> list[Trial]:
    """The past changes among the trials that broke a test which the evidence knows.

    Injected faults, and what was tried at another commit, are none.
    """
    return [
        trial
        for trial in trials
        if not trial.beside
        and not trial.broken
        and any(test in store.test_index for test in trial.failed)
    ]


def scores_of(
    trials: Iterable[Trial],
    store: EvidenceStore,
    model: Model,
    freshness: Freshness,
    rules: Rules | None = None,
) -> list[Scored]:
    """The commit of each faulty trial, and the highest threshold that catches it."""
    moments = moments_of(faulty(trials, store), store, model, freshness, rules)
    return [
        (trial.commit, highest(decided(moment).chosen, trial.failed)) for trial, moment in moments
    ]


def moments_of(
    trials: Iterable[Trial],
    store: EvidenceStore,
    model: Model,
    freshness: Freshness,
    rules: Rules | None = None,
) -> Iterator[tuple[Trial, Moment]]:
    """Each trial with what the product would have decided by.

    No trial knows the failures of earlier ones: undone changes were met by nobody, and the history
    that the product decides with has none of them.
    """
    judged = as_judged(rules or Rules())
    seconds = predicted_seconds(store.seconds)
    collected = np.arange(len(store.tests))
    nothing = Past.none(len(store.tests))
    for trial in trials:
        yield (
            trial,
            Moment(
                trial.query,
                trial.time,
                store,
                nothing,
                seconds,
                collected,
                model,
                judged,
                freshness,
            ),
        )


def highest(choices: Iterable[Choice], failed: frozenset[str]) -> float:
    """The highest score of a failing test; ALWAYS where rules run one, NEVER where none exists."""
    scores = (
        choice.score if choice.why is Why.SCORE else ALWAYS
        for choice in choices
        if choice.test in failed
    )
    return max(scores, default=NEVER)


def grouped(scored: Iterable[Scored]) -> dict[str, tuple[float, ...]]:
    """The scores of each group, groups in the order of their first case."""
    groups: dict[str, tuple[float, ...]] = {}
    for group, score in scored:
        groups[group] = (*groups.get(group, ()), score)
    return groups


def caught(groups: Groups, threshold: float | None) -> float:
    """Mean over the groups of the share of cases that a threshold catches; all where it is None."""
    if threshold is None:
        return 1.0
    return fmean(fmean(score >= threshold for score in scores) for scores in groups.values())


def report(made: Calibration, later: Groups) -> dict[str, str]:
    """What the promise did on later groups, by level: for the lineage, and so for `stats`."""
    told = {f"{REPORT}: calibrated on": f"{made.size:,} faulty commits"}
    for level in LEVELS if later else ():
        threshold = made.threshold(level)
        if threshold is not None:
            share = percent(caught(later, threshold))
            told[f"{REPORT}: {percent(level)}"] = f"{share} caught of {len(later):,} later commits"
    return told


def _kept(bundle: Bundle, repo: Repository, most: float) -> Calibration | None:
    """The calibration in the bundle, if it is of its model, can be read and is not too old."""
    try:
        kept = Calibration.from_json(bundle.thresholds[KEY])
        age = repo.distance(str(kept.lineage["commit"]), bundle.store.commit)
    except (KeyError, ForetestError):
        return None
    usable = kept.model == identity(bundle.model) and age is not None and age <= most
    return kept if usable else None


def _with(bundle: Bundle, calibration: Calibration) -> Bundle:
    """The bundle with this calibration and its report; without one where it has no group."""
    thresholds = {k: v for k, v in bundle.thresholds.items() if k != KEY}
    lineage = {k: v for k, v in bundle.lineage.items() if not k.startswith(f"{REPORT}: ")}
    if calibration.size:
        thresholds[KEY] = calibration.to_json()
        lineage |= calibration.lineage["report"]
    return replace(bundle, thresholds=thresholds, lineage=lineage)
