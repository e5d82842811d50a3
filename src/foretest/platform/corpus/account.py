"""What the corpus holds, what went wrong while it was mined, and the words for both."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foretest.lab.labels import NONE_FAILED
from foretest.platform.corpus.facts import FRESH, LAGGED, names_in, read_facts
from foretest.platform.corpus.fleet import rows_of, spelled
from foretest.platform.corpus.mining import Row
from foretest.platform.tracking.lineage import digest_of
from foretest.records import Source


@dataclass(frozen=True, slots=True)
class Holding:
    """The facts of one repository, counted."""

    name: str
    undone: int = 0
    faulty: int = 0
    """Undone changes that fail tests and break no collection."""
    untouched: int = 0
    """Of those, the ones that fail a test which the change neither modified nor added."""
    broken: int = 0
    """Undone changes that broke the collection, an import, the process or its time."""
    faults: int = 0
    faulty_faults: int = 0
    sampled: int = 0
    """Cases of a slow suite of which a sample ran."""
    evidence: str = ""

    def __add__(self, other: Holding) -> Holding:
        return Holding(
            self.name,
            self.undone + other.undone,
            self.faulty + other.faulty,
            self.untouched + other.untouched,
            self.broken + other.broken,
            self.faults + other.faults,
            self.faulty_faults + other.faulty_faults,
            self.sampled + other.sampled,
        )


@dataclass(frozen=True, slots=True)
class Account:
    """The whole corpus."""

    holdings: tuple[Holding, ...]
    failures: tuple[Row, ...]
    """Repositories whose last call failed."""
    version: str
    """As training logs it: `facts:<digest>`; empty without facts."""
    size: int
    """Bytes of all facts."""

    @property
    def total(self) -> Holding:
        return sum(self.holdings, Holding("in all"))


def account(facts: Path, scratch: Path | None = None) -> Account:
    """Count the facts; `scratch` tells of failures, where it is known."""
    names = names_in(facts)
    rows = {} if scratch is None else rows_of(scratch)
    return Account(
        tuple(_holding(facts, name) for name in names),
        tuple(row for row in rows.values() if row.error),
        f"facts:{digest_of(facts)}" if names else "",
        sum(path.stat().st_size for path in facts.glob("*") if path.is_file()),
    )


def as_lines(found: Account) -> Iterator[str]:
    """The account as text: a table, the sums in words, the failures."""
    head = ("repository", "undone", "faulty", "untouched", "broken", "faults", "faulty", "evidence")
    yield from _table(
        [head, *(_cells(holding) for holding in (*found.holdings, found.total))], left=(0, 7)
    )
    total = found.total
    yield ""
    yield (
        f"{len(found.holdings)} repositories; {total.faulty:,} real changes break a test, "
        f"{total.untouched:,} of them one that they did not touch; "
        f"{total.faulty_faults:,} injected faults do."
    )
    if total.sampled:
        yield f"{total.sampled:,} cases ran a sample of their suite, with logged probabilities."
    if found.version:
        yield f"Data version {found.version}, {found.size / 1e6:,.1f} MB."
    yield from (f"failed: {row.name}: {row.error}" for row in found.failures)


def closing_lines(rows: Sequence[Row]) -> Iterator[str]:
    """How a call went, a row a repository."""
    head = ("repository", "tried", "faulty", "suite", "took", "result")
    body = [
        (
            row.name,
            str(row.tried),
            str(row.faulty),
            spelled(row.suite_seconds) if row.suite_seconds else "-",
            spelled(row.seconds),
            "; ".join((row.error or row.stage, *row.notices)),
        )
        for row in rows
    ]
    yield from _table([head, *body], left=(0, 5))
    failed = sum(bool(row.error) for row in rows)
    faulty, tried = sum(row.faulty for row in rows), sum(row.tried for row in rows)
    yield f"{tried:,} changes tried, {faulty:,} break a test; {failed} of {len(rows)} failed."


def until(text: str, now: float | None = None) -> float:
    """A moment, seconds since 1970: `06:30`, the next such one, or `2025-07-01T06:30`.

    Raises ValueError.
    """
    now = time.time() if now is None else now
    if "T" in text:
        return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M"))
    clock, today = time.strptime(text, "%H:%M"), time.localtime(now)
    day = (today.tm_year, today.tm_mon, today.tm_mday, clock.tm_hour, clock.tm_min, 0, 0, 0, -1)
    moment = time.mktime(day)
    if moment > now:
        return moment
    return time.mktime((*day[:2], day[2] + 1, *day[3:]))


def _holding(facts: Path, name: str) -> Holding:
    found = Holding(name)
    for case in read_facts(facts, name):
        fault = case.source is Source.FAULT
        real = case.faulty and not fault
        found += Holding(
            name,
            undone=not fault,
            faulty=real,
            untouched=real and bool(case.untouched),
            broken=not fault and case.broken not in ("", NONE_FAILED),
            faults=fault,
            faulty_faults=fault and case.faulty,
            sampled=case.ran is not None,
        )
    kinds = [kind.split()[0] for kind in (FRESH, LAGGED)]
    there = [kind for kind in kinds if (facts / f"{name}.{kind}.ftb").exists()]
    return replace(found, evidence=", ".join(there))


def _cells(holding: Holding) -> tuple[str, ...]:
    counts = (
        *(holding.undone, holding.faulty, holding.untouched, holding.broken),
        *(holding.faults, holding.faulty_faults),
    )
    return (holding.name, *(f"{n:,}" for n in counts), holding.evidence)


def _table(rows: Sequence[Sequence[str]], left: Sequence[int]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
