"""The rule table for files that evidence cannot see, and the tests each of them may break."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from foretest.changes.layout import TEST_FOLDERS, is_test_file
from foretest.changes.words import words
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import EvidenceStore
from foretest.features.build import entries
from foretest.features.paths import files_of
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


MOST_SAID = 3
"""Files waved through that are said by name."""


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
    waved: list[str] = []
    for file in query.files:
        rule = _rule_of(file, store)
        runs_itself = rule is _data and file.path in files_of(store.tests)[0]
        waves = rule is not None and not runs_itself and _waved_through(file.path, never)
        if waves or runs_itself:
            rule = _named
        widened = rule(file, store) if rule else None
        if widened is not None:
            found.append(widened)
        elif waves:
            waved.append(file.path)
    return [*found, _said(waved, store)] if waved else found


def _waved_through(path: str, never: Sequence[str]) -> bool:
    """Whether `never_widen` speaks for the file: below test folders, if it names such a folder."""
    if has_symbols(path) and is_test_file(path):
        return False
    below = _in_test_folder(path)
    return matches(path, [p for p in never if not below or _in_test_folder(p)])


def _in_test_folder(path: str) -> bool:
    return not TEST_FOLDERS.isdisjoint(path.split("/")[:-1])


def _said(waved: Sequence[str], store: EvidenceStore) -> Widened:
    shown = ", ".join(waved[:MOST_SAID])
    more = f" and {len(waved) - MOST_SAID:,} more" if len(waved) > MOST_SAID else ""
    notice = f"Taken as harmless, since never_widen names them: {shown}{more}."
    return Widened(np.zeros(len(store.tests), bool), notice, "never_widen names it")


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
    """Tests beside a file of test data; tests that use the package which holds any other.

    Words add tests, but never stand for the others: a file's name is often a common word.
    """
    if file.status is FileStatus.MODE and not file.binary:
        return None
    if _among_tests(store, file.path):
        near, link = beside(store, file.path), "lie beside it"
    else:
        near, link = _users_of_package(store, file.path), "use the package that holds it"
        if not near.any():
            return _every(file, "is a file that no evidence can see")
    near |= _mentioning(store, _stem(file.path)) | linked(store, file.known_as)
    if not near.any():
        return _every(file, "is a file that no evidence can see")
    notice = (
        f"{_count(near)} may read {file.path}, which no evidence can see: they {link}, "
        "name it or changed with it."
    )
    return Widened(near, notice, f"may read {file.path}, which changed")


def _named(file: FileFacts, store: EvidenceStore) -> Widened | None:
    """Tests that name the file in full, though nothing else speaks for caution."""
    near = _mentioning(store, file.path.rpartition("/")[2])
    if file.status is FileStatus.MODE or not near.any():
        return None
    verb = "names" if near.sum() == 1 else "name"
    notice = f"{_count(near)} {verb} {file.path}, which changed."
    return Widened(near, notice, f"names {file.path}, which changed")


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


def _among_tests(store: EvidenceStore, path: str) -> bool:
    """Whether a file lies among tests: in a folder named so, or in one of tests alone."""
    if _in_test_folder(path):
        return True
    for folder in _folders(path):
        if _in_folder(store, folder).any():
            return not _sources(store, folder)
    return False


def _users_of_package(store: EvidenceStore, path: str) -> Mask:
    """Tests that import or enter anything of the nearest folder that holds source code."""
    users = np.zeros(len(store.tests), bool)
    found = next(filter(None, (_sources(store, folder) for folder in _folders(path))), None)
    if found is None:
        return users
    symbols = np.zeros(len(store.symbols), bool)
    files = np.zeros(len(store.files), bool)
    for source in found:
        symbols[store.symbols_of_file(source)] = True
        if source in store.file_index:
            files[store.file_index[source]] = True
    users[entries(store.coverage, symbols)[0]] = True
    users[entries(store.imports, files)[0]] = True
    # What is known of no use at all may use it.
    unknown = ~store.has_coverage & (store.imports.row_counts() == 0)
    return users | unknown if users.any() else users


def _sources(store: EvidenceStore, folder: str) -> list[str]:
    """The known files below a folder that are no tests."""
    known = _known_sources(store.files, store.symbols)
    return [path for path in known if path.startswith(f"{folder}/")]


@lru_cache(maxsize=2)
def _known_sources(files: tuple[str, ...], symbols: tuple[str, ...]) -> tuple[str, ...]:
    known = dict.fromkeys((*files, *(symbol.partition("::")[0] for symbol in symbols)))
    return tuple(path for path in known if not is_test_file(path))


def _folders(path: str) -> list[str]:
    """The folders above a file, the nearest first, the root left out."""
    return [str(folder) for folder in PurePosixPath(path).parents if str(folder) != "."]


def _mentioning(store: EvidenceStore, text: str) -> Mask:
    """Tests whose text has every word of the given one."""
    names = dict.fromkeys(words(text))
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
    for folder in _folders(path):
        near = _in_folder(store, folder)
        if near.any():
            return near
    return np.zeros(len(store.tests), bool)


def _in_folder(store: EvidenceStore, folder: str) -> Mask:
    prefix = f"{folder}/"
    found = (test.startswith(prefix) for test in store.tests)
    return np.fromiter(found, bool, len(store.tests))


def _stem(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]


def _suffix(path: str) -> str:
    name = path.rpartition("/")[2]
    return "." + name.rpartition(".")[2].lower() if "." in name else ""


def _count(tests: Mask) -> str:
    n = int(tests.sum())
    return "1 test" if n == 1 else f"{n:,} tests"
