"""The kept facts of the corpus: cases and evidence of each repository, read without its code."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from foretest import bundle as bundles
from foretest.errors import BadBundle, BadStore
from foretest.evidence.store import EvidenceStore
from foretest.lab.labels import Case
from foretest.replay.cases import trials_of
from foretest.replay.published.rankers import Lesson
from foretest.selection.policy import Freshness

FRESH, LAGGED = "fresh coverage", "lagged coverage"
UNREADABLE = (OSError, EOFError, zlib.error, AttributeError, KeyError, TypeError, ValueError)
"""What gzip, JSON and a case raise of a file that holds no facts, or half of them."""


def read_facts(facts: Path, name: str) -> Iterator[Case]:
    """The cases of a repository. Raises BadStore for a file that is cut off or holds others."""
    path = facts / f"{name}.jsonl.gz"
    try:
        with gzip.open(path, "rb") as lines:
            yield from map(Case.from_line, lines)
    except UNREADABLE as error:
        raise _damaged(path, error) from error


def kept_cases(facts: Path, name: str) -> bytes:
    """The file of a repository's cases as it is; nothing where there is none."""
    try:
        return (facts / f"{name}.jsonl.gz").read_bytes()
    except FileNotFoundError:
        return b""


def read_evidence(facts: Path, name: str, kind: str) -> tuple[EvidenceStore, Freshness] | None:
    """One kind of evidence of a repository and its age; None where it was not taken.

    Raises BadStore for a file that is damaged, or of another kind.
    """
    path = facts / f"{name}.{kind.split()[0]}.ftb"
    if not path.exists():
        return None
    try:
        bundle = bundles.read(path)
        ages, age = tuple(bundle.lineage["ages"]), bundle.lineage["age"]
    except (BadBundle, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    return bundle.store, Freshness(ages, age, is_ancestor=True)


def lessons_of(facts: Path, names: Iterable[str], kind: str) -> Iterator[tuple[Lesson, Freshness]]:
    """Each repository's trials with one kind of evidence, and the age of that evidence."""
    for name in names:
        if (evidence := read_evidence(facts, name, kind)) is not None:
            store, age = evidence
            # Lagged evidence, too, is about the code that was tried; its coverage alone is older.
            trials = trials_of(read_facts(facts, name), store.commit)
            yield Lesson(name, tuple(replace(t, repository=name) for t in trials), store), age


def names_in(facts: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Repositories with facts, in order; of those named if any are."""
    names = sorted(p.name.removesuffix(".jsonl.gz") for p in facts.glob("*.jsonl.gz"))
    return [name for name in names if not wanted or name in wanted]


def _damaged(path: Path, error: Exception) -> BadStore:
    return BadStore(
        f"{path} cannot be read as facts ({type(error).__name__}: {error}).",
        "Take it from the repository again, or: foretest platform corpus fetch",
    )
