"""`foretest state push|pull`: what was learned travels with ephemeral CI."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.options import here, repository_option


@click.group(
    "state",
    short_help="Carry what was learned between machines",
    epilog="""\b
Examples:
  foretest state push ci-cache                      after `foretest learn` on the main branch
  foretest state pull git:refs/foretest/state       before `foretest select` in a job
\b
Targets:
  path/to/directory            a CI cache or an artifact
  s3://bucket/prefix           an object store (credentials from the environment)
  git:refs/foretest/state      a ref in the origin, no further service needed
""",
)
def command() -> None:
    """Carry the bundle between machines as one small file, found by the nearest ancestor."""


@command.command(
    "push",
    epilog="""\b
Example:
  foretest state push s3://ci/foretest
""",
)
@click.argument("target")
@repository_option
def push(target: str, repository: Path | None) -> None:
    """Store this machine's bundle at TARGET under the commit it describes."""
    from foretest.carrying import push_state

    for line in push_state(here(repository), target):
        click.echo(line)


@command.command(
    "pull",
    epilog="""\b
Example:
  foretest state pull s3://ci/foretest
""",
)
@click.argument("target")
@repository_option
def pull(target: str, repository: Path | None) -> None:
    """Fetch the bundle of the nearest ancestor of HEAD from TARGET. Needs read access only."""
    from foretest.carrying import pull_state

    for line in pull_state(here(repository), target):
        click.echo(line)
