"""How well durations are forecast, and what that does to shards: PyTorch's weekly times.

    python -m bench.durations [--data FOLDER]
    python -m bench.durations sums [--data FOLDER]      whole runs alone

Walks forward in time: each week is forecast from the weeks before, by the state that `foretest
record` keeps and the function that selection reads. The references' parameters are chosen on the
first weeks, and the later ones are reported. Intervals are resampled over job configurations.
Shards are made from forecasts and judged on the week's real times, beside pytest-split's own
algorithms (the test extra) and the longest-first schedule of the true times.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from foretest.config import load_config
from foretest.datasets import pytorch
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Ledger
from foretest.history import state as states
from foretest.history.unitrun import UnitRun, configuration_key, hash64
from foretest.models.durations import forecast, in_configuration
from foretest.replay.intervals import ClusteredBootstrap
from foretest.selection.compose import predicted_seconds
from foretest.selection.shards import shards

WARM = 4
"""Weeks from which the first forecast is made."""
CHOSEN_ON = 24
"""Weeks, the warm ones included, on which the references' parameters are chosen."""
SHARDS = (2, 4, 8, 16)
LEAST = 32
"""Test files of a configuration from which its shards are judged."""
CALIBRATED_ON = 4
"""Weeks whose ratios make a point forecast a calibrated p90."""
OURS = "foretest"
KINDS = ("known", "known elsewhere", "new")
LENGTHS = ((1, 1), (2, 3), (4, 15), (16, 10**6))
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Week:
    """One job configuration in one week: what it took, and what was known before."""

    at: int
    configuration: str
    units: tuple[str, ...]
    took: Floats
    ring: Floats
    """[n, WINDOW] earlier durations here, the newest last."""
    typical: Floats
    high: Floats
    elsewhere: NDArray[np.bool_]
    """Whether another configuration had timed the test before."""

    @property
    def known(self) -> NDArray[np.bool_]:
        return np.isfinite(self.ring[:, -1])


def read_times(path: Path) -> pl.DataFrame:
    """Rows of date, job_config, test_file, seconds as `foretest import pytorch` reads them."""
    file = path / "test_times_weekly.parquet"
    if not file.is_file():
        raise SystemExit(f"LEFT OUT: {file} is not here; see docs/datasets.md, or give --data.")
    return pl.concat(part.rows for part in pytorch.read(file, Ledger(), Pseudonyms(b"")))


def weeks(times: pl.DataFrame) -> Iterator[Week]:
    """Every configuration of every week after the warm ones, forecast from what came before."""
    state = states.State.empty("dataset:pytorch/pytorch")
    for at, part in enumerate(times.sort("date").partition_by("date", maintain_order=True)):
        runs = {
            rows["job_config"][0]: rows
            for rows in part.partition_by("job_config", maintain_order=True)
        }
        if at >= WARM:
            yield from _forecast(at, runs, state)
        state = states.fold(state, [_run(at, name, rows) for name, rows in runs.items()])


def _forecast(at: int, runs: dict[str, pl.DataFrame], state: states.State) -> Iterator[Week]:
    timings = state.timings
    rings = timings.in_order()
    each = forecast(rings)
    index = {unit: i for i, unit in enumerate(state.units)}
    blank = np.full((1, rings.shape[1]), np.nan)
    for name, rows in runs.items():
        here = timings.configuration == np.uint64(configuration_key(name))
        found = in_configuration(each, timings.unit, here, len(state.units))
        units = tuple(rows["test_file"].to_list())
        places = np.array([index.get(unit, len(index)) for unit in units])
        row_of = np.full(len(index) + 1, len(rings))
        row_of[timings.unit[here]] = np.flatnonzero(here)
        yield Week(
            at,
            name,
            units,
            rows["seconds"].to_numpy(),
            np.concatenate((rings, blank))[row_of[places]] if len(rings) else blank,
            np.append(found.typical, np.nan)[places],
            np.append(found.high, np.nan)[places],
            places < len(index),
        )


def _run(at: int, configuration: str, rows: pl.DataFrame) -> UnitRun:
    n = rows.height
    return UnitRun(
        key=hash64(str(at), configuration),
        place=0,
        when=float(at),
        recorded=True,
        units=tuple(rows["test_file"].to_list()),
        ran=np.ones(n, bool),
        bad=np.zeros(n, bool),
        flaky=np.zeros(n, bool),
        seconds=rows["seconds"].to_numpy(),
        configuration=configuration_key(configuration),
    )


