"""Which flaky tests cost most: interruptions of people and runs for nothing, a week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from foretest.flakes.history import Failed, FlakyHistory
from foretest.flakes.quarantine import Entry

INTERRUPTION = 15 * 60.0
"""Seconds that a failure which means nothing takes from a person: a setting, not a finding."""
_WEEK = 7.0
_LIKELY = 0.5
_EVIDENCE = 3


@dataclass(frozen=True, slots=True)
class FlakyTest:
    """One test of the ranking."""

    unit: str
    rate: float
    low: float
    high: float
    """Flake rate a run with its 90 % credible interval."""
    runs: int
    flakes: float
    """Expected number of flaky failures among those recorded."""
    failures: int
    per_week: float
    """Expected flaky failures a week, at the pace of the recorded runs."""
    cost: float
    """Expected seconds a week: each flaky failure wastes one run and interrupts one person."""
    evidence: tuple[str, ...]
    """The failures that look flaky, likeliest first, in words."""
    quarantined: str = ""


def rank(
    history: FlakyHistory,
    interruption: float = INTERRUPTION,
    quarantined: Sequence[Entry] = (),
    today: date | None = None,
    least: float = _LIKELY,
) -> list[FlakyTest]:
    """Tests with at least `least` expected flaky failures, the most costly first.

    Cost a week = rate x states tested a week x (seconds of a run + seconds of an interruption).
    """
    pace = history.states / history.days * _WEEK
    held = {e.test: e for e in quarantined if today is None or e.holds(today)}
    failures: dict[str, list[Failed]] = {}
    for failure in history.failures:
        failures.setdefault(failure.unit, []).append(failure)
    ranked = []
    for place, unit in enumerate(history.units):
        if history.flakes[place] < least:
            continue
        share = min(history.runs[place] / history.states, 1.0)
        per_week = float(history.rate[place]) * pace * share
        told = sorted(failures.get(unit, ()), key=lambda f: -f.flaky)
        ranked.append(
            FlakyTest(
                unit=unit,
                rate=float(history.rate[place]),
                low=float(history.low[place]),
                high=float(history.high[place]),
                runs=int(history.runs[place]),
                flakes=float(history.flakes[place]),
                failures=len(told),
                per_week=per_week,
                cost=per_week * (history.run_seconds + interruption),
                evidence=tuple(f.sentence() for f in told[:_EVIDENCE] if f.flaky >= _LIKELY),
                quarantined=str(held[unit].until) if unit in held else "",
            )
        )
    return sorted(ranked, key=lambda test: (-test.cost, test.unit))
