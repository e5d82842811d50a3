"""What the gate answers: a check a line, each with what was measured, what was wanted, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    """`family: what`, the same for every candidate."""
    passed: bool | None
    """None: the facts are too few to tell."""
    measured: str
    wanted: str
    why: str = ""
    """What failed and where, or why it cannot be told."""
    essential: bool = True
    """Whether a candidate of which this is unknown is turned away."""

    @property
    def mark(self) -> str:
        return {True: "passed", False: "FAILED", None: "unknown"}[self.passed]

    @property
    def stops(self) -> bool:
        return self.passed is False or (self.passed is None and self.essential)


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks of one candidate."""

    candidate: str
    """`models.contract.identity` of its model."""
    rival: str
    """Against whom it stood: the champion, else the formula."""
    checks: tuple[Check, ...]
    changes: int
    repositories: int

    @property
    def passed(self) -> bool:
        return bool(self.checks) and not any(check.stops for check in self.checks)

    @property
    def stopped_by(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.stops)

    def sentence(self) -> str:
        """The outcome in one line."""
        held = (
            f"{self.candidate}, held against {self.rival} on {self.changes:,} faulty changes of "
            f"{self.repositories:,} {'repository' if self.repositories == 1 else 'repositories'}"
        )
        if self.passed:
            unknown = sum(check.passed is None for check in self.checks)
            told = f", {unknown} unknown" if unknown else ""
            return f"Passed: {held}: {len(self.checks)} checks{told}."
        names = ", ".join(check.name for check in self.stopped_by)
        return f"Not passed: {held}. What stops it: {names or 'nothing was examined'}."

    def to_json(self) -> dict[str, Any]:
        return {
            "candidate": self.candidate,
            "rival": self.rival,
            "passed": self.passed,
            "changes": self.changes,
            "repositories": self.repositories,
            "checks": [asdict(check) for check in self.checks],
        }


def as_text(verdict: Verdict) -> str:
    """The table for a terminal: a line a check; below it, why it failed or is unknown."""
    rows = [(check.mark, check.name, check.measured, check.wanted) for check in verdict.checks]
    head = ("", "check", "measured", "wanted")
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(4)]
    lines = [_aligned(head, widths)]
    for row, check in zip(rows, verdict.checks, strict=True):
        lines.append(_aligned(row, widths))
        if check.why and check.passed is not True:
            lines.append(f"{'':<{widths[0]}}    {check.why}")
    return "\n".join((*lines, "", verdict.sentence()))


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
