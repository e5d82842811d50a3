"""The nouns that every stage passes on: frozen records without logic beyond their own spelling."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

MODULE_LEVEL = "<module>"
"""Qualified name of a file's module-level code (class bodies outside methods included)."""


@dataclass(frozen=True, slots=True, order=True)
class TestId:
    """One test of one runner. `str()` gives pytest's node id; `unit` leaves the parameters out."""

    __test__ = False  # pytest must not collect a record whose name starts with "Test"

    file: str
    classes: tuple[str, ...]
    name: str
    parameters: str | None = None
    runner: str = "pytest"

    @property
    def unit(self) -> str:
        """The unit of selection: the test function with its parameters merged."""
        return "::".join(part for part in (self.file, *self.classes, self.name) if part)

    def __str__(self) -> str:
        return self.unit if self.parameters is None else f"{self.unit}[{self.parameters}]"

    @classmethod
    def parse(cls, node_id: str, runner: str = "pytest") -> TestId:
        """Read a pytest node id. `::`, spaces and brackets may stand inside the parameters."""
        head, bracket, rest = node_id.partition("[")
        # A bracket may stand in a directory name: parameters begin after the last part's name.
        while bracket and "::" not in head and "::" in rest:
            more, bracket, tail = rest.partition("[")
            head, rest = f"{head}[{more}", tail
        parameters = rest.removesuffix("]") if bracket else None
        file, *parts = head.split("::")
        name = parts.pop() if parts else ""
        return cls(file, tuple(parts), name, parameters, runner)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Where a run took place: results of different configurations are never merged silently."""

    os: str
    python: str
    """Major and minor version: 3.11."""
    flags: tuple[str, ...] = ()
    """What else tells runs apart (a database, a build); only a caller that knows it sets it."""

    @property
    def key(self) -> str:
        return "/".join((self.os, self.python, *self.flags))


class FileStatus(StrEnum):
    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    RENAMED = "renamed"
    COPIED = "copied"
    MODE = "mode"
    TYPE = "type"
    SUBMODULE = "submodule"
    UNMERGED = "unmerged"


@dataclass(frozen=True, slots=True, order=True)
class Symbol:
    """A named piece of code: `file::Class.method`, or `file::<module>` for what runs at import.

    Nested functions and lambdas belong to the outermost function or method that holds them.
    """

    file: str
    qualname: str

    def __str__(self) -> str:
        return f"{self.file}::{self.qualname}"

    @classmethod
    def parse(cls, text: str) -> Symbol:
        file, _, qualname = text.partition("::")
        return cls(file, qualname)


@dataclass(frozen=True, slots=True)
class Hunk:
    """One hunk of a unified diff; line numbers are 1-based, lines come without their prefix."""

    old_start: int
    old_lines: int
    new_start: int
    new_lines: int
    removed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileChange:
    """What happened to one file between base and head."""

    path: str
    status: FileStatus
    old_path: str | None = None
    binary: bool = False
    hunks: tuple[Hunk, ...] = ()
    touched: tuple[Symbol, ...] = ()
    """Symbols whose text changed, on the old side by the old path's name where it was renamed."""
    names_set: tuple[str, ...] = ()
    """Names and attributes that the changed module-level lines bind: tables, constants, ..."""


@dataclass(frozen=True, slots=True)
class Change:
    """A difference between two states of a repository. `head` is None for the uncommitted tree."""

    repository: str
    base: str
    head: str | None
    files: tuple[FileChange, ...]

    @property
    def paths(self) -> frozenset[str]:
        """Every path that the change names, old names of renamed files included."""
        old = {f.old_path for f in self.files if f.old_path}
        return frozenset({f.path for f in self.files} | old)


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    XPASSED = "xpassed"

    @property
    def bad(self) -> bool:
        return self in (Outcome.FAILED, Outcome.ERROR)


