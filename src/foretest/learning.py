"""How evidence is first gathered: a traced run of the suite, then undone changes and faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from foretest import bundle as bundles
from foretest.bundle import Bundle
from foretest.changes.git import Repository, repository_key
from foretest.config import Config
from foretest.durable import lock
from foretest.engine import ensure_state, read_bundle
from foretest.errors import BadReport, ForetestError, NoBundle
from foretest.evidence.collect import build_store
from foretest.evidence.store import EvidenceStore
from foretest.evidence.traced import is_traced
from foretest.features.build import build
from foretest.features.query import query_of
from foretest.lab.campaign import Tally, read_cases, read_kept, run_campaign
from foretest.lab.faults import fault_candidates
from foretest.lab.labels import Candidate, Case, sample_tests
from foretest.lab.outcome import Baseline, merge
from foretest.lab.runner import SuiteRunner
from foretest.lab.undo import undo_candidates
from foretest.lab.workspace import Workspace, cache_directory
from foretest.models.contract import predict
from foretest.models.formula import Formula
from foretest.models.pretrained import default_model
from foretest.records import Change
from foretest.results.read import read_report

LAB, CASES = "lab", "cases.jsonl"
"""Where the tried changes are kept, under the state directory."""
SPENT = "spent"
"""In a bundle's lineage: commits that its model was fitted or chosen on."""
SLOW = 60.0
"""Seconds of suite above which a tried change runs linked tests and a sample, not all."""
LINKED = 0.02
"""Score from which a test counts as linked to a change."""
CERTAIN = 0.1
"""Share of the suite's time that linked tests may take."""
SAMPLED = 0.05
"""Share of the other tests that is drawn."""

Progress = Callable[..., None]
"""Called with a stage, what is done, the whole and, if there is one, a note."""


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
        tests = f"{self.tests:,} test{'' if self.tests == 1 else 's'}"
        changes = f"{self.cases:,} change{'' if self.cases == 1 else 's'}"
        cases = f"; {changes} tried, of which {self.faulty:,} broke a test"
        return (
            f"Learned {tests} (coverage of {self.covered:,}) over {self.symbols:,} "
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
    gathered: Sequence[Path] = (),
    at: str = "HEAD",
    progress: Progress = lambda *_: None,
) -> Learned:
    """Trace the suite at HEAD and write a bundle; then try `undo` past changes and `faults` faults.

    Changes are tried at `at`; coverage is of HEAD whatever that is, and comes first, so that a
    usable bundle stands after one run of the suite. `within` (seconds) ends the tries, never the
    traced run. `gathered` are coverage files and reports of runs elsewhere (`pytest
    --foretest-coverage --foretest-report`, sharded at will): with them the suite is not run here.
    Raises SuiteFailed for a suite of no use, BadReport for a damaged file.
    """
    began = time.monotonic()
    repo = Repository.open(config.root)
    commit, at = repo.head(), repo.resolve(at)
    ensure_state(config)
    cases = config.state / LAB / CASES
    notices = ["Uncommitted changes are not learned: HEAD is."] if repo.is_dirty() else []
    notices.extend(read_kept(cases).notices())
    with lock(config.state / "learn.lock"):
        previous = None if fresh else _previous(config, notices)
        known = None if previous is None else previous.store
        progress("Tracing the suite", 0, 1)
        if gathered:
            store, baseline = from_runs(repo, commit, gathered, known)
        else:
            needed = True if undo or faults else None
            store, baseline = trace_suite(repo, config, commit, known, plain=needed)
        store = replace(store, repository=repository_key(config, repo))
        progress("Tracing the suite", 1, 1)
        notices.extend(_said(baseline))
        # The model and its calibration stand until something better is known.
        model = default_model() if previous is None else previous.model
        thresholds = {} if previous is None else previous.thresholds
        lineage = _lineage(commit, baseline)
        if previous is not None and SPENT in previous.lineage:
            lineage[SPENT] = previous.lineage[SPENT]
        bundle = Bundle(store, model, thresholds, lineage)
        bundles.write(config.bundle_path, bundle)
        left = None if within is None else max(0.0, within - (time.monotonic() - began))
        tally = try_changes(
            repo, config, store, baseline, undo, faults, workers, left, progress, at
        )
        tried = [case for case in read_cases(cases) if case.commit == at]
    return Learned(
        tests=len(store.tests),
        covered=int(store.has_coverage.sum()),
        symbols=len(store.symbols),
        cases=len(tried) if tally.tried + tally.known else 0,
        faulty=sum(case.faulty for case in tried),
        seconds=time.monotonic() - began,
        bundle=config.bundle_path,
        notices=tuple(notices),
    )


