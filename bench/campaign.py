"""Undone changes of real repositories: makes the cases, keeps the facts, prints the judge's table.

    python -m bench.campaign run --scratch DIR [--mirrors DIR] [--minutes 12] [NAME...]
    python -m bench.campaign table [--intervals] [--published] [--compare A B] [NAME...]

`run` clones, makes one environment a repository, traces the suite at the recipe's commit (fresh
coverage) and some commits earlier (lagged coverage), takes past changes back and runs the whole
suite on each. It goes on where it was cut off. `table` needs the facts under proof/ alone.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foretest import bundle as bundles
from foretest.bundle import Bundle
from foretest.changes.git import Repository
from foretest.config import Config
from foretest.engine import freshness
from foretest.errors import ForetestError
from foretest.evidence.store import EvidenceStore
from foretest.lab.campaign import read_cases, run_campaign
from foretest.lab.labels import Case
from foretest.lab.runner import Baseline
from foretest.lab.undo import undo_candidates
from foretest.learning import trace_suite
from foretest.replay.account import apart
from foretest.replay.ageing import with_older_coverage
from foretest.replay.cases import trials_of
from foretest.replay.compare import as_lines, compare_verdicts
from foretest.replay.judge import ALL, UNTOUCHED, Setting, judge
from foretest.replay.published.rankers import Lesson
from foretest.replay.published.rankers import published as published_rankers
from foretest.replay.strategies import OURS, STRATEGIES
from foretest.replay.table import Verdict, as_text, tabulate
from foretest.selection.policy import Freshness

HERE = Path(__file__).parent
FACTS = HERE.parent / "proof" / "cases"
FRESH, LAGGED = "fresh coverage", "lagged coverage"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one repository needs."""

    name: str
    url: str
    commit: str
    licence: str
    """SPDX name, as its licence file says at that commit."""
    install: tuple[str, ...] = ()
    pytest_args: tuple[str, ...] = ()
    lag: int = 50
    """Commits by which the lagged coverage is older."""

    @property
    def mirror(self) -> str:
        """The directory of a local mirror: OWNER+NAME."""
        return "+".join(self.url.removesuffix(".git").split("/")[-2:])


def read_recipes(path: Path, names: Sequence[str] = ()) -> list[Recipe]:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    unknown = set(names) - tables.keys()
    if unknown:
        raise SystemExit(f"No recipe for {', '.join(sorted(unknown))} in {path.name}.")
    return [
        Recipe(name, **{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})
        for name, table in tables.items()
        if not names or name in names
    ]


# --- making the facts ---


