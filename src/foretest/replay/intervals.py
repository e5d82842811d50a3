"""95 % intervals: a bootstrap over repositories and the commits inside each, never over cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval; the bounds are NaN where there is one cluster only."""

    mean: float
    low: float
    high: float


class ClusteredBootstrap:
    """Resampled weights of cases, drawn once, so that differences between strategies are paired.

    Cases of one commit share its fault, and commits of one repository its style: a case is no
    independent witness. With one repository only its commits are drawn.
    """

    def __init__(
        self, clusters: Sequence[tuple[str, str]], seed: int = 0, draws: int = DRAWS
    ) -> None:
        """`clusters` holds (repository, commit) of each case."""
        generator = np.random.default_rng(seed)
        by_repository: dict[str, dict[str, list[int]]] = {}
        for case, (repository, commit) in enumerate(clusters):
            by_repository.setdefault(repository, {}).setdefault(commit, []).append(case)
        several = len(by_repository) > 1
        self._known = several or any(len(commits) > 1 for commits in by_repository.values())
        times = np.ones((draws, len(by_repository)), dtype=np.int64)
        if several:
            times = generator.multinomial(times.shape[1], _even(times.shape[1]), size=draws)
        self._weights = np.zeros((draws, len(clusters)))
        for at, commits in enumerate(by_repository.values()):
            # A repository drawn twice draws its commits twice: one multinomial of twice the size.
            size = times[:, at] * len(commits)
            counts = generator.multinomial(size, _even(len(commits)))
            for place, cases in enumerate(commits.values()):
                self._weights[:, cases] = counts[:, [place]]

    def mean(self, values: Values) -> Interval:
        """The mean of one value a case, and its interval. NaN throughout where there is no case."""
        if not values.size:
            return Interval(np.nan, np.nan, np.nan)
        if not self._known:
            return Interval(float(values.mean()), np.nan, np.nan)
        means = self._weights @ values / self._weights.sum(axis=1)
        low, high = np.percentile(means, (2.5, 97.5))
        return Interval(float(values.mean()), float(low), float(high))

    def over(self, statistic: Callable[[Values], float]) -> Interval:
        """Any statistic of weighted cases: `statistic` takes one weight a case, all 1 for the mean.

        Draws for which it is not a number (a sample of one kind alone) are passed over.
        """
        whole = float(statistic(np.ones(self._weights.shape[1])))
        if not self._known:
            return Interval(whole, np.nan, np.nan)
        drawn = [statistic(weights) for weights in self._weights]
        low, high = np.nanpercentile(drawn, (2.5, 97.5))
        return Interval(whole, float(low), float(high))

    def standard_error(self, values: Values) -> float:
        """Of the mean, over the resampled clusters; NaN where there is one cluster or no case."""
        if not values.size or not self._known:
            return np.nan
        return float((self._weights @ values / self._weights.sum(axis=1)).std(ddof=1))

    def difference(self, ours: Values, theirs: Values) -> Interval:
        """The mean of ours minus theirs over the same cases."""
        return self.mean(ours - theirs)


def _even(n: int) -> Values:
    return np.full(n, 1 / n)