def trace_suite(
    repo: Repository,
    config: Config,
    commit: str,
    previous: EvidenceStore | None = None,
    *,
    plain: bool | None = True,
) -> tuple[EvidenceStore, Baseline]:
    """Run the suite at `commit` in a copy, traced; the evidence that this gives.

    `plain` runs it untraced as well, for times without the tracer's own and to tell flaky tests;
    None does so only for a suite that is quick.
    """
    cache = cache_directory(repo.root, config.cache_path)
    with Workspace.create(repo.root, commit, cache) as workspace, TemporaryDirectory() as folder:
        runner = SuiteRunner(
            workspace, config.python, (*config.pytest_args, *config.tests), config.timeout
        )
        try:
            traced = runner.trace(Path(folder) / "coverage.jsonl.gz")
            if plain or (plain is None and traced.seconds <= SLOW):
                baseline = runner.baseline()
            else:
                baseline = merge([traced])
        finally:
            runner.close()
        store = build_store(
            repo,
            commit,
            sorted(Path(folder).glob("coverage*")),
            # In the order in which they ran: that of collection, which replay compares with.
            collected=[*traced.results, *sorted(traced.collected - traced.results.keys())],
            durations={**traced.unit_seconds, **baseline.seconds},
            previous=previous,
        )
    return store, baseline


def from_runs(
    repo: Repository, commit: str, files: Sequence[Path], previous: EvidenceStore | None = None
) -> tuple[EvidenceStore, Baseline]:
    """The evidence of runs elsewhere: their coverage files and reports, told apart by content."""
    coverage = [path for path in files if is_traced(path)]
    runs = [read_report(path).run for path in files if path not in coverage]
    if not coverage:
        raise BadReport(
            "None of the files holds coverage.", "Run `pytest --foretest-coverage FILE` first."
        )
    results = [result for run in runs for result in run.results]
    failing = {result.test.unit for result in results if result.outcome.bad}
    seconds: dict[str, float] = {}
    for result in results:
        seconds[result.test.unit] = seconds.get(result.test.unit, 0.0) + (result.seconds or 0.0)
    store = build_store(repo, commit, coverage, durations=seconds, previous=previous)
    passing = {unit: spent for unit, spent in seconds.items() if unit not in failing}
    return store, Baseline(
        seconds=passing,
        failing=tuple(sorted(failing)),
        flaky=(),
        skipped=(),
        errors=(),
        suite_seconds=sum(seconds.values()),
    )


def try_changes(
    repo: Repository,
    config: Config,
    store: EvidenceStore,
    baseline: Baseline,
    undo: int,
    faults: int,
    workers: int = 2,
    within: float | None = None,
    progress: Progress = lambda *_: None,
    at: str | None = None,
) -> Tally:
    """Take past changes back and inject faults; each case is kept at once.

    They are tried at `at` (None: where the evidence was gathered), and there never again. The
    first that is taken back there is that commit's own change.
    """
    at = at or store.commit
    candidates = chain(
        undo_candidates(repo, at, undo) if undo else (),
        fault_candidates(repo, at, seed=0, count=faults, edits=3) if faults else (),
    )
    total = undo + faults
    if not total:
        return Tally()

    def told(_: Case | None, tally: Tally) -> None:
        done = min(tally.tried + tally.unfit + tally.known, total - 1)
        progress("Trying changes", done, total, f"{tally.faulty:,} break a test")

    tally = run_campaign(
        repo.root,
        config,
        candidates,
        workers=workers,
        budget_seconds=within,
        out=config.state / LAB,
        select_tests=suggested(store) if baseline.suite_seconds > SLOW else None,
        progress=told,
        commit=at,
        baseline=baseline if at == store.commit else None,
    )
    progress("Trying changes", total, total, f"{tally.faulty:,} break a test")
    return tally


def suggested(store: EvidenceStore) -> Callable[[Change, Candidate], Mapping[str, float]]:
    """Of a slow suite: the tests that evidence links best to a change, and a sample of the others.

    A module that all import is linked to all: what is certain to run has a bound in time. The
    sample's inclusion probability is logged, so that failures that no evidence foresaw count
    with their weight.
    """
    formula = Formula()
    wanted = frozenset(formula.inputs)
    seconds = np.nan_to_num(store.seconds)
    room = CERTAIN * seconds.sum()

    def choose(change: Change, candidate: Candidate) -> Mapping[str, float]:
        frame = build(query_of(change), store, time.time(), only=wanted)
        scores = predict(formula, frame)
        best = np.argsort(-scores, kind="stable")[: np.count_nonzero(scores >= LINKED)]
        before = np.cumsum(seconds[best]) - seconds[best]
        names = [store.tests[row] for row in best[before <= room]]
        return sample_tests(names, store.tests, SAMPLED, candidate.case_id)

    return choose


def _previous(config: Config, notices: list[str]) -> Bundle | None:
    try:
        return read_bundle(config)
    except NoBundle:
        return None
    except ForetestError as error:
        notices.append(f"The old bundle is set aside: {error.message}")
        return None


def _said(baseline: Baseline) -> list[str]:
    failing, flaky, errors = (
        len(tests) for tests in (baseline.failing, baseline.flaky, baseline.errors)
    )
    told = (
        (failing, "test fails", "tests fail", "before any change: learnt, and told apart"),
        (flaky, "test passes", "tests pass", "now and then: no label comes from it"),
        (errors, "file of tests", "files of tests", "cannot be collected"),
    )
    counted = (f"{n:,} {one if n == 1 else many} {rest}." for n, one, many, rest in told if n)
    return [*counted, *baseline.notes]


def _lineage(commit: str, baseline: Baseline) -> dict[str, object]:
    return {
        "commit": commit,
        "suite_seconds": round(baseline.suite_seconds, 3),
        "failing": list(baseline.failing),
        "flaky": list(baseline.flaky),
    }
