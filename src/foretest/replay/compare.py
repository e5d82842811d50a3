"""Two strategies over the same cases: one primary endpoint, corrected secondary ones, the power."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from foretest.replay.intervals import ClusteredBootstrap, Interval, Values
from foretest.replay.metrics import SHARES
from foretest.replay.table import Verdict

ALPHA, POWER = 0.05, 0.8
SECONDARY = (0.01, 0.05, 0.10)
"""Budgets whose catch is compared beside the time to the first failure."""

EXACT = 14
"""Up to so many clusters all sign patterns are gone through (2 ** 14); beyond, they are drawn."""
FLIPS = 20_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One paired difference, ours minus theirs."""

    name: str
    ours: float
    theirs: float
    difference: Interval
    p: float
    """Two-sided, by flipping the sign of whole clusters; NaN with one cluster."""
    p_holm: float
    """Corrected for the secondary endpoints by Holm; the primary one is not."""
    detectable: float
    """Smallest true difference found with a power of .8 at alpha .05; NaN with one cluster."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two strategies differ in over the same cases."""

    cases: int
    repositories: int
    first: Endpoint
    """Mean share of suite time to the first failure: less is better."""
    caught: tuple[Endpoint, ...]
    """Catch at each of SECONDARY: more is better."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case as one strategy fared: all that a comparison reads."""

    first: float
    caught: tuple[float, ...]
    """At each of SECONDARY."""


def compare(
    ours: Sequence[Outcome],
    theirs: Sequence[Outcome],
    clusters: Sequence[tuple[str, str]],
    seed: int = 0,
) -> Comparison:
    """Compare two strategies case by case; `clusters` holds (repository, commit) of each case.

    Intervals and the detectable difference come from the bootstrap over repositories and commits.
    The p-values come from flipping the sign of a whole repository's differences (of a commit's,
    where there is one repository): under the hypothesis that the two do not differ, each sign is as
    likely as the other, whatever the cases of a cluster share. With few clusters that is exact
    where the bootstrap's tail is not: 2 ** clusters patterns, hence no p below 2 / 2 ** clusters.
    Raises ValueError where the three do not belong together.
    """
    if not len(ours) == len(theirs) == len(clusters):
        raise ValueError("two strategies are compared on the same cases alone")
    bootstrap = ClusteredBootstrap(clusters, seed)
    groups = _witnesses(clusters)

    def endpoint(name: str, mine: Values, other: Values) -> Endpoint:
        apart = mine - other
        p = sign_flip_p(apart, groups, seed)
        error = bootstrap.standard_error(apart)
        both = float(np.mean(mine)), float(np.mean(other))
        return Endpoint(name, *both, bootstrap.mean(apart), p, p, detectable(error))

    first = endpoint("time to the first failure", *(_column(o, None) for o in (ours, theirs)))
    caught = [
        endpoint(f"caught at {share:.0%}", *(_column(o, at) for o in (ours, theirs)))
        for at, share in enumerate(SECONDARY)
    ]
    corrected = holm([each.p for each in caught])
    return Comparison(
        len(clusters),
        len({repository for repository, _ in clusters}),
        first,
        tuple(replace(each, p_holm=p) for each, p in zip(caught, corrected, strict=True)),
    )


def compare_verdicts(verdicts: Iterable[Verdict], ours: str, theirs: str, slice: str) -> Comparison:
    """Compare two strategies of a table on one slice. Raises ValueError where one is not there."""
    sides: dict[str, dict[tuple[str, str], Verdict]] = {ours: {}, theirs: {}}
    for v in verdicts:
        if v.slice == slice and v.strategy in sides:
            sides[v.strategy][v.repository, v.case_id] = v
    mine, other = sides[ours], sides[theirs]
    if not mine or mine.keys() != other.keys():
        raise ValueError(f"'{ours}' and '{theirs}' were not judged on the same cases of '{slice}'")
    clusters = [(v.repository, v.commit) for v in mine.values()]
    left, right = ([_outcome(side[key]) for key in mine] for side in (mine, other))
    return compare(left, right, clusters)


def sign_flip_p(apart: Values, groups: Sequence[NDArray[np.intp]], seed: int = 0) -> float:
    """Two-sided p of the mean difference against all (or many drawn) sign patterns of clusters."""
    if len(groups) < 2:
        return math.nan
    sums = np.array([apart[group].sum() for group in groups])
    if len(groups) <= EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=len(groups))))
        kept = 0
    else:
        signs = np.random.default_rng(seed).choice((1.0, -1.0), size=(FLIPS, len(groups)))
        kept = 1  # the pattern that was seen is one of those possible
    seen = abs(float(sums.sum()))
    beyond = np.abs(signs @ sums) >= seen * (1 - 1e-12) - 1e-12
    return float((beyond.sum() + kept) / (len(signs) + kept))


def holm(p: Sequence[float]) -> list[float]:
    """Step-down corrected p-values (Holm 1979), in the order given; NaN stays and counts."""
    corrected = [math.nan] * len(p)
    so_far = 0.0
    for place, at in enumerate(sorted(range(len(p)), key=lambda i: (math.isnan(p[i]), p[i]))):
        if not math.isnan(p[at]):
            so_far = max(so_far, min(1.0, (len(p) - place) * p[at]))
            corrected[at] = so_far
    return corrected


def detectable(standard_error: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """Smallest true difference that a two-sided test finds with this power: (z + z) x error."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * standard_error


def as_lines(comparison: Comparison, ours: str, theirs: str) -> list[str]:
    """The comparison for a terminal; all numbers are percentages (of suite time, of changes)."""
    title = f"{ours} against {theirs}: {comparison.cases} faulty changes"
    lines = [f"{title} in {comparison.repositories} repositories, differences in percentage points"]
    for each in (comparison.first, *comparison.caught):
        apart = each.difference
        corrected = "" if each is comparison.first else f", Holm {each.p_holm:.3f}"
        lines.append(
            f"  {each.name}: {each.ours:.1%} against {each.theirs:.1%}, "
            f"{100 * apart.mean:+.2f} [{100 * apart.low:+.2f}, {100 * apart.high:+.2f}], "
            f"p {each.p:.3f}{corrected}; detectable {100 * each.detectable:.2f}"
        )
    return lines


def _witnesses(clusters: Sequence[tuple[str, str]]) -> list[NDArray[np.intp]]:
    """Places of the cases of each repository; of each commit where there is one repository."""
    several = len({repository for repository, _ in clusters}) > 1
    groups: dict[str, list[int]] = {}
    for place, (repository, commit) in enumerate(clusters):
        groups.setdefault(repository if several else commit, []).append(place)
    return [np.array(places, dtype=np.intp) for places in groups.values()]


def _column(outcomes: Sequence[Outcome], share: int | None) -> Values:
    return np.array([o.first if share is None else o.caught[share] for o in outcomes], np.float64)


def _outcome(verdict: Verdict) -> Outcome:
    caught = tuple(verdict.score.caught[SHARES.index(share)] for share in SECONDARY)
    return Outcome(verdict.score.first, caught)
