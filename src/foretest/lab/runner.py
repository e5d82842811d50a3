"""Runs a suite in a work tree of ours: first unchanged, then with one change at a time."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from foretest.changes.git import Repository
from foretest.changes.layout import is_test_file
from foretest.errors import SuiteFailed
from foretest.lab.layout import import_names, import_roots
from foretest.lab.outcome import Baseline, Reading, RunOutcome, merge
from foretest.lab.worker import Worker, WorkerDiedError, supported
from foretest.lab.workspace import Workspace

__all__ = ["Baseline", "RunOutcome", "SuiteRunner"]

_SHARE_OF_MEMORY = 0.5
_SLOWER = 3.0
"""A changed suite that takes so many times as long as the unchanged one counts as hanging."""

_SLACK = 20.0
_A_DAY = 86_400.0
_SHORTEST_PATIENCE = 10.0


class SuiteRunner:
    """The suite of one workspace, run by a warm process with the project's interpreter."""

    def __init__(
        self,
        workspace: Workspace,
        python: str,
        pytest_args: Sequence[str] = (),
        timeout: float = 600.0,
    ) -> None:
        if not supported():
            raise SuiteFailed(
                "The lab forks processes, which this system cannot.", "Run it on Linux or macOS."
            )
        self.workspace = workspace
        self.pytest_args = tuple(pytest_args)
        self.timeout = timeout
        files = Repository(workspace.tree).files(workspace.commit)
        self.packages = import_names(files)
        roots = [workspace.tree / root for root in import_roots(files)]
        self.worker = Worker(
            python,
            workspace.tree,
            workspace.temporary,
            [str(root) for root in roots],
            workspace.tree.parent / "zygote.log",
        )
        self._limits = (timeout, timeout)
        self._known_errors: tuple[str, ...] = ()

    def baseline(self, repeats: int = 2) -> Baseline:
        """Run the unchanged suite `repeats` times; raises SuiteFailed where it is of no use.

        Between the first and the second run the process is made warm with what the first loaded.
        """
        self.worker.warm(self.packages, ())
        cold = self._checked(self._run(learn=True, stop_on_errors=False))
        self._known_errors = cold.errors
        self._limits = (min(self.timeout, _SLOWER * cold.seconds + _SLACK), self.timeout)
        notes: list[str] = []
        warm = self._warm_runs(cold, max(1, repeats - 1))
        modules = cold.outside
        if any(run.bad - cold.bad for run in warm) or any(run.broken for run in warm):
            notes.append("The suite fails with its libraries imported beforehand: it runs cold.")
            modules = ()
            warm = self._warm_runs(cold, max(1, repeats - 1), ())
        runs = [cold, *(self._checked(run) for run in warm)]
        found = replace(merge(runs), modules=modules, sources=cold.inside, notes=tuple(notes))
        if not found.seconds:
            raise _useless(runs[-1])
        self._set_limits(found)
        return found

    def use(self, baseline: Baseline) -> None:
        """Take over a baseline that another runner of the same commit found."""
        self._known_errors = baseline.errors
        self._set_limits(baseline)
        self._warm(baseline.modules, baseline.sources)

    def run(
        self, patch: bytes | None = None, only: Collection[str] | None = None, reverse: bool = True
    ) -> RunOutcome | None:
        """Run the suite with `patch` taken back (or applied), then restore the tree.

        None where the patch does not fit. `only` names units or files; others are deselected.
        """
        try:
            if patch is not None and not self.workspace.apply(patch, reverse):
                return None
            return self.run_as_is(only)
        finally:
            self.workspace.restore()

    def run_as_is(self, only: Collection[str] | None = None) -> RunOutcome:
        """Run the suite on the tree as it stands; the caller restores it."""
        return self._run(only=only)

    def trace(self, coverage: Path, report: Path | None = None) -> RunOutcome:
        """Run the unchanged suite once while the pytest plugin writes who enters which function.

        Results go to `report` in the plugin's own form, if given. Raises SuiteFailed as `baseline`.
        """
        extra = ["-p", "foretest.pytest_plugin", f"--foretest-coverage={coverage}"]
        if report is not None:
            extra.append(f"--foretest-report={report}")
        # A suite of hours is no hanging one: only a test that never ends is.
        limits, self._limits = self._limits, (_A_DAY, self.timeout)
        try:
            return self._checked(self._run(stop_on_errors=False, extra=extra))
        finally:
            self._limits = limits
            self.workspace.restore()

    def close(self) -> None:
        self.worker.close()

    # The rest serves the above.

    def _warm(self, modules: Sequence[str], sources: Sequence[str]) -> None:
        tree = f"{self.workspace.tree}{os.sep}"
        # Sources are named relative to the tree where they come from a stored baseline.
        paths = [source if source.startswith("/") else tree + source for source in sources]
        tests = [p for p in paths if is_test_file(p.removeprefix(tree))]
        self.worker.warm(self.packages, modules, paths, tests)

    def _own_package(self) -> Path:
        """A folder that holds foretest and nothing else, for an interpreter that lacks it."""
        folder = self.workspace.tree.parent / "plugin"
        link = folder / "foretest"
        if not link.exists():
            folder.mkdir(exist_ok=True)
            link.symlink_to(Path(__file__).resolve().parents[1])
        return folder

    def _warm_runs(
        self, cold: RunOutcome, count: int, modules: Sequence[str] | None = None
    ) -> list[RunOutcome]:
        self.workspace.restore()
        self._warm(cold.outside if modules is None else modules, cold.inside)
        runs = []
        for _ in range(count):
            runs.append(self._run(stop_on_errors=False))
            self.workspace.restore()
        return runs

    def _set_limits(self, baseline: Baseline) -> None:
        longest = max(baseline.seconds.values(), default=0.0)
        run = min(self.timeout, _SLOWER * baseline.suite_seconds + _SLACK)
        patience = max(_SHORTEST_PATIENCE, 10 * longest, baseline.suite_seconds / 2)
        self._limits = (run, min(run, patience))

    def _run(
        self,
        only: Collection[str] | None = None,
        learn: bool = False,
        stop_on_errors: bool = True,
        extra: Sequence[str] = (),
    ) -> RunOutcome:
        request = {
            "args": [*self.pytest_args, *extra],
            "path": [*self.worker.path, *([str(self._own_package())] if extra else ())],
            "only": None if only is None else sorted(only),
            "known_errors": list(self._known_errors),
            "stop_on_errors": stop_on_errors,
            "packages": list(self.packages),
            "temporary": str(self.workspace.temporary / "b"),
            "timeout": self._limits[0],
            "patience": self._limits[1],
            "memory": _memory(),
            "learn": learn,
        }
        reading = Reading(self.workspace.tree, frozenset(self._known_errors))
        try:
            for line in self.worker.run(request):
                reading.take(line)
        except WorkerDiedError:
            reading.take({"kind": "end", "signal": -1, "exit": -1, "timeout": "", "seconds": 0.0})
        return reading.outcome()

    def _checked(self, run: RunOutcome) -> RunOutcome:
        """The run, if the unchanged suite came to its end in it; raises SuiteFailed."""
        if run.foreign:
            raise _foreign(run.foreign, self.workspace.tree)
        where = f" in {run.at}" if run.at else ""
        if run.broken == "timeout":
            raise SuiteFailed(
                f"The unchanged suite hangs{where}: ended after {run.seconds:.0f} s.",
                "Leave that test out by `pytest_args = ['--deselect', ...]`, or raise `timeout`.",
            )
        if run.broken == "crash":
            raise SuiteFailed(
                f"The unchanged suite ends its process{where} ({run.reason}).",
                "Leave that test out by `pytest_args = ['--deselect', ...]`.",
            )
        if not run.results or run.broken == "import":
            raise _useless(run)
        return run


def _foreign(foreign: str, tree: Path) -> SuiteFailed:
    return SuiteFailed(
        f"The tests use {foreign}, not the copy at {tree}: results would be wrong.",
        "Install the project in a plain way (`pip install .` or setuptools' editable mode), or name"
        " its folder in `pythonpath` of pytest's settings.",
    )


def _useless(run: RunOutcome) -> SuiteFailed:
    said = run.reason or next(iter(reversed(run.output.strip().splitlines())), "")
    counts = f"{len(run.results)} tests ran, {len(run.bad)} failed, {len(run.errors)} files"
    return SuiteFailed(
        f"No test passes before any change ({counts} could not be collected). Last words: {said}",
        "Run pytest in the project, mend what it shows, and set `python` to its environment.",
    )


def _memory() -> int:
    """Bytes of data that a run may take, so that a runaway change kills only itself."""
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _SHARE_OF_MEMORY)
    except (OSError, ValueError):
        return 0
