"""How well flake rates and flaky failures are told, on simulated streams with true rates.

    python -m bench.flaky [--data test_results.csv] [--seeds 3] [--only PROJECT]
    python -m bench.flaky --prior          the weights that the package brings, fitted anew
    python -m bench.flaky --labels         what cleaning labels does to a ranker (proof/ as well)
    python -m bench.flaky --coverage       how often coverage sees what truly broke (proof/ alone)

Projects are left out in turn: the prior of each comes from the sixteen others. Intervals are
resampled over projects. Without the data, which is public (docs/datasets.md), it says so.
"""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.flaky_labels import coverage_lines, label_table
from bench.flaky_streams import Project, State, Stream, World, read_projects
from foretest.config import load_config
from foretest.models.flaky import FlakyModel, RatePrior, Watch
from foretest.replay.intervals import ClusteredBootstrap, Interval

LENGTHS = (5, 20, 100, 1000)
WORLDS = {
    "no retries": World(),
    "two retries": World(retries=2),
    "two retries, signs that mislead": World(
        retries=2, repeats=0.8, covered_broken=0.8, covered_flaky=0.8, print_shared=0.5, breaks=0.2
    ),
}
LEAST, MOST = 1e-3, 1 - 1e-3
"""Every method's probabilities are held within these: nobody may be infinitely wrong."""
LEAST_RATE = 1e-6
FIRST_SEED = 100
"""Earlier seeds were looked at while the classifier was built."""
OURS, OUTCOMES = "foretest", "foretest, outcomes alone"
METRICS = ("rate log loss", "rate Brier", "rate rank", "log loss", "Brier", "AUC")
Floats = NDArray[np.float64]


class Method(Protocol):
    """What is compared: fed with states in order, asked for rates and for P(flaky)."""

    def observe(self, state: State) -> dict[int, float]: ...

    def rates(self) -> Floats: ...


class Counts(ABC):
    """What a count of runs, failures and flips makes of them."""

    def __init__(self, tests: int) -> None:
        self.runs, self.failures, self.flips = np.zeros(tests), np.zeros(tests), np.zeros(tests)

    def observe(self, state: State) -> dict[int, float]:
        rows = np.flatnonzero(state.failed)
        passed = state.passed[rows] > 0
        told = np.where(passed, MOST, self.share(rows))  # it passed on the same commit: flaky
        self.runs += 1
        self.failures[rows] += 1
        self.flips[rows] += passed
        return dict(zip(rows.tolist(), told.tolist(), strict=True))

    @abstractmethod
    def share(self, rows: NDArray[np.intp]) -> Floats:
        """P(flaky) of failures that did not pass on the same commit."""


class Counting(Counts):
    """Failures by runs; of failures, how many passed on the same commit."""

    def share(self, rows: NDArray[np.intp]) -> Floats:
        known = self.failures[rows] > 0
        return np.where(known, self.flips[rows] / np.maximum(self.failures[rows], 1), 0.5)

    def rates(self) -> Floats:
        return self.failures / np.maximum(self.runs, 1)


class CountingFlips(Counting):
    """As a dashboard of flaky tests counts: failures that passed on the same commit, by runs."""

    def rates(self) -> Floats:
        return self.flips / np.maximum(self.runs, 1)


class BetaBinomial(Counts):
    """The same counts under fixed priors: Beta(1, 99) for rates, Beta(1, 1) for shares."""

    def share(self, rows: NDArray[np.intp]) -> Floats:
        return (self.flips[rows] + 1) / (self.failures[rows] + 2)

    def rates(self) -> Floats:
        return (self.failures + 1) / (self.runs + 100)


class BetaBinomialFlips(BetaBinomial):
    def rates(self) -> Floats:
        return (self.flips + 1) / (self.runs + 100)


class Ours:
    """The product's classifier; `outcomes` leaves coverage and fingerprints out."""

    def __init__(self, tests: int, prior: RatePrior, *, outcomes: bool = False) -> None:
        self.watch, self.outcomes = Watch(tests, FlakyModel(prior)), outcomes

    def observe(self, state: State) -> dict[int, float]:
        if self.outcomes:
            return self.watch.observe(state.failed, state.passed)
        return self.watch.observe(state.failed, state.passed, state.covered, state.prints)

    def rates(self) -> Floats:
        return self.watch.mean_rates()


def methods(tests: int, prior: RatePrior) -> dict[str, Method]:
    return {
        OURS: Ours(tests, prior),
        OUTCOMES: Ours(tests, prior, outcomes=True),
        "counting failures": Counting(tests),
        "counting flips": CountingFlips(tests),
        "beta-binomial, failures": BetaBinomial(tests),
        "beta-binomial, flips": BetaBinomialFlips(tests),
    }


@dataclass(slots=True)
class Told:
    """P(flaky) said of failures, and the truth."""

    said: list[float] = field(default_factory=list)
    true: list[bool] = field(default_factory=list)


Scores = dict[tuple[str, int, str, str], list[float]]
"""By project, length, method and metric: one value a seed."""


def play(project: Project, prior: RatePrior, world: World, seed: int, scores: Scores) -> None:
    """One stream of one project, every method on the same states."""
    raced = methods(len(project.runs), prior)
    told = {name: Told() for name in raced}
    for done, state in enumerate(Stream(project, world, seed).states(LENGTHS[-1]), 1):
        for name, method in raced.items():
            for row, said in method.observe(state).items():
                told[name].said.append(said)
                told[name].true.append(state.flaky[row])
        if done in LENGTHS:
            for name, method in raced.items():
                values = {**rate_scores(method.rates(), project), **failure_scores(told[name])}
                for metric, value in values.items():
                    scores.setdefault((project.name, done, name, metric), []).append(value)


