"""The evidence about one state of a repository, in arrays that share their numberings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretest.errors import BadBundle
from foretest.evidence.graph import SymbolGraph
from foretest.evidence.rows import Arrays, Bools, Ints, Longs, SparseRows
from foretest.evidence.text import TextIndex

UNKNOWN = -1
"""Coverage commit of a test whose coverage is not known: missing, never 0."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EvidenceStore:
    """What links each test to code. Read-only: a newer state is another store."""

    repository: str
    commit: str
    """The state that files, symbols, text, imports and graph describe."""
    created_at: float
    """Seconds since 1970."""
    tests: tuple[str, ...]
    """Units, e.g. tests/test_a.py::TestX::test_y."""
    symbols: tuple[str, ...]
    """`file::qualname`, `<module>` for module level; files stay together."""
    coverage: SparseRows
    """tests x symbols that the test entered."""
    import_time: Bools
    """Symbols that were entered at import or collection: bool[n_symbols]."""
    coverage_commit: Ints
    """Index into coverage_commits for each test, UNKNOWN where it has no coverage."""
    coverage_commits: tuple[str, ...]
    """Commits that coverage was taken at; an empty string where it was no clean commit."""
    text: TextIndex
    imports: SparseRows
    """tests x files, weight 1 / depth."""
    files: tuple[str, ...]
    """Source files known."""
    cochange: SparseRows
    """tests x files, weight 0..1."""
    graph: SymbolGraph
    test_symbols_digest: tuple[str, ...]
    """Digest of each test's own body, empty where its body was not found."""
    runs: Doubles
    failures: Doubles
    last_failed_at: Doubles
    """Seconds since 1970, NaN = never."""
    seconds: Doubles
    """What each test usually takes, NaN = unknown."""
    seconds_high: Doubles = field(default_factory=lambda: np.zeros(0))
    """What it takes at most in nine runs of ten, NaN = unknown."""
    past: Doubles = field(default_factory=lambda: np.zeros(0))
    """Points by past results alone (`models.prioritiser`), NaN = no run was recorded."""

    def __post_init__(self) -> None:
        for name in _LATER:
            if self.tests and not len(getattr(self, name)):
                object.__setattr__(self, name, np.full(len(self.tests), np.nan))

    @cached_property
    def test_index(self) -> dict[str, int]:
        return {test: i for i, test in enumerate(self.tests)}

    @cached_property
    def symbol_index(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    @cached_property
    def file_index(self) -> dict[str, int]:
        return {file: i for i, file in enumerate(self.files)}

    @cached_property
    def covering(self) -> SparseRows:
        """symbols x tests: who enters each symbol."""
        return self.coverage.transpose()

    @cached_property
    def entered(self) -> Longs:
        """How many tests enter each symbol: int64[n_symbols]."""
        return self.coverage.column_counts()

    @property
    def has_coverage(self) -> Bools:
        """bool[n_tests]; where False, nothing may be concluded from an empty row."""
        return np.not_equal(self.coverage_commit, UNKNOWN)

    def symbols_of_file(self, file: str) -> Longs:
        """Indices of the file's symbols, ascending."""
        return self._symbols_by_file.get(file, np.zeros(0, np.int64))

    @cached_property
    def _symbols_by_file(self) -> dict[str, Longs]:
        places: dict[str, list[int]] = {}
        for i, symbol in enumerate(self.symbols):
            places.setdefault(symbol.partition("::")[0], []).append(i)
        return {file: np.array(found, np.int64) for file, found in places.items()}

    def to_arrays(self) -> Arrays:
        """Every field by name: numpy arrays (numbers only) and lists of strings, nothing else.

        Rows, text and graph spread over several names, `coverage.indptr` for one. Single values
        stand in lists and arrays of one.
        """
        arrays: Arrays = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, SparseRows | TextIndex | SymbolGraph):
                arrays.update(value.to_arrays(each.name))
            elif isinstance(value, str):
                arrays[each.name] = [value]
            elif isinstance(value, float):
                arrays[each.name] = np.array([value], np.float64)
            else:
                arrays[each.name] = list(value) if isinstance(value, tuple) else value
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> EvidenceStore:
        """Undo `to_arrays`. Raises BadBundle where a part is missing or the parts do not fit."""
        try:
            parts: dict[str, Any] = {name: str(arrays[name][0]) for name in _TEXT}
            parts |= {name: tuple(arrays[name]) for name in _TEXTS}
            parts |= {name: SparseRows.from_arrays(arrays, name) for name in _ROWS}
            parts |= {name: np.asarray(arrays[name], kind) for name, kind in _NUMBERS.items()}
            parts |= {n: np.asarray(arrays[n], np.float64) for n in _LATER if n in arrays}
            parts["created_at"] = float(arrays["created_at"][0])
            parts["text"] = TextIndex.from_arrays(arrays, "text")
            parts["graph"] = SymbolGraph.from_arrays(arrays, "graph")
            store = cls(**parts)
            store.check()
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise BadBundle(
                f"The bundle's evidence is damaged: {error}.", "Run foretest learn again."
            ) from error
        return store

    def check(self) -> None:
        """Raise ValueError where two parts disagree about the number of tests, symbols or files."""
        tests, symbols, files = len(self.tests), len(self.symbols), len(self.files)
        names = len(self.graph.names)
        shapes = {
            "coverage": (self.coverage, (tests, symbols)),
            "imports": (self.imports, (tests, files)),
            "cochange": (self.cochange, (tests, files)),
            "graph.sets": (self.graph.sets, (symbols, names)),
            "graph.readers": (self.graph.readers, (names, symbols)),
            "text": (self.text.impacts, (len(self.text.words), tests)),
        }
        for name, (rows, shape) in shapes.items():
            if (rows.n_rows, rows.n_columns) != shape:
                raise ValueError(f"'{name}' has the wrong shape")
        per_test = ("coverage_commit", "test_symbols_digest", *_HISTORY, *_LATER)
        wrong = [name for name in per_test if len(getattr(self, name)) != tests]
        if len(self.import_time) != symbols:
            wrong.append("import_time")
        if wrong:
            raise ValueError(f"'{wrong[0]}' has the wrong length")
        known = self.coverage_commit
        if tests and not UNKNOWN <= known.min() <= known.max() < len(self.coverage_commits):
            raise ValueError("'coverage_commit' names no commit")


