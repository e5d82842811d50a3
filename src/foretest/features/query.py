"""What a change asks of the evidence: symbols, names, words and paths, without its text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from foretest.changes.layout import is_test_file, is_test_module
from foretest.changes.words import words
from foretest.evidence.store import EvidenceStore
from foretest.features.paths import files_of
from foretest.records import MODULE_LEVEL, Change, FileStatus, Symbol


class ChangedFile(Protocol):
    """A file of a diff or of a past case; both carry the same facts."""

    @property
    def path(self) -> str: ...
    @property
    def status(self) -> FileStatus: ...
    @property
    def old_path(self) -> str | None: ...
    @property
    def binary(self) -> bool: ...
    @property
    def touched(self) -> tuple[Symbol, ...]: ...
    @property
    def names_set(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One changed file, without its text."""

    path: str
    status: FileStatus = FileStatus.MODIFIED
    old_path: str | None = None
    binary: bool = False
    touched: tuple[Symbol, ...] = ()
    names_set: tuple[str, ...] = ()

    @property
    def known_as(self) -> str:
        """The path under which evidence from before the change knows the file."""
        return self.old_path if self.old_path and self.status is FileStatus.RENAMED else self.path


@dataclass(frozen=True, slots=True)
class Query:
    """A change as the features see it; made from a diff, or from the facts of a past case."""

    files: tuple[FileFacts, ...] = ()
    removed: Mapping[str, float] = field(default_factory=dict)
    """Words of the removed lines outside tests, and how often each occurs."""
    added: Mapping[str, float] = field(default_factory=dict)

    @property
    def touched(self) -> tuple[Symbol, ...]:
        """Changed symbols, each once, without the bodies of tests: those tests run anyway."""
        symbols = dict.fromkeys(symbol for file in self.files for symbol in file.touched)
        return tuple(symbol for symbol in symbols if unit_of(symbol) is None)

    @property
    def names_set(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for file in self.files for name in file.names_set))

    @property
    def sources(self) -> tuple[str, ...]:
        """Changed files that are not test modules, as the evidence knows them."""
        return tuple(f.known_as for f in self.files if not is_test_module(f.known_as))


def query_of(change: Change) -> Query:
    """The query of a change read from git."""
    removed: Counter[str] = Counter()
    added: Counter[str] = Counter()
    for file in change.files:
        # Tests share words with tests: their lines would draw every neighbour in.
        if not is_test_file(file.path):
            for hunk in file.hunks:
                removed.update(_words(hunk.removed))
                added.update(_words(hunk.added))
    return Query(tuple(_facts(file) for file in change.files), dict(removed), dict(added))


def query_of_facts(
    files: Iterable[ChangedFile], removed: Mapping[str, float], added: Mapping[str, float]
) -> Query:
    """The query of a past case, whose text is gone and whose facts remain."""
    return Query(tuple(_facts(file) for file in files), dict(removed), dict(added))


def unit_of(symbol: Symbol) -> str | None:
    """The test unit whose body a symbol is, None where it is not a test.

    >>> unit_of(Symbol("tests/test_a.py", "TestX.test_y"))
    'tests/test_a.py::TestX::test_y'
    """
    parts = symbol.qualname.split(".")
    if symbol.qualname == MODULE_LEVEL or not is_test_file(symbol.file):
        return None
    return "::".join((symbol.file, *parts)) if parts[-1].startswith("test") else None


def is_shared_body(symbol: Symbol, store: EvidenceStore) -> bool:
    """Whether a body with a test's name is code that tests share: its class is no test itself."""
    unit = unit_of(symbol)
    if unit is None or unit in store.test_index:
        return False
    if str(symbol) in store.symbol_index:
        return True
    # A test that is new, or a base class that the evidence never saw: runners' names tell.
    return not is_test_module(symbol.file) and symbol.file not in files_of(store.tests)[0]


def code_of(query: Query, store: EvidenceStore) -> tuple[Symbol, ...]:
    """Changed symbols that evidence can speak of: all but the bodies of tests that run anyway."""
    bodies = dict.fromkeys(symbol for file in query.files for symbol in file.touched)
    return (*query.touched, *(symbol for symbol in bodies if is_shared_body(symbol, store)))


def _facts(file: ChangedFile) -> FileFacts:
    return FileFacts(
        file.path, file.status, file.old_path, file.binary, file.touched, file.names_set
    )


def _words(lines: Sequence[str]) -> list[str]:
    return words("\n".join(lines))
