"""The nouns of this room: what a source file holds, line by line and symbol by symbol."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from foretest.records import MODULE_LEVEL, Symbol


class Span(NamedTuple):
    """Lines `first` to `last` (1-based, both included) belong to `symbol`."""

    symbol: Symbol
    first: int
    last: int


class Binding(NamedTuple):
    """Module-level lines `first` to `last` bind `name` (a global, or an attribute of a class)."""

    name: str
    first: int
    last: int


class Import(NamedTuple):
    """`from ..module import names` has level 2; `import module` has no names, level 0."""

    module: str
    names: tuple[str, ...]
    level: int


@dataclass(frozen=True, slots=True)
class Outline:
    """What one source file holds. The mappings go by a symbol's qualified name."""

    path: str
    symbols: tuple[Span, ...]
    """Every line exactly once, in order; a name that is defined twice has two spans."""
    headers: tuple[tuple[int, int], ...] = ()
    """Lines of decorators and signatures: the function's own that module level runs too."""
    docstrings: tuple[tuple[int, int], ...] = ()
    bindings: tuple[Binding, ...] = ()
    sets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    reads: Mapping[str, frozenset[str]] = field(default_factory=dict)
    imports: tuple[Import, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    """Digest of each symbol's code: comments, layout and docstrings do not count.

    Empty where the source does not parse or the language has no digests.
    """

    @property
    def qualnames(self) -> tuple[str, ...]:
        """Every symbol's qualified name once, module level last."""
        names = dict.fromkeys(span.symbol.qualname for span in self.symbols)
        names.pop(MODULE_LEVEL, None)
        return (*names, MODULE_LEVEL)

    def at(self, lines: Iterable[int]) -> dict[str, list[int]]:
        """The symbols that lines belong to, each with its lines; a header's line has two."""
        starts = [span.first for span in self.symbols]
        headers = [first for first, _ in self.headers]
        found: dict[str, list[int]] = {}
        for line in lines:
            i = bisect_right(starts, line) - 1
            inside = i >= 0 and line <= self.symbols[i].last
            qualname = self.symbols[i].symbol.qualname if inside else MODULE_LEVEL
            found.setdefault(qualname, []).append(line)
            h = bisect_right(headers, line) - 1
            if qualname != MODULE_LEVEL and h >= 0 and line <= self.headers[h][1]:
                found.setdefault(MODULE_LEVEL, []).append(line)
        return found


def partition(path: str, functions: Iterable[tuple[str, int, int]], lines: int) -> tuple[Span, ...]:
    """Spans that cover lines 1 to `lines` once: the functions' own, module level between them.

    Where two functions share a line it is the first one's.
    """
    module = Symbol(path, MODULE_LEVEL)
    spans: list[Span] = []
    at = 1
    for qualname, first, last in sorted(functions, key=lambda f: (f[1], -f[2])):
        first, last = max(first, at), min(last, lines)
        if first > last:
            continue
        if first > at:
            spans.append(Span(module, at, first - 1))
        spans.append(Span(Symbol(path, qualname), first, last))
        at = last + 1
    if at <= lines:
        spans.append(Span(module, at, lines))
    return tuple(spans)


def count_lines(source: str) -> int:
    """Lines as git counts them: by line feeds, a last line without one included."""
    return source.count("\n") + (not source.endswith("\n") and bool(source))