_TEXT = ("repository", "commit")
_TEXTS = ("tests", "symbols", "coverage_commits", "files", "test_symbols_digest")
_ROWS = ("coverage", "imports", "cochange")
_HISTORY = ("runs", "failures", "last_failed_at", "seconds")
_LATER = ("seconds_high", "past")
"""Not in every bundle: all unknown where they are missing."""
_NUMBERS: dict[str, Any] = {
    "import_time": np.bool_,
    "coverage_commit": np.int32,
    **dict.fromkeys(_HISTORY, np.float64),
}


def empty(repository: str) -> EvidenceStore:
    """A store that knows nothing: every test is new to it."""
    nothing, none = SparseRows.empty(0, 0), np.zeros(0, np.float64)
    return EvidenceStore(
        repository=repository,
        commit="",
        created_at=time.time(),
        tests=(),
        symbols=(),
        coverage=nothing,
        import_time=np.zeros(0, np.bool_),
        coverage_commit=np.zeros(0, np.int32),
        coverage_commits=(),
        text=TextIndex.empty(),
        imports=SparseRows.empty(0, 0, weighted=True),
        files=(),
        cochange=SparseRows.empty(0, 0, weighted=True),
        graph=SymbolGraph.empty(),
        test_symbols_digest=(),
        runs=none,
        failures=none,
        last_failed_at=none,
        seconds=none,
    )