def last(ring: Floats) -> Floats:
    return ring[:, -1]


def mean_of(k: int) -> Callable[[Floats], Floats]:
    return lambda ring: np.nanmean(ring[:, -k:], axis=1)


def greatest_of(k: int) -> Callable[[Floats], Floats]:
    return lambda ring: np.nanmax(ring[:, -k:], axis=1)


def smoothed(alpha: float) -> Callable[[Floats], Floats]:
    def of(ring: Floats) -> Floats:
        level = np.full(len(ring), np.nan)
        for value in ring.T:
            moved = np.where(np.isnan(level), value, level + alpha * (value - level))
            level = np.where(np.isnan(value), level, moved)
        return level

    return of


FAMILIES: dict[str, dict[str, Callable[[Floats], Floats]]] = {
    "last value": {"": last},
    "mean of last k": {f"k={k}": mean_of(k) for k in (2, 3, 4, 6, 8, 16)},
    "exponential smoothing": {f"a={a}": smoothed(a) for a in (0.3, 0.5, 0.7, 0.8, 0.9)},
    "greatest of last k": {f"k={k}": greatest_of(k) for k in (2, 3, 4, 6, 8, 16)},
}


def pinball(took: Floats, said: Floats, level: float) -> Floats:
    """Loss in seconds of a forecast of a quantile."""
    short = took - said
    return np.maximum(level * short, (level - 1) * short)


class Table:
    """Losses by job configuration, of which means and intervals are told."""

    def __init__(self, told: Sequence[Week]) -> None:
        names = sorted({week.configuration for week in told})
        self._place = {name: i for i, name in enumerate(names)}
        self._draw = ClusteredBootstrap([("pytorch", name) for name in names])

    def ratio(self, parts: Sequence[tuple[str, float, float]]) -> str:
        """Sum over sum with its interval, from (configuration, sum above, sum below)."""
        above, below = np.zeros(len(self._place)), np.zeros(len(self._place))
        for name, one, other in parts:
            above[self._place[name]] += one
            below[self._place[name]] += other
        if not below.any():
            return "-"
        found = self._draw.over(lambda w: float(w @ above / max(float(w @ below), 1e-12)))
        return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"

    def mean(self, told: Sequence[Week], of: Callable[[Week], Floats]) -> str:
        values = [(week.configuration, of(week)) for week in told]
        return self.ratio([(name, float(v.sum()), float(len(v))) for name, v in values])


def chosen(
    early: Sequence[Week], level: float
) -> dict[str, tuple[str, Callable[[Floats], Floats]]]:
    """Of each family the member with the least loss on the early weeks."""
    found = {}
    for family, members in FAMILIES.items():
        losses = {
            name: sum(
                float(pinball(w.took[w.known], method(w.ring[w.known]), level).sum()) for w in early
            )
            for name, method in members.items()
        }
        best = min(losses, key=losses.__getitem__)
        found[f"{family} {best}".strip()] = (family, members[best])
    return found


def calibrated(told: Sequence[Week], method: Callable[[Floats], Floats]) -> dict[int, float]:
    """For each week the factor that 90 % of the weeks just before stayed below."""
    ratios: dict[int, list[Floats]] = {}
    for week in told:
        said = method(week.ring[week.known])
        ratios.setdefault(week.at, []).append((week.took[week.known] + 0.1) / (said + 0.1))
    factors = {}
    for at in ratios:
        before = [r for b in range(at - CALIBRATED_ON, at) for r in ratios.get(b, [])]
        factors[at] = float(np.quantile(np.concatenate(before), 0.9)) if before else 1.0
    return factors


Said = Callable[[Week], Floats]
ALLOWED: dict[str, Callable[[Floats, Floats], float]] = {
    "sum of p50": lambda usual, _: float(usual.sum()),
    "p90 of the sum, were tests slow independently": lambda usual, high: float(
        usual.sum() + np.sqrt(((high - usual) ** 2).sum())
    ),
    "sum of p90, as if slow together: the budget's": lambda _, high: float(high.sum()),
}
"""What a run may take, from the forecasts of its tests."""


