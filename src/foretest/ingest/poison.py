"""Reports that nobody can read: kept whole beside the reason, to be looked at and tried again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from foretest.durable import atomic_write, sync_upwards
from foretest.errors import BadReport, StateNotFound
from foretest.ingest.stream import UNKNOWN, About, Delivery, Meta, Stream, decode, encode


@dataclass(frozen=True, slots=True)
class Poison:
    """One report that was set aside."""

    name: str
    reason: str
    meta: Meta
    set_aside_at: datetime
    size: int


class PoisonFolder:
    """Two files a report: its bytes, and why it lies here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, delivery: Delivery, reason: str) -> Poison:
        """Set a report aside, forced to disk. Twice the same is once. Raises BadStore."""
        name = hashlib.sha256(encode(delivery.meta) + b"\0" + delivery.report).hexdigest()[:12]
        now = datetime.now(UTC)
        about = {
            "reason": reason,
            "set_aside_at": now.isoformat(),
            "meta": json.loads(encode(delivery.meta)),
        }
        atomic_write(self.folder / f"{name}.report", delivery.report)
        atomic_write(self.folder / f"{name}.json", json.dumps(about, indent=1).encode())
        sync_upwards(self.folder)
        return Poison(name, reason, delivery.meta, now, len(delivery.report))

    def list(self) -> list[Poison]:
        """Everything set aside, oldest first."""
        found = [self._read(path.stem) for path in self.folder.glob("*.json")]
        return sorted(found, key=lambda poison: (poison.set_aside_at, poison.name))

    def show(self, name: str) -> tuple[Poison, bytes]:
        """One report and its bytes. Raises StateNotFound."""
        path = self.folder / f"{Path(name).name}.report"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StateNotFound(
                f"No report '{name}' was set aside.", "List them: foretest ingest poison list."
            ) from error
        return self._read(path.stem), data

    def retry(self, name: str, stream: Stream) -> None:
        """Append the report once more, with its first moment of receipt, and let it go from here.

        Raises what `append` raises; the report then stays here.
        """
        poison, data = self.show(name)
        stream.append(data, poison.meta)
        self._remove(poison.name)

    def forget(self, about: About) -> int:
        """Remove every report that matches; how many there were. Not while a consumer runs."""
        gone = 0
        for name in sorted({path.stem for path in self.folder.glob("*.*")}):
            poison = self._read(name)
            try:
                data = (self.folder / f"{name}.report").read_bytes()
            except FileNotFoundError:
                data = b""
            if about(poison.meta, data):
                self._remove(name)
                gone += 1
        return gone

    def _remove(self, name: str) -> None:
        for ending in (".json", ".report"):
            (self.folder / f"{name}{ending}").unlink(missing_ok=True)

    def _read(self, name: str) -> Poison:
        path = self.folder / f"{name}.json"
        size = 0
        try:
            size = (self.folder / f"{name}.report").stat().st_size
            about = json.loads(path.read_text("utf-8"))
            moment = datetime.fromisoformat(about["set_aside_at"])
            return Poison(
                name, str(about["reason"]), decode(json.dumps(about["meta"]).encode()), moment, size
            )
        except (OSError, ValueError, KeyError, TypeError, BadReport):
            return Poison(name, "unknown: its description is damaged", UNKNOWN, _LONG_AGO, size)


_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
