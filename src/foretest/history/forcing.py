"""Forces a Delta table in a folder to disk: what was new since the last time, or all of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from foretest.durable import sync_directory, sync_upwards, write_text

MARKER = "_forced"
"""In the table's folder: the last version that was forced. What begins with `_` is no data."""


def sync_table(table: Path) -> None:
    """Force every version of the table that exists now to disk, data files before the log.

    The marker, itself forced, says from where to go on. Without one, or where the log no longer
    reaches back to it, all of the table is forced. Nothing happens where nothing is new.
    """
    log = table / "_delta_log"
    versions = sorted(int(path.stem) for path in log.glob("*.json") if path.stem.isdigit())
    known = _marked(table)
    fresh = [version for version in versions if version > known]
    if not fresh:
        return
    entries = [log / f"{version:020d}.json" for version in fresh]
    try:
        added = _added(table, entries) if known >= 0 and fresh[0] == known + 1 else None
    except FileNotFoundError:  # the log was shortened in between
        added = None
    if added is not None:
        _force(added)
        checkpoints = sorted(log.glob("*.checkpoint.parquet"))[-1:]
        _force([*entries, *checkpoints, log / "_last_checkpoint"])
    else:
        _force(path for path in table.rglob("*.parquet") if log not in path.parents)
        _force(path for path in log.rglob("*") if path.is_file())
        sync_upwards(table)
    write_text(table / MARKER, f"{fresh[-1]}\n")


def _marked(table: Path) -> int:
    """The last version that was forced; -1 where none is known to be."""
    try:
        return int((table / MARKER).read_text("utf-8"))
    except (OSError, ValueError):
        return -1


def _added(table: Path, entries: Iterable[Path]) -> list[Path]:
    """The data files that log entries name."""
    found = []
    for entry in entries:
        for line in entry.read_text("utf-8").splitlines():
            if added := json.loads(line).get("add"):
                found.append(table / unquote(added["path"]))
    return found


def _force(paths: Iterable[Path]) -> None:
    folders = set()
    for path in paths:
        with suppress(FileNotFoundError):  # compacted away in between: its rows lie elsewhere
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        folders |= {path.parent, path.parent.parent}  # a partition's folder may be new as well
    for folder in sorted(folders):
        sync_directory(folder)
