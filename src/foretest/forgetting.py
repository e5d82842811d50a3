"""Deletes a repository for good: lake, facts, catalogue and what was learned from it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from foretest import bundle as bundles
from foretest.changes.git import Repository, repository_key
from foretest.config import Config
from foretest.durable import lock
from foretest.errors import ForetestError
from foretest.history import state as states
from foretest.history.catalogue import FILE, Catalogue
from foretest.history.erasure import Tombstone, erase, tombstones
from foretest.history.runlog import FOLDER as RUN_LOG
from foretest.history.shelf import FOLDER as FACTS
from foretest.history.shelf import Shelf
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
    """What stands in the lake; None where it held nothing of the repository."""
    facts: int
    catalogued: int
    files: tuple[str, ...]

    def lines(self) -> list[str]:
        stone = self.tombstone
        told = (
            f"{stone.rows:,} results deleted from lake versions {stone.first} to {stone.last}"
            if stone
            else "The lake held no results of it"
        )
        lines = [f"{told}; {self.facts:,} facts and {self.catalogued:,} catalogue rows deleted."]
        lines += [f"Removed {name}." for name in self.files]
        lines.append(
            "Not reached from here: copies elsewhere (carried state, backups, a broker's queue)."
        )
        return lines


def forget(config: Config, repository: str) -> Forgotten:
    """Delete everything that is kept of `repository` (its key), files included.

    Other repositories keep all their rows. May be repeated: what a kill left is deleted then.
    Raises BadStore or Busy where not all could be deleted.
    """
    lake = config.state / LAKE
    with lock(config.state / "record.lock"), lock(config.state / "import.lock"):
        stone = erase(lake, repository)
        erase(lake / RUN_LOG, repository)
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
    return Forgotten(stone, facts, catalogued, removed)


def forgotten(config: Config) -> tuple[Tombstone, ...]:
    """What was deleted for good from this lake so far."""
    return tombstones(config.state / LAKE)


def _own_files(config: Config, repository: str) -> Iterator[Path]:
    """Files of the state directory that tell of the repository."""
    if repository_key(config, Repository.open(config.root)) == repository:
        found = (config.state / name for name in _OF_THE_REPOSITORY)
        yield from (path for path in found if path.exists())
        return
    with suppress(ForetestError):  # a damaged file tells of nobody
        state = states.read(config.state / SNAPSHOT)
        if state is not None and state.repository == repository:
            yield config.state / SNAPSHOT
    with suppress(ForetestError):
        if bundles.read(config.bundle_path).store.repository == repository:
            yield config.bundle_path


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
