"""What a run of a suite showed, read from the zygote's lines; and several runs as a baseline."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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


class Reading:
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


def merge(runs: Sequence[RunOutcome]) -> Baseline:
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
