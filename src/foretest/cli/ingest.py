"""`foretest ingest`: reports into a durable stream, and from there into the lake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foretest.cli.options import Key, anywhere, repository_option
from foretest.config import Config
from foretest.results.report import ATTEMPTS

if TYPE_CHECKING:
    from foretest.ingest.stream import Level, Stream
    from foretest.results.read import Origin

F = TypeVar("F", bound=Callable[..., Any])


@click.group(
    "ingest",
    short_help="Take reports in without losing one",
    epilog="""\b
Examples:
  foretest ingest append report.xml              kept once this returns, whatever dies next
  foretest ingest run --drain                    everything that waits goes into the lake
  foretest ingest run --stream nats://ci:4222 --lake s3://ci/lake
  foretest ingest status
\b
Streams:
  spool:FOLDER          a folder on this machine (default: .foretest/stream)
  nats://HOST:PORT      NATS with JetStream, shared by a team
\b
Levels of durability:
  process               an acknowledged report survives killed processes, the broker's too
  power                 a power cut as well: forced to disk before it is acknowledged
""",
)
def command() -> None:
    """Append reports to a durable stream, and move them from there into the lake, each once."""


def stream_options(function: F) -> F:
    """The options that say which stream is meant."""
    for option in (
        repository_option,
        click.option(
            "--durability",
            type=click.Choice(["process", "power"]),
            help="What an acknowledged report survives (default: the setting `durability`).",
        ),
        click.option("--stream", help="spool:FOLDER or nats://HOST:PORT (default: `stream`)."),
    ):
        function = option(function)
    return function


@command.command(
    "append",
    epilog="""\b
Examples:
  foretest ingest append build/reports                    a folder: all files are one run
  foretest ingest append "build/**/TEST-*.xml" --run-id "$CI_RUN"
  foretest ingest append --stream nats://ci:4222 --run-id "$CI_RUN" --attempt 2 report.xml
  foretest ingest append --repository-key github.com/acme/shop --commit "$SHA" report.xml
  foretest ingest append --decision last report.xml       as `foretest select` chose
""",
)
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path))
@stream_options
@click.option(
    "--repository-key", type=Key(), help="HOST/ORG/NAME (default: that of the repository here)."
)
@click.option("--commit", help="The commit that was tested (default: HEAD).")
@click.option("--run-id", help="Name of the run; the same name is never recorded twice.")
@click.option(
    "--attempt",
    type=click.IntRange(1, ATTEMPTS),
    help="Attempt of the whole run (default: CI's).",
)
@click.option("--shard", help="Part of the run, where several jobs share one id.")
@click.option("--decision", help="The selection that ran, by name, or 'last' for the last one.")
def append(
    reports: tuple[Path, ...],
    stream: str | None,
    durability: str | None,
    repository: Path | None,
    **more: Any,
) -> None:
    """Keep REPORTS: files, folders, patterns; those of one run are joined.

    Each run is acknowledged by a line, and what was acknowledged is never lost. Where too little
    of what was selected came back, all is kept and the exit status is 2, as with `record`.
    """
    from foretest.ingest.producing import parcelled
    from foretest.remembering import returned

    config, git = anywhere(repository)
    origin = _origin(config, git, **more)
    sent = parcelled(reports, _known(config, git)(origin.repository), origin)
    _, mismatch = returned(config, sent.runs, sent.notices)
    for notice in sent.notices:
        click.echo(f"note: {notice}", err=True)
    opened, _ = _opened(config, stream, durability)
    reasons: dict[str, None] = {}
    try:
        for one in sent.messages:
            receipt = opened.append(one.report, one.meta)
            again = ", known already" if receipt.duplicate else ""
            again += "; waits here until the broker answers" if receipt.waits else ""
            click.echo(f"{one.label} kept as {receipt.sequence} (level {receipt.level}{again})")
            reasons[receipt.waits] = None
    finally:
        opened.close()
        for reason in filter(None, reasons):
            click.echo(f"note: {reason}", err=True)
    if mismatch is not None:
        raise mismatch


@command.command(
    "run",
    epilog="""\b
Examples:
  foretest ingest run --drain                  once, until nothing waits
  foretest ingest run                          for ever, as a service
  foretest ingest run --stream nats://ci:4222 --lake /srv/foretest/lake
""",
)
@stream_options
@click.option("--lake", help="Folder or s3://bucket/prefix (default: the lake here).")
@click.option("--drain", is_flag=True, help="End as soon as nothing waits any more.")
def run(
    stream: str | None,
    durability: str | None,
    repository: Path | None,
    lake: str | None,
    drain: bool,
) -> None:
    """Move reports from the stream into the lake, in order of receipt, each run exactly once."""
    from foretest.config import object_store_environment
    from foretest.history.lake import Lake
    from foretest.ingest.addresses import POISON, STATES
    from foretest.ingest.consumer import Consumer, Totals, bring_on
    from foretest.ingest.poison import PoisonFolder
    from foretest.ingest.reading import DeliveryReader

    config, git = anywhere(repository)
    opened, level = _opened(config, stream, durability)
    there = Lake(lake or config.state / "lake", object_store_environment())
    consumer = Consumer(
        there,
        PoisonFolder(config.state / POISON),
        DeliveryReader(_known(config, git)),
        level,
        lambda line: click.echo(f"note: {line}", err=True),
    )
    totals = Totals()

    def idle() -> None:
        bring_on(there, totals.repositories, config.state / STATES)
        totals.repositories.clear()

    try:
        with opened.reader() as reader:
            if drain:
                consumer.drain(reader, totals)
                idle()
            else:
                consumer.follow(reader, totals, idle)
    finally:
        opened.close()
        click.echo(totals.sentence())


@command.command(
    "status",
    epilog="""\b
