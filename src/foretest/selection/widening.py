"""The rule table for files that evidence cannot see, and the tests each of them may break."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foretest.changes.layout import is_test_file
from foretest.changes.words import words
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import EvidenceStore
from foretest.features.build import entries
from foretest.features.query import FileFacts, Query
from foretest.records import FileStatus

Mask = NDArray[np.bool_]

INSTALLED = (
    "*.lock", "*-lock.json", "*-lock.yaml", "npm-shrinkwrap.json", "go.sum", "go.mod",
    "requirements*.txt", "requirements/*.txt", "*requirements.txt", "requirements*.in",
    "constraints*.txt", "pyproject.toml", "setup.py", "setup.cfg", "Pipfile", "package.json",
    "environment*.yml", "environment*.yaml", "Cargo.toml", "pom.xml", "*.gradle", "*.gradle.kts",
    "Gemfile", "*.gemspec", "composer.json",
)  # fmt: skip
RUNNERS = (
    "pytest.ini", ".pytest.ini", "tox.ini", "noxfile.py", ".coveragerc", "jest.config.*",
    "vitest.config.*", "vite.config.*", "playwright.config.*", "babel.config.*", "tsconfig*.json",
    "karma.conf.*",
)  # fmt: skip
BUILDS = (
    ".github/workflows/**", ".github/actions/**", ".gitlab-ci.yml", ".circleci/**", ".ci/**",
    ".travis.yml", "azure-pipelines.yml", "Jenkinsfile*", "Makefile", "*.mk", "CMakeLists.txt",
    "*.cmake", "meson.build", "Dockerfile*", "docker-compose*", "compose.y*ml", "BUILD",
    "BUILD.bazel", "WORKSPACE*", "MODULE.bazel", "*.bzl", "MANIFEST.in", ".gitmodules",
    ".gitattributes", ".python-version", ".tool-versions",
)  # fmt: skip
RUN_ALL_ON: tuple[tuple[tuple[str, ...], str], ...] = (
    (INSTALLED, "decides what is installed"),
    (RUNNERS, "configures the test runner"),
    (BUILDS, "configures the build or the checks"),
)
_STATUSES = {
    FileStatus.SUBMODULE: "is a submodule, whose contents are not looked into",
    FileStatus.UNMERGED: "is not merged yet",
    FileStatus.TYPE: "changed its type",
}
_READ = (".py", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts")
"""Suffixes whose symbols are known, so that evidence speaks for them."""
_CODE = (
    ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".pyx", ".pxd", ".pxi", ".rs", ".go", ".java",
    ".kt", ".scala", ".groovy", ".cs", ".rb", ".php", ".swift", ".m", ".f", ".f90", ".f95", ".cu",
    ".pl", ".lua", ".jl", ".ex", ".exs", ".erl", ".hs", ".ml", ".vue", ".svelte",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Widened:
    """What one file adds to the run: some tests, or all of them where `tests` is None."""

    tests: Mask | None
    notice: str
    reason: str


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern fits the whole path or the file's own name."""
    name = path.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(path, p) or fnmatch.fnmatchcase(name, p) for p in patterns)


def has_symbols(path: str) -> bool:
    """Whether changes of the file are known by symbol."""
    return _suffix(path) in _READ


def widen(query: Query, store: EvidenceStore, never: Sequence[str]) -> list[Widened]:
    """Each changed file that evidence cannot see, with the tests it may break, and why."""
    found = []
    for file in query.files:
        rule = None if matches(file.path, never) else _rule_of(file, store)
        widened = rule(file, store) if rule else None
        if widened is not None:
            found.append(widened)
    return found


Rule = Callable[[FileFacts, EvidenceStore], Widened | None]


def _rule_of(file: FileFacts, store: EvidenceStore) -> Rule | None:
    """The first rule that fits the file; None where evidence sees it."""
    path, suffix = file.path, _suffix(file.path)
    if file.status in _STATUSES or any(matches(path, p) for p, _ in RUN_ALL_ON):
        return _all
    if path.rpartition("/")[2] == "conftest.py":
        return _below
    if is_test_file(path) and has_symbols(path) and not file.binary:
        return None  # the always-run rules look at tests
    if file.binary or suffix not in (*_READ, *_CODE):
        return _data
    if file.status is FileStatus.DELETED:
        return _deleted
    if has_symbols(path):
        known = file.known_as in store.file_index or len(store.symbols_of_file(file.known_as)) > 0
        new = file.status in (FileStatus.ADDED, FileStatus.COPIED)
        return None if known or new else _unknown_code
    return _unknown_code


