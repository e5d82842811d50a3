"""Takes per-test coverage in the same run: all of it where asked for, else what is out of date."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from foretest.errors import ForetestError
from foretest.plugin.place import repository_root

if TYPE_CHECKING:
    from foretest.evidence.tracer import Tracer

OTHERS = "-"
"""Stands in for every test whose coverage is not taken: what it enters is no one's evidence."""


class Tracing:
    """The tracer of one process and what became of it; harmless where it could not start."""

    def __init__(self, root: Path) -> None:
        self.problem = ""
        """Why there is no coverage; empty where there is."""
        self._tracer: Tracer | None = None
        try:
            from foretest.evidence.tracer import start_tracer

            self._tracer = start_tracer(root)
        except (ForetestError, ImportError) as error:
            self.problem = f"Coverage of the tests is not taken: {error}"

    @property
    def on(self) -> bool:
        return self._tracer is not None

    def enter(self, unit: str | None) -> None:
        if self._tracer is not None:
            self._tracer.switch(unit)

    def discard(self) -> None:
        """Stop without writing."""
        if self._tracer is not None:
            self._tracer.stop()
            self._tracer = None

    def save(self, path: Path, commit: str | None) -> None:
        """Stop, and write what was seen; a full disk is named, and does not end the run."""
        if self._tracer is None:
            return
        from foretest.evidence.tracer import write_traced

        traced = self._tracer.stop()
        self._tracer = None
        units = {unit: seen for unit, seen in traced.units.items() if unit != OTHERS}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_traced(path, replace(traced, units=units), commit)
        except (OSError, ForetestError) as error:
            self.problem = f"Coverage of the tests was not written: {error}"


EARLY = pytest.StashKey[Tracing]()


def start_early(config: pytest.Config) -> None:
    """Begin to trace before pytest imports anything of the project."""
    root = repository_root(config.rootpath) or repository_root(config.invocation_params.dir)
    config.stash[EARLY] = Tracing(root or config.rootpath)


class TraceEachTest:
    """Hooks that tell the tracer whose turn it is; registered only while there is a tracer."""

    def __init__(self, tracing: Tracing, name: Callable[[pytest.Item], str]) -> None:
        self._tracing = tracing
        self._name = name
        """The unit of a test, or OTHERS."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._tracing.enter(self._name(item))
        try:
            return (yield)
        finally:
            self._tracing.enter(None)


def numbered(path: Path, worker: str) -> Path:
    """The file of one xdist worker beside those of the others: `coverage.gw0.jsonl`."""
    if not worker:
        return path
    stem, dot, suffixes = path.name.partition(".")
    return path.with_name(f"{stem}.{worker}{dot}{suffixes}")
