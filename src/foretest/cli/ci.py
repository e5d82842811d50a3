"""`foretest ci show|init|print`: what a CI system says of this run, and a ready template for it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from foretest.ci.templates import PLACES
from foretest.cli.options import here, repository_option

_system = click.argument("system", type=click.Choice(tuple(PLACES)))


@click.group(
    "ci",
    short_help="What CI says of this run; templates",
    epilog="""\b
Examples:
  foretest ci init github      writes .github/workflows/tests.yml, never over a file that is there
  foretest ci print gitlab     the template alone, to be taken over by hand
  foretest ci show             in a job: system, run, commit, request and base as detected
""",
)
def command() -> None:
    """Write a CI template, or say what was detected in a job. docs/ci explains each system."""


@command.command(
    "init",
    epilog="""\b
Example:
  foretest ci init github
""",
)
@_system
@repository_option
def init(system: str, repository: Path | None) -> None:
    """Write SYSTEM's template where the system looks for it. A file that is there stays."""
    from foretest.ci.templates import write

    path = write(system, here(repository).root)
    click.echo(f"Wrote {path}. It observes: everything runs, nothing is left out.")
    click.echo("Look at the install line, commit it, and start the nightly run once by hand.")


@command.command(
    "print",
    epilog="""\b
Example:
  foretest ci print gitlab
""",
)
@_system
def print_(system: str) -> None:
    """Print SYSTEM's template."""
    from foretest.ci.templates import template

    click.echo(template(system), nl=False)


@command.command(
    "show",
    epilog="""\b
Examples:
  foretest ci show
  foretest ci show --json | jq -r .base
""",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@repository_option
def show(as_json: bool, repository: Path | None) -> None:
    """Say what was detected here, and what a change would be compared with."""
    rows = _rows(repository)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    if not rows["system"]:
        click.echo("No CI system is detected here.")
    for name, value in rows.items():
        if value not in ("", [], (), None, False):
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            click.echo(f"{name.replace('_', ' '):<16} {shown}")


def _rows(repository: Path | None) -> dict[str, object]:
    from foretest.changes.git import Repository
    from foretest.ci.detection import detect
    from foretest.comparing import base_by_ci, context_of
    from foretest.config import environment
    from foretest.errors import ForetestError

    repo = Repository(here(repository).root)
    head = repo.head()
    found, context = detect(environment()), context_of(repo, head)
    rows: dict[str, object] = {"system": "", "run": "", "head": head, "base": "", "note": ""}
    if found is None:
        return rows
    rows |= {name: value for name, value in asdict(found).items() if name != "deepen"}
    rows["run"] = found.run
    if context is None:
        rows["note"] = f"{found.commit[:10]} is not in this checkout's past: CI is not heeded here."
        return rows
    try:
        named = base_by_ci(repo, context, head)
        rows["base"], rows["note"] = named or ("", "No request: the base is chosen as elsewhere.")
    except ForetestError as error:
        rows["note"] = str(error)
    return rows