class Place:
    """One repository under the scratch directory: clone, environment, evidence, cases."""

    def __init__(self, recipe: Recipe, scratch: Path, mirrors: Path | None) -> None:
        self.recipe = recipe
        self.root = scratch / recipe.name
        self.clone = self.root / "repo"
        self.python = self.root / "venv" / "bin" / "python"
        self.origin = recipe.url
        if mirrors is not None and (local := mirrors / recipe.mirror / "repo").exists():
            self.origin = str(local)

    @property
    def config(self) -> Config:
        return Config(
            root=self.clone,
            repository=self.recipe.name,
            python=str(self.python),
            pytest_args=self.recipe.pytest_args,
            cache=str(self.root / "cache"),
            timeout=300.0,
        )

    @property
    def lab(self) -> Path:
        return self.root / "lab"

    def prepare(self) -> None:
        """Clone and install, each once."""
        self.root.mkdir(parents=True, exist_ok=True)
        if not self.clone.exists():
            _run("git", "clone", "--quiet", self.origin, str(self.clone))
        done = self.root / "installed"
        wanted = "\n".join(("pytest", "coverage>=7.6", *self.recipe.install))
        if not done.exists() or done.read_text() != wanted:
            if not self.python.exists():
                _run(sys.executable, "-m", "venv", str(self.python.parents[1]))
            _run(str(self.python), "-m", "pip", "install", "--quiet", *wanted.split("\n"))
            done.write_text(wanted)

    def evidence(self, kind: str) -> Path:
        return self.root / f"{kind.split()[0]}.ftb"

    def learn(self) -> Baseline:
        """Fresh and lagged evidence, each once."""
        repo = Repository.open(self.clone)
        commit = repo.resolve(self.recipe.commit)
        fresh = self.evidence(FRESH)
        if not fresh.exists():
            store, baseline = trace_suite(repo, self.config, commit)
            bundles.write(fresh, Bundle(store, lineage={"baseline": baseline.to_json()}))
        bundle = bundles.read(fresh)
        lagged = self.evidence(LAGGED)
        if not lagged.exists():
            try:
                older = repo.ancestors(commit, self.recipe.lag + 1)[-1]
                past, _ = trace_suite(repo, self.config, older)
                store = with_older_coverage(repo, bundle.store, past)
                bundles.write(lagged, Bundle(store, lineage={"traced": older}))
            except ForetestError as error:
                print(f"{self.recipe.name}: no lagged coverage: {error}", file=sys.stderr)
        return Baseline.from_json(bundle.lineage["baseline"])

    def undo(self, baseline: Baseline, seconds: float, workers: int) -> None:
        repo = Repository.open(self.clone)
        commit = repo.resolve(self.recipe.commit)
        tally = run_campaign(
            self.clone,
            self.config,
            undo_candidates(repo, commit),
            workers=workers,
            budget_seconds=seconds,
            out=self.lab,
            commit=commit,
            baseline=baseline,
        )
        print(f"{self.recipe.name}: {tally}", file=sys.stderr, flush=True)

    def keep(self, facts: Path) -> None:
        """Write the facts: cases, and both states of the evidence."""
        facts.mkdir(parents=True, exist_ok=True)
        repo = Repository.open(self.clone)
        commit = repo.resolve(self.recipe.commit)
        tried = read_cases(self.lab / "cases.jsonl")
        lines = [case.to_line() for case in tried if case.commit == commit]
        name = facts / f"{self.recipe.name}.jsonl.gz"
        name.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
        for kind in (FRESH, LAGGED):
            if self.evidence(kind).exists():
                store = bundles.read(self.evidence(kind)).store
                ages = freshness(repo, store, commit)
                lineage = {"ages": list(ages.ages or ()), "age": ages.age}
                kept = facts / f"{self.recipe.name}.{kind.split()[0]}.ftb"
                bundles.write(kept, Bundle(store, lineage=lineage))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{done.stderr[-2000:]}")


def run(arguments: argparse.Namespace) -> None:
    """Make or continue the facts of each repository; one that fails does not stop the others."""
    for recipe in read_recipes(arguments.recipes, arguments.names):
        place = Place(recipe, arguments.scratch.resolve(), arguments.mirrors)
        try:
            place.prepare()
            baseline = place.learn()
            place.undo(baseline, 60 * arguments.minutes, arguments.workers)
        except (ForetestError, SystemExit) as error:
            print(f"{recipe.name}: {error}", file=sys.stderr, flush=True)
        if (place.lab / "cases.jsonl").exists() and place.evidence(FRESH).exists():
            place.keep(arguments.facts)


# --- judging them ---


def read_facts(facts: Path, name: str) -> Iterator[Case]:
    with gzip.open(facts / f"{name}.jsonl.gz", "rb") as lines:
        yield from map(Case.from_line, lines)


def read_evidence(facts: Path, name: str, kind: str) -> tuple[EvidenceStore, Freshness] | None:
    """One kind of evidence of a repository and its age; None where it was not taken."""
    path = facts / f"{name}.{kind.split()[0]}.ftb"
    if not path.exists():
        return None
    bundle = bundles.read(path)
    ages, age = tuple(bundle.lineage["ages"]), bundle.lineage["age"]
    return bundle.store, Freshness(ages, age, is_ancestor=True)


