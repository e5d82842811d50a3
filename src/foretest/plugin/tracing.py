"""Takes per-test coverage in the same run: all of it where asked for, else what is out of date."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from foretest.errors import ForetestError
from foretest.plugin.place import repository_root

if TYPE_CHECKING:
    from foretest.evidence.tracer import Tracer


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
        """From here on, what runs belongs to `unit`."""
        if self._tracer is not None:
            self._tracer.switch(unit)

    def pause(self) -> None:
        """From here on, what runs is not traced: it is no one's evidence."""
        if self._tracer is not None:
            self._tracer.pause()

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
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_traced(path, traced, commit)
        except (OSError, ForetestError) as error:
            self.problem = f"Coverage of the tests was not written: {error}"


EARLY = pytest.StashKey[Tracing]()


def start_early(config: pytest.Config) -> None:
    """Begin to trace before pytest imports anything of the project."""
    root = repository_root(config.rootpath) or repository_root(config.invocation_params.dir)
    config.stash[EARLY] = Tracing(root or config.rootpath)


class TraceEachTest:
    """Hooks that tell the tracer whose turn it is; registered only while there is a tracer."""

    def __init__(self, tracing: Tracing, unit: Callable[[pytest.Item], str | None]) -> None:
        self._tracing = tracing
        self._unit = unit
        """The unit of a test; None where its coverage is not due."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        unit = self._unit(item)
        if unit is None:
            self._tracing.pause()  # it lasts into the next test: resuming costs Coverage.py time
            return (yield)
        self._tracing.enter(unit)
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
