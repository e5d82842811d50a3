"""Ids and failures join over runs; what is impossible becomes unknown."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.records import Configuration, Outcome, TestId, TestResult, TestRun
from foretest.results import normalise
from foretest.results.normalise import (
    clean,
    distinct,
    fingerprint,
    fingerprint_of_text,
    number_attempts,
    stable,
)

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def run(*results: TestResult, run_id: str = "r") -> TestRun:
    return TestRun(run_id, "h/o/n", "c", Configuration("linux", "3.11"), NOON, NOON, results)


def result(node: str, outcome: Outcome = Outcome.PASSED, **more: object) -> TestResult:
    return replace(TestResult(TestId.parse(node), outcome, 0.1), **more)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<A object at 0x7f3a2b4c5d60>", "<A object at 0x55d0c0ffee00>"),
        ("f1b2c3d4-0000-4000-8000-1234567890ab", "01234567-89ab-4cde-8f01-23456789abcd"),
        ("2025-03-01T12:00:00.123Z-x", "2024-12-31 23:59:59-x"),
        ("/var/tmp/pytest-of-me/pytest-3/test0", "/var/tmp/pytest-of-you/pytest-99/test0"),
        ("/private/var/folders/ab/cd/T/x", "/var/folders/zz/yy/T/q"),
        ("pid=123", "pid=99999"),
        ("1700000000.123", "1712345678.5"),
    ],
)
def test_volatile_parts_become_the_same(one: str, other: str) -> None:
    assert stable(one) == stable(other) != one


@pytest.mark.parametrize("text", ["0xff", "2020-01-01", "1234", "temperature", "a/b/c", "12.5"])
def test_what_is_meant_stays(text: str) -> None:
    assert stable(text) == text


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert stable(stable(text)) == stable(text)


def test_ids_join_over_runs_and_stay_apart_within_one() -> None:
    first = clean(run(result("t.py::test[<A at 0x7f3a2b4c5d60>]")))
    second = clean(run(result("t.py::test[<A at 0x55d0c0ffee00>]")))
    assert first.results[0].test == second.results[0].test
    both = clean(run(result("t.py::test[pid 1]"), result("t.py::test[pid 2]")))
    assert [r.test.parameters for r in both.results] == ["pid 1", "pid 2"]


@given(st.floats(), st.floats())
def test_impossible_values(seconds: float, inclusion: float) -> None:
    (cleaned,) = clean(run(result("t.py::t", seconds=seconds, inclusion=inclusion))).results
    assert cleaned.seconds is None or 0 <= cleaned.seconds < float("inf")
    assert 0 < cleaned.inclusion <= 1


def test_times() -> None:
    east = timezone(timedelta(hours=2))
    odd = replace(run(), occurred_at=NOON + timedelta(days=3), received_at=NOON.astimezone(east))
    assert clean(odd).occurred_at == clean(odd).received_at == NOON
    naive = replace(run(), occurred_at=NOON.replace(tzinfo=None) - timedelta(hours=1))
    assert clean(naive).occurred_at == NOON - timedelta(hours=1)


def test_duplicates_vanish_and_attempts_stay() -> None:
    failed, passed = result("t.py::t", Outcome.FAILED), result("t.py::t")
    kept = list(number_attempts([failed, failed, passed, passed]))
    assert [(r.outcome, r.attempt) for r in kept] == [("failed", 1), ("passed", 2)]
    assert len({(r.test, r.attempt) for r in kept}) == len(kept)


def test_a_run_is_known_by_id_attempt_and_shard() -> None:
    runs = [run(), run(), replace(run(), attempt=2), replace(run(), shard="1"), run(run_id="q")]
    assert len(list(distinct(runs))) == 4


def test_fingerprint_is_of_type_place_and_message() -> None:
    frames = [("tests/test_a.py", "test"), ("src/app/core.py", "run")]
    one = fingerprint("builtins.ValueError", frames, "bad <A at 0x7f3a2b4c5d60>")
    library = [*frames, ("/v/lib/python3.11/site-packages/numpy/core.py", "dot"), ("<string>", "f")]
    assert one == fingerprint("ValueError", library, "bad  <A at 0x55d0c0ffee00>")
    assert one != fingerprint("TypeError", frames, "bad <A at 0x7f3a2b4c5d60>")
    assert one != fingerprint("ValueError", frames[:1], "bad <A at 0x7f3a2b4c5d60>")
    assert one != fingerprint("ValueError", frames, "worse")


def test_printed_traces_are_read() -> None:
    pytest_text = (
        "def test():\n>   f()\n\ntests/test_a.py:12: \n_ _ _\nE   ValueError: x\n\n"
        "src/a.py:{}: ValueError"
    )
    one = fingerprint_of_text("", "ValueError: x", pytest_text.format(3))
    assert one == fingerprint_of_text("", "ValueError: x", pytest_text.format(99))
    assert one != fingerprint_of_text("", "ValueError: x", pytest_text.replace("src/a", "src/b"))
    java = "java.lang.AssertionError: x\n\tat org.A.test(A.java:{})\n\tat org.B.run(B.java:2)"
    assert fingerprint_of_text("java.lang.AssertionError", "x", java.format(1)) == (
        fingerprint_of_text("java.lang.AssertionError", "x", java.format(7))
    )


def test_many_attempts_of_one_test_are_numbered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held against numbers looked for one by one, and by the steps taken for very many."""
    one = result("t.py::t")
    drawn = random.Random(5)
    told = [
        replace(one, attempt=drawn.randint(1, 4), seconds=drawn.randint(0, 3)) for _ in range(99)
    ]
    slowly: dict[int, TestResult] = {}
    for each in told:
        while each.attempt in slowly and slowly[each.attempt] != each:
            each = replace(each, attempt=each.attempt + 1)
        slowly.setdefault(each.attempt, each)
    assert list(number_attempts(told)) == list(slowly.values())
    steps = []
    monkeypatch.setattr(normalise, "replace", lambda r, **new: steps.append(r) or replace(r, **new))
    many = [replace(one, seconds=float(number)) for number in range(3000)]
    assert [r.attempt for r in number_attempts(many)] == list(range(1, 3001))
    assert len(steps) == 2999
