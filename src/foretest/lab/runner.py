"""Runs a suite in a work tree of ours: first unchanged, then with one change at a time."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from foretest.changes.git import Repository
from foretest.errors import SuiteFailed
from foretest.lab.layout import import_names, import_roots, is_test
from foretest.lab.worker import Worker, WorkerDiedError, supported
from foretest.lab.workspace import Workspace
from foretest.records import Outcome, TestId

_WORST = {
    outcome: rank
    for rank, outcome in enumerate(
        (
            Outcome.SKIPPED,
            Outcome.XFAILED,
            Outcome.XPASSED,
            Outcome.PASSED,
            Outcome.ERROR,
            Outcome.FAILED,
        )
    )
}

_SHARE_OF_MEMORY = 0.5
_SLOWER = 3.0
"""A changed suite that takes so many times as long as the unchanged one counts as hanging."""

_SLACK = 20.0
_SHORTEST_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What one run of the suite showed, units with their parameters merged (the worst counts)."""

    results: Mapping[str, Outcome]
    unit_seconds: Mapping[str, float]
    seconds: float
    broken: str = ""
    """`collection`, `import`, `timeout`, `crash`, or empty where the run came to its end."""
    collected: frozenset[str] = frozenset()
    errors: tuple[str, ...] = ()
    """Files that could not be collected."""
    at: str = ""
    """The unit that was running when the run was cut short."""
    reason: str = ""
    foreign: str = ""
    """Module and path of project code that came from outside the tree: the results are void."""
    output: str = ""
    """The first and the last of what the run printed."""
    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def bad(self) -> frozenset[str]:
        """Units that failed; the one that hung or took the process with it is among them."""
        failed = {unit for unit, outcome in self.results.items() if outcome.bad}
        return frozenset(failed | {self.at} - {""})


@dataclass(frozen=True, slots=True)
class Baseline:
    """The suite as it is before any change."""

    seconds: Mapping[str, float]
    """Median seconds of each unit that passes reliably."""
    failing: tuple[str, ...]
    flaky: tuple[str, ...]
    skipped: tuple[str, ...]
    errors: tuple[str, ...]
    """Files that cannot be collected even without a change."""
    suite_seconds: float
    """Wall seconds of one warm run."""
    modules: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(self.seconds)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Baseline:
        lists = {k: tuple(v) for k, v in record.items() if isinstance(v, list)}
        return cls(**{**record, **lists})


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
        notes: list[str] = []
        warm = self._warm_runs(cold, max(1, repeats - 1))
        modules = cold.outside
        if any(run.bad - cold.bad for run in warm) or any(run.broken for run in warm):
            notes.append("The suite fails with its libraries imported beforehand: it runs cold.")
            modules = ()
            warm = self._warm_runs(cold, max(1, repeats - 1), ())
        runs = [cold, *(self._checked(run) for run in warm)]
        found = _merge(runs)
        found = Baseline(
            **{
                **{f: getattr(found, f) for f in found.__slots__},
                "modules": modules,
                "sources": cold.inside,
                "notes": tuple(notes),
            }
        )
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
        limits, self._limits = self._limits, (self.timeout, self.timeout)
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
        tests = [p for p in paths if is_test(p.removeprefix(tree))]
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
            "without": [],
            "known_errors": list(self._known_errors),
            "stop_on_errors": stop_on_errors,
            "packages": list(self.packages),
            "temporary": str(self.workspace.temporary / "b"),
            "timeout": self._limits[0],
            "patience": self._limits[1],
            "memory": _memory(),
            "learn": learn,
        }
        reading = _Reading(self.workspace.tree, frozenset(self._known_errors))
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


class _Reading:
    """Gathers the lines of one run."""

    def __init__(self, tree: Path, known_errors: frozenset[str]) -> None:
        self.tree = f"{tree}{os.sep}"
        self.known_errors = known_errors
        self.results: dict[str, Outcome] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.collected: frozenset[str] | None = None
        self.errors: dict[str, str] = {}
        self.at = ""
        self.reason = ""
        self.closed: Mapping[str, Any] = {}
        self.end: Mapping[str, Any] = {}

    def take(self, line: Mapping[str, Any]) -> None:
        kind = line["kind"]
        if kind == "start":
            self.at = TestId.parse(line["node"]).unit
        elif kind == "test":
            unit, outcome = TestId.parse(line["node"]).unit, Outcome(line["outcome"])
            before = self.results.get(unit, outcome)
            self.results[unit] = max(before, outcome, key=_WORST.__getitem__)
            self.seconds[unit] += line["seconds"]
            self.at = ""
        elif kind == "collected":
            self.collected = frozenset(line["units"])
        elif kind == "error":
            self.errors[line["node"]] = line["text"]
        elif kind == "internal":
            self.reason = line["text"]
        elif kind == "closed":
            self.closed = line
        elif kind == "end":
            self.end = line

    def outcome(self) -> RunOutcome:
        foreign = next(iter(self.closed.get("foreign", {}).items()), ("", ""))
        broken = self._broken()
        return RunOutcome(
            results=self.results,
            unit_seconds=dict(self.seconds),
            seconds=self.end["seconds"],
            broken=broken,
            collected=self.collected or frozenset(),
            errors=tuple(sorted(self.errors)),
            at=self.at if broken in ("timeout", "crash") else "",
            reason=self.reason or next(iter(self.errors.values()), ""),
            foreign=" from ".join(foreign).removeprefix(" from "),
            output=self.end.get("output", ""),
            inside=tuple(p.removeprefix(self.tree) for p in self.closed.get("inside", ())),
            outside=tuple(self.closed.get("outside", ())),
        )

    def _broken(self) -> str:
        if self.end["timeout"]:
            return "timeout"
        if not self.closed:
            number = self.end["signal"]
            self.reason = f"signal {number}" if number else f"exit code {self.end['exit']}"
            return "crash"
        if self.closed["exit"] in (3, 4) or self.closed["foreign"] or self.collected is None:
            return "import"
        if self.errors.keys() - self.known_errors:
            return "collection" if self.collected else "import"
        return ""


def _merge(runs: Sequence[RunOutcome]) -> Baseline:
    seconds: dict[str, float] = {}
    failing, flaky, skipped = [], [], []
    for unit in dict.fromkeys(unit for run in runs for unit in run.results):
        outcomes = [run.results.get(unit) for run in runs]
        bad = [outcome is None or outcome.bad for outcome in outcomes]
        if all(bad):
            failing.append(unit)
        elif any(bad):
            flaky.append(unit)
        elif set(outcomes) == {Outcome.SKIPPED}:
            skipped.append(unit)
        else:
            # The first run is cold: it pays for imports that later runs find done.
            times = sorted(run.unit_seconds[unit] for run in runs[1:] or runs)
            seconds[unit] = times[len(times) // 2]
    walls = sorted(run.seconds for run in runs[1:] or runs)
    return Baseline(
        seconds=seconds,
        failing=tuple(failing),
        flaky=tuple(flaky),
        skipped=tuple(skipped),
        errors=runs[0].errors,
        suite_seconds=walls[len(walls) // 2],
    )


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
    """Bytes of address space that a run may take, so that a runaway change kills only itself."""
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _SHARE_OF_MEMORY)
    except (OSError, ValueError):
        return 0
