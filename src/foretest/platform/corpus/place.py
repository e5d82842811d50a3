"""One repository of the corpus: its clone, environment, evidence, and the changes tried in it."""

from __future__ import annotations

import gzip
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from foretest import bundle as bundles
from foretest.bundle import Bundle
from foretest.changes.git import Repository
from foretest.config import Config
from foretest.durable import atomic_write
from foretest.engine import freshness
from foretest.errors import ForetestError, SuiteFailed
from foretest.lab.campaign import Progress, SelectTests, Tally, read_cases, run_campaign
from foretest.lab.faults import fault_candidates
from foretest.lab.labels import Candidate, Case
from foretest.lab.runner import Baseline
from foretest.lab.undo import undo_candidates
from foretest.learning import SLOW, suggested, trace_suite
from foretest.platform.corpus.facts import FRESH, LAGGED
from foretest.platform.corpus.recipes import Recipe
from foretest.records import Change
from foretest.replay.ageing import with_older_coverage

WHOLE = 0.1
"""Share of a slow suite's cases that are run in full, drawn at random."""
EVERY = 4
"""One try in so many is a fault while there are any."""


class Place:
    """One repository under the scratch directory: clone, environment, evidence, cases."""

    def __init__(self, recipe: Recipe, scratch: Path, mirrors: Path | None) -> None:
        self.recipe = recipe
        self.root = scratch / recipe.name
        self.clone = self.root / "repo"
        self.python = self.root / "venv" / "bin" / "python"
        self.origin = recipe.url
        self.notices: list[str] = []
        if mirrors is not None and (local := mirrors / recipe.mirror / "repo").exists():
            self.origin = str(local)

    @property
    def config(self) -> Config:
        return Config(
            root=self.clone,
            repository=self.recipe.name,
            python=str(self.python),
            pytest_args=self.recipe.pytest_args,
            tests=self.recipe.tests,
            cache=str(self.root / "cache"),
            timeout=self.recipe.timeout,
        )

    @property
    def lab(self) -> Path:
        return self.root / "lab"

    def prepare(self) -> None:
        """Clone and install, each once. Raises SuiteFailed."""
        self.root.mkdir(parents=True, exist_ok=True)
        if not self.clone.exists():
            part = self.root / "repo.part"  # a clone that was cut off is no clone
            shutil.rmtree(part, ignore_errors=True)
            _run("git", "clone", "--quiet", self.origin, str(part))
            part.rename(self.clone)
        done = self.root / "installed"
        wanted = "\n".join(("pytest", "coverage>=7.6", *self.recipe.install))
        if not done.exists() or done.read_text() != wanted:
            if not done.exists():  # nor is an environment that was never completed
                _run(sys.executable, "-m", "venv", "--clear", str(self.python.parents[1]))
            _run(str(self.python), "-m", "pip", "install", "--quiet", *wanted.split("\n"))
            done.write_text(wanted)

    def evidence(self, kind: str) -> Path:
        return self.root / f"{kind.split()[0]}.ftb"

    def learn(self) -> Baseline:
        """Fresh and lagged evidence, each once for a commit. Raises SuiteFailed."""
        repo = Repository.open(self.clone)
        commit = repo.resolve(self.recipe.commit)
        fresh, lagged = self.evidence(FRESH), self.evidence(LAGGED)
        if fresh.exists() and bundles.read(fresh).store.commit != commit:
            fresh.unlink()
            lagged.unlink(missing_ok=True)
        if not fresh.exists():
            store, baseline = trace_suite(repo, self.config, commit)
            bundles.write(fresh, Bundle(store, lineage={"baseline": baseline.to_json()}))
        bundle = bundles.read(fresh)
        if self.recipe.lag and not lagged.exists():
            try:
                older = repo.ancestors(commit, self.recipe.lag + 1)[-1]
                past, _ = trace_suite(repo, self.config, older)
                store = with_older_coverage(repo, bundle.store, past)
                bundles.write(lagged, Bundle(store, lineage={"traced": older}))
            except ForetestError as error:
                self.notices.append(f"no lagged coverage: {error.message.splitlines()[0]}")
        return Baseline.from_json(bundle.lineage["baseline"])

    def go_on(self, kept: bytes) -> None:
        """Begin with the cases of earlier facts, where nothing was tried in this scratch yet.

        `kept` is such a file as `keep` writes. Cases of another commit are tried again.
        """
        cases = self.lab / "cases.jsonl"
        if not kept or cases.exists():
            return
        repo = Repository.open(self.clone)
        commit = repo.resolve(self.recipe.commit)
        lines = gzip.decompress(kept).decode().splitlines(keepends=True)
        known = [line for line in lines if Case.from_line(line).commit == commit]
        cases.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(cases, "".join(known).encode())

    def try_changes(
        self, baseline: Baseline, seconds: float, workers: int, faults: int, progress: Progress
    ) -> Tally:
        """Undo past changes and inject faults for so many seconds; each case is kept at once."""
        repo = Repository.open(self.clone)
        commit = repo.resolve(self.recipe.commit)
        slow = baseline.suite_seconds > SLOW
        return run_campaign(
            self.clone,
            self.config,
            mixed(
                undo_candidates(repo, commit, only=touching(repo, commit, self.recipe.sources)),
                fault_candidates(repo, commit, seed=0, count=faults, edits=3) if faults else (),
            ),
            workers=workers,
            budget_seconds=seconds,
            out=self.lab,
            select_tests=sometimes_all(suggested(bundles.read(self.evidence(FRESH)).store))
            if slow
            else None,
            progress=progress,
            commit=commit,
            baseline=baseline,
        )

    def keep(self, facts: Path) -> None:
        """Write the facts: cases, and both states of the evidence."""
        facts.mkdir(parents=True, exist_ok=True)
        repo = Repository.open(self.clone)
        commit = repo.resolve(self.recipe.commit)
        tried = read_cases(self.lab / "cases.jsonl")
        lines = sorted(case.to_line() for case in tried if case.commit == commit)
        atomic_write(
            facts / f"{self.recipe.name}.jsonl.gz", gzip.compress("".join(lines).encode(), mtime=0)
        )
        for kind in (FRESH, LAGGED):
            if self.evidence(kind).exists():
                store = bundles.read(self.evidence(kind)).store
                ages = freshness(repo, store, commit)
                lineage = {"ages": list(ages.ages or ()), "age": ages.age}
                kept = facts / f"{self.recipe.name}.{kind.split()[0]}.ftb"
                bundles.write(kept, Bundle(store, lineage=lineage))


