"""The promise of `--confidence`: makes the pooled calibration, prints how both kinds are kept.

    python -m bench.promise fit [--facts DIR]... [--model FILE] [--out FILE] [NAME...]
    python -m bench.promise table [--facts DIR]... [--model FILE] [--splits 400] [NAME...]

Both need the facts under proof/ alone. `fit` writes the calibration that the package brings, from
lagged coverage, which is what everyday use meets. `table` calibrates on some groups and looks at
others, again and again. FILE holds a model as its `to_json` writes it (without: the formula); of a
model that was fitted on repositories, only others may calibrate the promise: name those.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np

from bench.campaign import FACTS, FRESH, LAGGED, read_facts
from foretest import bundle as bundles
from foretest.durable import write_text
from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.models.registry import read_model
from foretest.records import Basis, Budget, Promise, Selection, Why
from foretest.replay.cases import trials_of
from foretest.replay.intervals import ClusteredBootstrap
from foretest.replay.judge import Trial
from foretest.replay.strategies import Moment, decided
from foretest.selection.policy import Freshness
from foretest.selection.promise import POOLED, Calibration, aim_at, identity
from foretest.training.calibrate import Groups, caught, faulty, grouped, highest, moments_of

OUT = Path(__file__).parents[1] / "src" / "foretest" / POOLED
TUNED_ON = ("click", "marshmallow", "sqlparse")
"""Repositories on which the formula's constants were tuned."""
LEVELS = (0.8, 0.9, 0.95, 0.99)
"""80 % is below what users ask for: it shows the machinery where few repositories are known."""
HELD_OUT = 0.2
"""Share of the groups that a random split leaves to look at."""
LEAST = 19
"""Commits that stand before the first that is looked at in time order."""
BUDGET = Budget(share=0.10)
"""That cuts what the promise asks for."""


@dataclass(frozen=True)
class Outcome:
    """One faulty change: what each threshold would have caught, and what it would have run."""

    case_id: str
    repository: str
    commit: str
    time: float
    highest: float
    """The highest score of a failing test."""
    untouched: float | None
    """The same over failing tests that the change did not touch; None where there are none."""
    scores: np.ndarray
    """Of the tests that no rule runs, highest first."""
    spent: np.ndarray
    """Share of suite time that runs with the first 0, 1, ... of them, rules included."""

    def share(self, threshold: float | None) -> float:
        """Share of suite time that runs at a threshold; everything where there is none."""
        if threshold is None:
            return 1.0
        return float(self.spent[np.searchsorted(-self.scores, -threshold, side="right")])


def outcome_of(trial: Trial, selection: Selection) -> Outcome:
    scored = sorted(
        (choice for choice in selection.chosen if choice.why is Why.SCORE), key=lambda c: -c.score
    )
    ruled = sum(choice.seconds for choice in selection.chosen if choice.why is not Why.SCORE)
    present = {choice.test for choice in selection.chosen}
    untouched = (trial.failed - trial.modified - trial.added) & present
    spent = np.cumsum([ruled, *(choice.seconds for choice in scored)])
    return Outcome(
        trial.case_id,
        trial.repository,
        trial.commit,
        trial.time,
        highest(selection.chosen, trial.failed),
        highest(selection.chosen, untouched) if untouched else None,
        np.array([choice.score for choice in scored]),
        spent / selection.suite_seconds,
    )


@dataclass(frozen=True)
class Facts:
    """Where the cases are, and the model that scores them."""

    folders: Sequence[Path]
    names: Sequence[str]
    """Of repositories; empty: all of them."""
    model: Model

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Facts:
        read = arguments.model and read_model(json.loads(arguments.model.read_text("utf-8")))
        return cls(arguments.facts or [FACTS], arguments.names, read or Formula())


