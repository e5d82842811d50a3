"""From options to a plan: what to do, where the selection comes from, and why; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from foretest.client import Request, parse_bin, parse_duration, parse_share
from foretest.records import Budget


class Mode(StrEnum):
    OFF = "off"
    """Nothing is selected; a report or coverage alone was asked for."""
    SELECT = "select"
    ORDER = "order"
    OBSERVE = "observe"


class Origin(StrEnum):
    """Where the selection comes from."""

    NOWHERE = "nowhere"
    FILE = "file"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Options:
    """The options as typed."""

    mode: str | None = None
    target: str | None = None
    time: str | None = None
    base: str | None = None
    bin: str | None = None
    selection: str | None = None
    confidence: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    mode: Mode
    origin: Origin
    why: str
    """A sentence: why the selection comes from there, or why everything runs."""
    request: Request = field(default_factory=Request)


def make_plan(options: Options) -> Plan:
    """Decide what this run does. An option that makes no sense means that everything runs."""
    if options.mode is None and options.selection is None:
        return Plan(Mode.OFF, Origin.NOWHERE, "--foretest is not given.")
    mode = Mode(options.mode or "select")
    try:
        request = Request(
            options.base,
            _budget(options),
            _bin(options),
            mode.value,
            confidence=None if options.confidence is None else parse_share(options.confidence),
        )
    except ValueError as error:
        return Plan(mode, Origin.NOWHERE, str(error))
    if options.selection is None:
        return Plan(mode, Origin.ENGINE, "The engine chooses.", request)
    fixed = ("target", "time", "base", "bin", "confidence")
    given = [name for name in fixed if getattr(options, name) is not None]
    if given:
        names = " and ".join(f"--foretest-{name}" for name in given)
        return Plan(
            mode, Origin.NOWHERE, f"{names} cannot change a selection that was made before."
        )
    return Plan(mode, Origin.FILE, f"{options.selection} was made before.", request)


def _budget(options: Options) -> Budget:
    if options.target is not None and options.time is not None:
        raise ValueError("Give --foretest-target or --foretest-time, not both.")
    if options.target is not None:
        return Budget(share=parse_share(options.target))
    return Budget(seconds=None if options.time is None else parse_duration(options.time))


def _bin(options: Options) -> tuple[int, int] | None:
    return None if options.bin is None else parse_bin(options.bin)
