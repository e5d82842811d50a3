"""`foretest platform tracking serve|send`: a server for runs and models, and what waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from foretest.config import load_config

if TYPE_CHECKING:
    from foretest.platform.tracking.runs import Tracker

tracking_option = click.option(
    "--tracking",
    "tracking",
    metavar="URL",
    help="Tracking server to tell of it: http://HOST:PORT or sqlite:///FILE "
    "(default: the setting `tracking`; none: nothing is kept).",
)


def tracker_at(tracking: str | None) -> Tracker:
    """The tracker that `--tracking` names, or else the settings; one that keeps nothing if none."""
    from foretest.platform.tracking.runs import open_tracker

    return open_tracker(tracking)


@click.group(
    "tracking",
    short_help="A tracking server for trainings, and what waits for it",
    epilog="""\b
Examples:
  foretest platform tracking serve
  FORETEST_TRACKING=http://127.0.0.1:5000 foretest platform train
  foretest platform tracking send --tracking http://127.0.0.1:5000
""",
)
def command() -> None:
    """Keep every training's data, code, seeds, figures and model on a server of your own (MLflow).

    docs/tracking.md says what is kept, and what happens when the server is away.
    """


@command.command(
    "serve",
    epilog="""\b
Examples:
  foretest platform tracking serve
  foretest platform tracking serve --backend sqlite:////srv/runs.db --artifacts /srv/artifacts
  foretest platform tracking serve --backend postgresql+psycopg://me:word@db/runs \\
      --artifacts s3://bucket/prefix --host 0.0.0.0
""",
)
@click.option("--backend", metavar="URL", help="Database: sqlite:///FILE or "
              "postgresql+psycopg://USER:WORD@HOST/NAME (default: SQLite).")  # fmt: skip
@click.option("--artifacts", metavar="PLACE", help="Folder or s3://BUCKET/PREFIX for files and "
              "models (default: a folder).")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Where to listen. There are no passwords: safe networks only.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65_535), default=5000, show_default=True,
              help="Port to listen on.")  # fmt: skip
def serve(backend: str | None, artifacts: str | None, host: str, port: int) -> int:
    """Serve until told to end (Ctrl-C, SIGTERM). Prints the address once it answers.

    For S3 the usual AWS_* variables hold, AWS_ENDPOINT_URL for a store of your own included.
    """
    from foretest.platform.tracking import server

    place = load_config(Path.cwd()).state.resolve() / "tracking-server"
    place.mkdir(parents=True, exist_ok=True)
    log = place / f"server-{port}.log"

    def ready(address: str) -> None:
        click.echo(address)
        click.echo(f"FORETEST_TRACKING={address} lets trainings find it; its log: {log}", err=True)

    return server.serve(
        backend or f"sqlite:///{place / 'runs.db'}",
        artifacts or str(place / "artifacts"),
        log,
        host=host,
        port=port,
        ready=ready,
    )


@command.command(
    "send",
    epilog="""\b
Example:
  foretest platform tracking send --tracking http://127.0.0.1:5000
""",
)
@tracking_option
def send(tracking: str | None) -> int:
    """Send runs that a server did not take while it was away. Nothing is sent twice."""
    tracker = tracker_at(tracking)
    if tracker.address is None:
        raise click.UsageError("No server is named: --tracking URL or FORETEST_TRACKING.")
    sent, kept = tracker.send()
    click.echo(f"{sent} sent, {kept} still kept in {tracker.spool}" if kept else f"{sent} sent")
    return 1 if kept else 0
