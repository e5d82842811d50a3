"""The corpus in the lake: every fact under the version that trainings log, and back from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from foretest.durable import atomic_write
from foretest.errors import BadStore
from foretest.lab.labels import Case
from foretest.platform.corpus.facts import names_in, read_facts
from foretest.platform.tracking.lineage import digest_of

if TYPE_CHECKING:
    from foretest.history.shelf import Shelf

CASES, FAILURES, FILES = "corpus_cases", "corpus_failures", "corpus_files"
_CASES: Mapping[str, pl.DataType] = {
    "repository": pl.String(),
    "case_id": pl.String(),
    "source": pl.String(),
    "commit": pl.String(),
    "undone_commit": pl.String(),
    "author_time": pl.Int64(),
    "faulty": pl.Boolean(),
    "broken": pl.String(),
    "ran": pl.Int64(),
}
"""For questions about the corpus; `ran`: how many units ran, null for the whole suite."""
_FAILURES: Mapping[str, pl.DataType] = {
    "repository": pl.String(),
    "case_id": pl.String(),
    "unit": pl.String(),
    "untouched": pl.Boolean(),
}
"""Every failing row."""
_FILES: Mapping[str, pl.DataType] = {
    "repository": pl.String(),
    "name": pl.String(),
    "data": pl.Binary(),
}
"""What training reads: the files of facts as they are."""


@dataclass(frozen=True, slots=True)
class Published:
    """What one call brought."""

    version: str
    """The digest of the facts: trainings log it as `facts:<version>`."""
    repositories: int
    new: int
    """Repositories that were not stored under this version yet."""

    def sentence(self) -> str:
        return (
            f"Version {self.version}: {self.repositories} repositories, {self.new} of them new "
            "to the lake."
        )


def publish(facts: Path, shelf: Shelf) -> Published:
    """Store all facts; a call that was cut off is repeated. Raises BadStore, Busy."""
    version, names = digest_of(facts), names_in(facts)
    new = 0
    for part, name in enumerate(names):
        cases = list(read_facts(facts, name))
        shelf.add(CASES, _cases(name, cases), version, part)
        shelf.add(FAILURES, _failures(name, cases), version, part)
        new += bool(shelf.add(FILES, _files(facts, name), version, part))
    return Published(version, len(names), new)


def fetch(shelf: Shelf, version: str, facts: Path) -> list[str]:
    """Write the facts of a version, byte by byte as published; the names of its repositories.

    Raises BadStore where the lake has no such version, or not all of it.
    """
    rows = shelf.read(FILES, _FILES, version).collect()
    for row in rows.iter_rows(named=True):
        atomic_write(facts / Path(row["name"]).name, row["data"])
    if not rows.height or digest_of(facts) != version:
        raise BadStore(
            f"The lake does not hold all of version {version} of the corpus.",
            "Publish it once more, or name an empty folder to fetch into.",
        )
    return names_in(facts)


def _cases(name: str, cases: Sequence[Case]) -> pl.DataFrame:
    rows = [
        (
            *(name, case.case_id, case.source.value, case.commit, case.undone_commit),
            *(int(case.author_time), case.faulty, case.broken),
            None if case.ran is None else len(case.ran),
        )
        for case in cases
    ]
    return pl.DataFrame(rows, schema=dict(_CASES), orient="row")


def _failures(name: str, cases: Sequence[Case]) -> pl.DataFrame:
    rows = [
        (name, case.case_id, unit, unit in untouched)
        for case in cases
        for untouched in (frozenset(case.untouched),)
        for unit in case.failed
    ]
    return pl.DataFrame(rows, schema=dict(_FAILURES), orient="row")


def _files(facts: Path, name: str) -> pl.DataFrame:
    paths = [facts / f"{name}.jsonl.gz", *sorted(facts.glob(f"{name}.*.ftb"))]
    return pl.DataFrame(
        [(name, path.name, path.read_bytes()) for path in paths], schema=dict(_FILES), orient="row"
    )
