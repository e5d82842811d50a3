"""A training's records on disk until the tracking server has them."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foretest.durable import claim, claimed, refused, write_text

Record = Mapping[str, Any]
_LINES, _SENT, _FILES = "records.jsonl", "sent.json", "files"


class Journal:
    """One run's records, in order, and how many of them were delivered.

    While it is open its file is claimed, so that nobody else delivers a run that goes on.
    """

    def __init__(self, folder: Path) -> None:
        """Open a journal, or begin one. Raises BadStore where the place cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lines = (folder / _LINES).open("ab")
        except OSError as error:
            raise refused(folder, error) from error
        self.folder = folder
        claim(self._lines.fileno())
        if not f"\n{_text(folder / _LINES)}".endswith("\n"):
            self._lines.write(b"\n")  # a line that its writer could not end
        self.records = _read(folder / _LINES)
        state = json.loads(_text(folder / _SENT) or "{}")
        self.sent: int = state.get("sent", 0)
        self.run_id: str = state.get("run", "")

    @classmethod
    def begin(cls, spool: Path) -> Journal:
        """A journal of its own for a run that starts now."""
        return cls(spool / f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}")

    def append(self, record: Record) -> None:
        self._lines.write(json.dumps(record).encode() + b"\n")
        self._lines.flush()
        self.records.append(record)

    def room(self) -> Path:
        """A new folder in which a record's files lie until they are delivered."""
        folder = self.folder / _FILES / secrets.token_hex(4)
        folder.mkdir(parents=True)
        return folder

    def delivered(self, count: int, run_id: str) -> None:
        """Note that the first `count` records are on the server, as part of run `run_id`."""
        for record in self.records[self.sent : count]:
            if "room" in record:
                shutil.rmtree(self.folder / _FILES / record["room"], ignore_errors=True)
        self.sent, self.run_id = count, run_id
        write_text(self.folder / _SENT, json.dumps({"sent": count, "run": run_id}))

    def files(self, record: Record) -> Path:
        return self.folder / _FILES / str(record["room"])

    def close(self) -> None:
        """Let go of it; nothing is left of a journal that was delivered whole."""
        self._lines.close()
        if self.sent == len(self.records):
            shutil.rmtree(self.folder, ignore_errors=True)


def left_over(spool: Path) -> list[Path]:
    """Journals below `spool` that no running process holds, the oldest first."""
    found = sorted(path.parent for path in spool.glob(f"*/{_LINES}"))
    return [folder for folder in found if not claimed(folder / _LINES)]


def _read(path: Path) -> list[Record]:
    """The records of a file; a last line that was cut off with its writer counts as not written."""
    records = []
    for line in path.read_bytes().splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
