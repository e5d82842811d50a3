"""What the user set: the one module that reads settings from files and the environment."""

from __future__ import annotations

import math
import os
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from foretest.errors import BadConfiguration

STATE_DIRECTORY = ".foretest"

LIMITS = {
    "target": (0.0, 1.0),
    "confidence": (0.0, 1.0),
    "explore": (0.0, 1.0),
    "recent_days": (0.0, math.inf),
    "max_coverage_age": (0, math.inf),
    "timeout": (0.001, math.inf),
    "join_threshold": (0.0, 1.0),
}
"""Least and greatest value of the settings that are numbers."""


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
    never_widen: tuple[str, ...] = (
        "*.md",
        "*.rst",
        "docs/**",
        "LICENSE*",
        "CHANGELOG*",
        "AUTHORS*",
        ".gitignore",
    )
    """Glob patterns of files whose change cannot break a test.

    Tests that name such a file or stand in it run nevertheless, and files below test folders are
    only meant by a pattern that names such a folder.
    """
    target: float = 0.10
    """Default budget as a share of suite time, where no confidence is asked for."""
    confidence: float = 0.0
    """Share of faulty changes that a selection must catch (see docs/promise.md); 0 = none asked."""
    adapt: bool = False
    """Whether a budget is an average over changes: a risky one may take more, a safe one less."""
    explore: float = 0.01
    """Share of suite time given to tests drawn at random from the rest."""
    recent_days: float = 14.0
    """A test that failed within so many days always runs."""
    join_threshold: float = 0.8
    """Share of the selected tests that must come back in the report that `record` is given."""
    max_coverage_age: int = 200
    """Commits after which coverage counts as stale and the run is widened."""
    stream: str = ""
    """Where reports wait for the lake, `spool:FOLDER` or `nats://HOST:PORT`; empty means a spool in
    the state directory."""
    durability: str = "process"
    """What an acknowledged report survives: `process` (a kill) or `power` (a power cut too)."""
    catalogue: str = ""
    """SQLAlchemy address of the catalogue; empty means SQLite in the state directory."""
    timeout: float = 600.0
    """Seconds after which one run of the suite in the lab is ended."""
    flags: tuple[str, ...] = ()
    """What else tells this run's configuration from others of the same system and Python."""
    cache: str = ""
    """Where the lab's copies lie; empty means `foretest` in the user's cache directory."""

    quarantine: tuple[str, ...] = ()
    """Flaky tests whose failure fails no run for a while: `TEST until 2025-07-01: reason`."""
    tracking: str = ""
    """Where trainings are told of: `http://HOST:PORT` or `sqlite:///FILE` (MLflow); empty: nowhere.
    `MLFLOW_TRACKING_URI` counts where nothing else is set."""
    datasets: str = ""
    """Folder that holds public data sets, each under its own name, for `foretest import`."""

    @property
    def cache_path(self) -> Path:
        return Path(self.cache) if self.cache else Path.home() / ".cache" / "foretest"

    @property
    def state(self) -> Path:
        return self.root / STATE_DIRECTORY

    @property
    def bundle_path(self) -> Path:
        return self.state / "bundle.ftb"


def load_config(root: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read the settings of the repository at `root`.

    `foretest.toml` wins over `pyproject.toml`, and `FORETEST_<FIELD>` in the environment over both.
    Raises BadConfiguration for a file that is not TOML, an unknown field, a wrong type or value.
    """
    environ = os.environ if environ is None else environ
    table: dict[str, Any] = {}
    for name, path in (("pyproject.toml", ("tool", "foretest")), ("foretest.toml", ())):
        table.update(_table(root / name, path))
    if environ.get("XDG_CACHE_HOME"):
        table.setdefault("cache", str(Path(environ["XDG_CACHE_HOME"], "foretest")))
    if environ.get("MLFLOW_TRACKING_URI"):
        table.setdefault("tracking", environ["MLFLOW_TRACKING_URI"])
    for field in fields(Config):
        value = environ.get(f"FORETEST_{field.name.upper()}")
        if value is not None and field.name != "root":
            table[field.name] = _listed(value) if isinstance(field.default, tuple) else value
    return replace(Config(root=root), **{k: _typed(k, v) for k, v in table.items()})


def unread_settings(start: Path, root: Path) -> list[Path]:
    """Files of settings between `start` and the repository's root: only the root's are read."""
    top, found = root.resolve(), []
    for folder in (start.resolve(), *start.resolve().parents):
        if not folder.is_relative_to(top) or folder == top:
            break
        for name, path in (("pyproject.toml", ("tool", "foretest")), ("foretest.toml", ())):
            try:
                if _table(folder / name, path):
                    found.append(folder / name)
            except BadConfiguration:
                continue  # what cannot be read says nothing about foretest
    return found


def _table(file: Path, path: tuple[str, ...]) -> dict[str, Any]:
    try:
        data: Any = tomllib.loads(file.read_text(encoding="utf-8-sig"))
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
        typed = _as_type_of(default, value)
        least, greatest = LIMITS.get(name, (None, None))
        if least is not None and not (least <= typed <= greatest and math.isfinite(typed)):
            raise ValueError
        return typed
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        named = {tuple: "a list of strings", bool: "true or false"}
        wanted = named.get(type(default), type(default).__name__)
        raise BadConfiguration(
            f"Setting '{name}' has the value {value!r}.", f"It takes {wanted}{_within(name)}."
        ) from error


def _as_type_of(default: Any, value: Any) -> Any:
    """`value` as the type of `default`; a number may be text, as it is in the environment."""
    if isinstance(default, tuple):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise TypeError
        return tuple(value)
    if isinstance(default, bool):
        return value if isinstance(value, bool) else _SWITCH[str(value).strip().lower()]
    number = isinstance(default, int | float)
    accepted = (str, int, type(default)) if number else (str,)
    if isinstance(value, bool) or not isinstance(value, accepted):
        raise TypeError
    return type(default)(value)


_SWITCH = {"true": True, "1": True, "false": False, "0": False}
"""The environment's spelling of true and false."""


def _within(name: str) -> str:
    if name not in LIMITS:
        return ""
    least, greatest = LIMITS[name]
    return (
        f" from {least:g} to {greatest:g}" if math.isfinite(greatest) else f", at least {least:g}"
    )


def _listed(text: str) -> list[str]:
    """The environment's spelling of a list: `a,b`."""
    return [item.strip() for item in text.split(",") if item.strip()]


def child_environment(without: Collection[str], changes: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that we start: ours, less some variables, with `changes`."""
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return kept | dict(changes)


@contextmanager
def switched_on(name: str) -> Iterator[None]:
    """A variable of ours that is 1 within the block, for a library that has no other switch."""
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def environment() -> dict[str, str]:
    """The variables by which a CI system describes the run; `foretest.ci` knows what they mean."""
    return dict(os.environ)


def object_store_environment() -> dict[str, str]:
    """The variables by which the user names an object store and its credentials."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
