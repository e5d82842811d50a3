"""Shards of equal predicted time: disjoint, complete, and the same on every machine."""

from __future__ import annotations

import hashlib
import heapq
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foretest.errors import BadConfiguration


@dataclass(frozen=True, slots=True)
class Bin:
    """Shard `index` (from 1) of `total`."""

    index: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Bin:
        """Read `i/n`; raises BadConfiguration unless 1 <= i <= n."""
        match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text, re.ASCII)
        if match and 1 <= int(match[1]) <= int(match[2]):
            return cls(int(match[1]), int(match[2]))
        raise BadConfiguration(f"'{text}' is not a shard.", "Write it as 1/4, ..., 4/4.")


def shards(
    units: Sequence[str], seconds: Mapping[str, float], total: int
) -> tuple[tuple[str, ...], ...]:
    """Split the units into `total` shards, each in the order given.

    Longest first, each to the shard with the least time so far. A unit without known seconds goes
    by its hash: machines that see different new tests still agree about every other.
    """
    place = {
        unit: _hashed(unit, total)
        for unit in units
        if not math.isfinite(seconds.get(unit, math.nan))
    }
    known = [unit for unit in dict.fromkeys(units) if unit not in place]
    known.sort(key=lambda unit: (-seconds[unit], unit))
    loads = [(0.0, shard) for shard in range(total)]
    for unit in known:
        load, shard = loads[0]
        heapq.heapreplace(loads, (load + seconds[unit], shard))
        place[unit] = shard
    parts: list[list[str]] = [[] for _ in range(total)]
    for unit in dict.fromkeys(units):
        parts[place[unit]].append(unit)
    return tuple(tuple(part) for part in parts)


def shard(units: Sequence[str], seconds: Mapping[str, float], wanted: Bin) -> tuple[str, ...]:
    """The units of one shard, in the order given."""
    return shards(units, seconds, wanted.total)[wanted.index - 1]


def _hashed(unit: str, total: int) -> int:
    digest = hashlib.blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % total
