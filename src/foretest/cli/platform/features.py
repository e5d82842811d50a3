"""`foretest platform features`: a table of features over all repositories of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from foretest.cli.platform.train import named

if TYPE_CHECKING:
    from foretest.platform.featuring import Part


@click.command(
    "features",
    short_help="Features of all kept changes as a table",
    epilog="""\b
Examples:
  foretest platform features --facts proof/cases --out build/features
  foretest platform features --facts proof/cases --out build/features --address 10.0.0.7:6379
  foretest platform features --facts proof/cases --out build/features --names h11,lark --here
""",
)
@click.option("--facts", required=True,
              type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Folder of kept facts, such as proof/cases.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False),
              help="Folder of the Delta table `features`.")  # fmt: skip
@click.option("--names", metavar="A,B", help="These repositories alone.")
@click.option("--address", help="A Ray cluster to join (default: a local one, for this call).")
@click.option("--here", is_flag=True, help="In this process, without Ray: the same rows.")
def command(facts: Path, out: Path, names: str | None, address: str | None, here: bool) -> None:
    """Build the features of every test for every kept change, as of the moment before it.

    A row a change and test, with its outcome; repositories are tasks of Ray Data. What the table
    holds already of the same facts and code is not built again.
    """
    from foretest.platform.featuring import build_features

    def told(part: Part, rows: int) -> None:
        click.echo(f"{part.name}, {part.kind}: {rows:,} rows", err=True)

    wanted = named(facts, names)
    built = build_features(facts, out, names=wanted, cluster=not here, address=address, told=told)
    click.echo(
        f"edition {built.edition}, version {built.version}: {built.rows:,} new rows of "
        f"{built.changes:,} changes in {built.seconds:.1f} s"
        + (f", {built.rows / built.seconds:,.0f} rows/s" if built.rows else "")
    )
