"""`foretest platform promote`: let a registered version serve, or an earlier one again."""

from __future__ import annotations

import click

from foretest.cli.platform.tracking import tracker_at, tracking_option


@click.command(
    "promote",
    short_help="Let a registered version serve",
    epilog="""\b
Examples:
  foretest platform promote 3                              version 3 serves: production
  foretest platform promote 4 canary --tracking http://127.0.0.1:5000
  foretest platform promote 2                              back to an earlier one
""",
)
@click.argument("version")
@click.argument("stage", default="production")
@tracking_option
def command(version: str, stage: str, tracking: str | None) -> None:
    """Let VERSION stand at STAGE (staging, canary or production), where it takes another's place.

    The one at production is the champion: the gate holds candidates against it, and `retrain` goes
    on from it. A folder of models needs no promoting: there the newest serves.
    """
    from foretest.platform.tracking.registry import promote, standing

    tracker = tracker_at(tracking)
    promote(tracker, version, stage)
    held = ", ".join(f"{at} {number}" for at, number in sorted(standing(tracker).items()))
    click.echo(f"Version {version} stands at {stage}. Now: {held}.")
