"""Results by column: what readers hand on, so that a plain result costs no object of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from foretest.records import Outcome
from foretest.results.normalise import (
    fingerprint_of_text,
    printable,
    seconds_or_none,
    stable,
    volatile,
)

CASES = 2048
"""Cases in one batch of a format that is read case by case."""


@dataclass(slots=True)
class Attempt:
    """One attempt as a report tells it; `kind`, `message` and `text` are of its failure."""

    outcome: Outcome
    seconds: float | None = None
    kind: str = ""
    message: str = ""
    text: str = ""


@dataclass(slots=True)
class Case:
    """One entry of a report: a test's unit and parameters, and its attempts in time order."""

    unit: str
    parameters: str | None
    attempts: Sequence[Attempt]


@dataclass(slots=True)
class Batch:
    """Columns of one length, normalised: stable spellings, possible durations, fingerprints.

    `attempt` counts within one entry of the report. `written` has, by row, how a test was spelled
    whose stable spelling differs.
    """

    runner: str
    suite: int = 0
    """Which of the report's suites these rows stand in, counted from 1; 0 where it has none."""
    unit: list[str] = field(default_factory=list)
    parameters: list[str | None] = field(default_factory=list)
    outcome: list[Outcome] = field(default_factory=list)
    seconds: list[float | None] = field(default_factory=list)
    attempt: list[int] = field(default_factory=list)
    fingerprint: list[str | None] = field(default_factory=list)
    written: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    unmatched: int = 0
    """Rows of tests that are not among the known."""

    def __len__(self) -> int:
        return len(self.unit)

    def add(self, case: Case, known: bool = True) -> None:
        """Append the attempts of one case, normalised."""
        unit, parameters = case.unit, case.parameters
        if not unit.isascii() or (parameters is not None and not parameters.isascii()):
            unit = printable(unit)
            parameters = None if parameters is None else printable(parameters)
        shown = stable_spelling(unit, parameters) if volatile((unit, parameters or "")) else None
        for number, attempt in enumerate(case.attempts, start=1):
            if shown is not None and shown != (unit, parameters):
                self.written[len(self.unit)] = (unit, parameters)
            self.unit.append(unit if shown is None else shown[0])
            self.parameters.append(parameters if shown is None else shown[1])
            self.outcome.append(attempt.outcome)
            self.seconds.append(seconds_or_none(attempt.seconds))
            self.attempt.append(number)
            told = attempt.outcome.bad
            self.fingerprint.append(
                fingerprint_of_text(attempt.kind, attempt.message, attempt.text) if told else None
            )
            self.unmatched += not known

    def extend(self, other: Batch, start: int, end: int) -> None:
        """Append rows `start` to `end` of another batch that has no differing spellings."""
        self.unit += other.unit[start:end]
        self.parameters += other.parameters[start:end]
        self.outcome += other.outcome[start:end]
        self.seconds += other.seconds[start:end]
        self.attempt += other.attempt[start:end]
        self.fingerprint += other.fingerprint[start:end]


def stable_spelling(unit: str, parameters: str | None) -> tuple[str, str | None]:
    """A test's spelling without what differs from run to run; its file stays as it is."""
    place, colons, name = unit.rpartition("::")
    return f"{place}{colons}{stable(name)}", None if parameters is None else stable(parameters)


def batches(runner: str, cases: Iterable[Case]) -> Iterator[Batch]:
    """The cases of one runner, some thousand at a time."""
    rest = iter(cases)
    while some := tuple(islice(rest, CASES)):
        batch = Batch(runner)
        for case in some:
            batch.add(case)
        yield batch