def touching(repo: Repository, commit: str, paths: Sequence[str]) -> frozenset[str] | None:
    """Which commits touched these paths, up to `commit`; None where there are no paths: all."""
    return frozenset(past.id for past in repo.log(paths, start=commit)) if paths else None


def mixed(undone: Iterable[Candidate], faults: Iterable[Candidate]) -> Iterator[Candidate]:
    """Both kinds in turn, so that whatever ends the tries leaves some of each."""
    first, second = iter(undone), iter(faults)
    for number in count(1):
        source, other = (second, first) if number % EVERY == 0 else (first, second)
        candidate = next(source, None) or next(other, None)
        if candidate is None:
            return
        yield candidate


def sometimes_all(
    suggest: Callable[[Change, Candidate], Mapping[str, float]], share: float = WHOLE
) -> SelectTests:
    """What `suggest` says, but the whole suite for a random share of the cases.

    The draw goes by the case's name: a case that is tried again is treated alike.
    """

    def choose(change: Change, candidate: Candidate) -> Mapping[str, float] | None:
        whole = random.Random(f"whole:{candidate.case_id}").random() < share
        return None if whole else suggest(change, candidate)

    return choose


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SuiteFailed(
            f"{' '.join(command[:4])} failed:\n{done.stderr[-2000:]}",
            "Mend the recipe of this repository.",
        )
