"""The one function that splits in time: fit, choose, calibrate, report."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

PARTS = ("fit", "choose", "calibrate", "report")


@dataclass(frozen=True, slots=True)
class Fractions:
    """Shares of the items that go to each part; they sum to 1."""

    fit: float = 0.5
    choose: float = 0.15
    calibrate: float = 0.15
    report: float = 0.2

    def __post_init__(self) -> None:
        shares = [getattr(self, part) for part in PARTS]
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(f"fractions {shares} do not split a whole")

    @property
    def ends(self) -> tuple[float, float, float]:
        """Where fit, choose and calibrate end."""
        return self.fit, self.fit + self.choose, self.fit + self.choose + self.calibrate


@dataclass(frozen=True, slots=True)
class Split(Generic[T]):
    """The items of each part, oldest first."""

    fit: tuple[T, ...]
    choose: tuple[T, ...]
    calibrate: tuple[T, ...]
    report: tuple[T, ...]


def split_in_time(
    items: Sequence[T],
    *,
    time: Callable[[T], float],
    group: Callable[[T], Hashable],
    fractions: Fractions | None = None,
) -> Split[T]:
    """Split the items by time so that a model is never judged on what came before its data.

    Items of one group (a commit and all that was made from it) stay on one side; a group counts
    from its latest item, so that nothing in an earlier part is younger than a group of a later one.
    The result does not depend on the order of `items`, save among items equal in time and group.
    """
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(group(item), []).append(item)
    latest = {key: max(time(item) for item in members) for key, members in groups.items()}
    ends = (fractions or Fractions()).ends
    parts: tuple[list[T], ...] = ([], [], [], [])
    before = 0
    for key in sorted(groups, key=lambda key: (latest[key], repr(key))):
        members = sorted(groups[key], key=time)
        # Where a group begins decides its side, so that a part is never cut through a group.
        place = before / len(items)
        parts[sum(place >= end - 1e-12 for end in ends)].extend(members)
        before += len(members)
    return Split(*(tuple(part) for part in parts))