def _all(file: FileFacts, _store: EvidenceStore) -> Widened:
    why = _STATUSES.get(file.status) or next(w for p, w in RUN_ALL_ON if matches(file.path, p))
    return _every(file, why)


def _every(file: FileFacts, why: str) -> Widened:
    return Widened(None, f"All tests run: {file.path} {why}.", f"{file.path} {why}")


def _below(file: FileFacts, store: EvidenceStore) -> Widened:
    """Fixtures of a wide scope are seen with one test only, so coverage of them says too little."""
    folder = file.path.rpartition("/")[0]
    if not folder:
        return _every(file, "configures every test")
    notice = f"Every test below {folder}/ runs: {file.path} changed."
    return Widened(_in_folder(store, folder), notice, f"lies below {file.path}, which changed")


def _data(file: FileFacts, store: EvidenceStore) -> Widened | None:
    """Tests that name the file, changed with it, or live beside it."""
    if file.status is FileStatus.MODE and not file.binary:
        return None
    near = _mentioning(store, file.path) | linked(store, file.known_as) | beside(store, file.path)
    if not near.any():
        return _every(file, "is a file that no evidence can see")
    notice = (
        f"{_count(near)} may read {file.path}, which no evidence can see: they name it, "
        "changed with it or lie beside it."
    )
    return Widened(near, notice, f"may read {file.path}, which changed")


def _deleted(file: FileFacts, store: EvidenceStore) -> Widened:
    symbols = np.zeros(len(store.symbols), bool)
    symbols[store.symbols_of_file(file.known_as)] = True
    near = linked(store, file.known_as)
    near[entries(store.coverage, symbols)[0]] = True
    if not near.any():
        return _every(file, "was deleted, and no evidence tells who used it")
    notice = f"{_count(near)} used {file.path}, which was deleted."
    return Widened(near, notice, f"used {file.path}, which was deleted")


def _unknown_code(file: FileFacts, store: EvidenceStore) -> Widened | None:
    if linked(store, file.known_as).any():
        return None  # imports or common changes let the model judge it
    return _every(file, "is code that no evidence reaches")


def linked(store: EvidenceStore, path: str) -> Mask:
    """Tests that import the file or changed together with it."""
    place = store.file_index.get(path)
    if place is None:
        return np.zeros(len(store.tests), bool)
    return _holds(store.imports, place) | _holds(store.cochange, place)


def _holds(rows: SparseRows, column: int) -> Mask:
    wanted = np.zeros(rows.n_columns, bool)
    wanted[column] = True
    held = np.zeros(rows.n_rows, bool)
    held[entries(rows, wanted)[0]] = True
    return held


def _mentioning(store: EvidenceStore, path: str) -> Mask:
    """Tests whose text has every word of the file's name."""
    names = dict.fromkeys(words(path.rpartition("/")[2].partition(".")[0]))
    places = [store.text.place.get(word) for word in names]
    if not places or None in places:
        return np.zeros(len(store.tests), bool)
    shared = np.zeros(len(store.tests), np.int64)
    for place in places:
        if place is not None:
            shared[store.text.impacts.row(place)] += 1
    return np.asarray(shared == len(places))


def beside(store: EvidenceStore, path: str) -> Mask:
    """Tests of the nearest folder above the file that holds any, the root left out."""
    folder = path.rpartition("/")[0]
    while folder:
        near = _in_folder(store, folder)
        if near.any():
            return near
        folder = folder.rpartition("/")[0]
    return np.zeros(len(store.tests), bool)


def _in_folder(store: EvidenceStore, folder: str) -> Mask:
    prefix = f"{folder}/"
    found = (test.startswith(prefix) for test in store.tests)
    return np.fromiter(found, bool, len(store.tests))


def _suffix(path: str) -> str:
    name = path.rpartition("/")[2]
    return "." + name.rpartition(".")[2].lower() if "." in name else ""


def _count(tests: Mask) -> str:
    n = int(tests.sum())
    return "1 test" if n == 1 else f"{n:,} tests"
