"""`foretest doctor`: what is wrong with the set-up, and how to mend it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from foretest.cli.options import repository_option

_MARKS = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("BAD ", "red")}


@click.command(
    "doctor",
    short_help="Check the set-up; say how to mend it",
    epilog="""\b
Example:
  foretest doctor    exits with 1 if something does not work
""",
)
@repository_option
def command(repository: Path | None) -> None:
    """Check git, the interpreter, the tracer, the disk and the bundle; say how to mend each."""
    from foretest.doctor import examine

    findings = examine(repository or Path.cwd())
    for finding in findings:
        mark, colour = _MARKS[finding.grade]
        click.echo(f"{click.style(mark, fg=colour)} {finding.what}")
        if finding.remedy:
            click.echo(f"       -> {finding.remedy}")
    if any(f.grade == "bad" for f in findings):
        sys.exit(1)
