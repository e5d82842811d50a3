"""Holds a run of everything against the selection: would it have been safe, what would it save."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from foretest.plugin.place import ensure_state
from foretest.records import Selection

OBSERVATIONS = "observations.jsonl"


@dataclass(frozen=True, slots=True)
class Observation:
    """One line of `.foretest/observations.jsonl`, over which a roll-out's criteria are counted."""

    run_id: str
    decision_id: str
    repository: str
    commit: str | None
    base: str
    observed_at: str
    complete: bool
    """False where the run broke off: the tests that had no turn say nothing."""
    units: int
    rested: int
    """Units that would have been left out."""
    seconds: float
    rested_seconds: float
    """Measured in this run, not predicted."""
    failed: tuple[str, ...]
    missed: tuple[str, ...]
    """Failed units that would have been left out."""

    @property
    def safe(self) -> bool | None:
        """Whether every failure would have been seen; None where the run does not tell."""
        if self.missed:
            return False
        return True if self.complete else None

    @property
    def caught(self) -> bool | None:
        """Whether a red run would have been red; None where nothing failed."""
        return len(self.missed) < len(self.failed) if self.failed else None


def observe(
    selection: Selection,
    rest: frozenset[str],
    seconds: Mapping[str, float],
    failed: set[str],
    *,
    run_id: str,
    commit: str | None,
    observed_at: str,
    complete: bool,
) -> Observation:
    """Hold the selection against what happened; tests that did not run here are left aside."""
    rested = rest & seconds.keys()
    return Observation(
        run_id=run_id,
        decision_id=selection.decision_id,
        repository=selection.repository,
        commit=commit,
        base=selection.base,
        observed_at=observed_at,
        complete=complete,
        units=len(seconds),
        rested=len(rested),
        seconds=round(sum(seconds.values()), 6),
        rested_seconds=round(sum(seconds[unit] for unit in rested), 6),
        failed=tuple(sorted(failed)),
        missed=tuple(sorted(failed & rest)),
    )


def append(state: Path, observation: Observation) -> None:
    """Add one line; a single write keeps lines whole where two runs end at once."""
    ensure_state(state)
    data = {**asdict(observation), "safe": observation.safe, "caught": observation.caught}
    line = json.dumps(data, separators=(",", ":")).encode() + b"\n"
    handle = os.open(state / OBSERVATIONS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)
