"""The results lake: a Delta table of every result ever received, on disk or in an object store."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from foretest.errors import BadStore, Busy
from foretest.history.delta import Delta
from foretest.history.erasure import Tombstone, standing
from foretest.history.forcing import sync_table
from foretest.history.rows import (
    EVENT,
    FOLDED,
    ORDER,
    OWN,
    SCHEMA,
    RunKey,
    RunRows,
    as_rows,
    key_of,
    to_frame,
    to_runs,
    to_unit_runs,
)
from foretest.history.runlog import FOLDER, RUNS, Covered, RunLog, daily, runs_of
from foretest.history.unitrun import UnitRun
from foretest.records import TestRun

_TRIES = 60
"""Commits tried against other writers: each loss means that another writer got through."""
_COMPACT_EVERY = 64
"""Commits after which small files are joined: reading stays quick without anyone seeing to it."""
_SMALL = 1 << 20
"""Bytes of a file that this leaves alone from then on: what is joined again and again stays small,
however large the lake. Some 100,000 results make so many bytes."""
_AT_ONCE = 1_000_000
"""Rows that are in memory at once while a repository's history is read."""
_KEY = ["repository", "run_id", "attempt", "shard"]


class Lake:
    """Results of any number of repositories, append-only, in the order they were received.

    `address` is a folder or an object store's address (`s3://bucket/prefix`), `options` are the
    store's. Writers need no lock: a commit goes through only as the version that its rows carry as
    `sequence`, so whoever comes second sees the first one's rows before trying again. What each run
    came to stands in a table beside the results (`runlog.py`), so that neither finding a run nor
    counting runs reads results.
    """

    def __init__(self, address: str | Path, options: Mapping[str, str] | None = None) -> None:
        self._address = str(address)
        self._delta = Delta(self._address, SCHEMA, options or {}, ["repository"])
        self._log = RunLog(self._address, options or {})

    @property
    def version(self) -> int:
        """Version of the last commit; -1 where nothing was stored yet."""
        table = self._delta.open()
        return -1 if table is None else int(table.version())

    def append(self, runs: Sequence[TestRun | RunRows]) -> int:
        """Store the runs that are not there yet, at once or not at all; how many were new.

        A run is known by repository, run id, attempt and shard. Runs without results leave no
        rows. Raises BadStore, or Busy where other writers never let this one through.
        """
        return len(self.append_new(runs))

    def append_new(self, runs: Sequence[TestRun | RunRows]) -> frozenset[RunKey]:
        """The same; which ones were new."""
        rows = [as_rows(run) for run in runs]
        rows = list({key_of(run.run): run for run in reversed(rows)}.values())[::-1]
        rows = [run for run in rows if len(run)]
        for attempt in range(_TRIES):
            table = self._delta.ready()
            log = self._log.covered()
            known = self._known(table, log, rows)
            fresh = [run for run in rows if key_of(run.run) not in known]
            if not fresh:
                return frozenset()
            frame = to_frame(fresh, sequence=table.version() + 1)
            behind = _newest(table) > log.upto
            if self._delta.commit(table, frame):
                self._enter(log, frame, behind)
                if table.version() % _COMPACT_EVERY == 0:
                    self.compact(_SMALL)
                return frozenset(key_of(run.run) for run in fresh)
            time.sleep(random.uniform(0, 0.01 * min(attempt + 1, 20)))
        raise Busy(
            f"Other processes kept writing to {self._address}.", "Nothing was lost: try again."
        )

    def scan(self, repository: str | None = None) -> pl.LazyFrame:
        """The table, lazily; columns as in `rows.SCHEMA`."""
        frame = self._delta.frame(self._delta.open())
        return frame if repository is None else frame.filter(pl.col("repository") == repository)

    def runs(self, repository: str | None = None) -> pl.LazyFrame:
        """A row a run, lazily, results merged; columns as in `runlog.RUNS`."""
        table = self._delta.open()
        if table is None:
            return pl.LazyFrame(schema=RUNS)
        log = self._log.covered()
        frame = self._log.frame(log)
        if _newest(table) > log.upto:  # a writer was killed before it entered its runs
            with self._delta.honest():
                late = self._delta.frame(table).filter(pl.col("sequence") > log.upto).collect()
            frame = pl.concat([frame, runs_of(late).lazy()])
        return frame if repository is None else frame.filter(pl.col("repository") == repository)

    def daily(self, repository: str | None = None) -> pl.DataFrame:
        """Runs, failures, flaky tests and seconds by day; columns as `runlog.daily` says."""
        with self._delta.honest():
            return daily(self.runs(repository))

    def events(self, repository: str, after: int = -1) -> Iterator[TestRun]:
        """Runs received after lake version `after`, in the order they were received."""
        for rows in self._rows(repository, after, list(SCHEMA)):
            for _, run in to_runs(rows):
                yield run

    def unit_runs(self, repository: str, after: int = -1) -> Iterator[UnitRun]:
        """The same events as the fold takes them; far faster where there are many."""
        for rows in self._rows(repository, after, list(FOLDED)):
            with self._delta.honest():
                folded = list(to_unit_runs(rows))
            yield from folded

    def held(self, keys: Collection[RunKey]) -> dict[RunKey, RunRows]:
        """Those of the runs that are stored, by column as they were stored; read in one go."""
        wanted = pl.DataFrame(list(keys), schema={n: SCHEMA[n] for n in _KEY}, orient="row")
        asked = [pl.col(name).is_in(wanted[name].unique().to_list()) for name in _KEY[:2]]
        with self._delta.honest():
            log = self.runs().filter(*asked).select(*_KEY, "sequence").collect()
            places = log.join(wanted, on=_KEY, nulls_equal=True)["sequence"].unique().to_list()
            rows = self.scan().filter(*asked, pl.col("sequence").is_in(places)).collect()
        rows = rows.join(wanted, on=_KEY, how="semi", nulls_equal=True).sort(*ORDER)
        found: dict[RunKey, RunRows] = {}
        for part in rows.partition_by(*EVENT, maintain_order=True):
            _, run = next(to_runs(part.head(1)))
            found[key_of(run)] = RunRows(run, {name: part[name].to_list() for name in OWN})
        return found

    def tombstones(self) -> tuple[Tombstone, ...]:
        """What was deleted from it for good, earliest first."""
        table = self._delta.open()
        with self._delta.honest():
            return () if table is None else standing(table)

    def compact(self, target: int | None = None) -> int:
        """Join files of less than `target` bytes (default: some 100 MB); how many files are left.

        Order and versions of rows stay.
        Files that no version of the last week needs, those of killed writers included, are removed.
        """
        self._log.compact(target)
        return self._delta.compact(target)

    def sync(self) -> None:
        """Force every commit so far to disk, whoever made it: it then survives a power cut.

        Delta Lake leaves that to the system. An object store acknowledges nothing less anyway.
        """
        if "://" in self._address:
            return
        with self._delta.honest():
            for folder in (Path(self._address), Path(self._address, FOLDER)):
                sync_table(folder)

    def _rows(self, repository: str, after: int, columns: list[str]) -> Iterator[pl.DataFrame]:
        """The rows received after `after` in ORDER, whole runs at a time."""
        for first, last in self._windows(repository, after):
            with self._delta.honest():
                frame = self.scan(repository).filter(pl.col("sequence").is_between(first, last))
                yield frame.select(columns).sort(*ORDER).collect()

    def _windows(self, repository: str, after: int) -> list[tuple[int, int]]:
        """Ranges of versions, both ends included, none with many more rows than `_AT_ONCE`."""
        with self._delta.honest():
            sizes = (
                self.runs(repository)
                .filter(pl.col("sequence") > after)
                .group_by("sequence")
                .agg(pl.col("results").sum())
                .sort("sequence")
                .collect()
            )
        windows: list[tuple[int, int]] = []
        held = 0
        for sequence, rows in sizes.iter_rows():
            if windows and held + rows <= _AT_ONCE:
                windows[-1] = (windows[-1][0], sequence)
                held += rows
            else:
                windows.append((sequence, sequence))
                held = rows
        return windows

    def _known(self, table: DeltaTable, log: Covered, runs: Sequence[RunRows]) -> set[RunKey]:
        """Which of the runs the results hold already: by the log, and beyond it by themselves."""
        ids = list({rows.run.run_id for rows in runs})
        repositories = list({rows.run.repository for rows in runs})
        asked = pl.col("repository").is_in(repositories), pl.col("run_id").is_in(ids)
        with self._delta.honest():
            found = self._log.frame(log).filter(*asked).select(_KEY).collect()
            if _newest(table) > log.upto:
                late = self._delta.frame(table).filter(*asked, pl.col("sequence") > log.upto)
                found = pl.concat([found, late.select(_KEY).unique().collect()])
        return set(found.iter_rows())

    def _enter(self, log: Covered, frame: pl.DataFrame, behind: bool) -> None:
        """Bring the log up to what was just committed. What fails here, the next append mends."""
        with suppress(BadStore):
            if behind:
                late = pl.col("sequence") > log.upto
                frame = self._delta.frame(self._delta.open()).filter(late).collect()
            self._log.add(log, frame)


def _newest(table: DeltaTable) -> int:
    """Greatest `sequence` in the results, by the table's own statistics: no file is read."""
    actions = table.get_add_actions(flatten=True)
    if "max.sequence" not in actions.schema.names:
        return -1
    found = pl.Series(actions["max.sequence"].to_pylist(), dtype=pl.Int64).max()
    return -1 if found is None else int(str(found))
