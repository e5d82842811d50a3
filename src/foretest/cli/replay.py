"""`foretest replay`: the judge; every strategy over past changes, in time order."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.options import here, repository_option
from foretest.cli.screen import Screen


@click.command(
    "replay",
    short_help="Judge every strategy on past changes",
    epilog="""\b
Examples:
  foretest learn --undo 100 --within 10m && foretest replay
  foretest replay --slices --intervals --html replay.html
""",
)
@click.option("--slices", is_flag=True, help="Every slice, not the whole alone.")
@click.option("--intervals", is_flag=True, help="95 % intervals, resampled by commit.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a report.")
@repository_option
def command(slices: bool, intervals: bool, html: Path | None, repository: Path | None) -> None:
    """Compare strategies on the past changes that `foretest learn` took back.

    Prints, for each strategy, the share of faulty changes caught within 1, 5, 10, 20 and 33 % of
    the suite's time, and the time to the first failure. The oracle is the best any order could do.
    """
    from foretest.replay.run import run_replay

    with Screen() as screen:
        replayed = run_replay(here(repository), page=html, progress=screen)
    click.echo(replayed.text(slices=slices, intervals=intervals))
    for notice in replayed.report.notices:
        click.echo(f"note: {notice}", err=True)
    if html is not None:
        click.echo(f"Report: {html}")
