"""Warm start against a fresh fit, on changes later than both: experiment E8 of the proposal.

    python -m bench.retraining [--facts DIR] [NAME...]

Each repository's changes are split in time: the champion is fitted on the first three fifths, the
next fifth is newer and is gone on with, and the last fifth is the window on which the replay judges
the champion as it is, the warm start, a fresh fit on the first four fifths, and the formula.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from time import process_time

from bench.campaign import FACTS
from foretest.features.timesplit import Fractions, split_in_time
from foretest.models.contract import Model
from foretest.platform.corpus.facts import names_in
from foretest.platform.gate.exam import CHAMPION, FORMULA
from foretest.platform.training.retraining import FRESH, WARM, later_than, on_window, until_of
from foretest.platform.training.trained import everyday, lessons, train
from foretest.replay.compare import as_lines, compare_verdicts
from foretest.replay.judge import ALL, Trial
from foretest.replay.table import as_text, tabulate
from foretest.training.calibrate import faulty
from foretest.training.pool import Taught

FIRST = Fractions(0.6, 0.0, 0.0, 0.4)


def beginnings(taught: Sequence[Taught]) -> dict[str, frozenset[str]]:
    """The cases of each repository's first three fifths."""
    found = {}
    for lesson, _ in taught:
        split = split_in_time(
            faulty(lesson.trials, lesson.store),
            time=lambda t: t.time,
            group=lambda t: t.commit,
            fractions=FIRST,
        )
        found[lesson.repository] = frozenset(t.case_id for t in split.fit)
    return found


def fitted(name: str, fit: Callable[[], Model]) -> Model:
    start = process_time()
    model = fit()
    print(f"{name}: {process_time() - start:.1f} CPU-seconds, features included", flush=True)
    return model


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.retraining",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--facts", type=Path, default=FACTS)
    parser.add_argument("names", nargs="*", metavar="NAME", help="repositories (default: all)")
    arguments = parser.parse_args(argv)
    facts, names = arguments.facts, names_in(arguments.facts, arguments.names)
    seen = everyday(facts, names)
    first = beginnings(seen)

    def among(*parts: dict[str, frozenset[str]]) -> list[Taught]:
        def kept(name: str, trial: Trial) -> bool:
            return any(trial.case_id in part.get(name, ()) for part in parts)

        return lessons(facts, names, kept)

    begun = train(among(first), stand_ins=False).candidate
    later = later_than(until_of(begun.model), seen)
    newer = dict(later.fit)
    models = {
        CHAMPION: begun.model,
        WARM: fitted(
            WARM, lambda: train(among(newer), start=begun, stand_ins=False).candidate.model
        ),
        FRESH: fitted(FRESH, lambda: train(among(first, newer), stand_ins=False).candidate.model),
    }
    sizes = [sum(map(len, part.values())) for part in (first, newer, later.window)]
    print(f"{len(names)} repositories: {sizes[0]} changes, {sizes[1]} newer, {sizes[2]} judged\n")
    verdicts = on_window(later.window, seen, models)
    print(as_text(tabulate((v for v in verdicts if v.slice == ALL), WARM), True))
    for ours, theirs in combinations((WARM, FRESH, CHAMPION, FORMULA), 2):
        print("\n".join(as_lines(compare_verdicts(verdicts, ours, theirs, ALL), ours, theirs)))


if __name__ == "__main__":
    main()
