"""How evidence is first gathered: a traced run of the suite, then undone changes and faults."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from foretest import bundle as bundles
from foretest.bundle import Bundle
from foretest.changes.git import Repository
from foretest.config import Config
from foretest.durable import lock
from foretest.engine import ensure_state, read_bundle
from foretest.errors import ForetestError, NoBundle
from foretest.evidence.collect import build_store
from foretest.evidence.store import EvidenceStore
from foretest.lab.runner import Baseline, SuiteRunner
from foretest.lab.workspace import Workspace, cache_directory

Progress = Callable[[str, int, int], None]
"""Called with a stage, what is done and the whole."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What one call of `learn` brought."""

    tests: int
    covered: int
    symbols: int
    cases: int
    faulty: int
    seconds: float
    bundle: Path
    notices: tuple[str, ...] = ()

    def sentence(self) -> str:
        size = self.bundle.stat().st_size / 1e6
        cases = f"; {self.cases:,} changes tried, {self.faulty:,} of them break a test"
        return (
            f"Learned {self.tests:,} tests (coverage of {self.covered:,}) over {self.symbols:,} "
            f"functions in {self.seconds:,.0f} s{cases if self.cases else ''}. "
            f"Bundle: {self.bundle} ({size:.1f} MB)."
        )


def learn(
    config: Config,
    *,
    undo: int = 0,
    faults: int = 0,
    within: float | None = None,
    workers: int = 2,
    fresh: bool = False,
    progress: Progress = lambda *_: None,
) -> Learned:
    """Trace the suite at HEAD and write a bundle; then try `undo` past changes and `faults` faults.

    Coverage comes first, so that a usable bundle stands after one run of the suite. `within`
    (seconds) ends the tries, never the traced run. Raises SuiteFailed for a suite of no use.
    """
    began = time.monotonic()
    repo = Repository.open(config.root)
    commit = repo.head()
    ensure_state(config)
    notices = ["Uncommitted changes are not learned: HEAD is."] if repo.is_dirty() else []
    with lock(config.state / "learn.lock"):
        previous = None if fresh else _previous(config, notices)
        progress("Tracing the suite", 0, 1)
        store, baseline = trace_suite(repo, config, commit, previous)
        progress("Tracing the suite", 1, 1)
        notices.extend(_said(baseline))
        bundles.write(config.bundle_path, Bundle(store, lineage=_lineage(commit, baseline)))
        left = None if within is None else max(0.0, within - (time.monotonic() - began))
        cases, faulty = 0, 0
    return Learned(
        tests=len(store.tests),
        covered=int(store.has_coverage.sum()),
        symbols=len(store.symbols),
        cases=cases,
        faulty=faulty,
        seconds=time.monotonic() - began,
        bundle=config.bundle_path,
        notices=tuple(notices),
    )


def trace_suite(
    repo: Repository, config: Config, commit: str, previous: EvidenceStore | None = None
) -> tuple[EvidenceStore, Baseline]:
    """One cold run, one traced run at `commit`, in a copy; the evidence that they give."""
    cache = cache_directory(repo.root, config.cache_path)
    with Workspace.create(repo.root, commit, cache) as workspace, TemporaryDirectory() as folder:
        runner = SuiteRunner(
            workspace, config.python, (*config.pytest_args, *config.tests), config.timeout
        )
        try:
            baseline = runner.baseline()
            coverage = Path(folder) / "coverage.jsonl.gz"
            traced = runner.trace(coverage)
        finally:
            runner.close()
        store = build_store(
            repo,
            commit,
            sorted(Path(folder).glob("coverage*")),
            collected=sorted(traced.collected),
            durations=traced.unit_seconds | dict(baseline.seconds),
            previous=previous,
        )
    return store, baseline


def _previous(config: Config, notices: list[str]) -> EvidenceStore | None:
    try:
        return read_bundle(config).store
    except NoBundle:
        return None
    except ForetestError as error:
        notices.append(f"The old bundle is set aside: {error.message}")
        return None


def _said(baseline: Baseline) -> list[str]:
    counts = (
        (len(baseline.failing), "fail before any change; they are learned, and told apart"),
        (len(baseline.flaky), "passed once and failed once; no label comes from them"),
        (len(baseline.errors), "files cannot be collected"),
    )
    return [*(f"{n:,} tests {what}." for n, what in counts if n), *baseline.notes]


def _lineage(commit: str, baseline: Baseline) -> dict[str, object]:
    return {
        "commit": commit,
        "suite_seconds": round(baseline.suite_seconds, 3),
        "failing": list(baseline.failing),
        "flaky": list(baseline.flaky),
    }
