"""Mining one repository, whatever happens there: its facts and a row that says how it went."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from foretest.durable import write_text
from foretest.errors import ForetestError
from foretest.lab.campaign import Tally
from foretest.lab.labels import Case
from foretest.platform.corpus.place import Place
from foretest.platform.corpus.recipes import Recipe

FAILURE = "failure.txt"
"""In a repository's folder: the whole story of its last failure."""


@dataclass(frozen=True, slots=True)
class Order:
    """How to mine; the same for every repository."""

    scratch: Path
    mirrors: Path | None = None
    minutes: float = 10.0
    """Time for tries in each repository; its environment and evidence come on top."""
    until: float = float("inf")
    """Moment, seconds since 1970, after which nothing is begun."""
    workers: int = 1
    """Suites that run at once in one repository."""
    faults: int = 0
    """Injected faults that each repository shall have."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one repository went."""

    name: str
    stage: str = "waiting"
    tried: int = 0
    faulty: int = 0
    """Of those tried in this call."""
    seconds: float = 0.0
    suite_seconds: float = 0.0
    error: str = ""
    notices: tuple[str, ...] = ()
    at: float = 0.0
    """When it ended, seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Mined:
    """A row, and the facts by the names of their files: the work may be done on another machine."""

    row: Row
    facts: dict[str, bytes] = field(default_factory=dict)


Tell = Callable[[Row], None]


def mine(recipe: Recipe, order: Order, tell: Tell = lambda _: None, kept: bytes = b"") -> Mined:
    """Go on with one repository where it was left; never raises but for Ctrl-C.

    `kept`: the cases among its facts so far, for a scratch that knows none of them.
    """
    began = time.time()
    place = Place(recipe, order.scratch, order.mirrors)
    row = Row(recipe.name)

    def now(stage: str, tally: Tally | None = None) -> None:
        nonlocal row
        row = replace(row, stage=stage, seconds=time.time() - began)
        if tally is not None:
            row = replace(row, tried=tally.tried, faulty=tally.faulty)
        tell(row)

    def tried(_: Case | None, tally: Tally) -> None:
        now("trying changes", tally)

    try:
        if began >= order.until:
            return Mined(replace(row, stage="not begun", at=began))
        now("installing")
        place.prepare()
        place.go_on(kept)
        now("running the suite")
        baseline = place.learn()
        row = replace(row, suite_seconds=baseline.suite_seconds)
        now("trying changes")
        left = min(order.minutes * 60, order.until - time.time())
        tally = place.try_changes(baseline, max(0.0, left), order.workers, order.faults, tried)
        now("done", tally)
    except Exception as error:  # a broken repository must not stop the others
        row = replace(row, error=_said(error), seconds=time.time() - began)
        _note_failure(place.root, error)
    return _with_facts(place, replace(row, notices=tuple(place.notices), at=time.time()))


def _with_facts(place: Place, row: Row) -> Mined:
    """Facts, too, of what an earlier call found in a repository that fails today."""
    if not (place.lab / "cases.jsonl").exists():
        return Mined(row)
    try:
        with tempfile.TemporaryDirectory(dir=place.root) as folder:
            place.keep(Path(folder))
            return Mined(row, {file.name: file.read_bytes() for file in Path(folder).iterdir()})
    except Exception as error:
        _note_failure(place.root, error)
        return Mined(replace(row, error=row.error or _said(error)))


def _said(error: Exception) -> str:
    said = error.message if isinstance(error, ForetestError) else f"{type(error).__name__}: {error}"
    lines = said.strip().splitlines()
    # What failed, and, of a program's output, its last word.
    return " ".join(line.strip()[:200] for line in dict.fromkeys((lines[0], lines[-1])))


def _note_failure(root: Path, error: Exception) -> None:
    text = "".join(traceback.format_exception(error))
    write_text(root / FAILURE, text)
