"""A case: one change with the tests that it breaks; facts alone, so that it outlives the code."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from types import UnionType
from typing import Any

from foretest.changes.layout import is_test_file
from foretest.changes.words import words
from foretest.records import Change, FileStatus, Source, Symbol

NONE_FAILED = "none-failed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A change worth trying at `commit`: its patch, taken back there, gives the faulty code."""

    case_id: str
    source: Source
    commit: str
    patch: bytes
    undone_commit: str | None = None
    hunk: int | None = None
    """Which hunk of the undone commit's source part; None for all of them."""
    author_time: int = 0
    modified_tests: tuple[str, ...] = ()
    added_tests: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()
    """Operators of an injected fault, with the symbols that they edit."""


@dataclass(frozen=True, slots=True)
class CaseFile:
    """One file that a case changes."""

    path: str
    status: FileStatus
    old_path: str | None = None
    binary: bool = False
    touched: tuple[Symbol, ...] = ()
    names_set: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """What one change did to the suite of `commit`; one line of `cases.jsonl`."""

    case_id: str
    repository: str
    source: Source
    commit: str
    files: tuple[CaseFile, ...]
    undone_commit: str | None = None
    hunk: int | None = None
    author_time: int = 0
    removed: Mapping[str, int] = field(default_factory=dict)
    """Words of the removed lines outside tests, and how often each occurs."""
    added: Mapping[str, int] = field(default_factory=dict)
    hunks: int = 0
    lines_removed: int = 0
    lines_added: int = 0
    failed: tuple[str, ...] = ()
    """Units that fail with the case, twice of two, and not without it."""
    broken: str = ""
    """`collection`, `import`, `timeout`, `crash`, `none-failed`, or empty: clean failures."""
    modified_tests: tuple[str, ...] = ()
    """Units that the undone commit modified itself, by body, as they are called at `commit`."""
    added_tests: tuple[str, ...] = ()
    ran: Mapping[str, float] | None = None
    """Inclusion probability of each unit that ran; None where all ran."""
    seconds: float = 0.0
    edits: tuple[str, ...] = ()

    @property
    def faulty(self) -> bool:
        """True where tests failed without breaking collection: the cases that count."""
        return bool(self.failed) and not self.broken

    @property
    def untouched(self) -> tuple[str, ...]:
        """Failed units that the undone commit neither modified nor added."""
        own = {*self.modified_tests, *self.added_tests}
        return tuple(unit for unit in self.failed if unit not in own)

    def to_line(self) -> str:
        """One line of JSON, newline included."""
        record = asdict(self)
        for file in record["files"]:
            file["touched"] = [f"{s['file']}::{s['qualname']}" for s in file["touched"]]
        return json.dumps(record, separators=(",", ":"), ensure_ascii=True) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> Case:
        """Read `to_line`'s JSON; raises ValueError, KeyError or TypeError for anything else."""
        record: dict[str, Any] = json.loads(line)
        if not isinstance(record, dict):
            raise ValueError("a case is an object")
        wrong = [name for name, kind in _KINDS.items() if not isinstance(record[name], kind)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: of another kind")
        files = tuple(_file(file) for file in record.pop("files"))
        lists = {k: tuple(v) for k, v in record.items() if isinstance(v, list)}
        return cls(**{**record, **lists, "source": Source(record["source"]), "files": files})


_KINDS: Mapping[str, type | UnionType] = {
    "case_id": str,
    "repository": str,
    "commit": str,
    "undone_commit": str | None,
    "author_time": int | float,
    "removed": dict,
    "added": dict,
    "failed": list,
    "broken": str,
    "modified_tests": list,
    "added_tests": list,
}
"""What judging relies on."""


def change_facts(change: Change) -> dict[str, Any]:
    """The part of a case that tells its change: files, words, counts."""
    removed: Counter[str] = Counter()
    added: Counter[str] = Counter()
    hunks = [(file.path, hunk) for file in change.files for hunk in file.hunks]
    for path, hunk in hunks:
        if not is_test_file(path):
            removed.update(words("\n".join(hunk.removed)))
            added.update(words("\n".join(hunk.added)))
    return {
        "files": tuple(
            CaseFile(f.path, f.status, f.old_path, f.binary, f.touched, f.names_set)
            for f in change.files
        ),
        "removed": dict(removed),
        "added": dict(added),
        "hunks": len(hunks),
        "lines_removed": sum(len(hunk.removed) for _, hunk in hunks),
        "lines_added": sum(len(hunk.added) for _, hunk in hunks),
    }


def sample_tests(
    evidence_suggested: Iterable[str], others: Iterable[str], rate: float, seed: int | str
) -> dict[str, float]:
    """Units to run and the probability with which each was included.

    What evidence suggests runs for certain; each other unit is drawn with probability `rate`,
    independently, so that failures that no evidence foresaw can be seen and weighted by 1 / rate.
    The same seed draws the same units, whatever the order in which they come.
    """
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"rate must lie within 0..1, not {rate}")
    chosen = dict.fromkeys(evidence_suggested, 1.0)
    for unit in others:
        if unit not in chosen and random.Random(f"{seed}:{unit}").random() < rate:
            chosen[unit] = rate
    return chosen


def _file(record: Mapping[str, Any]) -> CaseFile:
    return CaseFile(
        record["path"],
        FileStatus(record["status"]),
        record["old_path"],
        record["binary"],
        tuple(Symbol.parse(text) for text in record["touched"]),
        tuple(record["names_set"]),
    )
