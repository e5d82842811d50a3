"""Likeness of a test's path and a changed path: parsers/test_left.py and src/parsers/left.py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from foretest.features.frame import Column

Places = NDArray[np.int64]

_NOISE = frozenset({"test", "tests", "testing", "spec", "src", "lib", "init", ""})
STEM = 0.7
"""Weight of the files' own names beside that of their folders."""


@lru_cache(maxsize=2)
def files_of(tests: tuple[str, ...]) -> tuple[list[str], Places]:
    """The distinct files of the tests, and the place of each test's file among them.

    Kept, since a store is asked about many changes while its tests stay.
    """
    place: dict[str, int] = {}
    of_test = [place.setdefault(test.partition("::")[0], len(place)) for test in tests]
    return list(place), np.array(of_test, np.int64)


def path_similarity(tests: tuple[str, ...], changed: Sequence[str]) -> Column:
    """For each test the likeness (0..1) to the most similar changed path; NaN without any."""
    if not changed:
        return np.full(len(tests), np.nan, np.float32)
    files, of_test = files_of(tests)
    stems, folders = _Bags([_stem(f) for f in files]), _Bags([_folders(f) for f in files])
    best = np.zeros(len(files), np.float64)
    for path in dict.fromkeys(changed):
        likeness = STEM * stems.jaccard(_stem(path)) + (1 - STEM) * folders.jaccard(_folders(path))
        np.maximum(best, likeness, out=best)
    return best.astype(np.float32)[of_test]


class _Bags:
    """Sets of words that can be compared with one set all at once."""

    def __init__(self, bags: Sequence[frozenset[str]]) -> None:
        self.sizes = np.array([len(bag) for bag in bags], np.float64)
        holders: dict[str, list[int]] = {}
        for place, bag in enumerate(bags):
            for word in bag:
                holders.setdefault(word, []).append(place)
        self.holders = {word: np.array(places) for word, places in holders.items()}

    def jaccard(self, bag: frozenset[str]) -> NDArray[np.float64]:
        shared = np.zeros(len(self.sizes), np.float64)
        for word in bag:
            if word in self.holders:
                shared[self.holders[word]] += 1
        return shared / np.maximum(self.sizes + len(bag) - shared, 1)


def _stem(path: str) -> frozenset[str]:
    name = path.rpartition("/")[2].partition(".")[0]
    return frozenset(re.split(r"[_\W]+", name.lower())) - _NOISE


def _folders(path: str) -> frozenset[str]:
    return frozenset(part.lower() for part in path.split("/")[:-1]) - _NOISE
