"""Which tests exist now: those of the evidence, corrected by the test files changed since."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from foretest.changes.git import Repository
from foretest.changes.layout import is_test_file, is_test_module
from foretest.changes.symbols import is_source
from foretest.changes.testtext import read_tests
from foretest.errors import ForetestError
from foretest.evidence.store import EvidenceStore
from foretest.selection.widening import linked


def units_now(repo: Repository, store: EvidenceStore, head: str | None) -> tuple[str, ...] | None:
    """Every test that exists; a file stands for its tests where its text does not tell them.

    None where the store's commit is not at hand, so that nothing can be told.
    """
    try:
        since = repo.diff_paths(store.commit, head)
    except ForetestError:
        return None
    known = _by_file(store.tests)
    moved = sorted({path for path in since if is_test_file(path) or path in known})
    if not moved:
        return None
    now = repo.read_many(head, moved)
    past = repo.read_many(store.commit, [path for path in moved if path.endswith(".py")])
    corrected: dict[str, list[str]] = {}
    shifted: dict[str, set[str]] = {}
    for path in moved:
        file = _File(path, known.get(path, ()), past.get(path), now.get(path))
        corrected[path] = file.units()
        shifted[path] = file.shifted
    for path, classes in shifted.items():
        corrected.update((file, [file]) for file in _heirs(repo, store, head, path, classes))
    kept = [test for test in store.tests if _stays(test, corrected)]
    have = set(kept)
    new = (unit for units in corrected.values() for unit in units if unit not in have)
    return (*kept, *dict.fromkeys(new))


@dataclass
class _File:
    """A changed test file: what the evidence knows of it, and its text before and after."""

    path: str
    known: Sequence[str]
    past: bytes | None
    now: bytes | None
    shifted: set[str] = field(default_factory=set)
    """Classes whose tests changed, so that classes of other files may inherit others."""

    def units(self) -> list[str]:
        """Its tests as they are; the file itself where that cannot be told."""
        if self.past is not None and self.path.endswith(".py"):
            before = read_tests(self.past)
        else:
            before = None
        if self.now is None:
            self.shifted.update(before.classes if before else ())
            return []
        if not self.path.endswith(".py"):
            new = not self.known and is_source(self.path) and is_test_module(self.path)
            return [self.path] if new else list(self.known)
        after = read_tests(self.now)
        if after is None:
            return [self.path] if self.known or is_test_module(self.path) else []
        self.shifted.update(after.shifted(before))
        if not self.known and not is_test_module(self.path):
            return []  # code that tests share
        names = [unit.partition("::")[2] for unit in self.known]
        kept = []
        for name in names:
            there = after.holds(name, before)
            if there is None:
                return [self.path]
            if there:
                kept.append(name)
        new_names = after.new(before, names)
        if new_names is None:
            return [self.path]
        return [f"{self.path}::{name}" if name else self.path for name in (*kept, *new_names)]


def _heirs(
    repo: Repository, store: EvidenceStore, head: str | None, path: str, classes: set[str]
) -> Iterable[str]:
    """Other test files with a class that inherits from one of these classes of `path`."""
    if not classes:
        return
    linked_rows = linked(store, path).nonzero()[0].tolist()
    files = {store.tests[row].partition("::")[0] for row in linked_rows} - {path}
    for file, source in repo.read_many(head, sorted(files)).items():
        text = read_tests(source) if file.endswith(".py") else None
        if text is not None and text.inherits(classes):
            yield file


def _by_file(tests: Iterable[str]) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for test in tests:
        files.setdefault(test.partition("::")[0], []).append(test)
    return files


def _stays(test: str, corrected: dict[str, list[str]]) -> bool:
    units = corrected.get(test.partition("::")[0])
    return units is None or test in units
