"""Shards: disjoint, complete, balanced, agreed on by every machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.errors import BadConfiguration
from foretest.selection.shards import Bin, shard, shards

names = st.lists(st.integers(0, 500).map(lambda i: f"t.py::test_{i}"), unique=True, max_size=60)


def seconds_of(units: list[str]) -> dict[str, float]:
    return {u: (hash_of(u) % 97) / 10 for u in units if hash_of(u) % 5}


def hash_of(unit: str) -> int:
    return int(unit.rpartition("_")[2])


@given(names, st.integers(1, 9))
def test_every_unit_is_in_one_shard(units: list[str], total: int) -> None:
    parts = shards(units, seconds_of(units), total)
    assert len(parts) == total
    assert sorted(u for part in parts for u in part) == sorted(units)
    assert parts == tuple(shard(units, seconds_of(units), Bin(i + 1, total)) for i in range(total))


@given(names, st.integers(1, 9))
def test_running_order_is_kept(units: list[str], total: int) -> None:
    for part in shards(units, seconds_of(units), total):
        assert list(part) == [unit for unit in units if unit in part]


@given(names, st.integers(1, 9))
def test_the_order_of_units_does_not_move_them(units: list[str], total: int) -> None:
    first = shards(units, seconds_of(units), total)
    second = shards(units[::-1], seconds_of(units), total)
    assert [set(part) for part in first] == [set(part) for part in second]


@given(names, st.integers(2, 9))
def test_longest_first_is_balanced(units: list[str], total: int) -> None:
    seconds = {unit: (hash_of(unit) % 97) / 10 for unit in units}
    loads = [sum(seconds[u] for u in part) for part in shards(units, seconds, total)]
    assert max(loads) - min(loads) <= max(seconds.values(), default=0) + 1e-9


@given(names, names, st.integers(1, 9))
def test_new_tests_move_no_other(units: list[str], new: list[str], total: int) -> None:
    seconds = seconds_of(units)
    before = shards(units, seconds, total)
    after = shards([*units, *(f"{u}_new" for u in new)], seconds, total)
    assert all(set(b) <= set(a) for b, a in zip(before, after, strict=True))


def test_names_that_are_no_text_are_hashed_all_the_same() -> None:
    assert sum(map(len, shards(["a\udcff", "ü"], {}, 3))) == 2


def test_a_bin_is_read() -> None:
    assert Bin.parse(" 2/4 ") == Bin(2, 4)
    for wrong in ("0/4", "5/4", "1", "a/b", "-1/3", "1/0", "", "1/2/3", "٢/٤"):
        with pytest.raises(BadConfiguration):
            Bin.parse(wrong)
