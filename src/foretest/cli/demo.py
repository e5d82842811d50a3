"""`foretest demo`: the whole journey on a real project from the package index."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.screen import Screen


@click.command(
    "demo",
    short_help="The whole journey on a real project",
    epilog="""\b
Example:
  foretest demo    about five minutes on two cores; writes to ./demo alone
""",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where everything lands.",
)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes.")
def command(out: Path, workers: int) -> None:
    """Fetch a real project's releases, learn, take past changes back, and judge every strategy."""
    from foretest.demo.play import run_demo

    with Screen() as screen:
        shown = run_demo(out, screen, workers=workers)
    click.echo(shown.text)
