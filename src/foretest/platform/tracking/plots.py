"""The replay's table as a plot of a tracked run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from foretest.replay.account import strategy_rows
from foretest.replay.judge import ALL
from foretest.replay.table import Line

if TYPE_CHECKING:
    from foretest.platform.tracking.runs import Run

CAUGHT = "caught by suite time"


def plotted(run: Run, lines: Iterable[Line], ours: str) -> None:
    """Share of all faulty changes caught against share of suite time: a line a strategy.

    Nothing where one commit alone was judged: it has no interval.
    """
    rows = [row for row in strategy_rows(tuple(lines), ALL) if row.low == row.low]
    if rows and run.kept:
        from foretest.report.charts import caught_curve

        run.figure(caught_curve(rows, ours), CAUGHT)
