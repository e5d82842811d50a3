"""`foretest stats`: what foretest knows about this repository."""

from __future__ import annotations

import json
from pathlib import Path

import click

from foretest.cli.options import here, repository_option


@click.command(
    "stats",
    short_help="Show what is known of the repository",
    epilog="""\b
Example:
  foretest stats --json
""",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@repository_option
def command(as_json: bool, repository: Path | None) -> None:
    """Show tests, coverage and its age, recorded runs, labels, and the observed effect so far."""
    from foretest.remembering import stats

    rows = stats(here(repository))
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    if not rows:
        click.echo("Nothing is known yet: `foretest learn` begins, `foretest record` adds runs.")
        return
    width = max(len(name) for name in rows)
    for name, value in rows.items():
        click.echo(
            f"{name:<{width}}  {value:,}" if isinstance(value, int) else f"{name:<{width}}  {value}"
        )
