"""One repository of the corpus: its clone, environment, evidence, and the changes undone in it."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

from foretest import bundle as bundles
from foretest.bundle import Bundle
from foretest.changes.git import Repository
from foretest.config import Config
from foretest.engine import freshness
from foretest.errors import ForetestError, SuiteFailed
from foretest.lab.campaign import read_cases, run_campaign
from foretest.lab.runner import Baseline
from foretest.lab.undo import undo_candidates
from foretest.learning import trace_suite
from foretest.platform.corpus.facts import FRESH, LAGGED
from foretest.platform.corpus.recipes import Recipe
from foretest.replay.ageing import with_older_coverage


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
                self.notices.append(f"{self.recipe.name}: no lagged coverage: {error}")
        return Baseline.from_json(bundle.lineage["baseline"])

    def undo(self, baseline: Baseline, seconds: float, workers: int) -> str:
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
        return f"{self.recipe.name}: {tally}"

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
        raise SuiteFailed(
            f"{' '.join(command[:4])} failed:\n{done.stderr[-2000:]}",
            "Mend the recipe of this repository.",
        )