Example:
  foretest ingest status --stream nats://ci:4222
""",
)
@stream_options
def status(stream: str | None, durability: str | None, repository: Path | None) -> None:
    """Say what waits, and what was set aside."""
    from foretest.ingest.addresses import POISON
    from foretest.ingest.poison import PoisonFolder

    config, _ = anywhere(repository)
    opened, _ = _opened(config, stream, durability)
    try:
        seen = opened.status()
    finally:
        opened.close()
    click.echo(f"{seen.address} (level {seen.level})")
    share = f"{seen.waiting_bytes / 1e6:,.1f} of at most {seen.limit_bytes / 1e6:,.0f} MB"
    click.echo(f"  {seen.waiting:,} reports wait for the lake ({share})")
    click.echo(f"  {len(PoisonFolder(config.state / POISON).list()):,} reports are set aside")
    for notice in seen.notices:
        click.echo(f"  {notice}")


@command.group(
    "poison",
    epilog="""\b
Examples:
  foretest ingest poison list
  foretest ingest poison show 3f2a9c0d11e4
  foretest ingest poison retry 3f2a9c0d11e4
""",
)
def poison() -> None:
    """Reports that nobody could read: kept whole, with the reason."""


@poison.command("list", epilog="\b\nExample:\n  foretest ingest poison list\n")
@repository_option
def poison_list(repository: Path | None) -> None:
    """List what was set aside, oldest first."""
    found = _poison(repository).list()
    for one in found:
        click.echo(f"{one.name}  {one.set_aside_at:%Y-%m-%d %H:%M}  {one.meta.name}: {one.reason}")
    if not found:
        click.echo("Nothing is set aside.")


@poison.command("show", epilog="\b\nExample:\n  foretest ingest poison show NAME > report.xml\n")
@click.argument("name")
@repository_option
def poison_show(name: str, repository: Path | None) -> None:
    """Print the bytes of one report; why it lies here goes to standard error."""
    one, data = _poison(repository).show(name)
    click.echo(f"{one.meta.name}, {one.size:,} bytes: {one.reason}", err=True)
    click.echo(data, nl=False)


@poison.command("retry", epilog="\b\nExample:\n  foretest ingest poison retry NAME\n")
@click.argument("names", nargs=-1, required=True)
@stream_options
def poison_retry(
    names: tuple[str, ...], stream: str | None, durability: str | None, repository: Path | None
) -> None:
    """Append reports once more, as after an upgrade that can read them."""
    config, _ = anywhere(repository)
    opened, _ = _opened(config, stream, durability)
    try:
        for name in names:
            _poison(repository).retry(name, opened)
            click.echo(f"{name} waits for the lake again.")
    finally:
        opened.close()


def _opened(config: Config, stream: str | None, durability: str | None) -> tuple[Stream, Level]:
    from foretest.engine import ensure_state
    from foretest.ingest.addresses import level_of, open_stream

    ensure_state(config)
    level = level_of(durability or config.durability)
    return open_stream(stream or config.stream, level, config.state), level


def _poison(repository: Path | None) -> Any:
    from foretest.ingest.addresses import POISON
    from foretest.ingest.poison import PoisonFolder

    return PoisonFolder(anywhere(repository)[0].state / POISON)


def _origin(
    config: Config,
    git: bool,
    *,
    repository_key: str | None,
    commit: str | None,
    run_id: str | None,
    attempt: int | None,
    shard: str | None,
    decision: str | None,
) -> Origin:
    """What is known of every report of this call; a report of its own words wins."""
    from dataclasses import replace

    from foretest.changes.git import Repository
    from foretest.changes.git import repository_key as key_here
    from foretest.remembering import named_commit, named_decision, origin_of
    from foretest.results.read import Origin
    from foretest.results.report import here

    if git:
        repo = Repository.open(config.root)
        own = key_here(config, repo)
        key = repository_key or own
        origin = origin_of(config, repo, key, commit, run_id)
        if key != own:  # of another repository: what is checked out says nothing
            origin = replace(origin, head=None, root=None)
    else:
        key = repository_key or config.repository
        tested = None if commit is None else named_commit(commit)
        origin = Origin(key, tested, configuration=here(), run_id=run_id or "", root=config.root)
    selected = named_decision(config, decision) if decision else None
    return replace(
        origin,
        attempt=attempt or origin.attempt,
        shard=shard or origin.shard,
        decision_id=selected,
    )


def _known(config: Config, git: bool) -> Callable[[str], Any]:
    """The tests of the repository here, by which reports without files are joined."""
    from foretest.changes.git import Repository
    from foretest.changes.git import repository_key as key_here
    from foretest.ingest.reading import nothing_known
    from foretest.remembering import known_tests

    if not git:
        return nothing_known
    key, units = key_here(config, Repository.open(config.root)), known_tests(config, [])
    return lambda repository: units if repository == key else ()
