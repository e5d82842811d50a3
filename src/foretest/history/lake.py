"""The results lake: a Delta table of every result ever received, on disk or in an object store."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, Field, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import PrimitiveType

from foretest.errors import BadStore, Busy
from foretest.history.rows import SCHEMA, RunKey, key_of, to_frame, to_runs, to_unit_runs
from foretest.history.unitrun import UnitRun
from foretest.records import TestRun

_TRIES = 60
"""Commits tried against other writers: each loss means that another writer got through."""
_COMPACT_EVERY = 64
"""Commits after which small files are joined: reading stays quick without anyone seeing to it."""
_REFUSALS = (
    *(DeltaError, pl.exceptions.PolarsError, OSError, ValueError),
    pl.exceptions.PanicException,  # how a file shorter than the table's log says reaches us
)


class Lake:
    """Results of any number of repositories, append-only, in the order they were received.

    `address` is a folder or an object store's address (`s3://bucket/prefix`), `options` are the
    store's. Writers need no lock: a commit goes through only as the version that its rows carry as
    `sequence`, so whoever comes second sees the first one's rows before trying again.
    """

    def __init__(self, address: str | Path, options: Mapping[str, str] | None = None) -> None:
        self._address = str(address)
        self._options = dict(options or {})

    @property
    def version(self) -> int:
        """Version of the last commit; -1 where nothing was stored yet."""
        table = self._table()
        return -1 if table is None else int(table.version())

    def append(self, runs: Sequence[TestRun]) -> int:
        """Store the runs that are not there yet, at once or not at all; how many were new.

        A run is known by repository, run id, attempt and shard. Runs without results leave no
        rows. Raises BadStore, or Busy where other writers never let this one through.
        """
        runs = list({key_of(run): run for run in reversed(runs)}.values())[::-1]
        runs = [run for run in runs if run.results]
        for attempt in range(_TRIES):
            table = self._table() or self._create()
            known = self._known(table, runs)
            fresh = [run for run in runs if key_of(run) not in known]
            if not fresh:
                return 0
            if self._commit(table, fresh):
                if table.version() % _COMPACT_EVERY == 0:
                    self.compact()
                return len(fresh)
            time.sleep(random.uniform(0, 0.01 * min(attempt + 1, 20)))
        raise Busy(
            f"Other processes kept writing to {self._address}.", "Nothing was lost: try again."
        )

    def scan(self, repository: str | None = None) -> pl.LazyFrame:
        """The table, lazily; columns as in `rows.SCHEMA`."""
        table = self._table()
        if table is None:
            return pl.LazyFrame(schema=SCHEMA)
        frame = pl.scan_delta(table)
        return frame if repository is None else frame.filter(pl.col("repository") == repository)

    def events(self, repository: str, after: int = -1) -> Iterator[TestRun]:
        """Runs received after lake version `after`, in the order they were received."""
        for _, run in to_runs(self._rows(repository, after)):
            yield run

    def unit_runs(self, repository: str, after: int = -1) -> Iterator[UnitRun]:
        """The same events as the fold takes them; far faster where there are many."""
        with self._honest():
            yield from to_unit_runs(self._rows(repository, after))

    def compact(self) -> int:
        """Join small files; how many files are left over. Order and versions of rows stay.

        Files that no version of the last week needs, those of killed writers included, are removed.
        """
        table = self._table()
        if table is None:
            return 0
        with self._honest():
            try:
                table.optimize.compact()
            except CommitFailedError:  # another writer came in between: the next time will do
                return 0
            table.create_checkpoint()
            table.vacuum(dry_run=False)
            return len(table.file_uris())

    def _rows(self, repository: str, after: int) -> pl.DataFrame:
        with self._honest():
            frame = self.scan(repository).filter(pl.col("sequence") > after)
            return frame.sort("sequence", "position", "line").collect()

    def _table(self) -> DeltaTable | None:
        with self._honest():
            try:
                table = DeltaTable(self._address, storage_options=self._options or None)
            except TableNotFoundError:
                return None
            names = {field.name for field in table.schema().fields}
        if names != set(SCHEMA):
            raise BadStore(
                f"The results in {self._address} have columns of another foretest.",
                "Use the foretest that wrote them, or a newer one.",
            )
        return table

    def _create(self) -> DeltaTable:
        with self._honest():
            if "://" not in self._address:
                Path(self._address).mkdir(parents=True, exist_ok=True)
            try:
                return DeltaTable.create(
                    self._address,
                    _delta_schema(),
                    mode="ignore",
                    partition_by=["repository"],
                    storage_options=self._options or None,
                )
            except CommitFailedError:  # another process created it at the same moment
                return DeltaTable(self._address, storage_options=self._options or None)

    def _known(self, table: DeltaTable, runs: Sequence[TestRun]) -> set[RunKey]:
        """Which of the runs the table holds already."""
        with self._honest():
            ids = list({run.run_id for run in runs})
            repositories = list({run.repository for run in runs})
            rows = (
                pl.scan_delta(table)
                .filter(pl.col("repository").is_in(repositories), pl.col("run_id").is_in(ids))
                .select("repository", "run_id", "attempt", "shard")
                .unique()
                .collect()
            )
        return set(rows.iter_rows())

    def _commit(self, table: DeltaTable, runs: Sequence[TestRun]) -> bool:
        """Append as the version after `table`'s; False where another writer took that version."""
        frame = to_frame(runs, sequence=table.version() + 1)
        with self._honest():
            try:
                write_deltalake(
                    table,
                    frame,
                    mode="append",
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except CommitFailedError:
                return False
        return True

    @contextmanager
    def _honest(self) -> Iterator[None]:
        """Say what the libraries below refuse in the user's words."""
        try:
            yield
        except _REFUSALS as error:
            text = str(error)
            if "No space left" in text or "os error 28" in text:
                raise BadStore(
                    f"The disk is full: {self._address} was not changed.", "Free some space."
                ) from error
            first = next(iter(text.splitlines()), "unknown reason")
            raise BadStore(
                f"The results in {self._address} cannot be used: {first}.",
                "Restore the folder from a backup, or move it away to begin a new one.",
            ) from error


_DELTA_TYPES = {
    pl.String: "string",
    pl.Int32: "integer",
    pl.Int64: "long",
    pl.Float64: "double",
    pl.Boolean: "boolean",
    pl.Datetime: "timestamp",
}


def _delta_schema() -> Schema:
    types = ((name, _DELTA_TYPES[kind.base_type()]) for name, kind in SCHEMA.items())
    return Schema([Field(name, PrimitiveType(kind)) for name, kind in types])
