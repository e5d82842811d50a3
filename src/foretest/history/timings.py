"""Durations as they are remembered: the last few of each unit in each configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

WINDOW = 16
"""Durations remembered of each unit and configuration."""
ANY = 0
"""The configuration of a duration whose own is not known."""


@dataclass(frozen=True, eq=False, slots=True)
class Timings:
    """A row for each unit and configuration that was timed, in the order of their first time."""

    unit: NDArray[np.int64]
    """Index into the state's units."""
    configuration: NDArray[np.uint64]
    """`unitrun.configuration_key`, or ANY."""
    timed: NDArray[np.int64]
    """Durations ever taken in: the next goes to `timed % WINDOW`."""
    seconds: NDArray[np.float32]
    """[n, WINDOW], a ring a row; NaN where there is none yet."""

    @classmethod
    def empty(cls) -> Timings:
        return cls.of_parts({name: [] for name in _KINDS}, np.zeros((0, WINDOW), np.float32))

    @classmethod
    def of_parts(cls, parts: Mapping[str, ArrayLike], seconds: ArrayLike) -> Timings:
        """From the columns by name. Raises ValueError where their lengths or shapes differ."""
        unit, configuration, timed = (np.array(parts[n], kind) for n, kind in _KINDS.items())
        rings = np.array(seconds, np.float32)
        if {unit.shape, configuration.shape, timed.shape} != {rings.shape[:1]}:
            raise ValueError("columns of timings differ in length")
        if rings.shape[1:] != (WINDOW,):
            raise ValueError(f"timings are not {WINDOW} wide")
        return cls(unit, configuration, timed, rings)

    def parts(self) -> dict[str, NDArray[np.generic]]:
        """What `of_parts` takes, but for the rings."""
        return {name: getattr(self, name) for name in _KINDS}

    def in_order(self) -> NDArray[np.float64]:
        """The rings, unrolled: the newest duration stands last, NaN only before the oldest."""
        place = (self.timed[:, None] + np.arange(WINDOW)) % WINDOW
        return np.take_along_axis(self.seconds, place, axis=1).astype(np.float64)


_KINDS: Mapping[str, type[np.generic]] = {
    "unit": np.int64,
    "configuration": np.uint64,
    "timed": np.int64,
}


class Stopwatch:
    """A private copy of timings, changed in place run by run."""

    def __init__(self, timings: Timings) -> None:
        self._size = len(timings.unit)
        self._held = Timings.of_parts(timings.parts(), timings.seconds)
        self._rows: dict[int, NDArray[np.int64]] = {}
        for configuration in np.unique(timings.configuration).tolist():
            mine = np.flatnonzero(timings.configuration == configuration)
            table = self._table(configuration, int(timings.unit[mine].max()) + 1)
            table[timings.unit[mine]] = mine

    def timings(self) -> Timings:
        size, held = self._size, self._held
        parts = {name: column[:size] for name, column in held.parts().items()}
        return Timings.of_parts(parts, held.seconds[:size])

    def add(
        self, units: NDArray[np.int64], configuration: int, seconds: NDArray[np.float64]
    ) -> None:
        """Take in one duration for each of some different units; NaN says nothing."""
        known = np.isfinite(seconds)
        units, seconds = units[known], seconds[known]
        if not len(units):
            return
        table = self._table(configuration, int(units.max()) + 1)
        fresh = units[table[units] < 0]
        table[fresh] = np.arange(self._size, self._size + len(fresh))
        self._grow(fresh, configuration)
        rows = table[units]
        timed = self._held.timed
        self._held.seconds[rows, timed[rows] % WINDOW] = seconds
        timed[rows] += 1

    def _table(self, configuration: int, size: int) -> NDArray[np.int64]:
        """Row of each unit in this configuration, at least `size` long; -1 where it has none."""
        table = self._rows.get(configuration, np.zeros(0, np.int64))
        if len(table) < size:
            more = np.full(max(size, 2 * len(table)) - len(table), -1, np.int64)
            table = self._rows[configuration] = np.concatenate((table, more))
        return table

    def _grow(self, units: NDArray[np.int64], configuration: int) -> None:
        start, self._size = self._size, self._size + len(units)
        room = len(self._held.unit)
        if self._size > room:
            more = max(self._size - room, room // 2)
            zeros = np.zeros(more, np.int64)
            self._held = replace(
                self._held,
                unit=np.concatenate((self._held.unit, zeros)),
                configuration=np.concatenate((self._held.configuration, zeros.astype(np.uint64))),
                timed=np.concatenate((self._held.timed, zeros)),
                seconds=np.concatenate(
                    (self._held.seconds, np.full((more, WINDOW), np.nan, np.float32))
                ),
            )
        self._held.unit[start : self._size] = units
        self._held.configuration[start : self._size] = configuration
