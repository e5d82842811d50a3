"""Quarantine: tests whose failure does not fail a run until a date; standard library only.

Entries come from the settings (`quarantine = ["TEST until 2025-07-01: reason"]`, shared by a team)
and from a file in the state directory (`foretest flaky quarantine`). An entry always ends: what
nobody mends or renews fails the run again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from foretest.durable import lock, write_text
from foretest.errors import BadConfiguration, BadStore

FILE = "quarantine.json"
LONGEST = timedelta(days=90)
"""A quarantine without an end in sight is a deleted test."""
_SETTING = re.compile(r"(?P<test>.+?)\s+until\s+(?P<until>\d{4}-\d\d-\d\d)\s*(?::\s*(?P<why>.*))?")
_TERM = re.compile(r"(\d+)\s*([dw])")


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One test in quarantine. It ends when the day `until` (UTC) begins."""

    test: str
    """The unit: node id without parameters."""
    until: date
    reason: str = ""

    def holds(self, today: date) -> bool:
        """False once it has ended, and where its end is out of sight."""
        return today < self.until <= today + LONGEST

    def setting(self) -> str:
        """As it stands in the settings."""
        return f"{self.test} until {self.until}: {self.reason}".rstrip(": ")


def today() -> date:
    return datetime.now(UTC).date()


def parse_term(text: str, start: date) -> date:
    """The day on which `14d` or `2w` from `start` ends, or the day itself where it is a date.

    Raises ValueError for anything else, a day that is past, or one that lies too far ahead.
    """
    match = _TERM.fullmatch(text.strip())
    try:
        if match:
            ends = start + timedelta(days=int(match[1]) * (7 if match[2] == "w" else 1))
        else:
            ends = date.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise ValueError(f"'{text}' is neither 14d, 2w nor a date as 2025-07-01.") from None
    if not start < ends <= start + LONGEST:
        raise ValueError(f"A quarantine ends within {LONGEST.days} days; this ends on {ends}.")
    return ends


def read(state: Path, settings: Sequence[str] = ()) -> tuple[Entry, ...]:
    """All entries, those that do not hold too, sorted; of one test the later end counts.

    Raises BadConfiguration for a setting that cannot be read, BadStore for a damaged file.
    """
    latest: dict[str, Entry] = {}
    for entry in (*_stored(state), *map(_parsed, settings)):
        known = latest.get(entry.test)
        if known is None or known.until < entry.until:
            latest[entry.test] = entry
    return tuple(sorted(latest.values()))


def add(state: Path, entry: Entry) -> None:
    """Put a test into quarantine, or change its end."""
    _change(state, lambda kept: [*(e for e in kept if e.test != entry.test), entry])


def release(state: Path, test: str) -> bool:
    """Take a test out; False where the file does not hold it."""
    held = any(entry.test == test for entry in _stored(state))
    if held:
        _change(state, lambda kept: [e for e in kept if e.test != test])
    return held


def _change(state: Path, edit: Callable[[list[Entry]], list[Entry]]) -> None:
    with lock(state / "quarantine.lock"):
        entries = sorted(edit(_stored(state)))
        rows = [{**asdict(entry), "until": entry.until.isoformat()} for entry in entries]
        write_text(state / FILE, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def _stored(state: Path) -> list[Entry]:
    path = state / FILE
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [Entry(*_texts(row["test"], row["until"], row["reason"])) for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadStore(f"{path} is damaged.", "Mend it, or delete it.") from error


def _texts(test: object, until: object, reason: object) -> tuple[str, date, str]:
    if not (isinstance(test, str) and isinstance(until, str) and isinstance(reason, str)):
        raise TypeError("an entry is three texts")
    return test, date.fromisoformat(until), reason


def _parsed(text: str) -> Entry:
    match = _SETTING.fullmatch(text.strip())
    try:
        if match:
            return Entry(match["test"], date.fromisoformat(match["until"]), match["why"] or "")
    except ValueError:
        pass
    raise BadConfiguration(
        f"The quarantine '{text}' cannot be read.", "Write 'TEST until 2025-07-01: reason'."
    )


def split(entries: Iterable[Entry], day: date) -> tuple[dict[str, str], tuple[str, ...]]:
    """What holds on `day`, each test with the words that say so, and why the others do not."""
    held, told = {}, []
    for entry in entries:
        if entry.holds(day):
            held[entry.test] = f"quarantined until {entry.until}: {entry.reason}".rstrip(": ")
        elif entry.until <= day:
            told.append(f"The quarantine of {entry.test} ended on {entry.until}")
        else:
            told.append(
                f"The quarantine of {entry.test} until {entry.until} lasts longer than the"
                f" {LONGEST.days} days allowed and does not count"
            )
    return held, tuple(f"{sentence}: its failure fails the run." for sentence in told)
