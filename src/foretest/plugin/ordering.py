"""Puts the likeliest failures first without tearing apart tests that share a fixture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

_HOLDERS: tuple[tuple[str, type[pytest.Collector]], ...] = (
    ("package", pytest.Package),
    ("module", pytest.Module),
    ("class", pytest.Class),
)
"""Widest first."""


def reorder(
    items: Sequence[pytest.Item], ranking: Sequence[str], unit_of: Callable[[pytest.Item], str]
) -> list[pytest.Item]:
    """The items, unknown units first (new tests), then by rank; stable within a unit.

    Tests that use a module's or class's own fixture stay together, in the order of the suite, at
    the place of the best among them: apart, the fixture would be set up again for each. Fixtures
    with parameters and session scope may be set up more often than in the suite's order.
    """
    rank = {unit: place for place, unit in enumerate(ranking)}
    groups: dict[str, list[pytest.Item]] = {}
    best: dict[str, int] = {}
    for item in items:
        unit = unit_of(item)
        key = _shared(item) or unit
        groups.setdefault(key, []).append(item)
        best[key] = min(best.get(key, len(rank)), rank.get(unit, -1))
    order = sorted(groups, key=best.__getitem__)
    return [item for key in order for item in groups[key]]


def _shared(item: pytest.Item) -> str:
    """Node id of the widest class, module or package whose fixture this test uses; "" for none."""
    # pytest has no public way from an item to the scopes of its fixtures.
    info = getattr(item, "_fixtureinfo", None)
    definitions = getattr(info, "name2fixturedefs", {}).values()
    scopes = {str(d[-1].scope) for d in definitions if d}
    for scope, kind in _HOLDERS:
        parent = item.getparent(kind) if scope in scopes else None
        if parent is not None:
            return parent.nodeid
    return ""
