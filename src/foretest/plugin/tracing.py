"""Takes per-test coverage in the same run: all of it where asked for, else what is out of date."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from foretest.errors import ForetestError
from foretest.plugin.place import repository_root
from foretest.plugin.quarantining import forgiven

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

    def save(self, path: Path, commit: str | None, hooks: TraceEachTest | None = None) -> None:
        """Stop, and write what was seen; a full disk is named, and does not end the run."""
        if self._tracer is None:
            return
        from foretest.evidence.traced import with_shared, write_traced

        traced = self._tracer.stop()
        self._tracer = None
        if hooks is not None:
            partial = hooks.partial & traced.units.keys()
            traced = replace(with_shared(traced, hooks.shared.used), partial=partial)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_traced(path, traced, commit)
        except (OSError, ForetestError) as error:
            self.problem = f"Coverage of the tests was not written: {error}"


SHARED = "\0fixture:"
"""How the names begin under which shared fixtures are traced; as `evidence.traced` knows them."""
PAUSED = "\0paused"
"""Stands for the turn of a test whose coverage is not due."""
EARLY = pytest.StashKey[Tracing]()


def start_early(config: pytest.Config) -> None:
    """Begin to trace before pytest imports anything of the project."""
    root = repository_root(config.rootpath) or repository_root(config.invocation_params.dir)
    config.stash[EARLY] = Tracing(root or config.rootpath)


class TraceEachTest:
    """Hooks that tell the tracer whose turn it is; registered only while there is a tracer."""

    def __init__(self, tracing: Tracing, unit: Callable[[pytest.Item], str | None]) -> None:
        self.shared = SharedFixtures()
        self._tracing = tracing
        self._unit = unit
        """The unit of a test; None where its coverage is not due."""
        self._unpassed: dict[str, str] = {}  # units by node id
        self._good = True
        self._within: list[str | None] = [None]
        """Whose turn it is: a test, or the shared fixtures being made for it, innermost last."""

    @property
    def partial(self) -> frozenset[str]:
        """Units with a test that did not come to its end well."""
        return frozenset(self._unpassed.values())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        unit = self._unit(item)
        if unit is None:
            self._tracing.pause()  # it lasts into the next test: resuming costs Coverage.py time
            self._within = [PAUSED]
            return (yield)
        self._unpassed[item.nodeid] = unit
        self._within = [unit]
        self._tracing.enter(unit)
        try:
            return (yield)
        finally:
            self._within = [None]
            self._tracing.enter(None)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        unit = self._within[0]
        if unit is not None and unit != PAUSED:
            self.shared.note(item, unit)  # now all of them are made, and pytest still knows which

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        expected = hasattr(report, "wasxfail") and not forgiven(report)
        self._good = (self._good or report.when == "setup") and (report.passed or expected)
        if report.when == "teardown" and self._good:
            self._unpassed.pop(report.nodeid, None)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            return (yield)
        name = self.shared.name(fixturedef, request.node, self._within)
        self._enter(name)
        try:
            made = yield
        finally:
            self._leave(name)
        # The last finalizer that is added is the first to run: what follows is its tear-down.
        fixturedef.addfinalizer(partial(self._enter, name))
        return made

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[object]) -> None:
        if fixturedef.scope != "function" and self.shared.is_named(fixturedef, self._within[-1]):
            self._leave(self._within[-1])

    def _enter(self, name: str | None) -> None:
        self._within.append(name)
        self._tracing.enter(name)

    def _leave(self, name: str | None) -> None:
        if len(self._within) < 2 or self._within[-1] != name:
            return
        self._within.pop()
        if self._within[-1] == PAUSED:
            self._tracing.pause()
        else:
            self._tracing.enter(self._within[-1])


class SharedFixtures:
    """Fixtures that are made once for several tests: what they run is the evidence of each user.

    The first test to ask finds such a fixture made, the others find it there; so it is traced
    under a name of its own, and given to every test that uses it when coverage is written.
    """

    def __init__(self) -> None:
        self.used: dict[str, set[str]] = {}
        """Names of the shared fixtures by unit."""
        self._names: dict[int, dict[str, str]] = {}  # by fixture, then by where it is shared
        self._definitions: list[object] = []  # kept alive, since they are known by their id()
        self._asked: dict[str, set[str]] = {}  # fixtures that a fixture asked for while it was made

    def name(
        self,
        fixture: pytest.FixtureDef[object],
        node: pytest.Item | pytest.Collector,
        within: list[str | None],
    ) -> str:
        """The name to trace it under, where it is shared by the tests below `node`."""
        if id(fixture) not in self._names:
            self._definitions.append(fixture)
        places = self._names.setdefault(id(fixture), {})
        place = f"{type(node).__name__}:{node.nodeid}"
        name = places.setdefault(place, f"{SHARED}{len(self._definitions)}:{place}")
        asker = within[-1]
        if asker is not None and asker.startswith(SHARED):
            self._asked.setdefault(asker, set()).add(name)
        return name

    def is_named(self, fixture: pytest.FixtureDef[object], name: str | None) -> bool:
        return name in self._names.get(id(fixture), {}).values()

    def note(self, item: pytest.Item, unit: str) -> None:
        """Keep which shared fixtures the test used: named in its signature or asked for in it."""
        if not self._names:
            return
        places = {f"{type(node).__name__}:{node.nodeid}" for node in item.listchain()}
        used = self.used.setdefault(unit, set())
        pending = [
            named[place]
            for definition in _fixtures(item)
            if (named := self._names.get(id(definition)))
            for place in places & named.keys()
        ]
        while pending:
            name = pending.pop()
            if name not in used:
                used.add(name)
                pending.extend(self._asked.get(name, ()))


def _fixtures(item: pytest.Item) -> Iterator[object]:
    """Every fixture that a test can reach; pytest keeps them where only its own code looks."""
    declared = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    for definitions in declared.values():
        yield from definitions
    asked = getattr(getattr(item, "_request", None), "_fixture_defs", {})
    yield from asked.values()


def numbered(path: Path, worker: str) -> Path:
    """The file of one xdist worker beside those of the others: `coverage.gw0.jsonl`."""
    if not worker:
        return path
    stem, dot, suffixes = path.name.partition(".")
    return path.with_name(f"{stem}.{worker}{dot}{suffixes}")
