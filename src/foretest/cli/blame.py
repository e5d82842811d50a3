"""`foretest blame`: a red run after merging; which change did it?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from foretest.cli.options import here, repository_option
from foretest.cli.screen import Screen


@click.command(
    "blame",
    short_help="Find the change that broke a test",
    epilog="""\b
Examples:
  foretest blame                                   the failing tests of the last recorded run
  foretest blame tests/test_a.py::test_x --good v1.2
""",
)
@click.argument("tests", nargs=-1)
@click.option("--good", help="A commit where the tests passed (default: from the recorded runs).")
@click.option("--bad", default="HEAD", show_default=True, help="A commit where they fail.")
@click.option(
    "--max-runs", type=click.IntRange(2), default=30, show_default=True, help="Runs allowed."
)
@repository_option
def command(
    tests: tuple[str, ...], good: str | None, bad: str, max_runs: int, repository: Path | None
) -> None:
    """Find the change that broke a test: history first, then a bisection aimed by the evidence."""
    from foretest.blame import blame

    with Screen() as screen:
        reports = blame(
            here(repository), tests, good=good, bad=bad, max_runs=max_runs, progress=screen
        )
    for line in (line for report in reports for line in report.lines()):
        click.echo(line)
    if any(report.verdict.culprit is None for report in reports):
        sys.exit(1)
