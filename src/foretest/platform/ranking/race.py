"""A race of contenders: each judged on repositories that it saw nothing of, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from foretest.models.contract import Model
from foretest.platform.cluster import connect, ray
from foretest.platform.ranking.contenders import SHIPPED, Contender, crossed
from foretest.replay.compare import as_lines, compare_verdicts
from foretest.replay.judge import ALL, UNTOUCHED, Setting, judge
from foretest.replay.metrics import SHARES
from foretest.replay.strategies import OURS, STRATEGIES, by_model
from foretest.replay.table import Line, Verdict, as_text
from foretest.training.pool import Pool, Taught

REFERENCES = (OURS, "BM25", "coverage ranked")
"""Strategies that no contender may be told without; the oracle is always there."""

Progress = Callable[[str, int, int], None]
In = TypeVar("In")
Out = TypeVar("Out")


def here(
    function: Callable[[In], Out], items: Sequence[In], told: Callable[[int], None]
) -> list[Out]:
    """Apply a function to each item, one after the other, telling how many are done."""
    results = []
    for place, item in enumerate(items, 1):
        results.append(function(item))
        told(place)
    return results


@contextmanager
def on_ray(address: str | None = None) -> Iterator[Any]:
    """As `here`, but a Ray task an item; `address` as of `cluster.connect`."""
    with connect(address):
        library = ray()

        def spread(
            function: Callable[[In], Out], items: Sequence[In], told: Callable[[int], None]
        ) -> list[Out]:
            task = library.remote(num_cpus=1)(function)
            waiting = [task.remote(item) for item in items]
            results, left = list(waiting), list(waiting)
            while left:
                _, left = library.wait(left, num_returns=1)
                told(len(waiting) - len(left))
            return list(library.get(results))

        yield spread


def race(
    pool: Pool,
    taught: Mapping[str, Taught],
    entrants: Sequence[Contender],
    folds: int,
    spread: Any = here,
    progress: Progress = lambda *_: None,
) -> list[Verdict]:
    """Verdicts of all entrants and the references, on one kind of evidence of each repository.

    Raises ValueError for less than two folds or repositories.
    """
    fitted: list[dict[str, Model]] = spread(
        lambda entrant: crossed(entrant, pool.real, pool.extra, folds),
        entrants,
        lambda done: progress("Fitting", done, len(entrants)),
    )
    jobs = [
        (lesson, {e.name: models[name] for e, models in zip(entrants, fitted, strict=True)})
        for name, lesson in taught.items()
    ]
    parts: list[list[Verdict]] = spread(
        lambda job: verdicts_of(*job), jobs, lambda done: progress("Judging", done, len(jobs))
    )
    return [verdict for part in parts for verdict in part]


def verdicts_of(taught: Taught, models: Mapping[str, Model]) -> list[Verdict]:
    """Verdicts of some models and the references on one repository."""
    lesson, age = taught
    strategies = {
        **{name: STRATEGIES[name] for name in REFERENCES},
        **{name: by_model(model) for name, model in models.items()},
    }
    setting = Setting(freshness=age, strategies=strategies)
    return list(judge(lesson.trials, lesson.store, setting).verdicts)


def metrics_of(lines: Sequence[Line]) -> dict[str, float]:
    """`slice/strategy/figure` of every line; all are shares."""
    found = {}
    for line in lines:
        name = f"{line.slice}/{line.strategy}"
        found[f"{name}/first failure"] = line.first.mean
        for share, caught in zip(SHARES, line.caught, strict=True):
            found[f"{name}/caught at {share:.0%}".replace("%", " percent")] = caught.mean
    return found


def told(
    verdicts: Sequence[Verdict], lines: Sequence[Line], entrants: Sequence[Contender]
) -> Iterator[str]:
    """The race for a terminal: a table by slice, then each entrant against its references."""
    yield as_text(lines, intervals=True)
    for entrant in entrants:
        for rival in dict.fromkeys((SHIPPED, OURS)):
            if rival != entrant.name:
                for part in (ALL, UNTOUCHED):
                    comparison = compare_verdicts(verdicts, entrant.name, rival, part)
                    yield f"\n{part}: " + "\n".join(as_lines(comparison, entrant.name, rival))
