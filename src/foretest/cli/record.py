"""`foretest record`: results of any run are remembered."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.options import here, repository_option


@click.command(
    "record",
    short_help="Take in the results of a run",
    epilog="""\b
Examples:
  pytest --junitxml report.xml; foretest record report.xml
  foretest record build/reports/*.xml --commit "$GIT_COMMIT"
  foretest record                       what `pytest --foretest` left in .foretest/spool
""",
)
@click.argument("reports", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--commit", help="The commit that was tested (default: HEAD).")
@click.option("--run-id", help="Name of the run; the same name is never recorded twice.")
@repository_option
def command(
    reports: tuple[Path, ...], commit: str | None, run_id: str | None, repository: Path | None
) -> None:
    """Take in test reports: JUnit XML, or the plugin's own. Recording twice changes nothing."""
    from foretest.remembering import record

    recorded = record(here(repository), reports, commit=commit, run_id=run_id)
    for notice in recorded.notices:
        click.echo(f"note: {notice}", err=True)
    click.echo(recorded.sentence())
