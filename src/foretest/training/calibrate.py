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
from foretest.errors import BadBundle, ForetestError
from foretest.evidence.store import EvidenceStore
from foretest.features.timesplit import Fractions, split_in_time
from foretest.lab.campaign import read_kept
from foretest.learning import CASES, LAB, SPENT
from foretest.models.contract import Model
from foretest.records import Basis, Selection, Why
from foretest.replay.cases import trials_of
from foretest.replay.judge import Trial
from foretest.replay.run import as_judged
from foretest.replay.strategies import Moment, Past, decided
from foretest.selection.compose import predicted_seconds
from foretest.selection.policy import Freshness, Rules
from foretest.selection.promise import (
    ALWAYS,
    KEY,
    Calibration,
    Case,
    as_case,
    decisive,
    identity,
    is_caught,
    needed,
    own,
    percent,
)

LEVELS = (0.9, 0.95, 0.99)
"""Levels at which what was kept for the report is looked at."""
PARTS = Fractions(0.0, 0.0, 0.75, 0.25)
"""Of the commits that no model was fitted or chosen on: to calibrate, and to look at later."""
GREEN_RUNS = 100
"""Runs without a failure that stand before each case: everyday use knows of runs, too."""
REPORT = "promise"
"""Begins the names in a bundle's lineage that tell how the promise did on the latest cases."""

Scored = tuple[str, Case]
"""A group and one of its cases."""
Groups = Mapping[str, Sequence[Case]]
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


def calibrate(config: Config, *, progress: Progress = lambda *_: None) -> Calibrated:
    """Calibrate the bundle's model on the changes tried at the bundle's commit, and keep it there.

    Commits that the model was fitted or chosen on, by this call or by any before, have no part in
    it. The others are split in time: the calibration is made of one part, and the last one, on
    which nothing is chosen, shows what share was caught. An older calibration of the same model
    under the same rules stays where it knows more commits and is not too old. Raises NoBundle,
    BadBundle.
    """
    with lock(config.state / "learn.lock"):
        bundle, repo = read_bundle(config), Repository.open(config.root)
        commit = bundle.store.commit
        cases = read_kept(config.state / LAB / CASES).cases
        spent = spent_of(bundle)
        trials = faulty(trials_of(cases, commit), bundle.store)
        split = split_in_time(
            [trial for trial in trials if trial.commit not in spent],
            time=lambda trial: trial.time,
            group=lambda trial: trial.commit,
            fractions=PARTS,
        )
        rules, fresh = Rules.of(config), freshness_of(repo, bundle.store, commit)
        parts = []
        for place, part in enumerate((split.calibrate, split.report)):
            progress("Calibrating", place, 2)
            parts.append(grouped(scores_of(part, bundle.store, bundle.model, fresh, rules)))
        progress("Calibrating", 2, 2)
        made = Calibration(Basis.OWN, parts[0], identity(bundle.model), decisive(rules))
        told = {"commit": commit, "report": report(made, parts[1]), "reported on": [*parts[1]]}
        made = replace(made, lineage=told)
        kept = _kept(bundle, repo, rules)
        best = kept if kept is not None and kept.size > made.size else made
        if best.size or KEY in bundle.thresholds:
            bundles.write(config.bundle_path, _with(bundle, best))
    return Calibrated(best)


def spent_of(bundle: Bundle) -> frozenset[str]:
    """The commits that the bundle's model was fitted or chosen on. Raises BadBundle."""
    spent = bundle.lineage.get(SPENT, [])
    if not isinstance(spent, list) or not all(isinstance(commit, str) for commit in spent):
        raise BadBundle(
            "The bundle does not say on which commits its model was fitted.",
            "Run 'foretest learn --fresh' to make a new one.",
        )
    return frozenset(spent)


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
    """The commit of each faulty trial, and what catches it."""
    moments = moments_of(faulty(trials, store), store, model, freshness, rules)
    return [(trial.commit, case_of(decided(moment), trial.failed)) for trial, moment in moments]


