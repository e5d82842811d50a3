"""`foretest explain`: why a test is in the last selection, or why not."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.options import Share, here, repository_option


@click.command(
    "explain",
    short_help="Say why a test runs, or why not",
    epilog="""\b
Examples:
  foretest explain                                    the last selection, test by test
  foretest explain tests/test_parse.py::test_nested   one test
  foretest explain test_nested                        every test whose name contains it
  foretest explain --base HEAD~5                      what the same question would choose since then
  foretest explain --confidence 95% test_nested       what that confidence would make of it
""",
)
@click.argument("test", required=False)
@click.option("--base", help="Explain against this base instead of the last selection's.")
@click.option(
    "--confidence",
    type=Share(),
    help="Explain what this confidence would run instead of the last selection's; 0: none.",
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Tests shown.")
@repository_option
def command(
    test: str | None,
    base: str | None,
    confidence: float | None,
    limit: int,
    repository: Path | None,
) -> None:
    """Say in plain words why a test runs for this change, or why it was left out.

    Likelihoods are those of a failure if the change breaks anything, as measured on other projects.
    With --base or --confidence nothing is kept: budget and confidence are else those of the last
    selection.
    """
    from foretest.engine import explain

    told = explain(here(repository), test, base=base, confidence=confidence, limit=limit)
    for line in told:
        click.echo(line)
