"""Labels without flaky failures: what a ranker should learn from recorded runs."""

from __future__ import annotations

from collections.abc import Iterable

from foretest.flakes.history import Failed

DOUBT = 0.9
"""A failure at least this likely flaky is no label: losing a true one costs more than a stray."""


def flaky_labels(failures: Iterable[Failed], doubt: float = DOUBT) -> frozenset[tuple[str, str]]:
    """(unit, commit) of failures that are no labels: leave them out, as unknown and not as passed.

    A failure of a run without a commit belongs to no change and is none anyway.
    """
    return frozenset((f.unit, f.commit) for f in failures if f.commit and f.flaky >= doubt)
