"""Deletion for good: the one exception to append-only, and what older versions say of it.

Delta Lake's own delete hides rows: files stay for readers of older versions, and the log names them
with the least and greatest value of their columns. Here files, old log entries and the folder's
name go too. A tombstone, which names the repository by its hash alone, stands in the table's
properties: it travels with the table wherever that lies.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from foretest.errors import BadStore, Busy

TOMBSTONES = "foretest.tombstones"
_NOW = {
    "delta.deletedFileRetentionDuration": "interval 0 seconds",
    "delta.logRetentionDuration": "interval 0 seconds",
}
_USUAL = {
    "delta.deletedFileRetentionDuration": "interval 1 week",
    "delta.logRetentionDuration": "interval 30 days",
}
_TRIES = 20
_HASH_PERSON = b"foretest-erased"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """That rows were deleted for good: of whom (hashed), when, and which versions had them."""

    repository: str
    """Hash of the repository's key: whoever knows the key finds it, nobody reads it."""
    at: str
    rows: int
    first: int
    last: int
    """Versions of the lake, both included, that had these rows and now lack them."""

    @property
    def moment(self) -> datetime:
        """When they were deleted; of a tombstone with whole seconds, the end of its second."""
        at = datetime.fromisoformat(self.at)
        return at if "." in self.at else at + timedelta(seconds=1)

    def covers(self, version: int) -> bool:
        return self.rows > 0 and self.first <= version <= self.last

    def sentence(self, version: int) -> str:
        return (
            f"Version {version} is not what it was: {self.rows:,} rows of a repository"
            f" ({self.repository}) were deleted for good on {self.at[:10]}"
            f" from versions {self.first} to {self.last}."
        )


def hashed(repository: str) -> str:
    """How a tombstone names a repository."""
    whole = repository.encode("utf-8", "backslashreplace")
    return hashlib.blake2b(whole, digest_size=12, person=_HASH_PERSON).hexdigest()


def erase(
    address: str | Path,
    repository: str,
    options: Mapping[str, str] | None = None,
    *,
    always: bool = False,
) -> Tombstone | None:
    """Delete a repository's rows from the Delta table at `address`; None where it has none.

    With `always` a tombstone is left even so: what was received before is not to come in later.
    Raises BadStore, or Busy where writers never let the deletion through.
    """
    place = str(address).rstrip("/")
    for attempt in range(_TRIES):
        table = _open(place, options)
        if table is None:
            return None
        try:
            return _erased(table, place, repository, options, always)
        except CommitFailedError:  # a writer came in between
            time.sleep(random.uniform(0, 0.02 * (attempt + 1)))
        except (DeltaError, OSError, pl.exceptions.PolarsError) as error:
            line = next(iter(str(error).splitlines()), "unknown reason")
            raise BadStore(
                f"The rows in {place} could not all be deleted: {line}.", "Run `forget` again."
            ) from error
    raise Busy(f"Other processes kept writing to {place}.", "Run `forget` again when they rest.")


def tombstones(
    address: str | Path, options: Mapping[str, str] | None = None
) -> tuple[Tombstone, ...]:
    """What was ever deleted for good from the table at `address`, earliest first."""
    table = _open(str(address).rstrip("/"), options)
    return () if table is None else standing(table)


def losses(
    address: str | Path, version: int, options: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Sentences on what version `version` of the lake at `address` has lost; empty where nothing.

    Say them wherever an older version is read, such as the one that a bundle was learned from.
    """
    found = (t for t in tombstones(address, options) if t.covers(version))
    return tuple(tombstone.sentence(version) for tombstone in found)


def as_of(rows: pl.LazyFrame, version: int) -> pl.LazyFrame:
    """The rows that the lake had at `version`, less what was deleted for good since."""
    return rows.filter(pl.col("sequence") <= version)


def _erased(
    table: DeltaTable,
    place: str,
    repository: str,
    options: Mapping[str, str] | None,
    always: bool,
) -> Tombstone | None:
    owned = pl.scan_delta(table).filter(pl.col("repository") == repository)
    numbered = "sequence" in owned.collect_schema()
    first = pl.col("sequence").min() if numbered else pl.lit(0)
    rows, since = owned.select(pl.len().alias("rows"), first.alias("first")).collect().row(0)
    done = standing(table)
    name = hashed(repository)
    if not rows and not always and name not in {stone.repository for stone in done}:
        return None
    # Where there are no rows but a tombstone, an earlier call may have been killed: clean again.
    tombstone = None
    if rows or always:
        # First the tombstone: a kill in between leaves one too many, never one too few.
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        tombstone = Tombstone(name, now, int(rows), int(since or 0), table.version())
        others = (stone for stone in done if stone.rows or stone.repository != name)
        _set(table, {**_NOW, TOMBSTONES: _spelt((*others, tombstone))})
        table = _again(place, options)
        quoted = repository.replace("'", "''")
        table.delete(f"repository = '{quoted}'")
    else:
        _set(table, _NOW)
    _purge(place, options)
    _drop_folder(place, repository)
    _set(_again(place, options), _USUAL)
    return tombstone


def _purge(place: str, options: Mapping[str, str] | None) -> None:
    """Remove the files that the newest version does not need, and the log that tells of them."""
    table = _again(place, options)
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    table = _again(place, options)
    table.create_checkpoint()
    time.sleep(0.01)  # log entries of this very millisecond do not count as past
    table.cleanup_metadata()


def _drop_folder(place: str, repository: str) -> None:
    """Remove the partition's folder, whose name is the repository's."""
    if "://" in place:
        return  # an object store has no folders
    folder = Path(place) / f"repository={quote(repository, safe='')}"
    with suppress(FileNotFoundError):
        if any(file.suffix == ".parquet" for file in folder.rglob("*")):
            raise BadStore(f"Files are left in {folder}.", "Run `forget` again.")
        shutil.rmtree(folder)


def _set(table: DeltaTable, properties: Mapping[str, str]) -> None:
    table.alter.set_table_properties(dict(properties), raise_if_not_exists=False)


def _open(place: str, options: Mapping[str, str] | None) -> DeltaTable | None:
    try:
        return DeltaTable(place, storage_options=dict(options or {}) or None)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError, ValueError) as error:
        raise BadStore(f"{place} cannot be read: {error}.", "Check the lake's folder.") from error


def _again(place: str, options: Mapping[str, str] | None) -> DeltaTable:
    table = _open(place, options)
    assert table is not None, "a table does not vanish"
    return table


def standing(table: DeltaTable) -> tuple[Tombstone, ...]:
    """The tombstones in a table's properties, earliest first."""
    text = table.metadata().configuration.get(TOMBSTONES) or "[]"
    return tuple(Tombstone(**entry) for entry in json.loads(text))


def _spelt(stones: tuple[Tombstone, ...]) -> str:
    return json.dumps([asdict(stone) for stone in stones])
