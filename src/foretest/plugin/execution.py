"""Carries out the orders on the tests of this process: leaves out, reorders, traces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foretest.plugin.orders import Orders
from foretest.plugin.place import Names
from foretest.plugin.plan import Mode
from foretest.plugin.quarantining import ForgiveFailures
from foretest.plugin.tracing import EARLY, TraceEachTest, Tracing, numbered


class Execution:
    """One for each process that has tests: pytest's only one, or each worker of xdist."""

    def __init__(self, config: pytest.Config) -> None:
        self.orders = Orders()
        self.collected = 0
        """Tests that other filters have left."""
        self.deselected = 0
        """Tests that we leave out of these."""
        self._config = config
        self._names = Names(config.rootpath, config.rootpath)
        self._tracing = config.stash.get(EARLY, None)
        self._hooks: TraceEachTest | None = None
        self._forgive: ForgiveFailures | None = None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Tests in quarantine that are not there."""
        return self._forgive.unknown if self._forgive is not None else ()

    def obey(self, orders: Orders) -> None:
        """Take the orders, before anything is collected."""
        config = self._config
        self.orders = orders
        self._names = names_of(config, Path(orders.root or config.rootpath))
        if orders.quarantined:
            self._forgive = ForgiveFailures(orders.quarantined, self._unit)
            config.pluginmanager.register(self._forgive, "foretest-quarantine")
        if not orders.coverage or config.option.collectonly:
            self.discard_coverage()
            return
        self._tracing = self._tracing or Tracing(Path(orders.root))
        if self._tracing.on:
            self._hooks = TraceEachTest(self._tracing, self._traced_unit)
            config.pluginmanager.register(self._hooks, "foretest-tracing")

    # Last, so that -k, -m and the shuffling of other plugins are done.
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.collected, orders = len(items), self.orders
        if orders.mode is Mode.ORDER and orders.ranking:
            from foretest.plugin.ordering import reorder

            items[:] = reorder(items, orders.ranking, self._unit)
        if orders.mode is not Mode.SELECT or not orders.rest:
            return
        # The order of the suite stays: shared fixtures are set up once, and tests that lean on one
        # another meet as in a full run. Who wants the likeliest failure first asks for `order`.
        resting = [item for item in items if self._unit(item) in orders.rest]
        if resting:
            out = set(map(id, resting))
            items[:] = [item for item in items if id(item) not in out]
            self.deselected = len(resting)
            self._config.hook.pytest_deselected(items=resting)

    def save_coverage(self, worker: str = "") -> str:
        """Write what was traced; gives the problem, or "" where there was none."""
        if self._tracing is None:
            return ""
        if self.orders.coverage:
            path = numbered(Path(self.orders.coverage), worker)
            self._tracing.save(path, self.orders.commit, self._hooks)
        return self._tracing.problem

    def discard_coverage(self) -> None:
        if self._tracing is not None:
            self._tracing.discard()
            self._tracing = None

    def _unit(self, item: pytest.Item) -> str:
        return self._names.unit(item.nodeid)

    def _traced_unit(self, item: pytest.Item) -> str | None:
        unit = self._unit(item)
        return unit if self.orders.traces(unit) else None


class WorkerExecution(Execution):
    """The same in a worker of xdist: the orders come over the wire, the counts go back over it."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        wire = self._config.workerinput.get("foretest")  # type: ignore[attr-defined]
        self.obey(Orders.from_wire(wire) if wire else Orders())

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        config: Any = self._config
        problem = self.save_coverage(config.workerinput["workerid"])
        config.workeroutput["foretest"] = json.dumps(
            [self.collected, self.deselected, problem, self.unknown]
        )


def names_of(config: pytest.Config, root: Path) -> Names:
    """How this session's node ids become units of the repository at `root`."""
    grouped = config.getoption("dist", None) == "loadgroup"
    return Names(config.rootpath, root, grouped=grouped)