def moments(facts: Facts, kind: str) -> Iterator[tuple[Trial, Moment]]:
    """Every faulty change of every repository, as the product would have met it."""
    for folder in facts.folders:
        for path in sorted(folder.glob(f"*.{kind.split()[0]}.ftb")):
            name = path.name.split(".")[0]
            if facts.names and name not in facts.names:
                continue
            bundle = bundles.read(path)
            age = Freshness(tuple(bundle.lineage["ages"]), bundle.lineage["age"], is_ancestor=True)
            cases = trials_of(read_facts(folder, name), bundle.store.commit)
            trials = faulty((replace(t, repository=name) for t in cases), bundle.store)
            yield from moments_of(trials, bundle.store, facts.model, age)


def outcomes_of(facts: Facts, kind: str) -> list[Outcome]:
    return [outcome_of(trial, decided(moment)) for trial, moment in moments(facts, kind)]


def on_untouched(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Outcomes as if only failing tests counted that the change did not touch."""
    return [
        replace(outcome, highest=outcome.untouched)
        for outcome in outcomes
        if outcome.untouched is not None
    ]


def calibration(
    basis: Basis, outcomes: Iterable[Outcome], group: Callable[[Outcome], str]
) -> Calibration:
    return Calibration(basis, grouped((group(o), o.highest) for o in outcomes), "")


def by_repository(outcome: Outcome) -> str:
    return outcome.repository


def by_commit(outcome: Outcome) -> str:
    return outcome.commit


def by_case(outcome: Outcome) -> str:
    return f"{outcome.repository} {outcome.case_id}"


# --- the pooled calibration ---


def fit(arguments: argparse.Namespace) -> None:
    """Write the calibration over all repositories."""
    facts = Facts.of(arguments)
    model = facts.model
    outcomes = outcomes_of(facts, LAGGED)
    made = calibration(Basis.POOLED, outcomes, by_repository)
    made = replace(
        made,
        groups={name: tuple(map(_rounded, scores)) for name, scores in made.groups.items()},
        model=identity(model),
        lineage={
            "command": "python -m bench.promise fit",
            "cases": "past changes taken back, by which a test failed",
            "coverage": "lagged: of some fifty commits before the state that was tried",
            "model": model.to_json(),
            "model_tuned_on": list(TUNED_ON) if model == Formula() else [],
            "commits": {
                cases[0].repository: len({o.commit for o in cases})
                for cases in _repositories(outcomes)
            },
        },
    )
    write_text(arguments.out, _text(made))
    print(f"{made.size} repositories, {len(outcomes)} cases: {arguments.out}", file=sys.stderr)


def _rounded(score: float) -> float:
    """Downwards, which can only lower a threshold: nothing that ran before is left out for it."""
    return math.floor(score * 1e6) / 1e6


def _text(made: Calibration) -> str:
    """JSON with a line a repository."""
    data = made.to_json()
    groups = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(sorted(scores))}"
        for name, scores in data.pop("groups").items()
    )
    rest = json.dumps(data, indent=1).removesuffix("\n}")
    return f'{rest},\n "groups": {{\n{groups}\n }}\n}}\n'


# --- how it is kept ---


@dataclass(frozen=True)
class Look:
    """Changes of one repository that a calibration did not know, at one level."""

    repository: str
    split: str
    caught: float
    """Mean share over the groups looked at."""
    share: float
    """Of suite time, mean over their cases."""
    everything: bool
    promised: float = 0.0
    """By a cut set, which promises another level for each change."""


Splits = Iterator[tuple[Calibration, list[Outcome], str]]
"""A calibration, what it is looked at with, and the name of the split."""


def random_repositories(
    outcomes: Sequence[Outcome], splits: int, group: Callable[[Outcome], str] = by_repository
) -> Splits:
    """Some repositories held out, calibrated on the others."""
    names = sorted({o.repository for o in outcomes})
    random = np.random.default_rng(0)
    for split in range(splits):
        out = set(random.choice(names, max(1, round(HELD_OUT * len(names))), replace=False))
        known = [o for o in outcomes if o.repository not in out]
        yield (
            calibration(Basis.POOLED, known, group),
            [o for o in outcomes if o.repository in out],
            str(split),
        )


def random_commits(outcomes: Sequence[Outcome], splits: int) -> Splits:
    """Within each repository some commits held out, calibrated on its others."""
    random = np.random.default_rng(0)
    for cases in _repositories(outcomes):
        commits = sorted({o.commit for o in cases})
        if len(commits) <= LEAST:
            continue
        for split in range(splits):
            count = max(1, min(round(HELD_OUT * len(commits)), len(commits) - LEAST))
            out = set(random.choice(commits, count, replace=False))
            known = (o for o in cases if o.commit not in out)
            yield (
                calibration(Basis.OWN, known, by_commit),
                [o for o in cases if o.commit in out],
                str(split),
            )


def in_time(outcomes: Sequence[Outcome], met: Sequence[Outcome] | None = None) -> Splits:
    """Each commit of a repository, calibrated on all before it.

    `met` are the outcomes to look at, where they are not those to calibrate on.
    """
    for cases in _repositories(outcomes):
        looked = [o for o in met or outcomes if o.repository == cases[0].repository]
        when: dict[str, float] = {}
        for o in cases:
            when[o.commit] = max(o.time, when.get(o.commit, o.time))
        commits = sorted(when, key=lambda commit: (when[commit], commit))
        for place, commit in enumerate(commits[LEAST:], LEAST):
            before = set(commits[:place])
            known = (o for o in cases if o.commit in before)
            now = [o for o in looked if o.commit == commit]
            if now:
                yield calibration(Basis.OWN, known, by_commit), now, commit


def looks(splits: Splits, group: Callable[[Outcome], str]) -> dict[float, list[Look]]:
    """For each level what became of each split, a look a repository."""
    found: dict[float, list[Look]] = {level: [] for level in LEVELS}
    for made, out, name in splits:
        for level in LEVELS:
            threshold = made.threshold(level)
            for cases in _repositories(out):
                groups: Groups = grouped((group(o), o.highest) for o in cases)
                share = fmean(o.share(threshold) for o in cases)
                look = Look(
                    cases[0].repository, name, caught(groups, threshold), share, threshold is None
                )
                found[level].append(look)
    return found


def cut_looks(facts: Facts, outcomes: Sequence[Outcome]) -> dict[float, list[Look]]:
    """Each change under a budget too, calibrated on the other repositories: level by change."""
    known = {
        name: calibration(
            Basis.POOLED, (o for o in outcomes if o.repository != name), by_repository
        )
        for name in {o.repository for o in outcomes}
    }
    found: dict[float, list[Look]] = {level: [] for level in LEVELS}
    for trial, moment in moments(facts, LAGGED):
        for level in LEVELS:
            aim = aim_at(level, [known[trial.repository]])
            selection = decided(moment, BUDGET, aim)
            ran = {choice.test for choice in selection.chosen}
            found[level].append(
                Look(
                    trial.repository,
                    trial.commit,
                    float(bool(ran & trial.failed)),
                    selection.chosen_seconds / selection.suite_seconds,
                    selection.run_all,
                    _made(selection.promise),
                )
            )
    return found


def _made(promise: Promise | None) -> float:
    assert promise is not None
    return promise.made


def _repositories(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """The outcomes of each repository, by name."""
    parts: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        parts.setdefault(outcome.repository, []).append(outcome)
    return [parts[name] for name in sorted(parts)]


HEADER = (
    f"{'asked':>6} {'caught':>7} {'bound':>6} {'of time':>8} {'all ran':>8}  "
    f"{'worst repository':<24} check"
)


def row(level: float, found: Sequence[Look], splits: bool) -> str:
    """One line: the mean, its one-sided 97.5 % bound by repository, and whether it is enough.

    The error is the Monte-Carlo error of random splits, else that of resampled repositories.
    """
    values = np.array([look.caught for look in found])
    each = {
        name: [look.caught for look in found if look.repository == name] for name in _names(found)
    }
    worst = min(each, key=lambda name: fmean(each[name]))
    if splits:
        # A split is no new evidence: the bound resamples repositories, the check splits.
        means = np.array([fmean(each[name]) for name in each])
        bound = ClusteredBootstrap([(name, "") for name in each]).mean(means).low
        by_split: dict[str, list[float]] = {s: [] for s in {look.split for look in found}}
        for look in found:
            by_split[look.split].append(look.caught)
        error = float(np.std([fmean(v) for v in by_split.values()])) / len(by_split) ** 0.5
    else:
        resampled = ClusteredBootstrap([(look.repository, look.split) for look in found])
        bound, error = resampled.mean(values).low, resampled.standard_error(values)
    promised = fmean(look.promised or level for look in found)
    short = promised - values.mean()
    check = "holds" if short <= 0 else "within error" if short <= 2 * error else "BROKEN"
    return (
        f"{level:>6.0%} {values.mean():>7.1%} {bound:>6.1%} "
        f"{fmean(look.share for look in found):>8.1%} "
        f"{fmean(look.everything for look in found):>8.0%}  "
        f"{f'{worst} {fmean(each[worst]):.1%}':<24} "
        f"{check}: {promised:.1%} promised, 2 errors = {2 * error:.1%}"
    )


def _names(found: Sequence[Look]) -> list[str]:
    return sorted({look.repository for look in found})


def show(title: str, found: dict[float, list[Look]], splits: bool) -> None:
    some = found[LEVELS[0]]
    print(f"\n{title} ({len(_names(some))} repositories, {len(some):,} looks)\n{HEADER}")
    for level in LEVELS:
        print(row(level, found[level], splits))


def table(arguments: argparse.Namespace) -> None:
    """Print every way to calibrate, level by level."""
    facts = Facts.of(arguments)
    lagged, fresh = outcomes_of(facts, LAGGED), outcomes_of(facts, FRESH)
    splits = arguments.splits
    names = sorted({o.repository for o in lagged})
    print(f"{len(lagged)} faulty changes of {len(names)} repositories: {', '.join(names)}.")
    print(f"Model: {identity(facts.model)}.")
    if facts.model == Formula():
        print(f"Its constants were tuned on {', '.join(TUNED_ON)}.")
    each = partial(looks, group=by_repository)
    commits = partial(looks, group=by_commit)
    show("Pooled, by repository, lagged coverage", each(random_repositories(lagged, splits)), True)
    show(
        "Pooled as if changes were exchangeable (not used), lagged coverage",
        each(random_repositories(lagged, splits, by_case)),
        True,
    )
    show("Own, random commits, fresh coverage", commits(random_commits(fresh, splits)), True)
    show("Own, each commit by those before it, fresh coverage", commits(in_time(fresh)), False)
    show("Own, each commit by those before it, lagged coverage", commits(in_time(lagged)), False)
    show(
        "Own, calibrated with fresh coverage, met with lagged",
        commits(in_time(fresh, lagged)),
        False,
    )
    far = on_untouched(lagged)
    show(
        "Own, in time, lagged, met by failing tests that the change did not touch",
        commits(in_time(lagged, far)),
        False,
    )
    show("Own, in time, lagged, calibrated on such tests too", commits(in_time(far)), False)
    show(
        "Pooled, by repository, lagged, such tests alone",
        each(random_repositories(far, splits)),
        True,
    )
    show(
        f"Pooled, cut by a budget of {BUDGET.share:.0%}, lagged coverage",
        cut_looks(facts, lagged),
        False,
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.promise", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    making = verbs.add_parser("fit", help="write the pooled calibration")
    making.add_argument("--out", type=Path, default=OUT)
    making.set_defaults(verb=fit)
    showing = verbs.add_parser("table", help="print how the promise is kept")
    showing.add_argument("--splits", type=int, default=400)
    showing.set_defaults(verb=table)
    for verb in (making, showing):
        verb.add_argument("--facts", type=Path, action="append")
        verb.add_argument("--model", type=Path, help="a model as JSON (default: the formula)")
        verb.add_argument("names", nargs="*", metavar="NAME", help="repositories (default: all)")
    arguments = parser.parse_args(argv)
    arguments.verb(arguments)


if __name__ == "__main__":
    main()
