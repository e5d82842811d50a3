"""Undone changes: the source part of past commits, or single hunks of it, that still fit today."""

from __future__ import annotations

import ast
import re
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from itertools import islice, takewhile, zip_longest

from foretest.changes.diff import HunkPatch, split_hunks
from foretest.changes.git import Commit, Repository
from foretest.changes.layout import is_test_file
from foretest.changes.symbols import test_digests
from foretest.lab.labels import Candidate
from foretest.lab.layout import is_python_source
from foretest.records import FileStatus, Source

BLOCK = 40
"""Commits looked at together: of each the whole first, then its hunks in turn."""

MOST_HUNKS = 8
MOST_FILES = 40
"""Commits that touch more files than this move code about; their hunks say little."""

_HEADER = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
_PLACE = re.compile(rb"^(?:index |@@ ).*\n", re.MULTILINE)
_TEST_NAME = re.compile(rb"^[ \t]*(?:async[ \t]+)?def[ \t]+(test\w*)", re.MULTILINE)
_VERSIONS = frozenset(("__version__", "version", "VERSION", "__date__", "__version_info__"))


def undo_candidates(
    repo: Repository,
    at: str,
    limit: int | None = None,
    since: float | None = None,
    hunks: int = MOST_HUNKS,
    only: Collection[str] | None = None,
) -> Iterator[Candidate]:
    """Past changes that can be taken back at `at`, newest first, different commits before hunks.

    Only those whose text is still there as the commit left it, and whose code differs by its
    syntax tree. `since` (seconds since 1970) bounds how far back to look; `limit` how many to give;
    `hunks` how many hunks to take of one commit; `only` names the commits to look at (None: all).
    """
    at = repo.resolve(at)
    return islice(_distinct(_in_turn(_undoings(repo, at, since, hunks, only))), limit)


@dataclass(frozen=True, slots=True)
class _Undoing:
    """What can be taken back of one commit: the whole first, where it fits, then hunks."""

    candidates: tuple[Candidate, ...]


def _undoings(
    repo: Repository, at: str, since: float | None, most: int, only: Collection[str] | None
) -> Iterator[_Undoing]:
    present = _Present(repo, at)
    for commit in repo.log(start=at):
        if only is not None and commit.id not in only:
            continue
        if since is not None and commit.author_time < since:
            continue
        sources = [f.path for f in commit.files if _taken(f.path, f.status)]
        if sources and len(sources) <= MOST_FILES and len(commit.parents) == 1:
            found = _undoing(repo, present, commit, sources, most)
            if found.candidates:
                yield found


def _taken(path: str, status: FileStatus) -> bool:
    kept = status in (FileStatus.MODIFIED, FileStatus.ADDED, FileStatus.DELETED)
    return kept and is_python_source(path)


def _undoing(
    repo: Repository, present: _Present, commit: Commit, sources: Sequence[str], most: int
) -> _Undoing:
    before = repo.read_many(commit.parents[0], sources)
    after = repo.read_many(commit.id, sources)
    changed = [p for p in sources if not _same_code(before.get(p), after.get(p))]
    if not changed:
        return _Undoing(())
    patch = _patch(repo, commit, changed)
    hunks = split_hunks(patch)
    fitting = [h for h in hunks if present.holds(h) and h.path in before and h.path in after]
    single = [h for h in fitting if _changes_code(h, after[h.path])]
    parts: list[tuple[int | None, bytes]] = []
    if hunks and all(present.holds(hunk) for hunk in hunks):
        parts.append((None, patch))
    if len(hunks) > 1:
        parts.extend((hunk.index, hunk.patch) for hunk in _spread(single, most))
    if not parts:
        return _Undoing(())
    modified, added = _own_tests(repo, present, commit)
    return _Undoing(
        tuple(
            Candidate(
                case_id=f"undone-{commit.id[:16]}-{'all' if hunk is None else hunk}",
                source=Source.UNDONE,
                commit=present.at,
                patch=part,
                undone_commit=commit.id,
                hunk=hunk,
                author_time=commit.author_time,
                modified_tests=modified,
                added_tests=added,
            )
            for hunk, part in parts
        )
    )


