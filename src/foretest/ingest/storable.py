"""Tells runs that no lake can hold from a lake that takes nothing now."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import polars as pl

from foretest.errors import BadStore
from foretest.history.lake import Lake
from foretest.history.rows import RunKey, RunRows, key_of

UNFORESEEN = (Exception, pl.exceptions.PanicException)
"""What content may raise on its way into columns and files; a panic is no Exception."""


def unstorable(runs: Sequence[RunRows]) -> dict[RunKey, str]:
    """The runs that an empty lake refuses as well, each with the reason.

    They are found by halves: one among thousands costs some twenty trials, none costs one. Raises
    BadStore where there is no room for a trial.
    """
    reason = _refusal(runs)
    if not reason:
        return {}
    if len(runs) == 1:
        return {key_of(runs[0].run): reason}
    middle = len(runs) // 2
    return unstorable(runs[:middle]) | unstorable(runs[middle:])


def _refusal(runs: Sequence[RunRows]) -> str:
    """Why a lake of their own refuses the runs; empty where it takes them."""
    with tempfile.TemporaryDirectory(prefix="foretest-trial-") as folder:
        lake = Lake(folder)
        lake.append([])  # a place that takes not even this tells nothing of the runs
        try:
            lake.append(runs)
        except BadStore as error:
            if "disk is full" in error.message:
                raise
            return f"No lake can hold it: {error.message.replace(folder, 'the lake')}"
        except UNFORESEEN as error:
            return f"No lake can hold it: {type(error).__name__}: {error}"
    return ""
