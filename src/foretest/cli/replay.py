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
  foretest replay --peers                    and the real testmon, impacted, rts, picked, ranking
  foretest replay --peers --peer-cases 100   on more changes; answers that are known are kept
""",
)
@click.option("--slices", is_flag=True, help="Every slice, not the whole alone.")
@click.option("--intervals", is_flag=True, help="95 % intervals, resampled by commit.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a report.")
@click.option(
    "--peers",
    is_flag=True,
    help="Ask pytest-testmon, -impacted, -rts, -picked, -ranking and pytest's own --lf and --ff "
    "about the same changes; each is installed by pip into an environment of its own.",
)
@click.option(
    "--peer-cases",
    type=click.IntRange(1),
    help="Changes to ask the peers about, at most (default: 30).",
)
@repository_option
def command(
    slices: bool,
    intervals: bool,
    html: Path | None,
    peers: bool,
    peer_cases: int | None,
    repository: Path | None,
) -> None:
    """Compare strategies on the past changes that `foretest learn` took back.

    Prints, for each strategy, the share of faulty changes caught within 1, 5, 10, 20 and 33 % of
    the suite's time, and the time to the first failure. The oracle is the best any order could do.

    With --peers, real tools are asked about the newest of these changes, in copies outside your
    working tree. What they answered is kept when Ctrl-C is pressed; the next call goes on there.
    """
    if peer_cases is not None and not peers:
        raise click.UsageError(
            "--peer-cases says how many changes --peers asks about: add --peers."
        )
    config = here(repository)
    with Screen() as screen:
        if peers:
            from foretest.peers.run import CASES, against_peers

            compared = against_peers(config, cases=peer_cases or CASES, page=html, progress=screen)
            replayed, report = compared.replayed, compared.report
        else:
            from foretest.replay.run import run_replay

            replayed = run_replay(config, page=html, progress=screen)
            report = replayed.report
    click.echo(replayed.text(slices=slices, intervals=intervals))
    if peers:
        click.echo(f"\nAgainst the real peers\n{compared.text(intervals)}")
    for notice in report.notices:
        click.echo(f"note: {notice}", err=True)
    if html is not None:
        click.echo(f"Report: {html}")
