"""The answer when nothing could be decided: everything runs, and this is why."""

from __future__ import annotations

from foretest.records import Selection


def everything(decision_id: str, reason: str) -> Selection:
    """A selection that names no test and lets all of them run. Standard library only."""
    return Selection(decision_id, "", "", None, (), (), run_all=True, notices=(reason,))
