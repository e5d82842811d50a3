"""What the user set: the one module that reads `pyproject.toml`, `foretest.toml` and the environment."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from foretest.errors import BadConfiguration

STATE_DIRECTORY = ".foretest"


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of one repository; every field may stand in `[tool.foretest]` under its own name."""

    root: Path
    repository: str = ""
    """Repository key; empty means it is derived from the origin's address or the root commit."""
    tests: tuple[str, ...] = ()
    """Where the tests are, as given to pytest; empty means pytest's own `testpaths`."""
    pytest_args: tuple[str, ...] = ()
    python: str = sys.executable
    """Interpreter whose environment runs the project's tests."""
    must_run: tuple[str, ...] = ()
    """Glob patterns over test units that are in every selection."""
    never_widen: tuple[str, ...] = ("*.md", "*.rst", "docs/**", "LICENSE*", "CHANGELOG*", "AUTHORS*", ".gitignore")
    """Glob patterns of files whose change cannot break a test."""
    target: float = 0.10
    """Default budget as a share of suite time."""
    explore: float = 0.01
    """Share of suite time given to tests drawn at random from the rest."""
    recent_days: float = 14.0
    """A test that failed within so many days always runs."""
    max_coverage_age: int = 200
    """Commits after which coverage counts as stale and the run is widened."""
    catalogue: str = ""
    """SQLAlchemy address of the catalogue; empty means SQLite in the state directory."""
    timeout: float = 600.0
    """Seconds after which one run of the suite in the lab is ended."""

    @property
    def state(self) -> Path:
        return self.root / STATE_DIRECTORY

    @property
    def bundle_path(self) -> Path:
        return self.state / "bundle.ftb"


def load_config(root: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read the settings of the repository at `root`.

    `foretest.toml` wins over `pyproject.toml`; `FORETEST_<FIELD>` in the environment wins over both.
    Raises BadConfiguration for a file that is not TOML, an unknown field or a value of a wrong type.
    """
    environ = os.environ if environ is None else environ
    table: dict[str, Any] = {}
    for name, path in (("pyproject.toml", ("tool", "foretest")), ("foretest.toml", ())):
        table.update(_table(root / name, path))
    for field in fields(Config):
        value = environ.get(f"FORETEST_{field.name.upper()}")
        if value is not None and field.name != "root":
            table[field.name] = value.split(",") if isinstance(field.default, tuple) else value
    return replace(Config(root=root), **{k: _typed(k, v) for k, v in table.items()})


def _table(file: Path, path: tuple[str, ...]) -> dict[str, Any]:
    try:
        data: Any = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadConfiguration(f"{file.name} cannot be read: {error}.", "Mend the file.") from error
    for part in path:
        data = data.get(part, {}) if isinstance(data, dict) else {}
    if not isinstance(data, dict):
        raise BadConfiguration(f"{file.name}: [tool.foretest] is not a table.", "Mend the file.")
    return {str(k).replace("-", "_"): v for k, v in data.items()}


def _typed(name: str, value: Any) -> Any:
    defaults = {f.name: f.default for f in fields(Config) if f.name != "root"}
    if name not in defaults:
        known = ", ".join(sorted(defaults))
        raise BadConfiguration(f"Unknown setting '{name}'.", f"Known settings: {known}.")
    default = defaults[name]
    try:
        if isinstance(default, tuple):
            if isinstance(value, str) or not all(isinstance(v, str) for v in value):
                raise TypeError
            return tuple(value)
        if isinstance(default, float):
            if isinstance(value, bool):
                raise TypeError
            return float(value)
        if isinstance(default, int):
            return int(value)
        if not isinstance(value, str):
            raise TypeError
        return value
    except (TypeError, ValueError) as error:
        wanted = "a list of strings" if isinstance(default, tuple) else type(default).__name__
        raise BadConfiguration(f"Setting '{name}' has the value {value!r}.", f"It takes {wanted}.") from error


def child_environment(without: Collection[str], changes: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that we start: ours, less some variables, with `changes`."""
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return kept | dict(changes)
