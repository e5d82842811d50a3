"""`foretest explain`: why a test is in the last selection, or why not."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.options import here, repository_option


@click.command(
    "explain",
    short_help="Say why a test runs, or why not",
    epilog="""\b
Examples:
  foretest explain                                    the last selection, test by test
  foretest explain tests/test_parse.py::test_nested   one test
  foretest explain test_nested                        every test whose name contains it
""",
)
@click.argument("test", required=False)
@click.option("--base", help="Explain against this base instead of the last selection's.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Tests shown.")
@repository_option
def command(test: str | None, base: str | None, limit: int, repository: Path | None) -> None:
    """Say in plain words why a test runs for this change, or why it was left out."""
    from foretest.engine import explain

    for line in explain(here(repository), test, base=base, limit=limit):
        click.echo(line)
