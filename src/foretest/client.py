"""How plugin and command line obtain a selection: from a file, or from the engine in process."""

from __future__ import annotations

import json
import math
import re
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from foretest.records import Budget, Selection
from foretest.selection.everything import everything

_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller wants to know; `head` None is the work tree."""

    base: str | None = None
    budget: Budget = field(default_factory=Budget)
    bin: tuple[int, int] | None = None
    mode: str = "select"
    head: str | None = None
    confidence: float | None = None
    """Share of faulty changes to catch, 0..1; None: as set, 0: none is asked for."""
    adapt: bool | None = None
    """Whether the budget follows the change's risk; None: as set."""


def ask(root: Path, request: Request) -> Selection:
    """The engine's answer for the repository at `root`; everything where no engine is installed."""
    try:
        from foretest.engine import select_or_all
    except Exception as error:  # a broken binary package raises whatever it likes when imported
        return run_all(
            f"The engine cannot be loaded ({error})."
            " Install it with `pip install 'foretest[engine]'`, or give --foretest-selection FILE."
        )
    return select_or_all(
        root,
        base=request.base,
        head=request.head,
        budget=request.budget,
        bin=request.bin,
        confidence=request.confidence,
        adapt=request.adapt,
    )


def read_selection(path: Path, head: str | None = None, root: Path | None = None) -> Selection:
    """The selection that `foretest select --format json` wrote to `path`.

    Everything where the file cannot be read, or was made for another commit than `head`, or for
    another state than that of the repository at `root`, uncommitted changes included.
    """
    from foretest.selection.formats import selection_from_json

    try:
        selection = selection_from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        return run_all(
            f"The selection {path} cannot be read ({reason})."
            " Write it again with `foretest select --format json`."
        )
    if head and selection.head and selection.head != head:
        return run_all(
            f"The selection {path} was made for commit {selection.head[:10]}, this is {head[:10]}."
            " Run `foretest select --format json` again."
        )
    reason = _of_another_state(selection, root) if head and root is not None else ""
    if reason and not selection.run_all:
        return run_all(f"The selection {path} {reason}. Run `foretest select --format json` again.")
    return selection


def _of_another_state(selection: Selection, root: Path | None) -> str:
    """What is wrong where a selection does not describe the repository as it is; else empty."""
    from foretest.changes.git import Repository
    from foretest.errors import ForetestError

    if not selection.state:
        return "does not say for which state it was made"
    try:
        state = Repository(root or Path()).state(None)
    except ForetestError as error:
        return f"cannot be compared with the work tree ({error.message})"
    made, _, _ = selection.state.partition("+")
    now, _, _ = state.partition("+")
    if made != now:
        return f"was made for commit {made[:10]}, this is {now[:10]}"
    return "" if state == selection.state else "was made before files of the work tree changed"


def run_all(reason: str) -> Selection:
    """The answer of a client that could not ask: everything runs, and this is why."""
    return everything(uuid.uuid4().hex, reason)


def stale_units(root: Path, base: str | None) -> frozenset[str]:
    """Units whose coverage a run on this change must take again; empty where there is no engine."""
    try:
        from foretest.engine import stale_units as engine_stale_units
    except Exception:  # already said aloud by `ask`
        return frozenset()
    return engine_stale_units(root, base=base)


def parse_share(text: str) -> float:
    """Read `10%`, `10` (per cent) or `0.1` (a share up to 1) as a share in 0..1; or ValueError."""
    number = text.strip()
    try:
        value = float(number.removesuffix("%"))
    except ValueError:
        value = math.nan
    share = value / 100 if number.endswith("%") or value > 1 else value
    if not 0 <= share <= 1:
        raise ValueError(f"'{text}' is not a share; write 10% or 0.1.")
    return share


def parse_duration(text: str) -> float:
    """Read `90`, `90s`, `5m` or `1h30m` as seconds; or ValueError."""
    rest, seconds = text.strip().lower(), math.nan
    while match := _DURATION.match(rest):
        if match[2] not in _UNITS:
            break
        seconds = (0.0 if math.isnan(seconds) else seconds) + float(match[1]) * _UNITS[match[2]]
        rest = rest[match.end() :]
    if rest or math.isnan(seconds):
        raise ValueError(f"'{text}' is not a length of time; write 90s, 5m or 1h30m.")
    return seconds


def parse_bin(text: str) -> tuple[int, int]:
    """Read `1/4` as (1, 4); or ValueError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip(), re.ASCII)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"'{text}' is not a shard; write 1/4 for the first of four.")
    return int(match[1]), int(match[2])