def lessons_of(facts: Path, names: Iterable[str], kind: str) -> Iterator[tuple[Lesson, Freshness]]:
    """Each repository's trials with one kind of evidence, and the age of that evidence."""
    for name in names:
        if (evidence := read_evidence(facts, name, kind)) is not None:
            store, age = evidence
            # Lagged evidence, too, is about the code that was tried; its coverage alone is older.
            trials = trials_of(read_facts(facts, name), store.commit)
            yield Lesson(name, tuple(replace(t, repository=name) for t in trials), store), age


def names_in(facts: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Repositories with facts, in order; of those named if any are."""
    names = sorted(p.name.removesuffix(".jsonl.gz") for p in facts.glob("*.jsonl.gz"))
    return [name for name in names if not wanted or name in wanted]


def judge_facts(
    facts: Path, names: Iterable[str], kind: str, counts: Counter[str], published: bool = False
) -> Iterator[Verdict]:
    """Verdicts of all repositories with one kind of coverage; `counts` takes what is set apart.

    With `published` the published recipes are judged, too; those learnt across projects learn from
    the repositories named, less the one that is judged.
    """
    taught = list(lessons_of(facts, names, kind))
    lessons = [lesson for lesson, _ in taught]
    for lesson, age in taught:
        more = published_rankers(lesson, lessons) if published else {}
        setting = Setting(freshness=age, strategies={**STRATEGIES, **more})
        judgement = judge(lesson.trials, lesson.store, setting)
        counts.update(judgement.apart)
        yield from judgement.verdicts


def table(arguments: argparse.Namespace) -> None:
    """Print, for each kind of coverage, every slice over all repositories, then each repository."""
    names = names_in(arguments.facts, arguments.names)
    for kind in (FRESH, LAGGED):
        counts: Counter[str] = Counter()
        verdicts = list(judge_facts(arguments.facts, names, kind, counts, arguments.published))
        print(f"=== {kind} ===\n")
        print(as_text(tabulate(verdicts, OURS), arguments.intervals))
        if arguments.repositories:
            each = [replace(v, slice=v.repository) for v in verdicts if v.slice == ALL]
            print("\n" + as_text(tabulate(each, OURS), arguments.intervals))
        for ours, theirs in arguments.compare or ():
            print("\n" + "\n".join(_compared(verdicts, ours, theirs)))
        print("\n" + "\n".join(apart(counts)) + "\n")


def _compared(verdicts: Sequence[Verdict], ours: str, theirs: str) -> Iterator[str]:
    for slice_ in (ALL, UNTOUCHED):
        try:
            comparison = compare_verdicts(verdicts, ours, theirs, slice_)
        except ValueError as error:
            known = ", ".join(sorted({v.strategy for v in verdicts}))
            raise SystemExit(f"{error}. Strategies judged: {known}.") from error
        yield f"{slice_}: " + "\n".join(as_lines(comparison, ours, theirs))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.campaign", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    making = verbs.add_parser("run", help="make or continue the facts")
    making.add_argument("--scratch", type=Path, required=True)
    making.add_argument("--mirrors", type=Path, help="directory of local mirrors, OWNER+NAME/repo")
    making.add_argument("--recipes", type=Path, default=HERE / "repositories.toml")
    making.add_argument("--minutes", type=float, default=12.0, help="a repository, tries alone")
    making.add_argument("--workers", type=int, default=2)
    making.set_defaults(verb=run)
    showing = verbs.add_parser("table", help="judge the facts")
    showing.add_argument("--intervals", action="store_true", help="with 95%% intervals")
    showing.add_argument("--repositories", action="store_true", help="each repository, too")
    showing.add_argument("--published", action="store_true", help="with published recipes")
    showing.add_argument(
        "--compare", nargs=2, action="append", metavar=("A", "B"), help="test A against B"
    )
    showing.set_defaults(verb=table)
    for verb in (making, showing):
        verb.add_argument("--facts", type=Path, default=FACTS)
        verb.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args(argv)
    arguments.verb(arguments)


if __name__ == "__main__":
    main()