def moments_of(
    trials: Iterable[Trial],
    store: EvidenceStore,
    model: Model,
    freshness: Freshness,
    rules: Rules | None = None,
) -> Iterator[tuple[Trial, Moment]]:
    """Each trial with what the product would have decided by.

    No trial knows the failures of earlier ones: undone changes were met by nobody, and the history
    that the product decides with has none of them. It does have runs, since a model may tell tests
    that never failed from those that never ran.
    """
    judged = as_judged(rules or Rules())
    seconds = predicted_seconds(store.seconds)
    collected = np.arange(len(store.tests))
    green = replace(Past.none(len(store.tests)), runs=GREEN_RUNS)
    for trial in trials:
        yield (
            trial,
            Moment(
                trial.query,
                trial.time,
                store,
                green,
                seconds,
                collected,
                model,
                judged,
                freshness,
            ),
        )


def case_of(selection: Selection, failed: frozenset[str]) -> Case:
    """What catches a change by which these tests fail; of a selection that nothing limits.

    What rules name runs first and whatever the budget: such a test is reached at once. All others
    wait for the time that the rules take.
    """
    if any(c.why is not Why.SCORE for c in selection.chosen if c.test in failed):
        return ((ALWAYS, 0.0),)
    reached, spent = [], 0.0
    for choice in selection.chosen:
        spent += choice.seconds
        if choice.test in failed:
            reached.append((choice.score, min(1.0, spent / (selection.suite_seconds or 1.0))))
    return as_case(reached)


def grouped(scored: Iterable[Scored]) -> dict[str, tuple[Case, ...]]:
    """The cases of each group, groups in the order of their first case."""
    groups: dict[str, tuple[Case, ...]] = {}
    for group, case in scored:
        groups[group] = (*groups.get(group, ()), case)
    return groups


def caught(groups: Groups, threshold: float | None) -> float:
    """Mean over the groups of the share of cases that a threshold catches; all where it is None."""
    if threshold is None:
        return 1.0
    return fmean(fmean(is_caught(case, threshold) for case in cases) for cases in groups.values())


def report(made: Calibration, later: Groups) -> dict[str, str]:
    """What the promise did on later groups, by level: for the lineage, and so for `stats`."""
    told = {f"{REPORT}: calibrated on": f"{made.size:,} faulty commits"}
    for level in LEVELS if later else ():
        threshold = made.threshold(level)
        if threshold is not None:
            share = percent(caught(later, threshold))
            told[f"{REPORT}: {percent(level)}"] = f"{share} caught of {len(later):,} later commits"
    return told


def _kept(bundle: Bundle, repo: Repository, rules: Rules) -> Calibration | None:
    """The calibration in the bundle, if it can be read, is of its model and these rules, holds no
    commit that the model was fitted or chosen on, and is not too old."""
    try:
        kept = own(bundle.thresholds)
        if kept is None:
            return None
        age = repo.distance(str(kept.lineage["commit"]), bundle.store.commit)
        known = {*kept.groups, *_texts(kept.lineage["reported on"])}
        _texts([text for line in kept.lineage["report"].items() for text in line])
    except (AttributeError, KeyError, TypeError, ForetestError):
        return None
    usable = (
        kept.model == identity(bundle.model)
        and kept.holds_under(decisive(rules))
        and spent_of(bundle).isdisjoint(known)
        and age is not None
        and age <= rules.max_coverage_age
    )
    return kept if usable else None


def _texts(found: object) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise TypeError("no list of texts")
    return found


def _with(bundle: Bundle, calibration: Calibration) -> Bundle:
    """The bundle with this calibration and its report; without one where it has no group."""
    thresholds = {k: v for k, v in bundle.thresholds.items() if k != KEY}
    lineage = {k: v for k, v in bundle.lineage.items() if not k.startswith(f"{REPORT}: ")}
    if calibration.size:
        thresholds[KEY] = calibration.to_json()
        lineage |= calibration.lineage["report"]
    return replace(bundle, thresholds=thresholds, lineage=lineage)
