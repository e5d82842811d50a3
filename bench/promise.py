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
from itertools import combinations
from pathlib import Path
from random import Random
from statistics import fmean

import numpy as np

from bench.campaign import FACTS
from foretest import bundle as bundles
from foretest.config import Config
from foretest.durable import write_text
from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.models.registry import read_model
from foretest.platform.corpus.facts import FRESH, LAGGED, read_facts
from foretest.records import Basis, Selection, Why
from foretest.replay.cases import trials_of
from foretest.replay.intervals import ClusteredBootstrap
from foretest.replay.judge import Trial
from foretest.replay.strategies import Moment, decided
from foretest.selection.policy import Freshness, Rules
from foretest.selection.promise import (
    ALWAYS,
    POOLED,
    Calibration,
    Case,
    as_case,
    decisive,
    identity,
    percent,
)
from foretest.training.calibrate import case_of, faulty, grouped, moments_of

OUT = Path(__file__).parents[1] / "src" / "foretest" / POOLED
TUNED_ON = ("click", "marshmallow", "sqlparse")
"""Repositories on which the formula's constants were tuned."""
LEVELS = (0.8, 0.9, 0.95, 0.99)
"""80 % is below what users ask for: it shows the machinery where few repositories are known."""
HELD_OUT = 0.2
"""Share of the groups that a random split leaves to look at."""
LEAST = 19
"""Commits that stand before the first that is looked at in time order."""
CUTS = (0.01, 0.05, 0.10)
"""Budgets, as shares of suite time, that cut what the promise asks for."""
RULES = Rules.of(Config(Path()))
"""Those of a repository that sets none of its own."""


@dataclass(frozen=True)
class Outcome:
    """One faulty change: what each threshold would have caught, and what it would have run."""

    case_id: str
    repository: str
    commit: str
    time: float
    case: Case
    untouched: Case
    """The same over failing tests that the change did not touch; empty where there are none."""
    ruled: float
    """Share of suite time of the tests that rules run."""
    scores: np.ndarray
    """Of the others, in running order."""
    shares: np.ndarray
    """Of suite time that each of them takes."""
    failed: np.ndarray
    """Whether each of them fails."""

    def run(self, threshold: float | None, cut: float) -> tuple[bool, float]:
        """Whether a failing test runs, and the share of suite time that does.

        Without a threshold everything runs, or as much as the cut allows.
        """
        if threshold is None and cut == math.inf:
            return True, 1.0
        wanted = self.scores >= (threshold or 0.0)
        spent = np.cumsum(self.shares[wanted])
        fits = int(np.searchsorted(spent, (cut - self.ruled) * (1 + 1e-9), side="right"))
        always = bool(self.case) and self.case[0][0] == ALWAYS
        found = always or bool(self.failed[wanted][:fits].any())
        return found, self.ruled + (float(spent[fits - 1]) if fits else 0.0)


