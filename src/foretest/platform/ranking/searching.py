"""Searches side by side: the same space and trials, their winners judged on other repositories."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from foretest.durable import write_text
from foretest.errors import BadConfiguration
from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.platform.corpus.facts import FRESH, LAGGED, lessons_of, names_in
from foretest.platform.ranking.contenders import SHIPPED, Contender
from foretest.platform.ranking.objective import LOSS, folds_of, recipe_of
from foretest.platform.ranking.race import verdicts_of
from foretest.platform.ranking.tuning import Found, search
from foretest.platform.tracking.lineage import lineage
from foretest.platform.tracking.runs import Tracker
from foretest.replay.compare import as_lines, compare_verdicts
from foretest.replay.judge import ALL, UNTOUCHED
from foretest.replay.strategies import OURS
from foretest.replay.table import Verdict, as_text, tabulate
from foretest.training.fit import Recipe
from foretest.training.pool import pool

MINUTES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""CPU minutes at which searches are compared."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All searches, and how their winners fare on repositories that they never saw."""

    found: tuple[Found, ...]
    verdicts: tuple[Verdict, ...]
    tuned_on: tuple[str, ...]
    judged_on: tuple[str, ...]


def search_and_judge(
    facts: Path,
    names: Sequence[str],
    searches: Sequence[str],
    trials: int,
    seeds: int,
    out: Path,
    *,
    minutes: float | None = None,
    address: str | None,
    at_once: int,
    tracker: Tracker,
    progress: Callable[[str, int, int], None],
) -> Outcome:
    """Search on `names` (the first half where none is given); judge on the others.

    A search that was finished before, under the same data, is read back from `out`. Raises
    BadConfiguration where too few repositories are left on one side.
    """
    known = names_in(facts)
    on = tuple(filter(None, names)) or tuple(known[: len(known) // 2])
    if unknown := set(on) - set(known):
        raise BadConfiguration(
            f"No facts of {', '.join(sorted(unknown))} in {facts}.",
            f"There are: {', '.join(known)}.",
        )
    lessons = pool(lesson for kind in (FRESH, LAGGED) for lesson in lessons_of(facts, on, kind))
    others = [name for name in known if name not in on]
    if len(lessons.real) < 3 or not others:
        raise BadConfiguration(
            "Tuning needs three repositories with faulty changes, and others to judge on.",
            "Name other ones with --on, or mine more: foretest platform corpus.",
        )
    folds = folds_of(lessons.real, lessons.extra)
    made = lineage(facts, {"searches": seeds})
    found = []
    jobs = [(name, seed) for seed in range(seeds) for name in searches]
    for place, (name, seed) in enumerate(jobs):
        progress("Searching", place, len(jobs))
        parameters = {
            "search": name, "trials": trials, "CPU minutes": minutes, "seed": seed,
            "tuned on": list(on),
        }  # fmt: skip
        with tracker.run("tuning", f"{name} {seed}", parameters=parameters, lineage=made) as run:
            one = _kept(
                out,
                parameters | {"data": made.data_version},
                partial(
                    search, name, folds, trials, out / "trials", seed, address, at_once,
                    float("inf") if minutes is None else 60 * minutes,
                ),
            )  # fmt: skip
            for step, (spent, loss) in enumerate(one.curve):
                run.metrics({LOSS: loss, "cpu_seconds": spent}, step)
            run.metrics({f"best/{key}": value for key, value in one.best.items()})
        found.append(one)
    progress("Searching", len(jobs), len(jobs))
    models = winners(found, lessons.real, lessons.extra)
    verdicts: list[Verdict] = []
    taught = list(lessons_of(facts, others, LAGGED))
    for place, (lesson, age) in enumerate(taught, 1):
        verdicts += verdicts_of((lesson, age), models)
        progress("Judging", place, len(taught))
    return Outcome(tuple(found), tuple(verdicts), on, tuple(others))


def winners(found: Sequence[Found], real: Any, extra: Any) -> dict[str, Model]:
    """The shipped recipe and each search's best, fitted on what was tuned on."""
    best: dict[str, Found] = {}
    for one in found:
        if one.search not in best or one.loss < best[one.search].loss:
            best[one.search] = one
    recipes = {SHIPPED: Recipe()} | {
        found_by(name): replace(recipe_of(one.best), rounds=one.rounds)
        for name, one in best.items()
    }
    base = Formula()
    return {
        name: Contender(name, recipe).fitted(real, extra, base) for name, recipe in recipes.items()
    }


def found_by(search: str) -> str:
    """The name of a search's winner among the judged, where orders have names of their own."""
    return f"found by {search}"


def told(outcome: Outcome) -> Iterator[str]:
    """For a terminal: loss by CPU minute, settings found, winners on other repositories."""
    yield f"Tuned on {len(outcome.tuned_on)} repositories: {', '.join(outcome.tuned_on)}."
    head = "".join(f"{minutes:>9g}m" for minutes in MINUTES)
    yield f"\n{'best loss by CPU minutes':<26}{head}   trials  CPU min  settings"
    for one in outcome.found:
        losses = "".join(f"{one.by(60 * minutes):>10.5f}" for minutes in MINUTES)
        settings = ", ".join(f"{key} {value:.3g}" for key, value in sorted(one.best.items()))
        yield (
            f"{one.search + f' ({one.seed})':<26}{losses}{one.trials:>9}"
            f"{one.cpu_seconds / 60:>9.1f}  {settings}, rounds {one.rounds}"
        )
    yield f"\nJudged on {len(outcome.judged_on)} others: {', '.join(outcome.judged_on)}.\n"
    yield as_text(tabulate(outcome.verdicts, SHIPPED), intervals=True)
    for name in dict.fromkeys(found_by(one.search) for one in outcome.found):
        for rival in (SHIPPED, OURS):
            for part in (ALL, UNTOUCHED):
                comparison = compare_verdicts(outcome.verdicts, name, rival, part)
                yield f"\n{part}: " + "\n".join(as_lines(comparison, name, rival))


def _kept(out: Path, question: dict[str, Any], answer: Callable[[], Found]) -> Found:
    """What was found before for the same question, else the answer, kept for the next time."""
    place = out / f"{question['search'].split()[0].lower()}-{question['seed']}.json"
    if place.exists():
        kept = json.loads(place.read_text(encoding="utf-8"))
        if kept["question"] == question:
            curve = tuple((float(a), float(b)) for a, b in kept["found"].pop("curve"))
            return Found(**kept["found"], curve=curve)
    found = answer()
    out.mkdir(parents=True, exist_ok=True)
    write_text(place, json.dumps({"question": question, "found": asdict(found)}, indent=1) + "\n")
    return found
