"""Decisions on disk: what was selected, so that `explain`, `summary` and `record` can look back."""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from foretest.durable import write_text
from foretest.errors import StateNotFound
from foretest.records import Selection
from foretest.selection.formats import selection_from_json, selection_to_json

KEPT = 200
"""Decisions kept; the catalogue remembers the older ones that were recorded."""


def new_id(now: datetime | None = None) -> str:
    """A name for a decision; names sort by time, to the microsecond: scripts decide quickly."""
    moment = now or datetime.now(UTC)
    return f"{moment:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"


def save(state: Path, selection: Selection) -> None:
    """Write a decision under `state`, and let the oldest go. Raises BadStore."""
    folder = state / "decisions"
    text = json.dumps(selection_to_json(selection), ensure_ascii=True)
    write_text(folder / f"{selection.decision_id}.json", text)
    for old in sorted(folder.glob("*.json"))[:-KEPT]:
        with suppress(OSError):  # another process may have been faster
            old.unlink()


def load(state: Path, decision_id: str | None = None) -> Selection:
    """The decision of that name, or the last one. Raises StateNotFound."""
    folder = state / "decisions"
    found = sorted(folder.glob("*.json"))
    wanted = [p for p in found if decision_id is None or p.stem == decision_id]
    if not wanted:
        name = f"'{decision_id}'" if decision_id else "yet"
        raise StateNotFound(f"There is no decision {name} here.", "Run `foretest select` first.")
    try:
        return selection_from_json(json.loads(wanted[-1].read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateNotFound(
            f"The decision {wanted[-1].stem} cannot be read: {error}.",
            "Run `foretest select` again.",
        ) from error


def last(state: Path) -> Selection | None:
    """The last decision; None where none was made, or it cannot be read."""
    try:
        return load(state)
    except StateNotFound:
        return None
