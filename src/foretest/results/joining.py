"""Joins names in a report to known tests: reports lose files and nested classes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import polars as pl


class Units:
    """Known units, found by what a report says of them."""

    def __init__(self, units: Iterable[str]) -> None:
        self._by_name: dict[str, list[tuple[str, str]]] = {}
        self.all = frozenset(units)
        for unit in self.all:
            path, _, name = unit.rpartition("::")
            self._by_name.setdefault(name, []).append((_dotted(path), unit))

    @cached_property
    def series(self) -> pl.Series:
        """All of them, for whole columns at a time."""
        return pl.Series(sorted(self.all), dtype=pl.String)

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def find(self, classname: str, name: str, file: str) -> str | None:
        """The one unit that is meant, or None where none fits or several do equally well.

        Tried in this order: the same dotted path; one path ends with the other (the run or the
        list began in another folder); the report lost the classes below the module or the module
        above the class. The report's file, where given, rules candidates out.
        """
        candidates = self._by_name.get(name, [])
        if file:
            wanted = _dotted(file)
            candidates = [c for c in candidates if _starts_in(c[0], wanted)] or candidates
        said = classname.replace("$", ".")
        for fits in (_same, _one_ends_other, _classes_lost):
            found = [unit for path, unit in candidates if fits(path, said)]
            if len(found) == 1:
                return found[0]
            if found:
                return None
        return candidates[0][1] if file and not said and len(candidates) == 1 else None


def _dotted(path: str) -> str:
    file, *classes = path.replace("\\", "/").split("::")
    return ".".join((file.removesuffix(".py").strip("./").replace("/", "."), *classes))


def _starts_in(path: str, file: str) -> bool:
    return f".{path}.".find(f".{file}.") >= 0 or f".{file}".endswith(f".{path}")


def _same(path: str, said: str) -> bool:
    return path == said


def _one_ends_other(path: str, said: str) -> bool:
    return bool(said) and (path.endswith(f".{said}") or said.endswith(f".{path}"))


def _classes_lost(path: str, said: str) -> bool:
    return bool(said) and f".{path}.".find(f".{said}.") >= 0
