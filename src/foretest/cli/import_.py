"""`foretest import`: public data sets into the lake, with a report on their quality."""

from __future__ import annotations

import json
from pathlib import Path

import click

from foretest.cli.options import repository_option, where_kept
from foretest.cli.screen import Screen
from foretest.datasets.contract import READERS


@click.command(
    "import",
    short_help="Take in a public data set",
    epilog="""\b
Examples:
  foretest import coleman ~/data/coleman
  foretest import flakeflagger ~/data/flakeflagger/test_results.csv
  FORETEST_DATASETS=~/data foretest import pytorch      its folder below the setting `datasets`
""",
)
@click.argument("name", metavar="SET", type=click.Choice(sorted(READERS)))
@click.argument("path", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="The quality report as JSON.")
@repository_option
def command(name: str, path: Path | None, as_json: bool, repository: Path | None) -> None:
    """Read the data set SET at PATH into this repository's lake; twice changes nothing.

    Prints how good the data is (duplicates, missing durations, impossible values, glued lines,
    clock skew, renames, always-failing tests) and keeps it beside the lake, under its version.
    """
    from foretest.datasets.load import import_set

    with Screen() as screen:
        quality = import_set(where_kept(repository), name, path, screen)
    if as_json:
        click.echo(json.dumps(quality.to_json(), indent=1, ensure_ascii=False))
        return
    for line in quality.lines():
        click.echo(line)
