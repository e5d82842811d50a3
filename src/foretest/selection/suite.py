"""Where pytest looks for tests when it is told nothing: how a list says "everything"."""

from __future__ import annotations

import configparser
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any

_FILES = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")
_SHARED = ("pyproject.toml", "tox.ini", "setup.cfg")
_SECTIONS = {"tox.ini": "pytest", "setup.cfg": "tool:pytest"}


def whole_suite(root: Path, tests: Sequence[str] = ()) -> tuple[str, ...]:
    """Arguments with which pytest, started at `root`, runs what it runs without arguments.

    `tests` are the places that foretest's own settings name, which win. Never raises: what cannot
    be read leaves the whole directory.
    """
    if tests:
        return tuple(tests)
    for name in (*_FILES, *_SHARED):
        with suppress(OSError, ValueError, configparser.Error, TypeError, AttributeError):
            found = _testpaths(root / name)
            if found is not None:
                # Patterns, as pytest itself takes them.
                places = (glob(path, root_dir=root, recursive=True) for path in found)  # noqa: PTH207
                named = dict.fromkeys(place for some in places for place in sorted(some))
                return tuple(place for place in named if (root / place).exists()) or (".",)
    return (".",)


def _testpaths(file: Path) -> list[str] | None:
    """`testpaths` of a file of settings; None where the file holds no settings of pytest's."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".toml":
        table: Any = tomllib.loads(text)
        if file.name != "pyproject.toml":
            settings = table.get("pytest", {})
        else:
            pytest = table.get("tool", {}).get("pytest")
            if pytest is None:
                return None
            settings = pytest.get("ini_options", pytest)
        given = settings.get("testpaths", [])
        return given.split() if isinstance(given, str) else [str(path) for path in given]
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(text)
    section = _SECTIONS.get(file.name, "pytest")
    if not parser.has_section(section):
        return [] if file.name in _FILES else None
    return parser.get(section, "testpaths", fallback="").split()