def _patch(repo: Repository, commit: Commit, paths: Sequence[str]) -> bytes:
    """The commit's change to some paths, renames spelt as removal and addition."""
    form = ("-r", "-p", "-U3", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")
    prefixes = ("--src-prefix=a/", "--dst-prefix=b/", "--no-color", "--binary")
    return repo.run("diff-tree", *form, *prefixes, commit.parents[0], commit.id, "--", *paths)


def _in_turn(undoings: Iterable[_Undoing]) -> Iterator[Candidate]:
    rest = iter(undoings)
    while True:
        block = []
        for undoing in islice(rest, BLOCK):
            yield undoing.candidates[0]
            block.append(undoing.candidates[1:])
        if not block:
            return
        for turn in zip_longest(*block):
            yield from (candidate for candidate in turn if candidate is not None)


def _distinct(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Leave out what would make the same edit again: a hunk picked twice, a change redone."""
    seen = set()
    for candidate in candidates:
        # Where it stands and from which versions it was made do not matter: its text does.
        text = _PLACE.sub(b"", candidate.patch)
        digest = blake2b(text, digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            yield candidate


def _spread(hunks: Sequence[HunkPatch], most: int) -> list[HunkPatch]:
    """At most so many, from all over the commit."""
    if len(hunks) <= most:
        return list(hunks)
    return [hunks[index * len(hunks) // most] for index in range(most)]


# What is there today.


class _Present:
    """The files of the commit that candidates are to be tried at."""

    def __init__(self, repo: Repository, at: str) -> None:
        self.repo = repo
        self.at = at
        self._contents: dict[str, bytes | None] = {}

    def read(self, path: str) -> bytes | None:
        if path not in self.paths:
            return None
        if path not in self._contents:
            self._contents[path] = self.repo.read(self.at, path)
        return self._contents[path]

    def holds(self, hunk: HunkPatch) -> bool:
        """True where the hunk's new side, context included, stands in the file as it was left."""
        content = self.read(hunk.path)
        if b"\n+++ /dev/null\n" in hunk.patch:  # the commit deleted it: it must not be back
            return content is None
        return content is not None and b"\n" + _sides(hunk)[1] in b"\n" + content

    @cached_property
    def paths(self) -> frozenset[str]:
        return frozenset(self.repo.files(self.at))

    @cached_property
    def files_by_test_name(self) -> dict[str, list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        tests = [path for path in sorted(self.paths) if path.endswith(".py") and is_test_file(path)]
        for path, source in self.repo.read_many(self.at, tests).items():
            for name in set(_TEST_NAME.findall(source)):
                found[name.decode()].append(path)
        return found

    def units_named(self, unit: str) -> list[str]:
        """What a unit of a past commit is called today; several where it was moved and split."""
        path, *_, name = unit.split("::")
        files = self.files_by_test_name.get(name, [])
        if path in files:
            return [unit]
        moved = (test_digests(file, self.read(file) or b"") for file in files)
        return [u for units in moved for u in units if u.rpartition("::")[2] == name]


def _own_tests(
    repo: Repository, present: _Present, commit: Commit
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Units that the commit itself modified and added, by body, as they are called today."""
    modified: dict[str, None] = {}
    added: dict[str, None] = {}
    for file in commit.files:
        if not file.path.endswith(".py") or not is_test_file(file.path):
            continue
        new = repo.read(commit.id, file.path)
        old = repo.read(commit.parents[0], file.old_path or file.path)
        known = {
            unit.partition("::")[2]: digest
            for unit, digest in test_digests(file.old_path or file.path, old or b"").items()
        }
        for unit, digest in test_digests(file.path, new or b"").items():
            name = unit.partition("::")[2]
            if not name.rpartition("::")[2].startswith("test") or known.get(name) == digest:
                continue
            target = modified if name in known else added
            target.update(dict.fromkeys(present.units_named(unit)))
    return tuple(modified), tuple(unit for unit in added if unit not in modified)


# What is code.


def _changes_code(hunk: HunkPatch, after: bytes) -> bool:
    """True where taking the hunk back gives a program, and another one."""
    old, new = _sides(hunk)
    at = _HEADER.search(hunk.patch)
    if at is None:
        return False
    lines = after.split(b"\n")
    first = max(int(at[3]) - 1, 0)
    count = new.count(b"\n")
    text = b"\n".join([*lines[:first], *old.split(b"\n")[:-1], *lines[first + count :]])
    return _statements(text) is not None and not _same_code(text, after)


def _sides(hunk: HunkPatch) -> tuple[bytes, bytes]:
    """Old and new text of a hunk, context included."""
    at = _HEADER.search(hunk.patch)
    body = hunk.patch[at.end() :].partition(b"\n")[2] if at else b""
    lines = body.split(b"\n")[:-1]
    sides = []
    for sign in (b"-", b"+"):
        text = b"".join(line[1:] + b"\n" for line in lines if line[:1] in (b" ", b"", sign))
        last = max((i for i, line in enumerate(lines) if line[:1] in (b" ", sign)), default=-2)
        if lines[last + 1 : last + 2] and lines[last + 1].startswith(b"\\"):
            text = text.removesuffix(b"\n")
        sides.append(text)
    return sides[0], sides[1]


def _same_code(one: bytes | None, other: bytes | None) -> bool:
    """True where two modules differ in no more than docstrings, version numbers and types.

    Only what lies between their equal first and last statements is compared: a hunk in a long
    module costs a parse, not a walk through all of it.
    """
    if one is None or other is None:
        return one is other
    left, right = _statements(one), _statements(other)
    if left is None or right is None:
        return left is right
    first = _alike(zip(left, right, strict=False))
    left, right = left[first:], right[first:]
    last = _alike(zip(reversed(left), reversed(right), strict=False))
    return _code(left[: len(left) - last]) == _code(right[: len(right) - last])


_Statement = tuple[tuple[bytes, ...], int, ast.stmt]
"""Its lines, decorators included, the column where it begins, and its tree."""


@lru_cache(maxsize=16)  # a module is compared with each of a commit's hunks taken back
def _statements(source: bytes) -> list[_Statement] | None:
    """What stands at the top of a module; None where it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    lines = source.splitlines()
    found = []
    for node in tree.body:
        above = [mark.lineno for mark in getattr(node, "decorator_list", ())]
        text = lines[min([node.lineno, *above]) - 1 : node.end_lineno]
        found.append((tuple(text), node.col_offset, node))
    return found


def _alike(pairs: Iterable[tuple[_Statement, _Statement]]) -> int:
    """How many pairs, from the first on, have the same text."""
    return sum(1 for _ in takewhile(lambda pair: pair[0][:2] == pair[1][:2], pairs))


def _code(statements: Sequence[_Statement]) -> list[str]:
    """The syntax trees without docstrings, version numbers and type checkers' part."""
    kept = [node for _, _, node in statements if not _is_text(node)]
    for node in (inner for outer in kept for inner in ast.walk(outer)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [s for s in node.body if not _is_text(s)] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return [ast.dump(node) for node in kept]


def _is_text(statement: ast.stmt) -> bool:
    """True for a docstring, a version number, or what only a type checker reads."""
    if isinstance(statement, ast.If):
        return "TYPE_CHECKING" in (
            getattr(statement.test, "id", ""),
            getattr(statement.test, "attr", ""),
        )
    if isinstance(statement, ast.ImportFrom):
        return statement.module in ("__future__", "typing", "collections.abc")
    if isinstance(statement, ast.Assign):
        names = {target.id for target in statement.targets if isinstance(target, ast.Name)}
        return bool(names & _VERSIONS) and len(names) == len(statement.targets)
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant)