def point_lines(every: Sequence[Week], told: Sequence[Week], table: Table) -> Iterator[str]:
    early = [week for week in every if week.at < CHOSEN_ON]
    theirs: dict[str, Said] = {
        name: partial(_spread, method=method)
        for name, (family, method) in chosen(early, 0.5).items()
        if not family.startswith("greatest")
    }
    yield f"{'timed before in the configuration':50s} {'pinball at .5 (s)':28s} foretest less it"
    yield f"{OURS:50s} {table.mean(told, lambda w: _loss(w, w.typical, 0.5))}"
    for name, said in theirs.items():
        loss = table.mean(told, lambda w, s=said: _loss(w, s(w), 0.5))
        less = table.mean(told, lambda w, s=said: _less(w, w.typical, s(w), 0.5))
        yield f"{name:50s} {loss:28s} {less}"


def high_lines(every: Sequence[Week], told: Sequence[Week], table: Table) -> Iterator[str]:
    early = [week for week in every if week.at < CHOSEN_ON]
    heads = ("pinball at .9 (s)", "foretest less it", "share of runs within")
    yield f"{'':50s} " + " ".join(f"{head:28s}" for head in heads).rstrip()
    yield f"{OURS:50s} {_high(table, told, lambda w: w.high)}"
    for name, (_, method) in chosen(early, 0.9).items():
        yield f"{name:50s} {_high(table, told, partial(_spread, method=method))}"
        scaled = partial(_scaled, method=method, factors=calibrated(every, method))
        yield f"{name + ', x the factor of 90 %':50s} {_high(table, told, scaled)}"


def _scaled(week: Week, method: Callable[[Floats], Floats], factors: dict[int, float]) -> Floats:
    return (_spread(week, method) + 0.1) * factors[week.at] - 0.1


def _less(week: Week, ours: Floats, theirs: Floats, level: float) -> Floats:
    return _loss(week, ours, level) - _loss(week, theirs, level)


def _spread(week: Week, method: Callable[[Floats], Floats]) -> Floats:
    said = np.full(len(week.took), np.nan)
    said[week.known] = method(week.ring[week.known])
    return said


def _loss(week: Week, said: Floats, level: float) -> Floats:
    return pinball(week.took[week.known], said[week.known], level)


def _high(table: Table, told: Sequence[Week], said: Said) -> str:
    loss = table.mean(told, lambda w: _loss(w, said(w), 0.9))
    less = table.mean(told, lambda w: _less(w, w.high, said(w), 0.9))
    within = table.mean(told, lambda w: (w.took <= said(w))[w.known].astype(float))
    return f"{loss:28s} {less:28s} {within}"


def length_lines(told: Sequence[Week], table: Table) -> Iterator[str]:
    heads = ("pinball .5", "of the last value", "within the p90")
    yield f"{'durations known before':24s} " + " ".join(f"{head:28s}" for head in heads).strip()
    for low, high in LENGTHS:

        def those(week: Week, low: int = low, high: int = high) -> NDArray[np.bool_]:
            count = np.isfinite(week.ring).sum(axis=1)
            return (count >= low) & (count <= high)

        ours = table.mean(told, lambda w: pinball(w.took, w.typical, 0.5)[those(w)])
        theirs = table.mean(told, lambda w: pinball(w.took, w.ring[:, -1], 0.5)[those(w)])
        within = table.mean(told, lambda w: (w.took <= w.high)[those(w)].astype(float))
        label = f"{low}" if low == high else f"{low} to {high}" if high < 99 else f"{low}, as kept"
        yield f"{label:24s} {ours:28s} {theirs:28s} {within}"


def new_lines(told: Sequence[Week], table: Table) -> Iterator[str]:
    """Tests without a time in their configuration: from elsewhere, or the median of all."""

    def filled(week: Week) -> Floats:
        return predicted_seconds(week.typical)

    def median(week: Week) -> Floats:
        return np.full(len(week.took), float(np.median(week.ring[week.known, -1])))

    told = [week for week in told if week.known.any()]
    yield f"{'not timed here before':24s} {'pinball .5':28s} {'median of the others':28s}"
    for label, elsewhere in (("timed elsewhere", True), ("never timed", False)):

        def those(week: Week, elsewhere: bool = elsewhere) -> NDArray[np.bool_]:
            return ~week.known & (week.elsewhere == elsewhere)

        ours = table.mean(told, lambda w: pinball(w.took, filled(w), 0.5)[those(w)])
        theirs = table.mean(told, lambda w: pinball(w.took, median(w), 0.5)[those(w)])
        yield f"{label:24s} {ours:28s} {theirs:28s}"


