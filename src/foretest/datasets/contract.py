"""What a reader of a data set gives: runs for the lake, and facts that are no runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from foretest.records import TestRun

if TYPE_CHECKING:
    import polars as pl

    from foretest.datasets.privacy import Pseudonyms
    from foretest.datasets.quality import Ledger

READERS = {
    "coleman": "coleman",
    "flakeflagger": "flakeflagger",
    "gitbug-java": "gitbug_java",
    "pytorch": "pytorch",
    "rtptorrent": "rtptorrent",
    "idoft": "idoft",
    "bugsinpy": "bugsinpy",
}
"""Sets that can be imported, each with the module that reads it."""

BATCH = 50_000
"""Rows that a reader holds at once, about: what bounds the memory of an import."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Rows that are no results of a run: counts, times by week, bugs.

    Every table has a column `repository`, so that what belongs to one can be deleted for good.
    """

    table: str
    rows: pl.DataFrame


class Reader(Protocol):
    """A module of this room."""

    DOCUMENTED: bool
    """True where the reader was written from the set's documentation and never met its files."""

    def files(self, path: Path) -> list[Path]:
        """The files of the set below `path`, in a fixed order; empty where there are none."""
        ...

    def read(self, path: Path, ledger: Ledger, people: Pseudonyms) -> Iterator[TestRun | Facts]:
        """Everything in the files, in batches; what is odd is entered in the ledger.

        Raises BadReport for a file that is not one of the set.
        """
        ...


def repository_of(name: str, project: str) -> str:
    """The key under which a project of a set lies in the lake."""
    return f"dataset:{name}/{project}"
