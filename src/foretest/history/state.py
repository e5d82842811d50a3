"""What the past says of each test: a snapshot, and one function that folds a later run into it.

Events are applied in the order they were received. A late one (it occurred earlier than what is
already folded in) counts with the weight of its age; the moments of last failure and last sight
never go back; durations, flips and shares of the last runs follow the order of receipt.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from foretest.durable import atomic_write
from foretest.errors import BadStore
from foretest.history.timings import ANY, WINDOW, Stopwatch, Timings
from foretest.history.unitrun import UnitRun, summarise
from foretest.records import TestRun

HALF_LIFE = 30 * 86_400.0
"""Seconds after which a result counts half in the decayed failure rate."""
SPANS = {"fast": 3.0, "middle": 10.0, "slow": 40.0}
"""Shares of failed runs, each with the runs after which one counts half."""
PRIOR_RUNS = 10.0
PRIOR_RATE = 0.01
"""A unit with few runs is taken to fail like this share of this many runs."""

_FORMAT = 2
_ONE_CONFIGURATION = 1
"""The format before: durations a unit, in the order of the units, and no shares."""
Array = NDArray[Any]
Event = TypeVar("Event", TestRun, UnitRun)

_COLUMNS: dict[str, tuple[str, object]] = {
    "runs": ("int64", 0),
    "failures": ("int64", 0),
    "flips": ("int64", 0),  # outcomes that disagree on one commit and configuration
    "weight": ("float64", 0.0),  # decayed number of runs, as of `weight_at`
    "weight_bad": ("float64", 0.0),  # decayed number of failures, as of `weight_at`
    "weight_at": ("float64", np.nan),
    "last_failed_at": ("float64", np.nan),
    "last_seen": ("float64", np.nan),
    "last_place": ("uint64", 0),  # hash of commit and configuration of the last run received
    "last_bad": ("bool", False),
    **dict.fromkeys(SPANS, ("float64", 0.0)),
}


@dataclass(frozen=True, eq=False, slots=True)
class State:
    """History of the units of one repository, up to and including lake version `version`."""

    repository: str
    version: int
    units: tuple[str, ...]
    columns: dict[str, Array]
    timings: Timings
    seen: NDArray[np.uint64]
    """Keys of the runs folded in, in order."""

    @classmethod
    def empty(cls, repository: str) -> State:
        columns = {name: np.zeros(0, kind) for name, (kind, _) in _COLUMNS.items()}
        return cls(repository, -1, (), columns, Timings.empty(), np.zeros(0, np.uint64))

    def failure_rate(self, now: float) -> NDArray[np.float64]:
        """Decayed share of failures as of `now`, drawn to the prior where little is known."""
        fade = _fade(now - self.columns["weight_at"])
        runs = np.nan_to_num(self.columns["weight"] * fade)
        bad = np.nan_to_num(self.columns["weight_bad"] * fade)
        return np.asarray((bad + PRIOR_RATE * PRIOR_RUNS) / (runs + PRIOR_RUNS))

    def aligned(self, units: Sequence[str], now: float) -> dict[str, NDArray[np.float64]]:
        """Columns for the given units, in their order; a unit without history is NaN throughout."""
        index = {unit: i for i, unit in enumerate(self.units)}
        rows = np.array([index.get(unit, -1) for unit in units], np.int64)
        plain = ("runs", "failures", "flips", "last_failed_at", "last_seen")
        values = {name: self.columns[name].astype(np.float64) for name in plain}
        values["failure_rate"] = self.failure_rate(now)
        values |= {name: self.columns[name] for name in SPANS}
        if not self.units:
            return {name: np.full(len(rows), np.nan) for name in values}
        return {name: np.where(rows < 0, np.nan, v[rows]) for name, v in values.items()}


def apply(state: State, run: TestRun | UnitRun) -> State:
    """The state after one more run. A run already folded in changes nothing but the version."""
    return fold(state, (run,))


def fold(state: State, events: Iterable[TestRun | UnitRun]) -> State:
    """The state after all of the runs, applied in the order given."""
    folder = _Folder(state)
    for event in events:
        folder.apply(event if isinstance(event, UnitRun) else summarise(event))
    return folder.state()


def walk(state: State, events: Iterable[Event]) -> Iterator[tuple[State, Event]]:
    """Yield each run with the state before it: features read from it cannot know the outcome."""
    for event in events:
        yield state, event
        state = apply(state, event)


class _Folder:
    """A private copy of a state, changed in place run by run."""

    def __init__(self, state: State) -> None:
        self._repository, self._version = state.repository, state.version
        self._index = {unit: i for i, unit in enumerate(state.units)}
        self._columns = {name: values.copy() for name, values in state.columns.items()}
        self._watch = Stopwatch(state.timings)
        self._seen = dict.fromkeys(state.seen.tolist())

    def state(self) -> State:
        count = len(self._index)
        return State(
            self._repository,
            self._version,
            tuple(self._index),
            {name: values[:count].copy() for name, values in self._columns.items()},
            self._watch.timings(),
            np.array(list(self._seen), np.uint64),
        )

    def apply(self, run: UnitRun) -> None:
        self._version = max(self._version, run.version)
        if run.key in self._seen:
            return
        self._seen[run.key] = None
        if run.recorded:
            self._add(run, self._rows(run.units))

    def _rows(self, units: Sequence[str]) -> NDArray[np.int64]:
        index = self._index
        rows = np.fromiter((index.setdefault(u, len(index)) for u in units), np.int64, len(units))
        room = len(self._columns["runs"])
        if len(index) > room:
            self._grow(max(len(index) - room, room // 2))
        return rows

    def _grow(self, more: int) -> None:
        for name, (kind, initial) in _COLUMNS.items():
            fresh = np.full(more, initial, kind)
            self._columns[name] = np.concatenate((self._columns[name], fresh))

    def _add(self, run: UnitRun, rows: NDArray[np.int64]) -> None:
        column = self._columns
        column["last_seen"][rows] = np.fmax(column["last_seen"][rows], run.when)
        rows, bad, flaky = rows[run.ran], run.bad[run.ran], run.flaky[run.ran]
        column["runs"][rows] += 1
        column["failures"][rows] += bad
        failed = rows[bad]
        column["last_failed_at"][failed] = np.fmax(column["last_failed_at"][failed], run.when)
        again = (column["last_place"][rows] == run.place) & (run.place != 0)
        flipped = flaky | (again & (column["last_bad"][rows] != bad))
        column["flips"][rows] += flipped
        column["last_place"][rows] = run.place
        column["last_bad"][rows] = bad
        self._decay(rows, bad, run.when)
        for name, span in SPANS.items():
            kept = 0.5 ** (1 / span)
            column[name][rows] = column[name][rows] * kept + bad * (1 - kept)
        self._watch.add(rows, run.configuration, run.seconds[run.ran])

    def _decay(self, rows: NDArray[np.int64], bad: NDArray[np.bool_], when: float) -> None:
        """Sums with weights by age commute, so a late run counts as if it had come in time."""
        column = self._columns
        before = column["weight_at"][rows]
        at = np.fmax(before, when)
        old = np.nan_to_num(_fade(at - before))
        new = _fade(at - when)
        column["weight"][rows] = column["weight"][rows] * old + new
        column["weight_bad"][rows] = column["weight_bad"][rows] * old + new * bad
        column["weight_at"][rows] = at


def _fade(age: Array) -> Array:
    return np.asarray(np.exp2(-np.maximum(age, 0.0) / HALF_LIFE))


def to_parts(state: State) -> tuple[dict[str, Any], dict[str, Array]]:
    """The state as what JSON can hold, and arrays: a carrier needs no format of its own."""
    about = {
        "format": _FORMAT,
        "repository": state.repository,
        "version": state.version,
        "window": WINDOW,
        "units": list(state.units),
    }
    timings = {f"timings.{name}": column for name, column in state.timings.parts().items()}
    durations = {"durations": state.timings.seconds}
    return about, {**state.columns, **timings, **durations, "seen": state.seen}


def from_parts(about: dict[str, Any], arrays: dict[str, Array]) -> State:
    """The state that `to_parts` took apart. Raises BadStore where the parts do not fit together."""
    try:
        if about["format"] not in (_FORMAT, _ONE_CONFIGURATION) or about["window"] != WINDOW:
            raise BadStore("The history snapshot has another format.", _REBUILD)
        units = tuple(str(unit) for unit in about["units"])
        arrays = arrays if about["format"] == _FORMAT else _brought_on(len(units), arrays)
        columns = {n: np.asarray(arrays[n], kind) for n, (kind, _) in _COLUMNS.items()}
        parts = {n.removeprefix("timings."): a for n, a in arrays.items() if "timings." in n}
        timings = Timings.of_parts(parts, arrays["durations"])
        seen = np.asarray(arrays["seen"], np.uint64)
        if {values.shape for values in columns.values()} != {(len(units),)} or seen.ndim != 1:
            raise ValueError("columns differ in length")
        if len(timings.unit) and not 0 <= timings.unit.min() <= timings.unit.max() < len(units):
            raise ValueError("a duration belongs to no unit")
        return State(str(about["repository"]), int(about["version"]), units, columns, timings, seen)
    except (KeyError, TypeError, ValueError) as error:
        raise BadStore("The history snapshot is damaged.", _REBUILD) from error


def _brought_on(n: int, arrays: dict[str, Array]) -> dict[str, Array]:
    """Parts of the format before: its durations count for any configuration, its shares are 0."""
    timed = np.flatnonzero(np.asarray(arrays["timed"]) > 0)
    return {
        **arrays,
        **{name: np.zeros(n) for name in SPANS},
        "timings.unit": timed,
        "timings.configuration": np.full(len(timed), ANY, np.uint64),
        "timings.timed": np.asarray(arrays["timed"])[timed],
        "durations": np.asarray(arrays["durations"])[timed],
    }


_REBUILD = "Delete it: it is rebuilt from the recorded results."


def write(state: State, path: Path) -> None:
    """Store the snapshot as one file, whole or not at all."""
    atomic_write(path, _packed(state))


def portable(state: State) -> bytes:
    """The snapshot for another machine, whose lake counts versions of its own.

    It stands before that lake's first: all its runs are folded in, save those already known here.
    """
    return _packed(replace(state, version=-1))


def _packed(state: State) -> bytes:
    about, arrays = to_parts(state)
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    buffer = io.BytesIO()
    members: dict[str, Any] = {"about": text, **arrays}
    np.savez_compressed(buffer, **members)
    return buffer.getvalue()


def read(path: Path) -> State | None:
    """The snapshot at `path`, None where there is none. Raises BadStore where it is damaged."""
    try:
        # Opened here, since numpy leaves a file open that it finds damaged.
        with path.open("rb") as whole, np.load(whole, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").tobytes())
    except FileNotFoundError:
        return None
    except Exception as error:  # zip, zlib, numpy and json each have their own ways to refuse
        raise BadStore(f"{path} is damaged.", _REBUILD) from error
    return from_parts(about, arrays)
