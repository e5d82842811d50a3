"""What an adapter of one runner's report says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from foretest.results.batch import Case

if TYPE_CHECKING:
    import polars as pl

Spelling = tuple[str, str | None]
"""A test's unit and its parameters."""


@dataclass(slots=True)
class Scene:
    """What surrounds a test case: attributes of the root and of the suite, and where files lie."""

    root_tag: str = ""
    root: Mapping[str, str] = field(default_factory=dict)
    suite: Mapping[str, str] = field(default_factory=dict)
    files: Files = field(default_factory=lambda: Files(None))


class Files:
    """Paths as the repository has them: reports of other machines name other folders."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._known: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        """`path` below the repository's root where it can be found there, else as it was."""
        if path not in self._known:
            self._known[path] = self._relative(path.removeprefix("file://").replace("\\", "/"))
        return self._known[path]

    def _relative(self, path: str) -> str:
        absolute = path.startswith("/") or re.match(r"[A-Za-z]:/", path) is not None
        if not absolute:
            return path.removeprefix("./")
        if self._root is None or "\0" in path:
            return path
        parts = [part for part in path.split("/") if part and part != ".."]
        below = self._root.as_posix().strip("/").split("/")
        if parts[: len(below)] == below and len(parts) > len(below):
            return "/".join(parts[len(below) :])
        for start in range(1, len(parts)):
            try:
                if (self._root / Path(*parts[start:])).is_file():
                    return "/".join(parts[start:])
            except OSError:
                break  # a name that no file system takes
        return path


def under(prefix: str, text: str) -> str:
    """The unit of that name below a prefix; the prefix itself where the name is empty."""
    return prefix + text if text else prefix.removesuffix("::")


def unsplit(name: str) -> Spelling:
    """A name without parts."""
    return name, None


@dataclass(frozen=True, slots=True)
class Dialect:
    """JUnit XML as one runner writes it.

    A test is `prefix` and what `split` makes of its name; `split` leaves every name alone that
    holds none of the characters in `marks`. Where a prefix cannot be told without the name,
    `identify` says the whole; a dialect with `splits` too does so where the class name is empty or
    equals the name.
    """

    runner: str
    tells: Callable[[Scene, Mapping[str, str]], bool]
    """Whether a case in such a scene is this runner's."""
    prefix: Callable[[Scene, str, str], str]
    """Scene, class name and file; ends with `::` unless it is empty."""
    split: Callable[[str], Spelling] = unsplit
    marks: str = ""
    identify: Callable[[Scene, Mapping[str, str]], Spelling] | None = None
    splits: Callable[[pl.Series], pl.DataFrame] | None = None
    """`split` for a whole column, where it is needed for many names: `text` and `parameters`."""
    told: Callable[[Scene], pl.Expr] | None = None
    """`tells` by column, of plain cases in scenes of one root: `suite_name` is the suite's name."""
    prefixes: Callable[[pl.Series], pl.Series] | None = None
    """`prefix` for a whole column of class names, none of them empty, where no file is told."""
    suspect: Callable[[Scene, Mapping[str, str]], str] | None = None
    """Something to tell the user of a report that can be read but lacks what joins runs."""

    def spell(self, scene: Scene, case: Mapping[str, str]) -> Spelling:
        """The test that a case means."""
        if self.identify is not None:
            return self.identify(scene, case)
        text, parameters = self.split(case.get("name", ""))
        prefix = self.prefix(scene, case.get("classname", ""), case.get("file", ""))
        return under(prefix, text), parameters


@dataclass(frozen=True, slots=True)
class Document:
    """A format of its own: how it begins, and its cases in the order of the report."""

    runner: str
    begins: re.Pattern[bytes]
    cases: Callable[[IO[bytes], Files], Iterator[Case]]
    """Raises DamagedError where the file stops making sense."""
    listed: str = ""
    """The list without which JSON that begins like this is something else; empty for the rest."""
