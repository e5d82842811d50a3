"""What recorded runs put into evidence, and what they order where there is nothing else."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from foretest.bundle import read, write
from foretest.errors import NoBundle
from foretest.evidence.store import EvidenceStore
from foretest.features.build import build
from foretest.features.query import query_of_facts
from foretest.history import state as states
from foretest.models.contract import predict
from foretest.recollection import SNAPSHOT, durations, from_history, remembered, with_history
from foretest.records import Budget, Configuration, Outcome, TestId, TestResult, TestRun
from foretest.selection.compose import select
from foretest.selection.policy import Rules

NOON = datetime(2025, 3, 1, tzinfo=UTC)
LINUX, WINDOWS = Configuration("linux", "3.11"), Configuration("windows", "3.11")


def run(number: int, configuration: Configuration = LINUX, **tests: float) -> TestRun:
    """Seconds by test; a negative number failed."""
    results = tuple(
        TestResult(TestId("t.py", (), name), Outcome.FAILED if s < 0 else Outcome.PASSED, abs(s))
        for name, s in tests.items()
    )
    when = NOON + timedelta(hours=number)
    return TestRun(f"r{number}", "h/o/n", "c", configuration, when, when, results)


@pytest.fixture
def state() -> states.State:
    runs = [run(i, test_a=1, test_b=2, test_c=-1 if i > 2 else 1) for i in range(6)]
    elsewhere = [run(9, WINDOWS, test_a=4, test_b=8, test_d=2)]
    return states.fold(states.State.empty("h/o/n"), [*runs, *elsewhere])


def test_durations_are_those_of_the_configuration(state: states.State) -> None:
    units = ["t.py::test_b", "t.py::test_a", "t.py::test_never"]
    linux, windows = (durations(state, units, c.key).typical for c in (LINUX, WINDOWS))
    np.testing.assert_allclose(linux[:2], [2, 1])
    np.testing.assert_allclose(windows[:2], [8, 4])
    assert np.isnan([linux[2], windows[2]]).all()
    together = durations(state, units, "beos/1.5").typical
    assert linux[0] < together[0] < windows[0]


def test_a_test_timed_elsewhere_alone_is_forecast_from_there(state: states.State) -> None:
    (seconds,) = durations(state, ["t.py::test_d"], LINUX.key).typical
    assert 0 < seconds < 2  # the other system is slower for those that both have


def test_history_orders_and_keeps_what_it_does_not_know(
    store: EvidenceStore, state: states.State
) -> None:
    unchanged = with_history(store, states.State.empty("h/o/n"))
    np.testing.assert_array_equal(unchanged.seconds, store.seconds)
    other = with_history(store, state)  # none of its tests was recorded
    np.testing.assert_array_equal(other.seconds, store.seconds)
    assert np.isfinite(other.past).all()


def test_a_bundle_of_history_is_read_back(tmp_path: Path, state: states.State) -> None:
    bundle = from_history(state, LINUX.key)
    write(tmp_path / "bundle.ftb", bundle)
    back = read(tmp_path / "bundle.ftb")
    assert back.model.name == "prioritiser"
    np.testing.assert_array_equal(back.store.past, bundle.store.past)
    np.testing.assert_array_equal(back.store.seconds_high, bundle.store.seconds_high)


def test_everything_runs_and_what_fails_comes_first(state: states.State) -> None:
    bundle = from_history(state, LINUX.key)
    now = NOON.timestamp() + 90 * 86_400  # the rule of recent failures is at rest
    query = query_of_facts((), {}, {})
    frame = build(query, bundle.store, now)
    assert np.argmax(predict(bundle.model, frame)) == bundle.store.test_index["t.py::test_c"]
    found = select(query, bundle.store, bundle.model, Rules(), Budget(share=0.1), now, "d")
    assert found.run_all
    place = {choice.test: at for at, choice in enumerate(found.chosen)}
    assert place["t.py::test_c"] < place["t.py::test_a"] < place["t.py::test_b"]  # b takes longer
    assert {choice.test for choice in found.chosen} == set(state.units)
    assert found.chosen[place["t.py::test_c"]].seconds == pytest.approx(1)
    assert "past results" in " ".join(found.notices)


def test_without_recorded_runs_there_is_no_bundle(tmp_path: Path, state: states.State) -> None:
    with pytest.raises(NoBundle, match="foretest learn"):
        remembered(tmp_path)
    (tmp_path / SNAPSHOT).write_bytes(b"damaged")
    with pytest.raises(NoBundle, match="foretest learn"):
        remembered(tmp_path)
    states.write(state, tmp_path / SNAPSHOT)
    assert remembered(tmp_path).store.tests == state.units
