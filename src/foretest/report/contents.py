"""The nouns of the report: plain records that a replay fills and a page shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

OURS = "foretest"
"""The strategy that charts and tables bring out, by the name a replay gives it."""


@dataclass(frozen=True, slots=True)
class StrategyRow:
    """Share of the faulty changes that one strategy catches within one budget."""

    strategy: str
    budget: float
    """Share of suite time, 0..1."""
    caught: float
    """Share of the faulty changes with a failing test inside the budget, 0..1."""
    low: float
    high: float
    """Ends of the 95% interval of `caught`."""
    n: int
    """Faulty changes that the share is over."""


@dataclass(frozen=True, slots=True)
class FirstFailure:
    """Share of suite time until a strategy's first failing test has ended, in one case."""

    strategy: str
    share: float
    """1.0 where no failing test was ever reached."""
    case_id: str


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One strategy on one part of the cases: a repository, a kind of test, a kind of change."""

    slice: str
    strategy: str
    budget: float
    caught: float
    low: float
    high: float
    n: int


Range = tuple[float, float, float]
"""A mean and the ends of its 95% interval, which are NaN where there is none."""


@dataclass(frozen=True, slots=True)
class PeerRow:
    """A tool that leaves tests out, or an order of ours in a fixed budget (the last four: none)."""

    strategy: str
    n: int
    missed: Range
    """Share of the faulty changes of which no failing test was selected."""
    time: Range
    """Share of suite time that the selection takes."""
    ours_missed: Range | None = None
    """The same of ours, given on each change the time that the tool took there."""
    fewer: Range | None = None
    """How many fewer ours misses in that time, paired."""
    seconds: float | None = None
    """Median wall seconds until the tool had answered."""
    unanswered: int = 0
    """Changes on which it gave no answer, so that everything ran."""


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One faulty change and what our strategy made of it."""

    case_id: str
    title: str
    """What was taken back or broken, in a few words."""
    files: tuple[str, ...]
    """Files that the change touches."""
    failed: tuple[str, ...]
    """Tests that fail because of it."""
    share: float
    """Share of suite time until our first failing test has ended; 1.0 where none was reached."""
    rank: int | None
    """Place of the first failing test in our order, from 1; None where none was reached."""
    reason: str
    """Why that test stands where it stands, a sentence."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """All that the page shows."""

    title: str
    repository: str
    rows: tuple[StrategyRow, ...]
    first_failures: tuple[FirstFailure, ...]
    cases: tuple[CaseRow, ...]
    notices: tuple[str, ...]
    """What was refused, set apart or unknown, each a sentence."""
    generated_at: datetime
    commands: tuple[str, ...]
    """Commands that repeat the figures, or that come next."""
    slices: tuple[SliceRow, ...] = ()
    summary: str = ""
    """What was done, a paragraph of plain text."""
    facts: tuple[tuple[str, str], ...] = ()
    """Counts worth a tile: a label and its value, such as ("test functions", "1,204")."""
    ours: str = OURS
    """The strategy that charts, tables and sentences bring out."""
    peers: tuple[PeerRow, ...] = ()
    """Real tools that leave tests out, where they were asked."""
    beside_peers: tuple[StrategyRow, ...] = ()
    """All strategies within budgets, over the changes that the tools were asked about."""
