"""Deletes a repository for good: lake, streams, facts, catalogue and what was learned of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from foretest import bundle as bundles
from foretest.changes.git import Repository, repository_key
from foretest.config import Config, object_store_environment
from foretest.durable import lock
from foretest.errors import ForetestError, NotARepository
from foretest.history import state as states
from foretest.history.catalogue import FILE, Catalogue
from foretest.history.erasure import Tombstone, erase, tombstones
from foretest.history.lake import Lake
from foretest.history.runlog import FOLDER as RUN_LOG
from foretest.history.shelf import FOLDER as FACTS
from foretest.history.shelf import Shelf
from foretest.ingest.addresses import FOLDER, OUTBOX, POISON, STATES, open_stream
from foretest.ingest.belonging import about
from foretest.ingest.consumer import snapshot
from foretest.ingest.poison import PoisonFolder
from foretest.ingest.spool import Spool
from foretest.ingest.stream import Level, Reader, Stream
from foretest.remembering import address

LAKE, SNAPSHOT, QUALITY = "lake", "history.npz", "quality"
_OF_THE_REPOSITORY = (
    *("bundle.ftb", SNAPSHOT, "decisions", "spool", "lab", "observations.jsonl"),
    *("quarantine.json", "people.key"),
)
"""What in a state directory tells of the repository that it lies in."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What one call of `forget` deleted."""

    tombstone: Tombstone | None
    """What stands in the lake from now on."""
    reports: int
    """Reports that waited for the lake, or were set aside."""
    facts: int
    catalogued: int
    files: tuple[str, ...]

    def lines(self) -> list[str]:
        stone = self.tombstone
        told = (
            f"{stone.rows:,} results deleted from lake versions {stone.first} to {stone.last}"
            if stone and stone.rows
            else "The lake held no results of it"
        )
        lines = [
            f"{told}; {self.reports:,} reports, {self.facts:,} facts and {self.catalogued:,} "
            "catalogue rows deleted."
        ]
        lines += [f"Removed {name}." for name in self.files]
        lines.append(
            "Not reached from here: copies elsewhere (carried state, backups, other machines' "
            "outboxes; what those still send is refused by the consumer)."
        )
        return lines


def forget(config: Config, repository: str, stream: str = "", lake: str = "") -> Forgotten:
    """Delete everything that is kept of `repository` (its key), files included.

    `stream` and `lake` are addresses (default: the setting `stream`, and the lake here). Other
    repositories keep all their rows. May be repeated: what a kill left is deleted then.
    Raises BadStore where not all could be deleted, Busy while a consumer reads the stream.
    """
    place, options = lake or str(config.state / LAKE), object_store_environment()
    with (
        lock(config.state / "record.lock"),
        lock(config.state / "import.lock"),
        _streams(config, stream) as readers,
    ):
        Lake(place, options).append([])  # also a lake that is empty still is to know
        stone = erase(place, repository, options, always=True)
        erase(f"{place}/{RUN_LOG}", repository, options)
        meant = about(repository)
        reports = sum(reader.forget(meant) for reader in readers)
        reports += PoisonFolder(config.state / POISON).forget(meant)
        facts = 0
        for table in Shelf(config.state / FACTS).addresses():
            gone = erase(table, repository)
            facts += gone.rows if gone else 0
        catalogued = 0
        if config.catalogue or (config.state / FILE).exists():
            with Catalogue(address(config)) as catalogue:
                catalogued = catalogue.forget(repository)
        removed = tuple(_remove(path) for path in _own_files(config, repository))
        removed += tuple(_remove(path) for path in _reports(config.state, repository))
    return Forgotten(stone, reports, facts, catalogued, removed)


def forgotten(config: Config, lake: str = "") -> tuple[Tombstone, ...]:
    """What was deleted for good from the lake so far."""
    return tombstones(lake or config.state / LAKE, object_store_environment())


@contextmanager
def _streams(config: Config, address: str) -> Iterator[list[Reader]]:
    """The streams of this machine and the one at `address`, held so that nobody reads them."""
    asked = address or config.stream
    with ExitStack() as stack:
        there: list[Stream] = []
        if asked and asked != f"spool:{config.state / FOLDER}":
            opened = open_stream(asked, Level.POWER, config.state)
            there.append(stack.enter_context(closing(opened)))  # it sends what waits at its end
        here = (Spool(config.state / name) for name in (FOLDER, OUTBOX))
        kept = [spool for spool in here if spool.folder.exists()]
        yield [stack.enter_context(stream.reader()) for stream in (*kept, *there)]


def _own_files(config: Config, repository: str) -> Iterator[Path]:
    """Files of the state directory that tell of the repository."""
    yield from (path for path in [snapshot(config.state / STATES, repository)] if path.exists())
    if _key_here(config) == repository:
        found = (config.state / name for name in _OF_THE_REPOSITORY)
        yield from (path for path in found if path.exists())
        yield from sorted((config.state / STATES).glob("*.ftb"))  # where CI's cache keeps them
        return
    with suppress(ForetestError):  # a damaged file tells of nobody
        state = states.read(config.state / SNAPSHOT)
        if state is not None and state.repository == repository:
            yield config.state / SNAPSHOT
    with suppress(ForetestError):
        if bundles.read(config.bundle_path).store.repository == repository:
            yield config.bundle_path


def _key_here(config: Config) -> str:
    """The repository at hand, or the one that is set where a server has none."""
    try:
        return repository_key(config, Repository.open(config.root))
    except NotARepository:
        return config.repository


def _reports(state: Path, repository: str) -> Iterator[Path]:
    """Quality reports whose examples may name the repository's tests."""
    name, _, project = repository.removeprefix("dataset:").partition("/")
    if repository.startswith("dataset:") and project:
        yield from sorted(state.glob(f"{QUALITY}/{name}-*.json"))


def _remove(path: Path) -> str:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return path.name
