"""Verdicts summed up: one line for each slice and strategy, with intervals, and as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foretest.replay.intervals import ClusteredBootstrap, Interval, Values
from foretest.replay.metrics import SHARES, Score

AHEAD = SHARES.index(0.05)
"""The budget at which the table shows paired differences."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one strategy's order was worth on one case; the failing tests of one slice count."""

    slice: str
    strategy: str
    case_id: str
    repository: str
    commit: str
    """The commit that the case stems from: its cases share their fate."""
    score: Score
    start_up: float = 0.0
    """Seconds that any run of this suite takes before its first test."""


@dataclass(frozen=True, slots=True)
class Line:
    """One strategy on one slice. `behind` is ours minus this strategy over the same cases."""

    slice: str
    strategy: str
    n: int
    commits: int
    repositories: int
    caught: tuple[Interval, ...]
    behind: tuple[Interval, ...]
    left_out: float
    """Share of the cases whose failing tests the strategy leaves out whatever the budget."""
    first: Interval
    first_median: float
    wall_median: float
    """Median seconds from the start of the process to the end of the first failing test."""
    apfd: float
    apfdc: float


def tabulate(verdicts: Iterable[Verdict], ours: str, seed: int = 0) -> tuple[Line, ...]:
    """One line for each slice and strategy, in the order in which they first appear."""
    slices: dict[str, dict[str, list[Verdict]]] = {}
    for verdict in verdicts:
        slices.setdefault(verdict.slice, {}).setdefault(verdict.strategy, []).append(verdict)
    return tuple(line for strategies in slices.values() for line in _lines(strategies, ours, seed))


def _lines(strategies: Mapping[str, Sequence[Verdict]], ours: str, seed: int) -> Iterable[Line]:
    cases = [(v.repository, v.case_id) for v in next(iter(strategies.values()))]
    bootstrap: ClusteredBootstrap | None = None
    reference = strategies.get(ours)
    for strategy, verdicts in strategies.items():
        if [(v.repository, v.case_id) for v in verdicts] != cases:
            raise ValueError(f"{strategy} was not judged on the cases of the others")
        if bootstrap is None:
            bootstrap = ClusteredBootstrap([(v.repository, v.commit) for v in verdicts], seed)
        caught = [_caught(verdicts, at) for at in range(len(SHARES))]
        first = np.array([v.score.first for v in verdicts])
        wall = [v.start_up + v.score.first_seconds for v in verdicts]
        yield Line(
            slice=verdicts[0].slice,
            strategy=strategy,
            n=len(verdicts),
            commits=len({(v.repository, v.commit) for v in verdicts}),
            repositories=len({v.repository for v in verdicts}),
            caught=tuple(bootstrap.mean(values) for values in caught),
            behind=tuple(
                bootstrap.difference(_caught(reference, at), values)
                for at, values in enumerate(caught)
            )
            if reference
            else (),
            left_out=float(np.mean([not v.score.selected for v in verdicts])),
            first=bootstrap.mean(first),
            first_median=float(np.median(first)),
            wall_median=float(np.median(wall)),
            apfd=float(np.mean([v.score.apfd for v in verdicts])),
            apfdc=float(np.mean([v.score.apfdc for v in verdicts])),
        )


def _caught(verdicts: Sequence[Verdict], share: int) -> Values:
    return np.array([v.score.caught[share] for v in verdicts])


def as_text(lines: Sequence[Line], intervals: bool = False) -> str:
    """The table for a terminal: percentages of faulty changes caught, and time to the failure."""
    blocks = []
    for name in dict.fromkeys(line.slice for line in lines):
        block = [line for line in lines if line.slice == name]
        one = block[0]
        title = f"{name}: {one.n} faulty changes"
        title += f" of {one.commits} {'commit' if one.commits == 1 else 'commits'}"
        if one.repositories > 1:
            title += f" in {one.repositories} repositories"
        blocks.append("\n".join((title, *_aligned(block, intervals))))
    return "\n\n".join(blocks)


def _aligned(lines: Sequence[Line], intervals: bool) -> Iterable[str]:
    shares = [f"{share:.0%}" for share in SHARES]
    head = ["", *shares, "first failure", "median", "wall s", "APFDc"]
    if intervals:
        head.append(f"ours ahead at {SHARES[AHEAD]:.0%}")
    rows = [
        [
            line.strategy,
            *(_percent(caught, intervals) for caught in line.caught),
            f"{line.first.mean:.1%}",
            f"{line.first_median:.1%}",
            f"{line.wall_median:.2f}",
            f"{line.apfdc:.2f}",
            *([_percent(line.behind[AHEAD], True)] if intervals and line.behind else []),
        ]
        for line in lines
    ]
    columns = max(map(len, rows))
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(columns)]
    for row in (head[:columns], *rows):
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join((row[0].ljust(widths[0]), *cells)).rstrip()


def _percent(value: Interval, interval: bool) -> str:
    text = f"{100 * value.mean:.0f}"
    if interval and not np.isnan(value.low):
        text += f" [{100 * value.low:.0f}, {100 * value.high:.0f}]"
    return text
