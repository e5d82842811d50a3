"""What the peers answered: facts, a line of JSON each, kept so that no tool is asked twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Key = tuple[str, str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """One tool's answer to one question about one change."""

    case_id: str
    commit: str
    """The state that the change was made to."""
    question: str
    asked: str
    """The arguments given, as one text."""
    version: str
    """Of the tool."""
    before: str
    """The case whose failures the tool had met; empty where it met none."""
    chosen: tuple[str, ...] | None
    """Units in the order in which they would run; None where there was no answer."""
    seconds: float
    """Wall seconds from the start of the process to its end."""
    said: str = ""
    """Why there was no answer."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Units of which only some parameters would run, and what share of them; others run whole, as
    far as the answer tells."""

    @property
    def key(self) -> Key:
        """What tells answers apart: asked the same again, a tool would say the same."""
        return (
            self.case_id, self.commit, self.question, self.asked, self.version, self.before,
        )  # fmt: skip

    def to_line(self) -> str:
        """One line of JSON, newline included."""
        return json.dumps(asdict(self), separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> Answer:
        """Read `to_line`'s JSON; raises ValueError, KeyError or TypeError for anything else."""
        record: dict[str, Any] = json.loads(line)
        if not isinstance(record, dict):
            raise ValueError("an answer is an object")
        chosen = record["chosen"]
        if chosen is not None:
            if not isinstance(chosen, list) or not all(isinstance(u, str) for u in chosen):
                raise ValueError("chosen units are a list of names")
            record["chosen"] = tuple(chosen)
        record["seconds"] = float(record["seconds"])
        shares = record.get("shares", {})
        if not isinstance(shares, dict) or not all(0 < share < 1 for share in shares.values()):
            raise ValueError("shares are a table of numbers between 0 and 1")
        return cls(**record)


def read_answers(path: Path) -> Iterator[Answer]:
    """The answers of a file, oldest first; what cannot be read is passed over and asked again."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            yield Answer.from_line(line)
