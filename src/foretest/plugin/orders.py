"""What one process is told to do with its tests; xdist's controller decides, its workers obey."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from foretest.plugin.plan import Mode
from foretest.records import Selection


@dataclass(frozen=True, slots=True)
class Orders:
    mode: Mode = Mode.OFF
    root: str = ""
    commit: str | None = None
    rest: frozenset[str] = frozenset()
    """Units that the selection leaves out. Everything else runs, known or not."""
    ranking: tuple[str, ...] = ()
    """Units, likeliest failure first; only where the mode is order."""
    coverage: str = ""
    """Where to write coverage; empty where none is taken."""
    stale: frozenset[str] | None = None
    """Units whose coverage is out of date; None where it is taken of all."""
    known: frozenset[str] = frozenset()
    """Every unit that the selection knows, where `stale` is set: all others are new."""
    quarantined: Mapping[str, str] = field(default_factory=dict)
    """Units whose failure does not fail the run, each with the words that say so."""

    def traces(self, unit: str) -> bool:
        """Whether this unit's coverage is due."""
        return self.stale is None or unit in self.stale or unit not in self.known

    def to_wire(self) -> str:
        """As JSON: execnet cannot carry the lone surrogates of odd file names."""
        return json.dumps({k: _plain(v) for k, v in asdict(self).items()})

    @classmethod
    def from_wire(cls, text: str) -> Orders:
        data: dict[str, Any] = json.loads(text)
        return cls(
            mode=Mode(data["mode"]),
            root=data["root"],
            commit=data["commit"],
            rest=frozenset(data["rest"]),
            ranking=tuple(data["ranking"]),
            coverage=data["coverage"],
            stale=None if data["stale"] is None else frozenset(data["stale"]),
            known=frozenset(data["known"]),
            quarantined=data["quarantined"],
        )


def resting(selection: Selection, last_failed: Iterable[str]) -> frozenset[str]:
    """Units to leave out. What failed in the last run here always runs, also for `--lf`."""
    if selection.run_all:
        return frozenset()
    chosen = {choice.test for choice in selection.chosen}
    rest = {choice.test for choice in selection.rest}
    return frozenset(rest - chosen - set(last_failed))


def ranked(selection: Selection) -> tuple[str, ...]:
    """Every known unit in the selection's order: first what it would run, then the rest."""
    return tuple(choice.test for choice in (*selection.chosen, *selection.rest))


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value
