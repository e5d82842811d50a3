"""What recorded runs say, put where selection reads it: into evidence, or in place of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foretest.bundle import Bundle
from foretest.errors import BadStore, NoBundle
from foretest.evidence.renumber import on_tests
from foretest.evidence.store import EvidenceStore, empty
from foretest.features.history import history_rows
from foretest.history import state as states
from foretest.history.timings import ANY
from foretest.history.unitrun import configuration_key
from foretest.models.durations import Forecast, forecast, in_configuration
from foretest.models.prioritiser import Prioritiser, points

SNAPSHOT = "history.npz"
"""The state's snapshot, in the state directory."""


def with_history(
    store: EvidenceStore, state: states.State, configuration: str = ""
) -> EvidenceStore:
    """The store with what the recorded runs say; a test without a recorded run keeps its values.

    Durations are forecast for `configuration` (the key of a `records.Configuration`), where the
    state knows it, else for all that it knows together.
    """
    if not state.units:
        return store
    columns = state.aligned(store.tests, store.created_at)
    times = durations(state, store.tests, configuration)
    past = points(history_rows(state, store.tests, times.typical))

    def kept(new: NDArray[np.float64], old: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(np.isnan(new), old, new)

    return replace(
        store,
        runs=kept(columns["runs"], store.runs),
        failures=kept(columns["failures"], store.failures),
        last_failed_at=kept(columns["last_failed_at"], store.last_failed_at),
        seconds=kept(times.typical, store.seconds),
        seconds_high=kept(times.high, store.seconds_high),
        past=past,
    )


def durations(state: states.State, units: Sequence[str], configuration: str = "") -> Forecast:
    """What each unit will take in a configuration, in seconds; NaN where it was never timed."""
    timings = state.timings
    asked = np.uint64(configuration_key(configuration))
    here = (timings.configuration == asked) | (timings.configuration == ANY)
    if not (timings.configuration == asked).any():
        here = np.zeros(len(here), bool)  # all configurations together
    each = forecast(timings.in_order())
    found = in_configuration(each, timings.unit, here, len(state.units))
    index = {unit: i for i, unit in enumerate(state.units)}
    rows = np.array([index.get(unit, len(state.units)) for unit in units], np.int64)
    return Forecast(np.append(found.typical, np.nan)[rows], np.append(found.high, np.nan)[rows])


def from_history(state: states.State, configuration: str = "") -> Bundle:
    """A bundle that knows the recorded tests and nothing that links them to code."""
    blank = on_tests(empty(state.repository), state.units)
    return Bundle(with_history(blank, state, configuration), Prioritiser())


def remembered(folder: Path, configuration: str = "") -> Bundle:
    """The bundle of the runs recorded in a state directory. Raises NoBundle where there is none."""
    try:
        state = states.read(folder / SNAPSHOT)
    except BadStore:
        state = None  # `record` makes it anew
    if state is None or not state.units:
        raise NoBundle("Nothing was learnt or recorded here yet.", "Run 'foretest learn'.")
    return from_history(state, configuration)
