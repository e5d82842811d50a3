"""Recipes: which repositories the corpus is made of, and what their suites need to run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from foretest.errors import BadConfiguration


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one repository needs."""

    name: str
    url: str
    commit: str
    licence: str
    """SPDX name, as its licence file says at that commit."""
    install: tuple[str, ...] = ()
    pytest_args: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    """Which part of the suite is run; empty: all of it."""
    sources: tuple[str, ...] = ()
    """Commits that touched these paths are undone; empty: all. Others a part cannot judge."""
    lag: int = 50
    """Commits by which the lagged coverage is older; 0: none is taken."""
    timeout: float = 300.0
    """Seconds after which one run of the unchanged suite is given up."""

    @property
    def mirror(self) -> str:
        """The directory of a local mirror: OWNER+NAME."""
        return "+".join(self.url.removesuffix(".git").split("/")[-2:])


def read_recipes(path: Path | None = None, names: Sequence[str] = ()) -> list[Recipe]:
    """The recipes of a file, of those named if any are; without a file, those foretest ships.

    Raises BadConfiguration where a name has no recipe, and for a file of anything else.
    """
    shipped = files("foretest.platform.corpus") / "repositories.toml"
    try:
        tables = tomllib.loads((path or shipped).read_text(encoding="utf-8"))
        known = {name: _recipe(name, table) for name, table in tables.items()}
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise BadConfiguration(
            f"{path} holds no recipes ({error}).",
            "A recipe is a table of its own: url, commit, licence; see docs/corpus.md.",
        ) from error
    if unknown := set(names) - known.keys():
        raise BadConfiguration(
            f"No recipe for {', '.join(sorted(unknown))}.",
            f"Known: {', '.join(known)}.",
        )
    return [recipe for name, recipe in known.items() if not names or name in names]


def _recipe(name: str, table: Mapping[str, Any]) -> Recipe:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    return Recipe(name, **values)
