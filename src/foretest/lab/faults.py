"""Injected faults: one to three edits by syntax-tree operators, spread over files and functions."""

from __future__ import annotations

import ast
import difflib
import random
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from foretest.changes.git import Repository
from foretest.lab.labels import Candidate
from foretest.lab.layout import is_python_source
from foretest.lab.operators import Edit, edits_of
from foretest.records import MODULE_LEVEL, Source

LARGEST_FILE = 400_000
"""Bytes above which a source is taken for generated tables."""

MODULE_SHARE = 0.2
"""Share of faults at module level in a file that has both: functions hold most of the code."""

_TRIES = 20


def fault_candidates(
    repo: Repository, at: str, seed: int, count: int, edits: int = 1
) -> Iterator[Candidate]:
    """At most `count` distinct faults of 1 to `edits` edits in the sources at `at`.

    The same seed gives the same faults. As with undone changes, the patch leads from the faulty
    code to today's and is taken back.
    """
    at = repo.resolve(at)
    paths = [path for path in repo.files(at) if is_python_source(path) and _plain(path)]
    sources = _Sources(repo, at, paths)
    draw = random.Random(f"{seed}:{at}")
    seen: set[bytes] = set()
    given = 0
    for _ in range(count * _TRIES):
        if given >= count or not sources.paths:
            return
        fault = _draw(sources, draw, draw.choices((1, 2, 3)[:edits], (6, 3, 2)[:edits])[0])
        texts = {path: sources.read(path) for path in sorted(fault)}
        patch = b"".join(
            mending_patch(path, _edited(text, fault[path]), text) for path, text in texts.items()
        )
        digest = blake2b(patch, digest_size=8).digest()
        if not patch or digest in seen:
            continue
        seen.add(digest)
        given += 1
        yield Candidate(
            case_id=f"fault-{at[:12]}-{digest.hex()}",
            source=Source.FAULT,
            commit=at,
            patch=patch,
            edits=tuple(
                f"{edit.operator} {path}::{edit.qualname}"
                for path, found in sorted(fault.items())
                for edit in found
            ),
        )


@dataclass(frozen=True, slots=True)
class _Sources:
    """The sources of one commit; files without anything to edit leave `paths` when met."""

    repo: Repository
    at: str
    paths: list[str]

    def read(self, path: str) -> bytes:
        return _read(self.repo, self.at, path)

    def edits(self, path: str) -> Mapping[str, Mapping[str, Sequence[Edit]]]:
        """By function, then by operator, so that neither long functions nor common nodes rule."""
        return _edits(self.repo, self.at, path)


@lru_cache(maxsize=256)
def _read(repo: Repository, at: str, path: str) -> bytes:
    return repo.read(at, path) or b""


@lru_cache(maxsize=256)
def _edits(repo: Repository, at: str, path: str) -> Mapping[str, Mapping[str, Sequence[Edit]]]:
    source = _read(repo, at, path)
    found: defaultdict[str, defaultdict[str, list[Edit]]]
    found = defaultdict(lambda: defaultdict(list))
    if len(source) <= LARGEST_FILE:
        for edit in edits_of(source):
            found[edit.qualname][edit.operator].append(edit)
    return found


def _draw(sources: _Sources, draw: random.Random, count: int) -> dict[str, list[Edit]]:
    """A fault of `count` edits: mostly of one function, else of one file, else of two."""
    chosen: dict[str, list[Edit]] = {}
    path = qualname = ""
    for _ in range(count):
        where = draw.random()
        if not path or where > 0.85:
            path = _draw_file(sources, draw)
            qualname = ""
        if not path:
            return {}
        functions = sources.edits(path)
        if not qualname or where > 0.5:
            qualname = _draw_function(list(functions), draw)
        edit = _draw_edit(sources.read(path), functions[qualname], chosen.get(path, ()), draw)
        if edit is not None:
            chosen.setdefault(path, []).append(edit)
    return {path: sorted(found) for path, found in chosen.items()}


def _draw_file(sources: _Sources, draw: random.Random) -> str:
    while sources.paths:
        path = draw.choice(sources.paths)
        if sources.edits(path):
            return path
        sources.paths.remove(path)
    return ""


def _draw_function(names: list[str], draw: random.Random) -> str:
    functions = [name for name in names if name != MODULE_LEVEL]
    module = len(functions) < len(names)
    if module and (not functions or draw.random() < MODULE_SHARE):
        return MODULE_LEVEL
    return draw.choice(functions)


def _draw_edit(
    source: bytes,
    by_operator: Mapping[str, Sequence[Edit]],
    taken: Sequence[Edit],
    draw: random.Random,
) -> Edit | None:
    """An edit that leaves a program, differs by its syntax tree, and overlaps none of the taken."""
    for _ in range(_TRIES):
        edit = draw.choice(by_operator[draw.choice(list(by_operator))])
        apart = all(edit.end < other.start or other.end < edit.start for other in taken)
        if apart and _differs(source, edit):
            return edit
    return None


def _differs(source: bytes, edit: Edit) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            faulty = _edited(source, [edit])
            compile(faulty, "<fault>", "exec", dont_inherit=True)  # no `break` outside loops
            return ast.dump(ast.parse(faulty)) != ast.dump(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError):
        return False


def _edited(source: bytes, edits: Sequence[Edit]) -> bytes:
    for edit in sorted(edits, reverse=True):
        source = source[: edit.start] + edit.text + source[edit.end :]
    return source


def mending_patch(path: str, faulty: bytes, source: bytes) -> bytes:
    """The patch from faulty code to today's, for `git apply`; empty where they are equal."""
    name = path.encode("utf-8")
    head = b"diff --git a/%s b/%s\n" % (name, name)
    lines = difflib.diff_bytes(
        difflib.unified_diff,
        faulty.splitlines(keepends=True),
        source.splitlines(keepends=True),
        b"a/" + name,
        b"b/" + name,
    )
    body = b"".join(
        line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n"
        for line in lines
    )
    return head + body if body else b""


def _plain(path: str) -> bool:
    """False for names that a diff must quote."""
    return path.isascii() and path.isprintable() and not set(path) & set('"\\ \t')
