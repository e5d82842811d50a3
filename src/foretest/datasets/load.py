"""Imports a public data set: runs into the lake, facts beside it, and a report on its quality."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import polars as pl

from foretest.config import Config
from foretest.datasets.contract import BATCH, READERS, Facts, Reader
from foretest.datasets.privacy import Pseudonyms, read_key
from foretest.datasets.quality import Finding, Flaw, Ledger, Quality
from foretest.durable import lock
from foretest.engine import ensure_state
from foretest.errors import BadReport
from foretest.history.lake import Lake
from foretest.history.shelf import FOLDER, Shelf
from foretest.records import TestId, TestResult, TestRun
from foretest.results.normalise import clean

_READ_AT_ONCE = 1 << 20

Progress = Callable[..., None]
"""Called with a stage, what is done and the whole."""


def import_set(
    config: Config, name: str, path: Path | None = None, progress: Progress = lambda *_: None
) -> Quality:
    """Read the set `name` at `path` (default: its folder below the setting `datasets`).

    Idempotent: what the lake holds already is not stored again, and an import that was killed is
    finished by the next one. Memory is bounded by a batch of rows and the number of tests. Raises
    BadReport where the path holds nothing of the set, BadStore where the lake cannot be written.
    """
    reader = cast(Reader, importlib.import_module(f"foretest.datasets.{READERS[name]}"))
    path = path or Path(config.datasets or ".") / name
    found = reader.files(path) if path.exists() else []
    if not found:
        raise BadReport(
            f"{path} holds nothing of the set '{name}'.",
            f"Download it, then `foretest import {name} PATH`; see docs/datasets.md.",
        )
    ensure_state(config)
    ledger, people = Ledger(), Pseudonyms(read_key(config.state))
    with lock(config.state / "import.lock"):
        edition = digest(found)
        stored = _Intake(config, edition, people)
        for item in reader.read(path, ledger, people):
            stored.take(item)
            progress(f"Importing {name}", ledger.rows, 0, f"{ledger.rows:,} rows")
        stored.flush()
        ledger.note(Flaw.ADDRESSES, count=people.replaced)
        quality = Quality(
            name=name,
            edition=edition,
            documented=reader.DOCUMENTED,
            versions=stored.versions(),
            rows=ledger.rows,
            runs=stored.runs,
            results=stored.results,
            facts=stored.facts,
            new_runs=stored.new_runs,
            new_facts=stored.new_facts,
            tests=ledger.tests,
            flaws={
                flaw: Finding(found.count, tuple(map(people.scrub, found.examples)))
                for flaw, found in ledger.findings().items()
            },
        )
        quality.write(config.state)
    return quality


def digest(files: Sequence[Path]) -> str:
    """What tells one edition of a set from another: a hash of names and contents.

    Names are relative to the folder that holds all the files: it is the same set by whichever
    spelling of its path it was given.
    """
    whole = hashlib.sha256()
    files = [file.absolute() for file in files]
    top = os.path.commonpath([file.parent for file in files])
    for file in files:
        name = file.relative_to(top)
        whole.update(f"{name}\0{file.stat().st_size}\0".encode("utf-8", "backslashreplace"))
        try:
            with file.open("rb") as content:
                while chunk := content.read(_READ_AT_ONCE):
                    whole.update(chunk)
        except OSError as error:
            raise BadReport(f"{file} cannot be read: {error.strerror}.", "Check it.") from error
    return whole.hexdigest()[:16]


class _Intake:
    """Gathers runs and facts into batches of bounded size and stores them.

    The one place where people are taken out: whatever a reader gives passes here.
    """

    def __init__(self, config: Config, edition: str, people: Pseudonyms) -> None:
        self.lake = Lake(config.state / "lake")
        self.runs = self.results = self.new_runs = self.new_facts = 0
        self.facts: dict[str, int] = {}
        self._shelf = Shelf(config.state / FOLDER)
        self._edition = edition
        self._people = people
        self._waiting: list[TestRun] = []
        self._held = 0
        self._tables: dict[str, list[pl.DataFrame]] = {}
        self._parts: dict[str, int] = {}

    def take(self, item: TestRun | Facts) -> None:
        if isinstance(item, Facts):
            self.facts[item.table] = self.facts.get(item.table, 0) + item.rows.height
            held = self._tables.setdefault(item.table, [])
            held.append(self._nameless_rows(item.rows))
            if sum(rows.height for rows in held) >= BATCH:
                self._shelve(item.table)
            return
        run = clean(self._nameless_run(item))
        self.runs += 1
        self.results += len(run.results)
        self._waiting.append(run)
        self._held += len(run.results)
        if self._held >= BATCH:
            self._append()

    def flush(self) -> None:
        """Store what still waits."""
        self._append()
        for table in [table for table, held in self._tables.items() if held]:
            self._shelve(table)

    def versions(self) -> dict[str, int]:
        """Where the set stands now: in which version of which table."""
        lake = {"lake": self.lake.version} if self.runs else {}
        return lake | {table: self._shelf.version(table) for table in self.facts}

    def _nameless_rows(self, rows: pl.DataFrame) -> pl.DataFrame:
        scrub = self._people.scrub
        return rows.with_columns(
            pl.Series(texts.name, [text and scrub(text) for text in texts], pl.String)
            for texts in rows.select(pl.col(pl.String)).iter_columns()
            if texts.str.contains("@", literal=True).any()
        )

    def _nameless_run(self, run: TestRun) -> TestRun:
        scrub, place = self._people.scrub, run.configuration
        return replace(
            run,
            run_id=scrub(run.run_id),
            repository=scrub(run.repository),
            commit=run.commit and scrub(run.commit),
            shard=run.shard and scrub(run.shard),
            configuration=replace(place, flags=tuple(map(scrub, place.flags))),
            results=tuple(map(self._nameless_result, run.results)),
        )

    def _nameless_result(self, result: TestResult) -> TestResult:
        test, scrub = result.test, self._people.scrub
        if "@" not in str(test):
            return result
        parameters = test.parameters and scrub(test.parameters)
        classes = tuple(map(scrub, test.classes))
        named = TestId(scrub(test.file), classes, scrub(test.name), parameters, test.runner)
        return replace(result, test=named)

    def _append(self) -> None:
        if self._waiting:
            self.new_runs += self.lake.append(self._waiting)
        self._waiting, self._held = [], 0

    def _shelve(self, table: str) -> None:
        rows = pl.concat(self._tables[table])
        part = self._parts[table] = self._parts.get(table, 0) + 1
        self.new_facts += self._shelf.add(table, rows, self._edition, part)
        self._tables[table] = []
