"""`foretest forget`: a repository's data is deleted for good."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.options import repository_option, where_kept


@click.command(
    "forget",
    short_help="Delete a repository's data for good",
    epilog="""\b
Examples:
  foretest forget github.com/acme/shop --yes
  foretest forget dataset:gitbug-java/Netflix/frigga --yes
  foretest forget github.com/acme/shop --stream nats://ci:4222 --lake s3://ci/lake
  foretest forget --list                what was deleted so far, and from which versions
""",
)
@click.argument("key", metavar="REPOSITORY", required=False)
@click.option("--yes", is_flag=True, help="Do not ask: there is no way back.")
@click.option("--stream", default="", help="Where reports wait (default: the setting `stream`).")
@click.option("--lake", default="", help="Folder or s3://bucket/prefix (default: the lake here).")
@click.option("--list", "listed", is_flag=True, help="Show the tombstones of earlier deletions.")
@repository_option
def command(
    key: str | None, yes: bool, stream: str, lake: str, listed: bool, repository: Path | None
) -> None:
    """Delete all results, facts, decisions and learned files of REPOSITORY, from the disk as well.

    So are its reports that wait in a stream or were set aside; no consumer may run meanwhile, and
    later ones refuse what was received before. Older versions of the lake lose these rows too and
    say so: a tombstone names the repository by its hash, the moment and the versions. Other
    repositories keep everything.
    """
    from foretest.forgetting import forget, forgotten

    config = where_kept(repository)
    if listed:
        for stone in forgotten(config, lake):
            rows = f"{stone.rows:,} rows, versions {stone.first} to {stone.last}"
            click.echo(f"{stone.at}  {stone.repository}  {rows}")
        return
    if not key:
        raise click.UsageError("Name the repository, such as github.com/acme/shop.")
    if not yes:
        click.confirm(f"Delete everything kept of {key}, for good?", abort=True)
    for line in forget(config, key, stream, lake).lines():
        click.echo(line)