def outcome_of(trial: Trial, selection: Selection) -> Outcome:
    scored = [choice for choice in selection.chosen if choice.why is Why.SCORE]
    suite = selection.suite_seconds
    ruled = sum(choice.seconds for choice in selection.chosen if choice.why is not Why.SCORE)
    present = {choice.test for choice in selection.chosen}
    untouched = (trial.failed - trial.modified - trial.added) & present
    return Outcome(
        trial.case_id,
        trial.repository,
        trial.commit,
        trial.time,
        case_of(selection, trial.failed),
        case_of(selection, untouched),
        ruled / suite,
        np.array([choice.score for choice in scored]),
        np.array([choice.seconds / suite for choice in scored]),
        np.array([choice.test in trial.failed for choice in scored], bool),
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
            yield from moments_of(trials, bundle.store, facts.model, age, RULES)


def outcomes_of(facts: Facts, kind: str) -> list[Outcome]:
    return [outcome_of(trial, decided(moment)) for trial, moment in moments(facts, kind)]


def on_untouched(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Outcomes as if only failing tests counted that the change did not touch."""
    return [replace(outcome, case=outcome.untouched) for outcome in outcomes if outcome.untouched]


def calibration(
    basis: Basis, outcomes: Iterable[Outcome], group: Callable[[Outcome], str]
) -> Calibration:
    return Calibration(basis, grouped((group(o), o.case) for o in outcomes), "")


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
        groups={name: tuple(map(_rounded, cases)) for name, cases in made.groups.items()},
        model=identity(model),
        rules=decisive(RULES),
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


def _rounded(case: Case) -> Case:
    """Scores down, so that nothing that ran before is left out for it; shares of time up."""
    return as_case(
        (math.floor(score * 1e6) / 1e6, min(1.0, math.ceil(share * 1e6) / 1e6))
        for score, share in case
    )


def _text(made: Calibration) -> str:
    """JSON with a line a repository."""
    data = made.to_json()
    groups = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(sorted(cases), separators=(',', ':'))}"
        for name, cases in data.pop("groups").items()
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
    promised: float


Splits = Iterator[tuple[Calibration, list[Outcome], str]]
"""A calibration, what it is looked at with, and the name of the split."""


def held_out(names: Sequence[str], count: int, most: int, random: Random) -> list[frozenset[str]]:
    """Distinct choices of `count` names: all there are, or so many at random, where more exist."""
    if math.comb(len(names), count) <= most:
        return [frozenset(out) for out in combinations(names, count)]
    found: dict[frozenset[str], None] = {}
    while len(found) < most:
        found[frozenset(random.sample(names, count))] = None
    return list(found)


def some_repositories(
    outcomes: Sequence[Outcome], most: int, group: Callable[[Outcome], str] = by_repository
) -> Splits:
    """Some repositories held out, calibrated on the others."""
    names = sorted({o.repository for o in outcomes})
    count = max(1, round(HELD_OUT * len(names)))
    for split, out in enumerate(held_out(names, count, most, Random(0))):
        known = [o for o in outcomes if o.repository not in out]
        yield (
            calibration(Basis.POOLED, known, group),
            [o for o in outcomes if o.repository in out],
            str(split),
        )


def some_commits(outcomes: Sequence[Outcome], most: int) -> Splits:
    """Within each repository some commits held out, calibrated on its others."""
    random = Random(0)
    for cases in _repositories(outcomes):
        commits = sorted({o.commit for o in cases})
        if len(commits) <= LEAST:
            continue
        count = max(1, min(round(HELD_OUT * len(commits)), len(commits) - LEAST))
        for split, out in enumerate(held_out(commits, count, most, random)):
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


def looks(
    splits: Splits, group: Callable[[Outcome], str], cut: float = math.inf
) -> dict[float, list[Look]]:
    """For each level what became of each split, a look a repository; cut at a share of time."""
    found: dict[float, list[Look]] = {level: [] for level in LEVELS}
    for made, out, name in splits:
        for level in LEVELS:
            threshold = made.threshold(level)
            limited = cut < math.inf
            promised = made.within(level, cut) if limited else level
            for cases in _repositories(out):
                runs: dict[str, list[bool]] = {}
                shares = []
                for o in cases:
                    found_it, share = o.run(threshold, cut)
                    runs.setdefault(group(o), []).append(found_it)
                    shares.append(share)
                found[level].append(
                    Look(
                        cases[0].repository,
                        name,
                        fmean(map(fmean, runs.values())),
                        fmean(shares),
                        threshold is None and not limited,
                        promised,
                    )
                )
    return found


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


def row(level: float, found: Sequence[Look], splits: int | None) -> str:
    """One line: the mean, its one-sided 97.5 % bound by repository, and whether it is enough.

    `splits`: the most that were made; None: in time. The error is the Monte-Carlo error where
    more exist, none where all were made, else that of resampled repositories.
    """
    values = np.array([look.caught for look in found])
    each = {
        name: [look.caught for look in found if look.repository == name] for name in _names(found)
    }
    worst = min(each, key=lambda name: fmean(each[name]))
    if splits is not None:
        # A split is no new evidence: the bound resamples repositories, the check splits.
        means = np.array([fmean(each[name]) for name in each])
        bound = ClusteredBootstrap([(name, "") for name in each]).mean(means).low
        by_split: dict[str, list[float]] = {s: [] for s in {look.split for look in found}}
        for look in found:
            by_split[look.split].append(look.caught)
        drawn = float(np.std([fmean(v) for v in by_split.values()])) / len(by_split) ** 0.5
        error = 0.0 if len(by_split) < splits else drawn
    else:
        resampled = ClusteredBootstrap([(look.repository, look.split) for look in found])
        bound, error = resampled.mean(values).low, resampled.standard_error(values)
    return (
        f"{level:>6.0%} {values.mean():>7.1%} {bound:>6.1%} "
        f"{fmean(look.share for look in found):>8.1%} "
        f"{fmean(look.everything for look in found):>8.0%}  "
        f"{f'{worst} {fmean(each[worst]):.1%}':<24} {verdict(found, error)}"
    )


def verdict(found: Sequence[Look], error: float) -> str:
    """Whether as much was caught as was promised; where everything ran nothing was tested."""
    if all(look.everything for look in found):
        return "not tested: everything ran"
    promised = fmean(look.promised for look in found)
    short = promised - fmean(look.caught for look in found)
    told = "holds" if short <= 1e-9 else "within error" if short <= 2 * error else "BROKEN"
    return f"{told}: {percent(promised)} promised, 2 errors = {2 * error:.1%}"


def _names(found: Sequence[Look]) -> list[str]:
    return sorted({look.repository for look in found})


def show(title: str, found: dict[float, list[Look]], splits: int | None = None) -> None:
    some = found[LEVELS[0]]
    distinct = len({look.split for look in some})
    told = f"{distinct:,} distinct splits, " if splits is not None else ""
    print(f"\n{title} ({len(_names(some))} repositories, {told}{len(some):,} looks)\n{HEADER}")
    for level in LEVELS:
        print(row(level, found[level], splits))


def table(arguments: argparse.Namespace) -> None:
    """Print every way to calibrate, level by level."""
    facts = Facts.of(arguments)
    lagged, fresh = outcomes_of(facts, LAGGED), outcomes_of(facts, FRESH)
    most = arguments.splits
    names = sorted({o.repository for o in lagged})
    print(f"{len(lagged)} faulty changes of {len(names)} repositories: {', '.join(names)}.")
    print(f"Model: {identity(facts.model)}.")
    if facts.model == Formula():
        print(f"Its constants were tuned on {', '.join(TUNED_ON)}.")
    far = on_untouched(lagged)
    each, commits = partial(looks, group=by_repository), partial(looks, group=by_commit)
    show("Pooled, by repository, lagged coverage", each(some_repositories(lagged, most)), most)
    show(
        "Pooled as if changes were exchangeable (not used), lagged coverage",
        each(some_repositories(lagged, most, by_case)),
        most,
    )
    show("Own, random commits, fresh coverage", commits(some_commits(fresh, most)), most)
    show("Own, each commit by those before it, fresh coverage", commits(in_time(fresh)))
    show("Own, each commit by those before it, lagged coverage", commits(in_time(lagged)))
    show("Own, calibrated with fresh coverage, met with lagged", commits(in_time(fresh, lagged)))
    show(
        "Own, in time, lagged, met by failing tests that the change did not touch",
        commits(in_time(lagged, far)),
    )
    show("Own, in time, lagged, calibrated on such tests too", commits(in_time(far)))
    show(
        "Pooled, by repository, lagged, such tests alone", each(some_repositories(far, most)), most
    )
    for cut in CUTS:
        show(
            f"Pooled, by repository, lagged, cut at {cut:.0%} of suite time",
            each(some_repositories(lagged, most), cut=cut),
            most,
        )
    for cut in CUTS:
        show(
            f"Own, each commit by those before it, lagged, cut at {cut:.0%} of suite time",
            commits(in_time(lagged), cut=cut),
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
