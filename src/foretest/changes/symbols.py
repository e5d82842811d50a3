"""Which symbols a source holds, and which of them a change touches."""

from __future__ import annotations

import io
import tokenize
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from foretest.changes.outlines import Import, Outline, Span, count_lines, partition
from foretest.changes.python import outline_python
from foretest.records import MODULE_LEVEL, Hunk, Symbol

__all__ = ["Import", "Outline", "Span", "is_source", "outline", "test_digests", "touched"]

PYTHON = frozenset((".py", ".pyi", ".pyw"))
BY_TREE_SITTER = frozenset((".js", ".jsx", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".tsx"))


def is_source(path: str) -> bool:
    """True where a file's symbols can be told by its language."""
    return PurePosixPath(path).suffix in PYTHON | BY_TREE_SITTER


def outline(path: str, source: bytes | str) -> Outline:
    """What a source file holds; module level alone where it does not parse."""
    text = source if isinstance(source, str) else _decode(source, PurePosixPath(path).suffix)
    suffix = PurePosixPath(path).suffix
    found = None
    if suffix in PYTHON:
        found = outline_python(path, text)
    elif suffix in BY_TREE_SITTER:
        from foretest.changes.treesitter import outline_by_tree_sitter  # heavy, seldom needed

        found = outline_by_tree_sitter(path, text)
    return found or Outline(path, partition(path, (), count_lines(text)))


def touched(
    old: Outline | None, new: Outline | None, hunks: Sequence[Hunk]
) -> tuple[tuple[Symbol, ...], tuple[str, ...]]:
    """Symbols whose code or docstring the hunks change, and the names that module level rebinds.

    None stands for a file that is not there. Nothing is touched where only comments and layout
    differ. Where the file was renamed, a symbol of the old side goes by the old path, too.
    """
    removed = [n for h in hunks for n in range(h.old_start, h.old_start + h.old_lines)]
    added = [n for h in hunks for n in range(h.new_start, h.new_start + h.new_lines)]
    symbols: dict[Symbol, None] = {}
    names: set[str] = set()
    for side, other, lines in ((old, new, removed), (new, old, added)):
        if side is None:
            continue
        for qualname, at in side.at(lines).items():
            if _same(side, other, qualname) and not _within(at, side.docstrings):
                continue
            symbols[Symbol(side.path, qualname)] = None
            if side is new and old is not None and qualname in old.qualnames:
                symbols[Symbol(old.path, qualname)] = None
        if not _same(side, other, MODULE_LEVEL):
            names.update(b.name for b in side.bindings if _any_between(lines, b.first, b.last))
    return tuple(symbols), tuple(sorted(names))


def test_digests(path: str, source: bytes | str) -> dict[str, str]:
    """Digest of every function's own code, decorators included, by its unit: `file::Class::name`.

    Comments, layout and docstrings do not count. Empty where the source does not parse.
    """
    digests = outline(path, source).digests
    return {
        "::".join((path, *qualname.split("."))): digest
        for qualname, digest in digests.items()
        if qualname != MODULE_LEVEL
    }


test_digests.__test__ = False  # type: ignore[attr-defined]  # no test, though named like one


def _same(side: Outline, other: Outline | None, qualname: str) -> bool:
    digest = side.digests.get(qualname)
    return digest is not None and other is not None and digest == other.digests.get(qualname)


def _within(lines: Sequence[int], ranges: Iterable[tuple[int, int]]) -> bool:
    return any(_any_between(lines, first, last) for first, last in ranges)


def _any_between(lines: Sequence[int], first: int, last: int) -> bool:
    at = bisect_left(lines, first)
    return at < len(lines) and lines[at] <= last


def _decode(source: bytes, suffix: str) -> str:
    encoding = "utf-8-sig"
    if suffix in PYTHON:
        try:
            encoding = tokenize.detect_encoding(io.BytesIO(source).readline)[0]
        except (SyntaxError, UnicodeDecodeError):
            encoding = "utf-8-sig"
    try:
        return source.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return source.decode("utf-8-sig", "replace")
