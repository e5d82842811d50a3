"""The tables of a replay: which strategies stand in which order, and what each cell says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from foretest.report.contents import OURS, PeerRow, Range, SliceRow, StrategyRow


class Named(Protocol):
    """Anything that belongs to a strategy."""

    @property
    def strategy(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Cell:
    """One share with its interval, ready to print."""

    share: str
    interval: str
    best: bool = False
    """True for the best strategy of the column that could be had: the oracle does not compete."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under headings; None where nothing was measured."""

    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]


def strategies_of(rows: Iterable[Named], ours: str = OURS) -> list[str]:
    """Names in the order of the page: oracle, ours, the others as they came, random last."""
    names = list(dict.fromkeys(row.strategy for row in rows))
    rank = {"oracle": 0, ours: 1, "random": 3}
    return sorted(names, key=lambda name: rank.get(name, 2))


def budgets_of(rows: Iterable[StrategyRow | SliceRow]) -> list[float]:
    """The budgets that occur, smallest first."""
    return sorted({row.budget for row in rows})


def from_usual(budget: float) -> float:
    """How far a budget lies from the one that a reader is shown first: 5% of suite time."""
    return abs(budget - 0.05)


def percent(share: float) -> str:
    """`0.05` as `5%`, `0.005` as `0.5%`."""
    return f"{share * 100:.3g}%" if abs(share) < 0.1 else f"{share * 100:.0f}%"


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile, interpolated between neighbours; NaN if empty."""
    ordered = sorted(values)
    if not ordered:
        return (float("nan"),) * 3

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    return at(0.25), at(0.5), at(0.75)


def budget_table(rows: Sequence[StrategyRow], ours: str = OURS) -> Table:
    """Strategies down, budgets across."""
    found = {(row.strategy, row.budget): row for row in rows}
    budgets = budgets_of(rows)
    best = {b: _best([row for row in rows if row.budget == b]) for b in budgets}
    return Table(
        corner="strategy",
        columns=tuple(percent(budget) for budget in budgets),
        rows=tuple(
            (name, tuple(_cell(found.get((name, budget)), best[budget]) for budget in budgets))
            for name in strategies_of(rows, ours)
        ),
    )


def slice_table(rows: Sequence[SliceRow], budget: float, ours: str = OURS) -> Table:
    """Slices down, strategies across, at one budget; each slice names its number of cases."""
    rows = [row for row in rows if row.budget == budget]
    found = {(row.slice, row.strategy): row for row in rows}
    names = strategies_of(rows, ours)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.slice] = max(counts.get(row.slice, 0), row.n)
    return Table(
        corner="slice",
        columns=tuple(names),
        rows=tuple(
            (
                f"{part} ({count})",
                tuple(
                    _cell(found.get((part, name)), _best([r for r in rows if r.slice == part]))
                    for name in names
                ),
            )
            for part, count in counts.items()
        ),
    )


def peer_table(rows: Sequence[PeerRow], ours: str = OURS) -> Table:
    """Tools down; what each misses, in how much time, and what ours misses in that time."""
    fewest = min((row.missed[0] for row in rows if row.seconds is not None), default=None)
    return Table(
        corner="selection",
        columns=(
            "missed",
            "suite time",
            f"{ours} misses in that time",
            "fewer missed",
            "seconds to answer",
            "no answer",
        ),
        rows=tuple(
            (
                row.strategy,
                (
                    _range(row.missed, row.seconds is not None and row.missed[0] == fewest),
                    _range(row.time),
                    _range(row.ours_missed),
                    _range(row.fewer),
                    None if row.seconds is None else Cell(f"{row.seconds:.1f}", ""),
                    None if row.seconds is None else Cell(f"{row.unanswered} of {row.n}", ""),
                ),
            )
            for row in rows
        ),
    )


def in_short(rows: Sequence[StrategyRow], ours: str = OURS) -> str:
    """One sentence: what ours catches at the budget nearest to 5 %, beside oracle and rival."""
    budgets = budgets_of(rows)
    if not budgets:
        return "No faulty change was judged."
    budget = min(budgets, key=from_usual)
    at = {row.strategy: row for row in rows if row.budget == budget}
    mine = at.pop(ours, None)
    if mine is None or not mine.n:
        return "No faulty change was judged."
    sentence = (
        f"In {percent(budget)} of the suite's time {ours} catches {percent(mine.caught)} of "
        f"{mine.n} faulty changes (95% interval {_interval(mine)})"
    )
    oracle = at.pop("oracle", None)
    if oracle:
        sentence += f"; an oracle that knows the failing tests catches {percent(oracle.caught)}"
    if at:
        rival = max(at.values(), key=lambda row: row.caught)
        sentence += f"; the best of the others, {rival.strategy}, {percent(rival.caught)}"
    return sentence + "."


def _best(rows: Sequence[StrategyRow | SliceRow]) -> float | None:
    real = [row.caught for row in rows if row.strategy != "oracle" and row.n]
    return max(real, default=None)


def _cell(row: StrategyRow | SliceRow | None, best: float | None) -> Cell | None:
    if row is None or not row.n:
        return None
    top = row.strategy != "oracle" and row.caught == best
    return Cell(percent(row.caught), _interval(row), top)


def _range(value: Range | None, best: bool = False) -> Cell | None:
    if value is None:
        return None
    mean, low, high = value
    known = low == low and low != high  # a NaN is no bound, a fixed budget has none
    return Cell(percent(mean), f"{low * 100:.0f}–{high * 100:.0f}" if known else "", best)


def _interval(row: StrategyRow | SliceRow) -> str:
    return f"{row.low * 100:.0f}–{row.high * 100:.0f}"
