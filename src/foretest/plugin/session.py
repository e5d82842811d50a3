"""Directs a session: obtains the selection, gives the orders, records, and says what was done."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from foretest import client
from foretest.config import STATE_DIRECTORY, load_config
from foretest.errors import ForetestError
from foretest.plugin import observing, wording
from foretest.plugin.execution import Execution, WorkerExecution, names_of
from foretest.plugin.orders import Orders, ranked, resting
from foretest.plugin.place import Place, ensure_state, find_place
from foretest.plugin.plan import Mode, Options, Origin, Plan, make_plan
from foretest.plugin.quarantining import forgiven
from foretest.plugin.recording import Recording, open_reports
from foretest.records import Selection


def register(config: pytest.Config) -> None:
    """Put in the hooks that this process needs: xdist's workers obey, every other one directs."""
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(WorkerExecution(config), "foretest-execution")
        return
    execution = Execution(config)
    config.pluginmanager.register(execution, "foretest-execution")
    config.pluginmanager.register(Direction(config, execution), "foretest-direction")


@dataclass(slots=True)
class Tally:
    """What became of the collected tests; with xdist every worker collects the same."""

    collected: int = 0
    deselected: int = 0
    emptied: bool = False
    """True where our choice alone left nothing to run."""


class Direction:
    """The one process that decides and sees all results."""

    def __init__(self, config: pytest.Config, execution: Execution) -> None:
        self.config = config
        self.execution = execution
        self.plan = make_plan(_options(config))
        self.run_id = uuid.uuid4().hex
        self.place = Place(config.rootpath)
        self.selection: Selection | None = None
        self.orders = Orders()
        self.recording: Recording | None = None
        self.observation: observing.Observation | None = None
        self.tally = Tally()
        self.notices: list[str] = []
        self.quarantine: list[str] = []
        """What is to be said of it before the run."""
        self.problems: list[str] = []
        self.forgiven: dict[str, None] = {}
        """Quarantined units that failed, in order."""

    # First, since xdist starts its workers and the terminal prints its header in this hook.
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        config = self.config
        self.place = find_place(config.rootpath, config.invocation_params.dir)
        if self.place.run:
            self.run_id = f"{self.place.run}-{self.run_id}"
        self.selection = _obtain(self.plan, self.place, config)
        self.orders = self._orders()
        self.notices = [*self.quarantine, *_interplay(self.plan.mode, self.orders, config)]
        if config.pluginmanager.has_plugin("dsession"):
            self.execution.discard_coverage()
        else:
            self.execution.obey(self.orders)
        if not config.option.collectonly:
            self._keep()
            self.recording = self._recording()
            config.pluginmanager.register(self.recording, "foretest-recording")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["foretest"] = self.orders.to_wire()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        wire = getattr(node, "workeroutput", {}).get("foretest")  # a crashed worker leaves none
        if wire:
            collected, deselected, problem, unknown = json.loads(wire)
            self.tally = Tally(collected, deselected)
            self._problem(problem)
            self._not_there(unknown)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if forgiven(report):
            self.forgiven[names_of(self.config, self.place.root).unit(report.nodeid)] = None

    def pytest_report_header(self) -> list[str]:
        if self.selection is None:
            return wording.notices(self.notices)
        lines = wording.header(self.plan.mode, self.selection)
        return lines + wording.notices(self.notices)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if not self.config.pluginmanager.has_plugin("dsession"):
            self.tally = Tally(self.execution.collected, self.execution.deselected)
            self._problem(self.execution.save_coverage())
            self._not_there(self.execution.unknown)
        tally = self.tally
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            tally.emptied = 0 < tally.collected == tally.deselected
            if tally.emptied:
                exitstatus = session.exitstatus = pytest.ExitCode.OK
        if self.recording is not None:
            broken_off = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR)
            stopped = exitstatus in broken_off or bool(session.shouldstop or session.shouldfail)
            run = tally.collected - tally.deselected
            self.recording.finish(int(exitstatus), run, tally.deselected, stopped=stopped)
            self._problem(self.recording.problem)
            if self.plan.mode is Mode.OBSERVE:
                self._observe(self.recording, complete=not stopped)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for line in self._last_words(self.config.option.verbose):
            loud = (
                "NOT SAFE" in line
                or "FAILED" in line
                or (self.selection is not None and self.selection.run_all)
            )
            terminalreporter.write_line(line, yellow=loud)

    def _last_words(self, verbosity: int) -> list[str]:
        """The closing lines: everything, one line with -q, only what is wrong with -qq."""
        lines, selection = wording.notices(self.problems), self.selection
        lines += wording.quarantined(list(self.forgiven), self.orders.quarantined)
        if selection is None:
            return lines
        if selection.run_all:
            return [*lines, *wording.ran_all(selection)]
        if self.observation is not None:
            told = wording.observed(self.observation)
            return lines + (told if verbosity >= 0 or self.observation.missed else told[-1:])
        quiet = verbosity < -1 or (verbosity < 0 and self.config.option.collectonly)
        if self.plan.mode is Mode.SELECT and self.tally.collected and not quiet:
            tally = self.tally
            counts = (tally.deselected, tally.collected)
            lines.append(wording.left_out(*counts, selection, emptied=tally.emptied))
        return lines

    def _orders(self) -> Orders:
        selection, place, option = self.selection, self.place, self.config.option
        stale, coverage = None, ""
        if option.foretest_coverage:
            coverage = str(self.config.invocation_params.dir / option.foretest_coverage)
        elif selection is not None and not option.collectonly and (state := self._state()):
            stale = self._stale()
            if stale:
                coverage = str(state / "spool" / f"coverage-{self.run_id}.jsonl.gz")
        known = ranked(selection) if selection is not None else ()
        return Orders(
            mode=self.plan.mode,
            root=str(place.root),
            commit=place.commit,
            rest=resting(selection, self._last_failed()) if selection is not None else frozenset(),
            ranking=known if self.plan.mode is Mode.ORDER else (),
            coverage=coverage,
            stale=stale,
            known=frozenset(known) if stale else frozenset(),
            quarantined=self._quarantined(),
        )

    def _stale(self) -> frozenset[str]:
        """Units whose coverage is due. It can wait for another run, whatever stands in its way."""
        try:
            return client.stale_units(self.place.root, self.plan.request.base)
        except Exception as error:
            self._problem(f"Coverage of the tests is not taken: {type(error).__name__}: {error}")
            return frozenset()

    def _quarantined(self) -> dict[str, str]:
        """Tests whose failure does not count today; one that cannot be read forgives nothing."""
        from foretest.flakes.quarantine import read, split, today

        try:
            settings = load_config(self.place.root).quarantine
            held, others = split(read(self.place.root / STATE_DIRECTORY, settings), today())
        except ForetestError as error:
            self._problem(f"No test is quarantined: {error}")
            return {}
        for sentence in others:
            self._problem(sentence)
        self._not_there(t for t in held if not (self.place.root / t.partition("::")[0]).exists())
        if held:
            self.quarantine.append(
                f"{len(held):,} quarantined test{'' if len(held) == 1 else 's'}: a failure is told,"
                " and does not fail the run."
            )
        return held

    def _not_there(self, tests: Iterable[str]) -> None:
        for test in tests:
            self._problem(f"{test} is quarantined, and there is no such test.")

    def _last_failed(self) -> frozenset[str]:
        cache = getattr(self.config, "cache", None)  # gone with -p no:cacheprovider
        failed = cache.get("cache/lastfailed", {}) if cache is not None else {}
        unit = names_of(self.config, self.place.root).unit
        return frozenset(unit(node_id) for node_id in failed)

    def _recording(self) -> Recording:
        option, selection = self.config.option, self.selection
        paths = []
        if option.foretest_report:
            paths.append(self.config.invocation_params.dir / option.foretest_report)
        if selection is not None and (state := self._state()):
            paths.append(state / "spool" / f"report-{self.run_id}.jsonl")
        decision = selection.decision_id if selection is not None else None
        shard = option.foretest_bin
        writers = open_reports(tuple(paths), self.place, self.run_id, shard, decision)
        recording = Recording(names_of(self.config, self.place.root), writers)
        if selection is not None and self.plan.mode is Mode.SELECT and not selection.run_all:
            certain = self._last_failed()
            drawn = (c for c in selection.chosen if c.inclusion < 1 and c.test not in certain)
            recording.inclusion = {c.test: c.inclusion for c in drawn}
        return recording

    def _observe(self, recording: Recording, *, complete: bool) -> None:
        if self.selection is None or self.selection.run_all:
            return  # nothing would have been left out: there is nothing to learn from
        self.observation = observing.observe(
            self.selection,
            self.orders.rest,
            recording.seconds,
            recording.failed,
            run_id=self.run_id,
            commit=self.place.commit,
            observed_at=datetime.now(UTC).isoformat(),
            complete=complete,
        )
        try:
            observing.append(self.place.root / STATE_DIRECTORY, self.observation)
        except OSError as error:
            self._problem(f"The observation could not be written: {error}")

    def _keep(self) -> None:
        """In CI, make the state directory for the step that records; else say what is not kept."""
        if self.selection is None or self._state():
            return
        state = self.place.root / STATE_DIRECTORY
        if self.place.run:
            try:
                ensure_state(state)
            except OSError as error:
                self._problem(f"The results are not kept: {state} cannot be made: {error.strerror}")
        elif not self.config.option.foretest_report:
            self.notices.append(
                f"The results are not kept for `foretest record`: there is no {STATE_DIRECTORY} "
                "here yet, which `foretest learn` makes. --foretest-report=FILE writes them anyway."
            )

    def _state(self) -> Path | None:
        """The project's state directory; without one, nothing is written unasked."""
        state = self.place.root / STATE_DIRECTORY
        return state if state.is_dir() else None

    def _problem(self, sentence: str) -> None:
        if sentence and sentence not in self.problems:
            self.problems.append(sentence)


def _options(config: pytest.Config) -> Options:
    names = ("target", "time", "base", "bin", "selection", "confidence")
    given = {name: getattr(config.option, f"foretest_{name}") for name in names}
    return Options(config.option.foretest, **given)


def _obtain(plan: Plan, place: Place, config: pytest.Config) -> Selection | None:
    if plan.mode is Mode.OFF:
        return None
    if plan.origin is Origin.ENGINE:
        return client.ask(place.root, plan.request)
    if plan.origin is Origin.FILE:
        path = config.invocation_params.dir / config.option.foretest_selection
        return client.read_selection(path, place.head, place.root)
    return client.run_all(plan.why)


def _interplay(mode: Mode, orders: Orders, config: pytest.Config) -> list[str]:
    """What other plugins do to this run, where a user may be surprised."""
    told = []
    if mode is Mode.ORDER and orders.ranking and config.getoption("randomly_reorganize", False):
        told.append("The order is foretest's; pytest-randomly only sets the random seeds.")
    if mode is Mode.SELECT and orders.rest and config.getoption("cov_fail_under", None):
        told.append("--cov-fail-under judges the selected part of the suite alone.")
    return told
