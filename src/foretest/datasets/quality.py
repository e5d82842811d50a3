"""The data-quality report of an import: what was odd, how often, with examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from foretest.durable import write_text
from foretest.results.normalise import LONGEST

EXAMPLES = 3
FOLDER = "quality"
"""Under the state directory, beside the lake."""
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)


class Flaw(StrEnum):
    """Kinds of oddities; the value is what the report calls them."""

    DUPLICATES = "duplicates"
    CONTRADICTIONS = "duplicates that contradict"
    MISSING_DURATIONS = "missing durations"
    ZERO_DURATIONS = "durations of zero"
    MISSING_TIMES = "missing times"
    IMPOSSIBLE = "impossible values"
    GLUED = "glued lines"
    UNREADABLE = "unreadable lines"
    DAMAGED = "unreadable files"
    CLOCK_SKEW = "clock skew"
    RENAMES = "renames (one name in two spellings)"
    ALWAYS_FAILING = "always-failing tests"
    ADDRESSES = "e-mail addresses hashed"


@dataclass(frozen=True, slots=True)
class Finding:
    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quality:
    """What one import met and what it stored."""

    name: str
    edition: str
    """Digest of the files: the same edition is stored once."""
    documented: bool
    """True: the reader was written from documentation and never met the real files."""
    versions: Mapping[str, int]
    """Version of the lake and of each table of facts in which the set stands."""
    rows: int
    runs: int
    results: int
    facts: Mapping[str, int]
    """Rows by table of facts."""
    new_runs: int
    new_facts: int
    tests: int
    flaws: Mapping[str, Finding] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """The report as a table for people."""
        versions = ", ".join(f"{table} version {n}" for table, n in self.versions.items())
        head = [
            f"{self.name}, edition {self.edition}: {versions}",
            f"  {self.rows:,} rows read: {self.runs:,} runs with {self.results:,} results"
            f" ({self.new_runs:,} runs new), {self.tests:,} tests",
        ]
        head += [f"  {n:,} facts in '{table}'" for table, n in self.facts.items()]
        if self.facts:
            head.append(f"  {self.new_facts:,} facts new")
        if self.documented:
            head.append("  The reader was written from the set's documentation alone.")
        width = max(len(flaw.value) for flaw in Flaw)
        for flaw in Flaw:
            finding = self.flaws.get(flaw.value, Finding(0))
            example = f"  {finding.examples[0]}" if finding.examples else ""
            head.append(f"  {flaw.value:<{width}}  {finding.count:>9,}{example}")
        return head

    def write(self, state: Path) -> Path:
        """Store the report beside the lake; that of an import which stored nothing new is kept."""
        path = state / FOLDER / f"{self.name}-{self.edition}.json"
        if self.new_runs or self.new_facts or not path.exists():
            write_text(path, json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n")
        return path


class Ledger:
    """Counts oddities while a set is read; its memory grows with the number of tests alone."""

    def __init__(self) -> None:
        self.rows = 0
        self._counts: dict[Flaw, int] = {}
        self._examples: dict[Flaw, list[str]] = {}
        self._tests: dict[tuple[str, str], list[int]] = {}

    def note(self, flaw: Flaw, example: str = "", count: int = 1) -> None:
        """Enter `count` oddities, one of which is the example."""
        if count <= 0:
            return
        self._counts[flaw] = self._counts.get(flaw, 0) + count
        kept = self._examples.setdefault(flaw, [])
        if example and len(kept) < EXAMPLES and example not in kept:
            kept.append(example)

    def duration(self, seconds: float | None, example: str) -> float | None:
        """The duration as it may be stored; what is odd about it is entered."""
        if seconds is None:
            self.note(Flaw.MISSING_DURATIONS, example)
        elif not 0 <= seconds < LONGEST:
            self.note(Flaw.IMPOSSIBLE, f"{example} took {seconds} s")
            return None
        elif seconds == 0:
            self.note(Flaw.ZERO_DURATIONS, example)
        return seconds

    def moment(self, when: datetime, example: str) -> None:
        """Enter a moment that cannot be: before 1990, or in the future."""
        if when < _EARLIEST or when > datetime.now(UTC):
            self.note(Flaw.CLOCK_SKEW, f"{example} at {when.isoformat()}")

    def saw(self, repository: str, test: str, *, passed: int = 0, failed: int = 0) -> None:
        """Remember a test's results: who only ever fails is told at the end."""
        tally = self._tests.setdefault((repository, test), [0, 0])
        tally[0] += passed
        tally[1] += failed

    @property
    def tests(self) -> int:
        return len(self._tests)

    def findings(self) -> dict[str, Finding]:
        """What was entered, with what only the whole set shows. Call it once, at the end."""
        for (_, test), (passed, failed) in self._tests.items():
            if failed > 1 and not passed:
                self.note(Flaw.ALWAYS_FAILING, f"{test} failed {failed:,} of {failed:,}")
        self._renames()
        return {
            flaw.value: Finding(count, tuple(self._examples[flaw]))
            for flaw, count in self._counts.items()
        }

    def _renames(self) -> None:
        """One test under several spellings of its name, such as `a.b` and `a/b`."""
        spellings: dict[tuple[str, str], str] = {}
        for repository, test in self._tests:
            key = repository, test.replace(".", "/").lower()
            other = spellings.setdefault(key, test)
            if other != test:
                self.note(Flaw.RENAMES, f"{other} is also {test}")
