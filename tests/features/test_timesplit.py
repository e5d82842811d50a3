"""The split in time: complete, disjoint, ordered, groups whole, order of input irrelevant."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.features.timesplit import PARTS, Fractions, Split, split_in_time

Item = tuple[int, int, int]  # number, time, group
# A group is a commit: its items share one time.
items = st.lists(st.integers(0, 12), max_size=60).map(
    lambda groups: [(number, group * group % 7, group) for number, group in enumerate(groups)]
)


def split(given_items: list[Item], fractions: Fractions | None = None) -> Split[Item]:
    return split_in_time(
        given_items, time=lambda i: i[1], group=lambda i: i[2], fractions=fractions
    )


@given(items)
def test_every_item_is_on_one_side(given_items: list[Item]) -> None:
    parts = split(given_items)
    together = [item for part in PARTS for item in getattr(parts, part)]
    assert sorted(together) == sorted(given_items)


@given(items)
def test_a_group_is_never_cut(given_items: list[Item]) -> None:
    parts = split(given_items)
    groups = [{item[2] for item in getattr(parts, part)} for part in PARTS]
    assert sum(len(g) for g in groups) == len(set().union(*groups))


@given(items)
def test_no_part_is_younger_than_the_next(given_items: list[Item]) -> None:
    parts = split(given_items)
    times = [[item[1] for item in getattr(parts, part)] for part in PARTS]
    present = [t for t in times if t]
    assert all(max(a) <= min(b) for a, b in pairwise(present))


@given(items, st.randoms(use_true_random=False))
def test_the_order_of_input_does_not_matter(
    given_items: list[Item], shuffler: random.Random
) -> None:
    shuffled = list(given_items)
    shuffler.shuffle(shuffled)
    first, second = split(given_items), split(shuffled)
    assert all(set(getattr(first, p)) == set(getattr(second, p)) for p in PARTS)


def test_shares_are_kept_where_groups_allow() -> None:
    parts = split([(i, i, i) for i in range(100)], Fractions(0.5, 0.2, 0.2, 0.1))
    assert [len(getattr(parts, p)) for p in PARTS] == [50, 20, 20, 10]


def test_a_part_of_no_share_stays_empty() -> None:
    parts = split([(i, i, i) for i in range(10)], Fractions(0.5, 0.0, 0.0, 0.5))
    assert [len(getattr(parts, p)) for p in PARTS] == [5, 0, 0, 5]


def test_fractions_are_a_whole() -> None:
    with pytest.raises(ValueError, match="whole"):
        Fractions(0.5, 0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="whole"):
        Fractions(1.5, -0.5, 0.0, 0.0)
