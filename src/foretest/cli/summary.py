"""`foretest summary`: the last decision as Markdown, for a pull request or a job summary."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.options import here, repository_option


@click.command(
    "summary",
    short_help="The last decision as Markdown",
    epilog="""\b
Example:
  foretest summary >> "$GITHUB_STEP_SUMMARY"
""",
)
@click.option("--decision", help="Which decision (default: the last).")
@repository_option
def command(decision: str | None, repository: Path | None) -> None:
    """Print what ran, why, what was left out and the time saved, as Markdown."""
    from foretest.decisions import load
    from foretest.selection.summary import summary as summarise

    click.echo(summarise(load(here(repository).state, decision)), nl=False)
