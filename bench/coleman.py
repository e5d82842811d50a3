"""Orders of tests by past results alone, on COLEMAN's sets: no diffs, builds in time order.

    python -m bench.coleman [--data FOLDER] [--only PROJECT]
    python -m bench.coleman fit [--data FOLDER]      the weights that the package brings
    python -m bench.coleman refit [--data FOLDER]    what fitting them to the own past changes

Each build is judged by the state that `foretest record` keeps of the builds before it, and by the
function that selection reads. Judged are failing builds of at least six tests; a test that stands
several times in a build counts once, with its highest verdict. Every failing test is a fault of its
own. Intervals are resampled over blocks of consecutive failing builds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foretest.config import load_config
from foretest.datasets import coleman
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Ledger
from foretest.features.frame import FeatureFrame
from foretest.features.history import NAMES, history_rows
from foretest.history import state as states
from foretest.models.prioritiser import WEIGHTS, Prioritiser, fit, points
from foretest.recollection import durations
from foretest.records import TestRun
from foretest.replay.intervals import ClusteredBootstrap
from foretest.replay.metrics import Faults, faults
from foretest.selection.budget import BALANCED, running_order
from foretest.selection.compose import predicted_seconds

DRUID, DUNE = "alibaba-druid", "dune-total"
LEAST = 6
BLOCK = 10
"""Consecutive failing builds that are drawn together."""
SHARES = (0.1, 0.5)
"""Budgets of NAPFD, as shares of suite time."""
DRAWS = 20
"""Random orders, of whose scores the mean is told."""
STRENGTH = 5.0
"""Failing builds that the other project's weights weigh, about, when a project's own are fitted."""
OFFSET = 0.1
"""Seconds that starting a test takes besides its own: one of 0 s is not worth everything."""
REFIT, REMEMBERED = 25, 300
"""Failing builds after which own weights are fitted anew, and how many of the last count."""
METRICS = ("APFD", "APFDc", *(f"NAPFD at {share:.0%}" for share in SHARES))
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Build:
    """A failing build: what was known of its tests before it, and what happened."""

    number: int
    rows: Floats
    """As `history_rows` gives them."""
    last_failed: Floats
    runs: Floats
    failures: Floats
    seconds: Floats
    """What each test was forecast to take; the median of the others where it was never timed."""
    failed: Bools
    took: Floats

    @property
    def ties(self) -> Floats:
        """Decides between equals, the same for all."""
        return np.random.default_rng(self.number).random(len(self.failed))


def projects(folder: Path) -> Iterator[tuple[str, list[TestRun]]]:
    found = coleman.files(folder) if folder.is_dir() else []
    if not found:
        raise SystemExit(f"LEFT OUT: {folder} holds no set; see docs/datasets.md, or give --data.")
    for file in found:
        yield file.parent.name, list(coleman.read(file, Ledger(), Pseudonyms(b"")))


def once(run: TestRun) -> TestRun:
    """Each test once: its highest verdict, and the duration that goes with it."""
    kept = {}
    for result in run.results:
        before = kept.get(result.test)
        if before is None or result.outcome.bad > before.outcome.bad:
            kept[result.test] = replace(result, attempt=1)
    return replace(run, results=tuple(kept.values()))


def builds(project: str, runs: Sequence[TestRun]) -> list[Build]:
    """The failing builds, each with what the state before it says."""
    state = states.State.empty(project)
    waiting: list[TestRun] = []
    found = []
    for number, run in enumerate(map(once, runs)):
        failed = np.array([r.outcome.bad for r in run.results])
        if failed.any() and len(failed) >= LEAST:
            state, waiting = states.fold(state, waiting), []
            units = [r.test.unit for r in run.results]
            known = state.aligned(units, 0.0)
            times = durations(state, units).typical
            took = [0.0 if r.seconds is None else r.seconds for r in run.results]
            found.append(
                Build(
                    number,
                    history_rows(state, units, times),
                    known["last_failed_at"],
                    np.nan_to_num(known["runs"]),
                    np.nan_to_num(known["failures"]),
                    predicted_seconds(times),
                    failed,
                    np.array(took),
                )
            )
        waiting.append(run)
    return found


Score = Callable[[Build], Floats]


def recent(build: Build) -> Floats:
    return np.nan_to_num(build.last_failed, nan=-1.0)


def recent_and_new(build: Build) -> Floats:
    """A test that never ran stands before all that did not fail in the last build known."""
    return np.where(build.runs == 0, np.nanmax(np.append(build.last_failed, 0.0)), recent(build))


def rate(build: Build) -> Floats:
    return build.failures / np.maximum(build.runs, 1)


def faded(build: Build) -> Floats:
    return build.rows[:, NAMES.index("middle")]


REFERENCES: dict[str, Score] = {
    "recent-fail": recent,
    "recent-fail, new tests first": recent_and_new,
    "fail-rate": rate,
    "fail-rate, halved every 10 runs": faded,
}


def by_time(build: Build, weights: Floats | None = None) -> Floats:
    """Likelihood by time: what a second of each test is worth, as its logarithm."""
    return points(build.rows, weights) - np.log(build.seconds + OFFSET)


def judge(build: Build, score: Floats) -> Faults:
    order = np.lexsort((build.ties, -score))
    return faults(order, build.took, build.failed, SHARES)


def as_selected(build: Build, weights: Floats) -> Faults:
    """The order in which `foretest select` would run the tests."""
    frame = FeatureFrame(
        len(build.failed), {"past": points(build.rows, weights).astype(np.float32)}
    )
    scores = Prioritiser().predict(frame)
    order = running_order(scores, build.seconds, BALANCED, float(build.seconds.sum()))
    return faults(order, build.took, build.failed, SHARES)


def at_random(build: Build) -> Faults:
    generator = np.random.default_rng(build.number)
    n = len(build.failed)
    drawn = [
        faults(generator.permutation(n), build.took, build.failed, SHARES) for _ in range(DRAWS)
    ]
    return Faults(
        float(np.mean([d.apfd for d in drawn])),
        float(np.mean([d.apfdc for d in drawn])),
        tuple(np.mean([d.napfd for d in drawn], axis=0).tolist()),
    )


def best(build: Build) -> Faults:
    """Failing tests first, the cheapest of them before the others."""
    order = np.lexsort((build.took, ~build.failed))
    return faults(order, build.took, build.failed, SHARES)


def lessons(told: Sequence[Build]) -> list[tuple[Floats, Bools]]:
    return [(build.rows, build.failed) for build in told]


def learnt(told: Sequence[Build]) -> Floats:
    return fit(lessons(told), np.zeros(len(NAMES)), 1.0)


def own_weights(told: Sequence[Build], start: Floats) -> list[Floats]:
    """For each build weights that begin as `start` and are fitted anew to the builds before."""
    weights, found = start, []
    for at in range(len(told)):
        if at and at % REFIT == 0:
            weights = fit(lessons(told[max(0, at - REMEMBERED) : at]), start, STRENGTH)
        found.append(weights)
    return found


def table(project: str, told: Sequence[Build], elsewhere: str, start: Floats) -> Iterator[str]:
    fitted = zip(told, own_weights(told, start), strict=True)
    scored = {
        "random": [at_random(b) for b in told],
        **{name: [judge(b, of(b)) for b in told] for name, of in REFERENCES.items()},
        f"foretest, weights from {elsewhere}": [judge(b, points(b.rows, start)) for b in told],
        "foretest, the same, then own past": [judge(b, points(b.rows, w)) for b, w in fitted],
        "foretest as shipped (both in sight)": [judge(b, points(b.rows)) for b in told],
        f"foretest, from {elsewhere}, by time": [judge(b, by_time(b, start)) for b in told],
        "foretest as shipped, by time": [judge(b, by_time(b)) for b in told],
        "oracle": [best(b) for b in told],
    }
    draw = ClusteredBootstrap([(project, str(at // BLOCK)) for at in range(len(told))])
    values = {name: _columns(found) for name, found in scored.items()}
    tests = int(np.median([len(b.failed) for b in told]))
    yield f"{project}: {len(told):,} failing builds, {tests:,} tests in the median one"
    yield f"{'':38s} " + " ".join(f"{metric:22s}" for metric in METRICS).rstrip()
    for name, columns in values.items():
        told_as = [_interval(draw, column) for column in columns]
        yield f"{name:38s} " + " ".join(f"{text:22s}" for text in told_as).rstrip()
    for at in (0, 1):
        ours = [n for n in scored if n.startswith("foretest") and n.endswith("by time") == bool(at)]
        yield f"{METRICS[at]} less that of each reference"
        for own, name in product(ours, REFERENCES):
            gap = draw.difference(values[own][at], values[name][at])
            yield f"  {own:38s} {name:34s} {gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"


def _columns(found: Sequence[Faults]) -> list[Floats]:
    rows = np.array([(f.apfd, f.apfdc, *f.napfd) for f in found])
    return list(rows.T)


def _interval(draw: ClusteredBootstrap, column: Floats) -> str:
    found = draw.mean(column)
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def refit_lines(project: str, told: Sequence[Build], start: Floats) -> Iterator[str]:
    """What fitting to the own past changes, by whether the order counts time, and how."""
    draw = ClusteredBootstrap([(project, str(at // BLOCK)) for at in range(len(told))])
    own = own_weights(told, start)
    ways: dict[str, Callable[[Build, Floats], Faults]] = {
        "by points": lambda b, w: judge(b, points(b.rows, w)),
        "by time": lambda b, w: judge(b, by_time(b, w)),
        "as selected": as_selected,
    }
    yield f"{project}: {len(told):,} failing builds"
    yield f"{'':14s} " + " ".join(f"{metric:26s}" for metric in METRICS).rstrip()
    for name, way in ways.items():
        before = _columns([way(b, start) for b in told])
        after = _columns([way(b, w) for b, w in zip(told, own, strict=True)])
        gaps = [draw.difference(late, early) for late, early in zip(after, before, strict=True)]
        shown = (f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]" for gap in gaps)
        yield f"{name:14s} " + " ".join(f"{text:26s}" for text in shown).rstrip()


def weight_lines(every: dict[str, list[Build]]) -> Iterator[str]:
    both = learnt([*every[DRUID], *every[DUNE]])
    fits = {DRUID: learnt(every[DRUID]), DUNE: learnt(every[DUNE]), "both": both}
    yield f"{'':14s} {'shipped':>10s} " + " ".join(f"{name:>14s}" for name in fits)
    for at, name in enumerate(NAMES):
        shown = " ".join(f"{weights[at]:14.2f}" for weights in fits.values())
        yield f"{name:14s} {WEIGHTS[name]:10.2f} {shown}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.coleman", description=__doc__.splitlines()[0])
    folder = load_config(Path.cwd()).datasets
    parser.add_argument("what", nargs="?", choices=("table", "fit", "refit"), default="table")
    parser.add_argument("--data", type=Path, default=Path(folder or ".") / "coleman")
    parser.add_argument("--only")
    asked = parser.parse_args()
    every = {
        name: builds(name, runs)
        for name, runs in projects(asked.data)
        if asked.what == "table" or name in (DRUID, DUNE)
    }
    if asked.what == "fit":
        print("\n".join(weight_lines(every)))
        return
    starts = {name: learnt(every[name]) for name in (DRUID, DUNE)}
    if asked.what == "refit":
        for name, elsewhere in ((DRUID, DUNE), (DUNE, DRUID)):
            print("\n".join((*refit_lines(name, every[name], starts[elsewhere]), "")), flush=True)
        return
    for name, told in every.items():
        if asked.only in (None, name):
            elsewhere = DUNE if name == DRUID else DRUID
            print("\n".join((*table(name, told, elsewhere, starts[elsewhere]), "")), flush=True)


if __name__ == "__main__":
    main()
