"""Mining many repositories: one after another here, or each a task of a Ray cluster."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from foretest.durable import atomic_write
from foretest.errors import ClusterFailed
from foretest.lab.campaign import append_line
from foretest.platform.cluster import ray
from foretest.platform.corpus.facts import kept_cases, read_facts
from foretest.platform.corpus.mining import Mined, Order, Row, mine
from foretest.platform.corpus.recipes import Recipe

ROWS = "rows.jsonl"
"""In the scratch directory: how each repository went, a line a call, the newest last."""
_POLL = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a call has come."""

    ended: tuple[Row, ...]
    running: tuple[Row, ...]
    whole: int
    """Repositories in all."""
    seconds_left: float

    def sentence(self) -> str:
        rows = (*self.ended, *self.running)
        tried, faulty = sum(row.tried for row in rows), sum(row.faulty for row in rows)
        busy = ", ".join(f"{row.name} {row.stage}" for row in self.running[:3])
        left = f"; about {spelled(self.seconds_left)} left" if self.seconds_left else ""
        return f"{tried} tried, {faulty} break a test{left}" + (f" ({busy})" if busy else "")


Progress = Callable[[Standing], None]
Wanted = tuple[Recipe, bytes]
"""A recipe, and the cases that are kept of it already."""


def mine_all(
    recipes: Sequence[Recipe], order: Order, facts: Path, progress: Progress, *, here: bool
) -> list[Row]:
    """Mine every repository and write its facts as soon as it ends; the rows, in order of ending.

    With `here` in this process, one by one; else as tasks of the Ray cluster that this process has
    joined (`cluster.connect`), each of `order.workers` CPUs. Raises ClusterFailed where it has not
    so many.
    """
    begin = _in_turn if here else _as_tasks
    ended: list[Row] = []
    began = time.time()

    def standing(running: Sequence[Row]) -> None:
        parallel = 1 if here else max(1, _slots(order))
        left = estimate([row.seconds for row in ended], running, len(recipes), order, parallel)
        until = max(0.0, order.until - time.time())
        progress(Standing(tuple(ended), tuple(running), len(recipes), min(left, until)))

    wanted = [(recipe, kept_cases(facts, recipe.name)) for recipe in by_need(recipes, facts)]
    with begin(wanted, order, standing) as results:
        for mined in results:
            for name, data in mined.facts.items():
                atomic_write(facts / name, data)
            row = mined.row if mined.row.at else replace(mined.row, at=began)
            append_line(order.scratch / ROWS, json.dumps(asdict(row)) + "\n")
            ended.append(row)
            standing([])
    return ended


def by_need(recipes: Sequence[Recipe], facts: Path) -> list[Recipe]:
    """Those with the fewest faulty changes first: a call that is cut off must favour nobody."""
    have = {r.name: sum(c.faulty for c in _kept(facts, r.name)) for r in recipes}
    return sorted(recipes, key=lambda recipe: have[recipe.name])


def rows_of(scratch: Path) -> dict[str, Row]:
    """The newest row of each repository; none where nothing was mined there."""
    try:
        lines = (scratch / ROWS).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return {}
    rows = (json.loads(line) for line in lines)
    return {row["name"]: Row(**{**row, "notices": tuple(row["notices"])}) for row in rows}


def estimate(
    ended: Sequence[float], running: Sequence[Row], whole: int, order: Order, parallel: int
) -> float:
    """Seconds that are left, going by what the ended ones took; at first by the time allowed."""
    each = sum(ended) / len(ended) if ended else order.minutes * 60
    waiting = whole - len(ended) - len(running)
    under_way = sum(max(0.0, each - row.seconds) for row in running)
    return (waiting * each + under_way) / parallel


def spelled(seconds: float) -> str:
    """A length of time as people say it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


@contextmanager
def _in_turn(
    wanted: Sequence[Wanted], order: Order, standing: Callable[[Sequence[Row]], None]
) -> Iterator[Iterator[Mined]]:
    yield (mine(recipe, order, lambda row: standing([row]), kept) for recipe, kept in wanted)


@contextmanager
def _as_tasks(
    wanted: Sequence[Wanted], order: Order, standing: Callable[[Sequence[Row]], None]
) -> Iterator[Iterator[Mined]]:
    """One task a repository; a board, an actor, takes what they tell of themselves."""
    library = ray()
    if _slots(order) < 1:
        raise ClusterFailed(
            f"The cluster has no room for a task of {order.workers} CPUs.",
            "Ask for fewer: --workers.",
        )
    board = library.remote(_Board).options(num_cpus=0).remote()
    task = library.remote(_task).options(num_cpus=order.workers, max_retries=1)
    waiting = {task.remote(recipe, order, board, kept): recipe for recipe, kept in wanted}

    def results() -> Iterator[Mined]:
        while waiting:
            done, _ = library.wait(list(waiting), num_returns=1, timeout=_POLL)
            for reference in done:
                recipe = waiting.pop(reference)
                try:
                    mined: Mined = library.get(reference)
                except Exception as error:  # its worker died: for want of memory, or with its node
                    reason = str(error).strip().splitlines()[0][:200]
                    mined = Mined(Row(recipe.name, error=f"{type(error).__name__}: {reason}"))
                yield mined
            if names := {recipe.name for recipe in waiting.values()}:
                standing([row for row in library.get(board.read.remote()) if row.name in names])

    try:
        yield results()
    finally:
        for reference in waiting:
            library.cancel(reference, force=True)


class _Board:
    """The newest row of each task that has begun."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def note(self, row: Row) -> None:
        self._rows[row.name] = row

    def read(self) -> list[Row]:
        return list(self._rows.values())


def _task(recipe: Recipe, order: Order, board: Any, kept: bytes) -> Mined:
    os.environ.pop("PYTHONBREAKPOINT", None)  # Ray's own debugger has no place in a tested suite
    return mine(recipe, order, lambda row: board.note.remote(row), kept)


def _slots(order: Order) -> int:
    return int(ray().cluster_resources().get("CPU", 1)) // order.workers


def _kept(facts: Path, name: str) -> list[Any]:
    return list(read_facts(facts, name)) if (facts / f"{name}.jsonl.gz").exists() else []
