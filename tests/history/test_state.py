"""The state: one fold, by whatever way the events come in."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretest.errors import BadStore
from foretest.history import state as states
from foretest.history.rows import to_frame, to_unit_runs
from foretest.history.state import HALF_LIFE, WINDOW, State, apply, fold, walk
from foretest.history.unitrun import UnitRun, configuration_key, summarise
from foretest.records import Configuration, Outcome, Source, TestId, TestResult, TestRun

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
EMPTY = State.empty("h/o/n")

_RESULTS = st.builds(
    TestResult,
    test=st.builds(
        TestId,
        st.just("t.py"),
        st.just(()),
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from([None, "1", "2"]),
    ),
    outcome=st.sampled_from(Outcome),
    seconds=st.none() | st.floats(0, 100),
    attempt=st.integers(1, 3),
)
_RUNS = st.builds(
    lambda number, results, source, hours, commit, shard: TestRun(
        run_id=f"r{number}",
        repository="h/o/n",
        commit=commit,
        configuration=Configuration("linux", "3.11"),
        occurred_at=NOON + timedelta(hours=hours),
        received_at=NOON,
        results=tuple(results),
        source=source,
        shard=shard,
    ),
    st.integers(0, 9),
    st.lists(_RESULTS, min_size=1, max_size=12),
    st.sampled_from([Source.RECORDED, Source.RECORDED, Source.FAULT]),
    st.integers(-5000, 5000),
    st.sampled_from([None, "c1", "c2"]),
    st.sampled_from([None, "1"]),
)
EVENTS = st.lists(_RUNS, max_size=8)


def assert_equal(one: State, other: State, exact: bool = True) -> None:
    assert (one.repository, one.version, one.units) == (
        other.repository,
        other.version,
        other.units,
    )
    left, right = states.to_parts(one)[1], states.to_parts(other)[1]
    assert left.keys() == right.keys()
    for name, values in left.items():
        compare = np.testing.assert_array_equal if exact else np.testing.assert_allclose
        compare(values, right[name], err_msg=name)
        assert values.dtype == right[name].dtype


@settings(max_examples=40)
@given(EVENTS, st.integers(0, 8))
def test_snapshot_and_fold_is_fold_of_all(events: list[TestRun], cut: int) -> None:
    about, arrays = states.to_parts(fold(EMPTY, events[:cut]))
    restored = states.from_parts(about, arrays)
    assert_equal(fold(restored, events[cut:]), fold(EMPTY, events))


@settings(max_examples=40)
@given(EVENTS)
def test_applying_one_by_one_is_folding(events: list[TestRun]) -> None:
    state = EMPTY
    for event in events:
        state = apply(state, event)
    assert_equal(state, fold(EMPTY, events))


@settings(max_examples=40)
@given(EVENTS)
def test_duplicates_are_no_ops(events: list[TestRun]) -> None:
    assert_equal(fold(fold(EMPTY, events), events), fold(EMPTY, events))


@settings(max_examples=40)
@given(EVENTS)
def test_columnar_merge_equals_the_simple_one(events: list[TestRun]) -> None:
    columnar = list(to_unit_runs(to_frame(events, 7)))
    simple = [summarise(event, 7) for event in events]
    assert len(columnar) == len(simple)
    for one, other in zip(columnar, simple, strict=True):
        assert same_rows(one, other)
    assert_equal(fold(EMPTY, columnar), fold(EMPTY, simple), exact=False)


def same_rows(one: UnitRun, other: UnitRun) -> bool:
    for name in ("key", "place", "configuration", "when", "recorded", "units", "version"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("ran", "bad", "flaky"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    np.testing.assert_allclose(one.seconds, other.seconds)
    return True


@settings(max_examples=40)
@given(EVENTS)
def test_decayed_rates_do_not_depend_on_the_order_of_receipt(events: list[TestRun]) -> None:
    unique = list({(e.run_id, e.shard): e for e in events}.values())
    now = NOON.timestamp() + 1e8
    one, other = fold(EMPTY, unique), fold(EMPTY, unique[::-1])
    for name in ("failure_rate", "last_failed_at", "last_seen", "runs", "failures"):
        left, right = one.aligned(one.units, now)[name], other.aligned(one.units, now)[name]
        np.testing.assert_allclose(left, right, rtol=1e-6)


def run(name: str, *outcomes: Outcome, days: float = 0, **more: object) -> TestRun:
    results = tuple(
        TestResult(TestId("t.py", (), "t"), outcome, 1.0, i + 1)
        for i, outcome in enumerate(outcomes)
    )
    when = NOON + timedelta(days=days)
    plain = TestRun(name, "h/o/n", "c", Configuration("linux", "3.11"), when, when, results)
    return replace(plain, **more)


GOOD, BAD = Outcome.PASSED, Outcome.FAILED


def value(state: State, name: str, now: float = 0) -> float:
    return float(state.aligned(["t.py::t"], NOON.timestamp() + now)[name][0])


def test_features_are_read_before_the_outcome_is_known() -> None:
    events = [run("1", BAD), run("2", GOOD), run("3", BAD)]
    seen = [(value(state, "failures"), event.run_id) for state, event in walk(EMPTY, events)]
    assert np.isnan(seen[0][0])
    assert seen[1:] == [(1.0, "2"), (1.0, "3")]


def test_failures_runs_and_moments() -> None:
    late = run("late", BAD, days=-30)
    state = fold(EMPTY, [run("1", GOOD), run("2", BAD, days=-3), late, run("s", Outcome.SKIPPED)])
    assert (value(state, "runs"), value(state, "failures")) == (3, 2)
    assert value(state, "last_failed_at") == NOON.timestamp() - 3 * 86_400
    assert value(state, "last_seen") == NOON.timestamp()


def test_never_failed_is_unknown_and_not_zero() -> None:
    state = fold(EMPTY, [run("1", GOOD)])
    assert np.isnan(value(state, "last_failed_at"))
    assert all(np.isnan(v[0]) for v in state.aligned(["new.py::t"], 0.0).values())
    assert all(np.isnan(v[0]) for v in EMPTY.aligned(["new.py::t"], 0.0).values())


def test_the_rate_fades_to_the_prior() -> None:
    state = fold(EMPTY, [run(str(i), BAD) for i in range(40)])
    fresh, faded = value(state, "failure_rate"), value(state, "failure_rate", 2 * HALF_LIFE)
    assert fresh == pytest.approx((40 + 0.1) / 50)
    assert faded == pytest.approx((10 + 0.1) / 20)


def test_an_injected_fault_is_no_history() -> None:
    state = fold(EMPTY, [run("f", BAD, source=Source.FAULT)])
    assert state.units == ()
    assert len(state.seen) == 1


@pytest.mark.parametrize(
    ("events", "flips"),
    [
        ([run("1", BAD, GOOD)], 1),
        ([run("1", BAD), run("2", GOOD)], 1),
        ([run("1", BAD), run("2", GOOD, commit="d")], 0),
        ([run("1", BAD, commit=None), run("2", GOOD, commit=None)], 0),
        ([run("1", BAD), run("2", GOOD, configuration=Configuration("win", "3.11"))], 0),
        ([run("1", BAD), run("2", BAD)], 0),
    ],
)
def test_flips_on_one_commit_hint_at_flakes(events: list[TestRun], flips: int) -> None:
    assert value(fold(EMPTY, events), "flips") == flips


def test_a_rerun_that_passes_is_no_failure() -> None:
    assert value(fold(EMPTY, [run("1", BAD, GOOD)]), "failures") == 0


def test_the_last_durations_are_kept_in_their_order() -> None:
    def timed(name: str, seconds: float) -> TestRun:
        return run(name, results=(TestResult(TestId("t.py", (), "t"), GOOD, seconds),))

    state = fold(EMPTY, [timed(str(i), 1.0) for i in range(9)] + [timed("slow", 900.0)])
    assert state.timings.in_order()[0, -2:].tolist() == [1.0, 900.0]
    state = fold(state, [timed(f"n{i}", 5.0) for i in range(WINDOW)])
    assert state.timings.in_order().tolist() == [[5.0] * WINDOW]


def test_durations_of_configurations_are_kept_apart() -> None:
    def timed(name: str, system: str, test: str, seconds: float) -> TestRun:
        results = (TestResult(TestId("t.py", (), test), GOOD, seconds),)
        return run(name, results=results, configuration=Configuration(system, "3.11"))

    events = [timed("1", "linux", "a", 1), timed("2", "win", "b", 9), timed("3", "win", "a", 3)]
    kept = fold(EMPTY, [*events, timed("4", "linux", "a", 2)]).timings
    assert kept.unit.tolist() == [0, 1, 0]
    assert kept.timed.tolist() == [2, 1, 1]
    assert kept.in_order()[:, -1].tolist() == [2, 9, 3]
    assert kept.in_order()[0, -2] == 1
    linux, win = (configuration_key(f"{system}/3.11") for system in ("linux", "win"))
    assert kept.configuration.tolist() == [linux, win, win]


def test_shares_of_the_last_runs_fade_run_by_run() -> None:
    state = fold(EMPTY, [run("1", BAD), *(run(f"g{i}", GOOD) for i in range(3))])
    assert value(state, "fast") == pytest.approx((1 - 0.5 ** (1 / 3)) / 2)
    assert value(state, "fast") < value(fold(EMPTY, [run("1", GOOD), run("2", BAD)]), "fast")


def test_a_snapshot_of_the_format_before_is_brought_on() -> None:
    state = fold(EMPTY, [run("1", BAD), run("2", GOOD)])
    about, arrays = states.to_parts(state)
    old = {n: a for n, a in arrays.items() if n not in states.SPANS and "timings." not in n}
    old["timed"] = np.array([2])
    read = states.from_parts({**about, "format": 1}, old)
    assert read.timings.configuration.tolist() == [0]
    np.testing.assert_array_equal(read.timings.in_order(), state.timings.in_order())
    assert apply(read, run("3", BAD)).columns["failures"].tolist() == [2]


def test_parameters_of_a_unit_add_up() -> None:
    results = tuple(TestResult(TestId("t.py", (), "t", str(i)), GOOD, 2.0) for i in range(3))
    assert fold(EMPTY, [run("1", results=results)]).timings.in_order()[0, -1] == 6.0


def test_an_older_state_is_not_changed_by_what_follows() -> None:
    old = fold(EMPTY, [run("1", GOOD)])
    before = states.to_parts(old)[1]
    kept = {name: values.copy() for name, values in before.items()}
    apply(old, run("2", BAD))
    for name, values in kept.items():
        np.testing.assert_array_equal(values, before[name])


def test_file_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    assert states.read(path) is None
    state = fold(EMPTY, [run("1", BAD), run("é", GOOD)])
    states.write(state, path)
    restored = states.read(path)
    assert restored is not None
    assert_equal(restored, state)
    whole = path.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(BadStore, match="rebuilt"):
            states.read(path)


def test_parts_that_do_not_fit_are_refused() -> None:
    about, arrays = states.to_parts(fold(EMPTY, [run("1", BAD)]))
    for broken in (
        (about | {"units": []}, arrays),
        (about | {"format": 9}, arrays),
        (about, arrays | {"durations": np.zeros((1, 3))}),
        ({}, arrays),
    ):
        with pytest.raises(BadStore):
            states.from_parts(*broken)
