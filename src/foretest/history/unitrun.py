"""One run as the fold sees it: a row a unit, parameters and attempts already merged."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foretest.records import Outcome, Source, TestResult, TestRun


@dataclass(frozen=True, slots=True)
class UnitRun:
    """The units of one run. All arrays are as long as `units`."""

    key: int
    """64-bit hash of repository, run id, attempt and shard: one run is folded once."""
    place: int
    """64-bit hash of commit and configuration; 0 where the commit is unknown."""
    when: float
    """When it occurred, in seconds since the epoch."""
    recorded: bool
    """False for runs with faults put in on purpose: they say nothing of what happens by itself."""
    units: tuple[str, ...]
    ran: NDArray[np.bool_]
    """False where every parameter was skipped."""
    bad: NDArray[np.bool_]
    """The last attempt of at least one parameter set failed."""
    flaky: NDArray[np.bool_]
    """Attempts of one parameter set disagree within this run."""
    seconds: NDArray[np.float64]
    """Sum over parameter sets of the last known duration; NaN where none is known."""
    configuration: int = 0
    """64-bit hash of the configuration alone; durations of different ones are kept apart."""
    version: int = -1
    """Lake version at which it was received; -1 where it does not come from the lake."""


def hash64(*parts: str) -> int:
    """A stable 64-bit hash of texts."""
    whole = "\0".join(parts).encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(whole, digest_size=8).digest(), "little")


def run_key(repository: str, run_id: str, attempt: int, shard: str | None) -> int:
    return hash64(repository, run_id, str(attempt), "" if shard is None else f"={shard}")


def place_key(commit: str | None, configuration: str) -> int:
    return hash64(commit, configuration) if commit else 0


def configuration_key(configuration: str) -> int:
    return hash64(configuration)


def summarise(run: TestRun, version: int = -1) -> UnitRun:
    """Merge a run's results by unit: attempts of a parameter set first, then parameter sets."""
    tests: dict[tuple[str, str | None], list[TestResult]] = {}
    for result in run.results:
        tests.setdefault((result.test.unit, result.test.parameters), []).append(result)
    rows: dict[str, list[tuple[bool, bool, bool, float]]] = {}
    for (unit, _), attempts in tests.items():
        rows.setdefault(unit, []).append(_merged(attempts))
    columns = [_sum(parameters) for parameters in rows.values()]
    return UnitRun(
        key=run_key(run.repository, run.run_id, run.attempt, run.shard),
        place=place_key(run.commit, run.configuration.key),
        when=run.occurred_at.timestamp(),
        recorded=run.source is Source.RECORDED,
        units=tuple(rows),
        ran=np.array([c[0] for c in columns], np.bool_),
        bad=np.array([c[1] for c in columns], np.bool_),
        flaky=np.array([c[2] for c in columns], np.bool_),
        seconds=np.array([c[3] for c in columns], np.float64),
        configuration=configuration_key(run.configuration.key),
        version=version,
    )


def _merged(attempts: list[TestResult]) -> tuple[bool, bool, bool, float]:
    """(ran, bad, flaky, seconds) of one parameter set; skipped attempts tell nothing."""
    ran = [r for r in attempts if r.outcome is not Outcome.SKIPPED]
    if not ran:
        return False, False, False, np.nan
    ran.sort(key=lambda r: r.attempt)  # stable: of one number, the one said last is the last
    seconds = next((r.seconds for r in reversed(ran) if r.seconds is not None), np.nan)
    flaky = len({r.outcome.bad for r in ran}) > 1
    return True, ran[-1].outcome.bad, flaky, seconds


def _sum(parameters: list[tuple[bool, bool, bool, float]]) -> tuple[bool, bool, bool, float]:
    known = [p[3] for p in parameters if p[3] == p[3]]
    return (
        any(p[0] for p in parameters),
        any(p[1] for p in parameters),
        any(p[2] for p in parameters),
        float(np.sum(known)) if known else np.nan,
    )
