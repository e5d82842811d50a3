"""Joins names in a report to known tests: reports lose files and nested classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import polars as pl

_Home = tuple[str, str]
"""A unit's dotted path without its name, and the unit."""
_FEW = 16
"""Units of one name that are looked at one by one."""
_DEEP = 12
"""Parts of a path that are looked for inside another."""


class Units:
    """Known units, found by what a report says of them."""

    def __init__(self, units: Iterable[str]) -> None:
        self._by_name: dict[str, list[_Home]] = {}
        self._many: dict[str, _Homes] = {}
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
        candidates, said = self._by_name.get(name, []), classname.replace("$", ".")
        if len(candidates) > _FEW:
            homes = self._many.get(name)
            if homes is None:
                homes = self._many[name] = _Homes(candidates)
            candidates = homes.near(said, _dotted(file) if file else "")
        if file:
            wanted = _dotted(file)
            candidates = [c for c in candidates if _starts_in(c[0], wanted)] or candidates
        for fits in (_same, _one_ends_other, _classes_lost):
            found = [unit for path, unit in candidates if fits(path, said)]
            if len(found) == 1:
                return found[0]
            if found:
                return None
        return candidates[0][1] if file and not said and len(candidates) == 1 else None


class _Homes:
    """Units of one name, by every run of parts of their dotted paths: many tests are called alike.

    Of those that fit equally well two are as good as all, since neither is then the one.
    """

    def __init__(self, homes: Sequence[_Home]) -> None:
        self._same: dict[str, list[_Home]] = {}
        self._ends: dict[str, list[_Home]] = {}
        self._within: dict[str, list[_Home]] = {}
        for home in homes:
            parts = home[0].split(".")
            self._same.setdefault(home[0], []).append(home)
            for begin in range(len(parts)):
                self._ends.setdefault(".".join(parts[begin:]), []).append(home)
                for end in range(begin + 1, min(len(parts), begin + _DEEP) + 1):
                    self._within.setdefault(".".join(parts[begin:end]), []).append(home)

    def near(self, said: str, file: str) -> list[_Home]:
        """Those that a class name or a file may mean; a file counts first."""
        if file and (found := [*self._within.get(file, ()), *self._above(file)]):
            return list(dict.fromkeys(found))
        found = [*self._same.get(said, ())[:2], *self._ends.get(said, ())[:3], *self._above(said)]
        return list(dict.fromkeys((*found, *self._within.get(said, ())[:3])))

    def _above(self, said: str) -> Iterator[_Home]:
        """Those with whose whole path the text ends."""
        parts = said.split(".")
        for begin in range(len(parts)):
            yield from self._same.get(".".join(parts[begin:]), ())[:2]


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