@dataclass(frozen=True, slots=True)
class TestResult:
    """One attempt of one test."""

    __test__ = False

    test: TestId
    outcome: Outcome
    seconds: float | None
    attempt: int = 1
    fingerprint: str | None = None
    """Hash of the failure's type and place, stable across runs; None where nothing failed."""
    inclusion: float = 1.0
    """Probability with which this test was in the run; 1.0 where it was certain to run."""


class Source(StrEnum):
    """Where a run's labels come from."""

    RECORDED = "recorded"
    FAULT = "fault"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class TestRun:
    """A set of results on one state of the code."""

    __test__ = False

    run_id: str
    repository: str
    commit: str | None
    configuration: Configuration
    occurred_at: datetime
    received_at: datetime
    results: tuple[TestResult, ...]
    source: Source = Source.RECORDED
    attempt: int = 1
    shard: str | None = None
    decision_id: str | None = None
    complete: bool = True
    """False where the process ended early: tests without a result are then unknown, not passed."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may run. At most one of the two is set; neither means no limit."""

    share: float | None = None
    """Share of the suite's predicted time, 0..1."""
    seconds: float | None = None


class Why(StrEnum):
    """Why a test is in a selection (the first that applies) or left out."""

    CHANGED = "changed"
    NEW = "new"
    MUST_RUN = "must_run"
    RECENTLY_FAILED = "recently_failed"
    SCORE = "score"
    WIDENED = "widened"
    EXPLORED = "explored"
    RUN_ALL = "run_all"
    OVER_BUDGET = "over_budget"
    OTHER_SHARD = "other_shard"


@dataclass(frozen=True, slots=True)
class Choice:
    """One test of a selection: its place is its index in the tuple that holds it."""

    test: str
    why: Why
    score: float
    seconds: float
    inclusion: float
    reason: str = ""
    """A short sentence in the user's words."""
    likelihood: float | None = None
    """P(the test fails | the change breaks something), 0..1; None where nothing tells it."""
    seconds_high: float | None = None
    """What it stays below in nine runs of ten; None where no run was recorded."""

    @property
    def seconds_counted(self) -> float:
        """What it takes of a budget in seconds, which has to hold."""
        return self.seconds if self.seconds_high is None else self.seconds_high


class Basis(StrEnum):
    """What a promise was calibrated on."""

    OWN = "own"
    """Past changes of the repository itself."""
    POOLED = "pooled"
    """Other repositories."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Promise:
    """What share of faulty changes a selection catches; levels are 0..1."""

    asked: float
    made: float
    """What was asked, less under a budget; 1 where nothing rests, 0 if unknown or nothing runs."""
    basis: Basis
    groups: int
    """Commits or repositories that were calibrated on."""
    threshold: float | None = None
    """Tests of at least this score run; None: the level asked for needs all of them."""
    cut: bool = False
    """Whether a budget left out tests that the level asked for needs."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The answer: what runs, in which order, with reasons; what rests; what was widened and why."""

    decision_id: str
    repository: str
    base: str
    head: str | None
    chosen: tuple[Choice, ...]
    rest: tuple[Choice, ...]
    run_all: bool = False
    """True where everything runs: asked for, or because selection failed open."""
    notices: tuple[str, ...] = ()
    """What was widened, refused or unknown, each a sentence that may be printed."""
    budget: Budget = field(default_factory=Budget)
    bundle: str = ""
    """Digest of the bundle that decided; empty where none was at hand."""
    state: str = ""
    """What was judged: the commit, and a digest of what was not committed; empty = unknown."""
    promise: Promise | None = None
    """None where none was asked for."""

    @property
    def chosen_seconds(self) -> float:
        return sum(c.seconds for c in self.chosen)

    @property
    def chosen_seconds_high(self) -> float | None:
        """Seconds of a run in which every test takes its p90; None where those are unknown.

        That is the p90 of the run where tests are slow together, as on a busy machine, and more
        than it where they are slow apart.
        """
        high = [c.seconds_high for c in self.chosen if c.seconds_high is not None]
        return sum(high) if high and len(high) == len(self.chosen) else None

    @property
    def suite_seconds(self) -> float:
        return self.chosen_seconds + sum(c.seconds for c in self.rest)
