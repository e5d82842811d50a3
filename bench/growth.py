"""What more repositories buy: experiment E7 of the proposal.

    python -m bench.growth [--sizes 5,10,20] [--seeds 5] [--judge DIR] [FACTS...]

The ranker's recipe is fitted on so many repositories of FACTS, drawn at random with each seed, and
once on all of them; every fit is judged on the repositories of another folder, which no draw holds,
with lagged coverage. A line is one fit; the slope is the paired difference between all and the
seeds' mean at the largest size, for each doubling.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import log2
from pathlib import Path
from time import process_time

import numpy as np

from bench.campaign import FACTS, HERE
from foretest.models.contract import Model
from foretest.platform.corpus.facts import LAGGED, lessons_of, names_in
from foretest.platform.ranking.race import verdicts_of
from foretest.platform.training.trained import lessons
from foretest.replay.compare import as_lines, compare_verdicts
from foretest.replay.judge import ALL, UNTOUCHED
from foretest.replay.metrics import Score
from foretest.replay.strategies import OURS
from foretest.replay.table import Verdict, tabulate
from foretest.training.crossfit import fit_calibrated
from foretest.training.fit import Recipe
from foretest.training.pool import Pool, Taught, pool

JUDGES = HERE.parent / "proof" / "later"
GROWN = HERE.parent / "proof" / "grown"


def draws(names: Sequence[str], sizes: Sequence[int], seeds: int) -> dict[str, list[str]]:
    """The repositories of each fit by its name; smaller draws of a seed lie within larger ones."""
    found = {}
    for seed in range(seeds):
        order = random.Random(seed).sample(sorted(names), len(names))
        for size in sizes:
            if size < len(names):
                found[f"{size} repositories, seed {seed}"] = order[:size]
    return found | {f"all {len(names)} repositories": sorted(names)}


def fitted(made: Pool, names: Sequence[str]) -> Model:
    """The ranker of some repositories alone."""
    real, extra = ({n: part[n] for n in names if n in part} for part in (made.real, made.extra))
    return fit_calibrated(real, Recipe(), extra=extra)


def mean_of(verdicts: Sequence[Verdict], among: Sequence[str], name: str) -> Iterator[Verdict]:
    """Several strategies as one: the mean of their scores on each case."""
    cases: dict[tuple[str, str, str], list[Verdict]] = {}
    for v in verdicts:
        if v.strategy in among:
            cases.setdefault((v.slice, v.repository, v.case_id), []).append(v)
    for several in cases.values():
        scores = [v.score for v in several]
        caught = np.mean([s.caught for s in scores], axis=0)
        first, seconds, apfd, apfdc = (
            float(np.mean([getattr(s, part) for s in scores]))
            for part in ("first", "first_seconds", "apfd", "apfdc")
        )
        score = Score(tuple(caught.tolist()), True, first, seconds, apfd, apfdc)
        yield replace(several[0], strategy=name, score=score)


def judged(taught: Sequence[Taught], models: Mapping[str, Model]) -> list[Verdict]:
    return [verdict for one in taught for verdict in verdicts_of(one, models)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", default="5,10,20")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--judge", type=Path, default=JUDGES, metavar="DIR")
    parser.add_argument("facts", nargs="*", type=Path, default=[FACTS, GROWN], metavar="FACTS")
    arguments = parser.parse_args(argv)
    sizes = sorted(int(size) for size in arguments.sizes.split(","))
    judges = names_in(arguments.judge)
    known = [one for f in arguments.facts for one in lessons(f, names_in(f))]
    made = pool(one for one in known if one[0].repository not in judges)
    models = {}
    for name, names in draws(list(made.real), sizes, arguments.seeds).items():
        began = process_time()
        models[name] = fitted(made, names)
        changes = sum(len({e.case_id for e in made.real[n]}) for n in names)
        print(f"{name}: {changes} changes, {process_time() - began:.0f} CPU-seconds", flush=True)
    verdicts = judged(list(lessons_of(arguments.judge, judges, LAGGED)), models)
    show(verdicts, list(models), sizes)


def show(verdicts: list[Verdict], names: Sequence[str], sizes: Sequence[int]) -> None:
    """A line a fit, their means by size, and the slope from the largest size to all."""
    whole = names[-1]
    means = {
        size: f"{size} repositories, mean of seeds"
        for size in sizes
        if any(name.startswith(f"{size} ") for name in names)
    }
    for size, name in means.items():
        among = [each for each in names if each.startswith(f"{size} ")]
        verdicts += mean_of(verdicts, among, name)
    told = [v for v in verdicts if v.slice in (ALL, UNTOUCHED)]
    for part in (ALL, UNTOUCHED):
        print(f"\n{part}: share of suite time to the first failure, %")
        for line in tabulate((v for v in told if v.slice == part), OURS):
            mean, low, high = (100 * x for x in (line.first.mean, line.first.low, line.first.high))
            print(f"  {line.strategy:<32}{mean:>6.2f}  [{low:.2f}, {high:.2f}]")
    for part in (ALL, UNTOUCHED):
        for size, name in means.items():
            compared = compare_verdicts(told, whole, name, part)
            print(f"\n{part}: " + "\n".join(as_lines(compared, whole, name)))
            doublings = log2(int(whole.split()[1]) / size)
            apart = compared.first.difference
            slope = [100 * part / doublings for part in (apart.mean, apart.low, apart.high)]
            print("  for each doubling: {:+.2f} [{:+.2f}, {:+.2f}] points".format(*slope))


if __name__ == "__main__":
    main()