def sum_lines(told: Sequence[Week], table: Table) -> Iterator[str]:
    """Whole runs: how many last no longer than is said of them, and how much that allows."""
    judged = [week for week in told if int(week.known.sum()) >= LEAST]
    yield f"{len(judged):,} runs of at least {LEAST} files known before, by the sum of their times"
    yield f"{'':50s} {'runs within':28s} allowed, as a multiple of what they took"
    for name, allowed in ALLOWED.items():
        said = [(w, allowed(w.typical[w.known], w.high[w.known])) for w in judged]
        took = [float(w.took[w.known].sum()) for w in judged]
        pairs = list(zip(said, took, strict=True))
        within = table.ratio([(w.configuration, float(t <= s), 1.0) for (w, s), t in pairs])
        size = table.ratio([(w.configuration, s, t) for (w, s), t in pairs])
        yield f"{name:50s} {within:28s} {size}"


def zero_lines(told: Sequence[Week], table: Table) -> Iterator[str]:
    def after(week: Week) -> NDArray[np.bool_]:
        return week.known & (week.ring[:, -1] == 0)

    ours = table.mean(told, lambda w: pinball(w.took, w.typical, 0.5)[after(w)])
    theirs = table.mean(told, lambda w: pinball(w.took, w.ring[:, -1], 0.5)[after(w)])
    yield f"after a duration of 0: foretest {ours}, last value {theirs}"


def makespans(week: Week, total: int) -> dict[str, float]:
    """Seconds of the longest shard, by who made the shards."""
    from pytest_split.algorithms import Algorithms

    true = dict(zip(week.units, week.took.tolist(), strict=True))
    latest = {u: s for u, s in zip(week.units, week.ring[:, -1].tolist(), strict=True) if s == s}
    said = dict(zip(week.units, predicted_seconds(week.typical).tolist(), strict=True))
    plain = predicted_seconds(week.ring[:, -1]).tolist()
    items = [SimpleNamespace(nodeid=unit) for unit in week.units]
    split = {
        f"pytest-split {a.name}": [
            [item.nodeid for item in group.selected] for group in a.value(total, items, latest)
        ]
        for a in Algorithms
    }
    parts = {
        OURS: shards(week.units, said, total),
        "foretest's shards of last values": shards(
            week.units, dict(zip(week.units, plain, strict=True)), total
        ),
        **split,
        "longest first on the true times": shards(week.units, true, total),
    }
    return {name: max(sum(true[u] for u in part) for part in made) for name, made in parts.items()}


def shard_lines(told: Sequence[Week], table: Table) -> Iterator[str]:
    judged = [week for week in told if len(week.units) >= LEAST and week.known.any()]
    yield (
        f"{len(judged):,} runs of at least {LEAST} test files: longest shard, as a multiple of "
        "that on the true times"
    )
    for total in SHARDS:
        found = [(week, makespans(week, total)) for week in judged]
        yield f"{total} shards"
        for name in found[0][1]:
            best = "longest first on the true times"
            parts = [(week.configuration, m[name], m[best]) for week, m in found]
            less = [(week.configuration, m[OURS] - m[name], m[best]) for week, m in found]
            yield f"  {name:42s} {table.ratio(parts)}   foretest less it {table.ratio(less)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.durations", description=__doc__.splitlines()[0])
    folder = load_config(Path.cwd()).datasets
    parser.add_argument("what", nargs="?", choices=("table", "sums"), default="table")
    parser.add_argument("--data", type=Path, default=Path(folder or ".") / "pytorch")
    asked = parser.parse_args()
    every = list(weeks(read_times(asked.data)))
    told = [week for week in every if week.at >= CHOSEN_ON]
    table = Table(told)
    counts = sum(int(week.known.sum()) for week in told)
    print(
        f"weeks {CHOSEN_ON + 1} to {told[-1].at + 1}, {len(told):,} runs of "
        f"{len({w.configuration for w in told})} configurations, {counts:,} durations known before"
    )
    print("\n".join(("", *sum_lines(told, table))), flush=True)
    if asked.what == "sums":
        return
    for part in (
        point_lines(every, told, table),
        high_lines(every, told, table),
        length_lines(told, table),
    ):
        print("\n".join(("", *part)), flush=True)
    print("\n".join(("", *new_lines(told, table), *zero_lines(told, table))), flush=True)
    print("\n".join(("", *shard_lines(told, table))))


if __name__ == "__main__":
    main()
