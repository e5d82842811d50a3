"""Facts that are no results of a run, such as counts and times by week: a Delta table a kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from foretest.errors import Busy
from foretest.history.delta import Delta

FOLDER = "facts"
"""Under the state directory, beside the lake."""
_OWN: dict[str, pl.DataType] = {"edition": pl.String(), "part": pl.Int32()}
_TRIES = 20


class Shelf:
    """Tables of facts at a folder or an object store's address, append-only.

    Each row carries the edition (the digest of the files that it comes from) and the part of it
    that it arrived with: a part is stored once, so an import that was killed is simply repeated.
    """

    def __init__(self, address: str | Path, options: Mapping[str, str] | None = None) -> None:
        self._address = str(address).rstrip("/")
        self._options = dict(options or {})

    def add(self, table: str, rows: pl.DataFrame, edition: str, part: int) -> int:
        """Store one part of an edition; how many rows were new. Raises BadStore, Busy."""
        delta = self._delta(table, {**rows.schema, **_OWN})
        marked = rows.with_columns(
            pl.lit(edition, _OWN["edition"]).alias("edition"),
            pl.lit(part, _OWN["part"]).alias("part"),
        )
        for _ in range(_TRIES):
            opened = delta.ready()
            known = pl.col("edition") == edition, pl.col("part") == part
            with delta.honest():
                held = delta.frame(opened).filter(*known).head(1).collect().height
            if held:
                return 0
            if delta.commit(opened, marked):
                return rows.height
        raise Busy(f"Other processes kept writing to {delta.address}.", "Try again.")

    def read(self, table: str, schema: Mapping[str, pl.DataType], edition: str) -> pl.LazyFrame:
        """The rows of one edition; none where the table does not exist."""
        delta = self._delta(table, {**schema, **_OWN})
        return delta.frame(delta.open()).filter(pl.col("edition") == edition)

    def version(self, table: str) -> int:
        """Version of a table's last commit. Raises BadStore where there is no such table."""
        with Delta(f"{self._address}/{table}", {}, self._options).honest():
            opened = DeltaTable(f"{self._address}/{table}", storage_options=self._options or None)
            return int(opened.version())

    def addresses(self) -> list[str]:
        """Where the tables lie, of a shelf in a folder."""
        found = Path(self._address).glob("*/_delta_log") if "://" not in self._address else ()
        return sorted(str(log.parent) for log in found)

    def _delta(self, table: str, schema: Mapping[str, pl.DataType]) -> Delta:
        return Delta(f"{self._address}/{table}", schema, self._options, ["repository"])