def rate_scores(said: Floats, project: Project) -> dict[str, float]:
    """Scores of rates against the true ones, over tests that do not always fail."""
    kept = ~project.always
    said, true = np.clip(said[kept], LEAST_RATE, MOST), project.rates[kept]
    cross = -(true * np.log(said) + (1 - true) * np.log1p(-said))
    safe = np.clip(true, 1e-12, 1 - 1e-12)
    entropy = -(safe * np.log(safe) + (1 - safe) * np.log1p(-safe))
    rank = _correlation(_ranks(said), _ranks(true)) if np.ptp(true) > 0 else np.nan
    return {
        "rate log loss": float(np.mean(cross - entropy)) * 1000,
        "rate Brier": float(np.mean((said - true) ** 2)) * 1000,
        "rate rank": rank,
    }


def failure_scores(told: Told) -> dict[str, float]:
    """Scores of P(flaky) over all failures so far; NaN where all are of one kind."""
    said, true = np.clip(told.said, LEAST, MOST), np.array(told.true, np.float64)
    if not true.size:
        return dict.fromkeys(("log loss", "Brier", "AUC"), np.nan)
    flaky, real = true.sum(), (1 - true).sum()
    area = np.nan
    if flaky and real:
        area = (_ranks(said)[true > 0].sum() - flaky * (flaky + 1) / 2) / (flaky * real)
    return {
        "log loss": float(-np.mean(true * np.log(said) + (1 - true) * np.log1p(-said))),
        "Brier": float(np.mean((said - true) ** 2)),
        "AUC": float(area),
    }


def _ranks(values: Floats) -> Floats:
    return pl.Series(values).rank("average").to_numpy().astype(np.float64)


def _correlation(a: Floats, b: Floats) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 else 0.0


def table(scores: Scores, projects: Sequence[str]) -> Iterable[str]:
    """A block a length: each method's mean over projects, and ours minus it with 95 % interval."""
    names = list(dict.fromkeys(key[2] for key in scores))
    for length in LENGTHS:
        yield f"\nstreams of {length:,} commits"
        yield f"{'':<32}" + "".join(f"{metric:>15}" for metric in METRICS)
        cells = {
            (n, m): _by_project(scores, projects, length, n, m) for n in names for m in METRICS
        }
        for name in names:
            means = "".join(f"{np.nanmean(cells[name, m]):>15.4f}" for m in METRICS)
            yield f"{name:<32}{means}"
        for name in names[2:]:
            found = [_difference(cells[OURS, m], cells[name, m]) for m in METRICS]
            yield f"  ours - {name:<23}" + "".join(f"{_spell(i):>15}" for i in found)


def _by_project(
    scores: Scores, projects: Sequence[str], length: int, name: str, metric: str
) -> Floats:
    found = (scores.get((project, length, name, metric), [np.nan]) for project in projects)
    return np.array([np.nan if np.isnan(v).all() else np.nanmean(v) for v in found])


def _difference(ours: Floats, theirs: Floats) -> Interval:
    known = ~np.isnan(ours - theirs)
    clusters = [(str(place), "") for place in np.flatnonzero(known)]
    return ClusteredBootstrap(clusters).difference(ours[known], theirs[known])


def _spell(interval: Interval) -> str:
    return f"{interval.low:+.3f}..{interval.high:+.3f}"


def fit_prior(projects: Iterable[Project]) -> RatePrior:
    """The spread of flake rates over the tests of these projects, always-failing ones left out."""
    kept = list(projects)
    failing = np.concatenate([p.failing[~p.always] for p in kept])
    runs = np.concatenate([p.runs[~p.always] for p in kept])
    return replace(
        RatePrior.flat().adapted(failing, runs, 200), strength=RatePrior((1.0,)).strength
    )


def compare(
    projects: Sequence[Project], only: Sequence[str], seeds: int, say: Callable[[str], None]
) -> None:
    """Play every world on the projects named, or on all; priors come from all the others."""
    raced = [p for p in projects if not only or p.name in only]
    for title, world in WORLDS.items():
        scores: Scores = {}
        for project in raced:
            prior = fit_prior(p for p in projects if p.name != project.name)
            for seed in range(FIRST_SEED, FIRST_SEED + seeds):
                play(project, prior, world, seed, scores)
        say(f"\n== simulated, {title}: {len(raced)} projects, {seeds} streams each ==")
        for line in table(scores, [p.name for p in raced]):
            say(line)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--data", type=Path, help="FlakeFlagger's test_results.csv")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--only", action="append", default=[], help="projects")
    options.add_argument("--prior", action="store_true", help="fit the package's weights")
    options.add_argument("--labels", action="store_true", help="what label cleaning does")
    options.add_argument("--coverage", action="store_true", help="what coverage sees")
    chosen = options.parse_args()
    if chosen.coverage:
        for line in coverage_lines():
            print(line)
        return
    folder = load_config(Path.cwd()).datasets
    data = chosen.data or Path(folder, "flakeflagger", "test_results.csv")
    if not data.is_file():
        raise SystemExit(f"LEFT OUT: {data} is not here; download it (docs/datasets.md), --data.")
    projects = read_projects(data)
    if chosen.prior:
        print(tuple(round(weight, 5) for weight in fit_prior(projects).weights))
    elif chosen.labels:
        for line in label_table(projects, chosen.seeds):
            print(line)
    else:
        compare(projects, chosen.only, chosen.seeds, print)


if __name__ == "__main__":
    main()
