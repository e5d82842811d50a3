"""One Delta table: opened, committed to as an exact version, compacted; refusals in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, Field, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import PrimitiveType

from foretest.durable import LEAST_ROOM, full
from foretest.errors import BadStore

_REFUSALS = (
    *(DeltaError, pl.exceptions.PolarsError, OSError, ValueError),
    pl.exceptions.PanicException,  # how a file shorter than the table's log says reaches us
)
_TYPES = {
    pl.String: "string",
    pl.Int32: "integer",
    pl.Int64: "long",
    pl.Float32: "float",
    pl.Float64: "double",
    pl.Boolean: "boolean",
    pl.Binary: "binary",
    pl.Datetime: "timestamp",
}


class Delta:
    """A table of fixed columns at a folder or an object store's address.

    Nothing is kept between calls but the address: every call sees what others wrote.
    """

    def __init__(
        self,
        address: str,
        schema: Mapping[str, pl.DataType],
        options: Mapping[str, str],
        partition_by: Sequence[str] = (),
    ) -> None:
        self.address = address
        self.schema = dict(schema)
        self._options = dict(options) or None
        self._partition_by = list(partition_by)

    def open(self) -> DeltaTable | None:
        """The table as it is now, None where there is none. Raises BadStore."""
        with self.honest():
            try:
                table = DeltaTable(self.address, storage_options=self._options)
            except TableNotFoundError:
                return None
            names = {field.name for field in table.schema().fields}
        if names != set(self.schema):
            raise BadStore(
                f"The results in {self.address} have columns of another foretest.",
                "Use the foretest that wrote them, or a newer one.",
            )
        return table

    def ready(self) -> DeltaTable:
        """The table, created where there is none. Raises BadStore."""
        return self.open() or self._create()

    def frame(self, table: DeltaTable | None) -> pl.LazyFrame:
        """The rows of a table that was opened, lazily; none of them where it is None."""
        return pl.LazyFrame(schema=self.schema) if table is None else pl.scan_delta(table)

    def commit(self, table: DeltaTable, rows: pl.DataFrame) -> bool:
        """Append as the version after `table`'s; False where another writer took that version."""
        self._need(int(rows.estimated_size()))
        with self.honest():
            try:
                write_deltalake(
                    table,
                    rows,
                    mode="append",
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except CommitFailedError:
                return False
        return True

    def compact(self, target: int | None = None) -> int:
        """Join files of less than `target` bytes (default: Delta Lake's own, large); how many stay.

        Files that no version of the last week needs, those of killed writers included, are removed.
        """
        table = self.open()
        if table is None:
            return 0
        with self.honest():
            try:
                table.optimize.compact(target_size=target)
            except CommitFailedError:  # another writer came in between: the next time will do
                return 0
            table.create_checkpoint()
            table.vacuum(dry_run=False)
            return len(table.file_uris())

    def _create(self) -> DeltaTable:
        fields = [Field(n, PrimitiveType(_TYPES[k.base_type()])) for n, k in self.schema.items()]
        with self.honest():
            if "://" not in self.address:
                Path(self.address).mkdir(parents=True, exist_ok=True)
                self._need()
            try:
                return DeltaTable.create(
                    self.address,
                    Schema(fields),
                    mode="ignore",
                    partition_by=self._partition_by,
                    storage_options=self._options,
                )
            except CommitFailedError:  # another process created it at the same moment
                return DeltaTable(self.address, storage_options=self._options)

    def _need(self, size: int = 0) -> None:
        """Raise BadStore where the disk has no room for so many bytes: the libraries below panic.

        What is stored is smaller than that.
        """
        if "://" not in self.address and full(Path(self.address), size + LEAST_ROOM):
            raise BadStore(
                f"The disk is full: {self.address} was not changed.",
                f"Free some space: {(size + LEAST_ROOM) >> 20:,} MiB at least.",
            )

    @contextmanager
    def honest(self) -> Iterator[None]:
        """Say what the libraries below refuse in the user's words."""
        try:
            yield
        except _REFUSALS as error:
            text = str(error)
            if "No space left" in text or "os error 28" in text:
                raise BadStore(
                    f"The disk is full: {self.address} was not changed.", "Free some space."
                ) from error
            first = next(iter(text.splitlines()), "unknown reason")
            raise BadStore(
                f"The results in {self.address} cannot be used: {first}.",
                "Restore the folder from a backup, or move it away to begin a new one.",
            ) from error
