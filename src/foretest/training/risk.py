"""Learns change risk from tried changes, and what a budget that follows it would have caught."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np

from foretest.evidence.store import EvidenceStore
from foretest.lab.labels import NONE_FAILED, Case
from foretest.models.risk import NAMES, Floats, Risk, Scale, Size
from foretest.replay.cases import trials_of
from foretest.replay.judge import ALL, Setting, Trial, judge
from foretest.replay.strategies import OURS, ours
from foretest.selection.adapting import risk_row
from foretest.selection.policy import Freshness
from foretest.training.probabilities import logistic

DIRECTED = ("removed_share",)
"""Taking a change back turns it round: what tells added lines from removed ones is not to be
trusted to mean the same in changes that go forward."""
SHIPPED = ("symbols", "lines", "names_set", "words", "unseen", "entered_share")
"""The size of a change, and how much of it tests see; the same for a change and its reverse."""
RIDGE = 10.0
EXPONENT = 0.5
REALISTIC = 0.05
"""Share of faulty changes for which budgets are normalised: the lab tries those likely to break."""
LEVELS = 101


@dataclass(frozen=True, slots=True)
class Tried:
    """A change that was tried: what was known before, and how it ended."""

    case_id: str
    repository: str
    commit: str
    row: Floats
    """As `describe` gives it."""
    faulty: bool
    first: float
    """Share of suite time at the end of the first failing test in foretest's order; NaN = none."""


def tried_of(
    cases: Iterable[Case], store: EvidenceStore, freshness: Freshness, repository: str
) -> Iterator[Tried]:
    """Undone changes at the store's commit that broke tests cleanly, or none at all."""
    known = list(cases)
    pairs = list(zip(known, trials_of(known, store.commit), strict=True))
    pairs = [(case, replace(t, repository=repository)) for case, t in pairs if _counts(case, t)]
    setting = Setting(freshness=freshness, strategies={OURS: ours}, draws=1)
    verdicts = judge([trial for _, trial in pairs], store, setting).verdicts
    first = {v.case_id: v.score.first for v in verdicts if (v.slice, v.strategy) == (ALL, OURS)}
    for case, trial in pairs:
        if case.failed and trial.case_id not in first:
            continue  # failed only tests that the evidence does not know
        size = Size(case.hunks, case.lines_removed, case.lines_added)
        row = risk_row(trial.query, size, store, trial.time, ages=freshness.ages)
        faulty = trial.case_id in first
        at = first.get(trial.case_id, nan)
        yield Tried(trial.case_id, repository, trial.commit, row, faulty, at)


def _counts(case: Case, trial: Trial) -> bool:
    return not trial.beside and case.ran is None and trial.broken in ("", NONE_FAILED)


def fit(tried: Sequence[Tried], names: Sequence[str] = SHIPPED, ridge: float = RIDGE) -> Risk:
    """Learn the risk from changes of several repositories. Raises ValueError without both kinds.

    The scale of budgets is such that its mean is 1 over changes of which `REALISTIC` are faulty.
    """
    y = np.array([float(t.faulty) for t in tried])
    if not 0 < y.sum() < len(y):
        raise ValueError("risk is learnt from changes that broke something and some that did not")
    rows = np.array([t.row for t in tried])[:, [NAMES.index(name) for name in names]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column that nobody knows has no mean
        centre = np.nan_to_num(np.nanmean(rows, axis=0))
        spread = np.nan_to_num(np.nanstd(rows, axis=0))
    spread = np.where(spread > 1e-9, spread, 1.0)
    found = logistic(np.nan_to_num((rows - centre) / spread), y, np.ones(len(y)), ridge)
    risk = Risk(
        tuple(names),
        tuple(centre.tolist()),
        tuple(spread.tolist()),
        tuple(found[1:].tolist()),
        float(found[0]),
    )
    likely = risk.probabilities(np.array([t.row for t in tried]))
    levels = np.quantile(likely, np.linspace(0, 1, LEVELS))
    scale = normalised(Scale(EXPONENT), likely, mix(y, REALISTIC))
    return replace(risk, levels=tuple(levels.tolist()), scale=scale, lineage=_lineage(tried, names))


def normalised(scale: Scale, risks: Floats, weights: Floats) -> Scale:
    """The scale with the constant that makes its weighted mean over these risks 1."""
    low, high = 1e-6, 1e6  # the mean grows with the constant: halve the distance, in logarithms
    for _ in range(100):
        scale = replace(scale, constant=float(np.sqrt(low * high)))
        mean = float((weights * scale.factors(risks)).sum() / weights.sum())
        low, high = (scale.constant, high) if mean < 1 else (low, scale.constant)
    return scale


def mix(y: Floats, rate: float | None) -> Floats:
    """Weights by which a share `rate` of the changes is faulty; None leaves them as they are."""
    if rate is None:
        return np.ones(len(y))
    share = float(y.mean())
    return np.where(y > 0, rate / share, (1 - rate) / (1 - share))


def left_out(
    tried: Sequence[Tried], learn: Callable[[Sequence[Tried]], Callable[[Floats], Floats]]
) -> Floats:
    """The risk of each change by what `learn` makes of the other repositories' changes."""
    of = np.array([t.repository for t in tried])
    rows = np.array([t.row for t in tried])
    risks = np.zeros(len(tried))
    for repository in dict.fromkeys(of.tolist()):
        there = of == repository
        others = [t for t, out in zip(tried, there, strict=True) if not out]
        risks[there] = learn(others)(rows[there])
    return risks


def needs(firsts: Floats, factors: Floats, weights: Floats) -> Floats:
    """The mean share of suite time from which each faulty change is caught.

    A change of factor f is caught by a mean share s where s x f reaches its first failure. The
    factors are first brought to a weighted mean of 1 over all changes, so that two ways to spread
    a budget compare at the same time.
    """
    return np.asarray(firsts / (factors * weights.sum() / (weights * factors).sum()))


def saving(flat: Floats, adapted: Floats, share: float, weights: Floats) -> float:
    """Share of the time saved where `adapted` is to catch what `flat` catches at `share`.

    The first two hold the need of each faulty change, `weights` what each counts. Negative where
    more time is needed; NaN where `flat` catches nothing.
    """
    caught = float(weights[flat <= share].sum())
    if not caught:
        return nan
    order = np.argsort(adapted, kind="stable")
    enough = np.cumsum(weights[order]) >= caught * (1 - 1e-12)
    return 1 - float(adapted[order][int(np.argmax(enough))]) / share


def _lineage(tried: Sequence[Tried], names: Sequence[str]) -> dict[str, object]:
    counts = Counter(t.repository for t in tried)
    return {
        "changes": len(tried),
        "faulty": sum(t.faulty for t in tried),
        "repositories": dict(sorted(counts.items())),
        "features": list(names),
        "ridge": RIDGE,
        "scale_normalised_at": f"{REALISTIC:g} faulty",
    }
