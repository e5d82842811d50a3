"""Whose JUnit XML it is: the dialect of each suite, by its first case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from foretest.results.dialects.contract import Dialect, Scene
from foretest.results.dialects.go import GOTESTSUM
from foretest.results.dialects.java import JUNIT
from foretest.results.dialects.javascript import JEST, MOCHA, PLAYWRIGHT, VITEST
from foretest.results.dialects.native import CTEST, GTEST
from foretest.results.dialects.python import PYTEST
from foretest.results.dialects.rust import NEXTEST
from foretest.results.shapes import ASKED, holds


def _file_or_class(scene: Scene, classname: str, file: str) -> str:
    place = scene.files(file) or classname
    return f"{place}::" if place else ""


OTHER = Dialect("junit", lambda _, __: True, _file_or_class)
"""Whoever else writes JUnit XML: a test is its file or class, and its name."""
DIALECTS = (NEXTEST, JEST, VITEST, PLAYWRIGHT, MOCHA, GTEST, CTEST, GOTESTSUM, PYTEST, JUNIT, OTHER)
"""The first that tells a case as its own reads it."""
_BY_ROOT = (NEXTEST, VITEST, MOCHA)
"""Told by the root alone."""
_BY_COLUMN = (GOTESTSUM, PYTEST, JUNIT)
"""What is left for plain cases, which have no verdict of their own as GTEST and CTEST write it."""

_UNREADY = r"[\x00-\x1f\x{fffe}\x{ffff}]"
"""Not as the parser gives it."""


class Suites(Sequence[Mapping[str, str]]):
    """Attributes of suites by number: 0 is the one that stood open before, n the n-th to open."""

    def __init__(self, before: Mapping[str, str], opened: pl.DataFrame) -> None:
        self._before, self.opened = before, opened
        self._last = (0, before)
        self.roots: list[int] = []
        if len(opened):
            self.roots = ((opened["tag"] != "testsuite").arg_true() + 1).to_list()

    def __len__(self) -> int:
        return len(self.opened) + 1

    def __getitem__(self, number: int) -> Mapping[str, str]:  # type: ignore[override]
        """A root is no suite: the one before it counts."""
        number %= len(self)
        if number != self._last[0]:
            suite = number
            while suite in self.roots:
                suite -= 1
            self._last = number, self.element(suite)[1] if suite else self._before
        return self._last[1]

    def element(self, number: int) -> tuple[str, Mapping[str, str]]:
        """Tag and attributes of what opened as the n-th, be it suite or root."""
        row = self.opened.row(number - 1, named=True)
        told = {name: row[name] for name in ASKED if row[name] is not None}
        return row["tag"], told


def of_plain(scene: Scene, firsts: pl.DataFrame, suites: Suites) -> list[Dialect] | None:
    """The dialects of suites that begin with a plain case; None where only one by one can tell."""
    if JEST.tells(scene, {}) or "id" in scene.root:
        return None
    whole = next((d for d in _BY_ROOT if d.tells(scene, {})), None)
    if whole is not None:
        return [whole] * len(firsts)
    names = pl.Series("suite_name", [suites[0].get("name"), *suites.opened["name"]], pl.String)
    blank = pl.lit("")
    told = firsts.select(
        names.gather(firsts["suite"]).fill_null(""),
        *(
            pl.col(n) if n in firsts.columns else blank.alias(n)
            for n in ("classname", "file", "name")
        ),
    )
    if any(holds(column, _UNREADY) for column in told):
        return None
    masks = [d.told(scene) for d in _BY_COLUMN if d.told is not None]
    index = pl.coalesce(
        *(pl.when(mask).then(number) for number, mask in enumerate(masks)), len(masks)
    )
    dialects = (*_BY_COLUMN, OTHER)
    return [dialects[number] for number in told.select(index).to_series().to_list()]
