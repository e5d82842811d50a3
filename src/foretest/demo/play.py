"""The demonstration from top to bottom: releases, history, evidence, undone changes, judgement."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from foretest import bundle as bundles
from foretest.bundle import Bundle
from foretest.changes.git import Repository
from foretest.config import Config
from foretest.demo.releases import MARSHMALLOW, Project, download, lay_out, make_environment
from foretest.engine import ensure_state, freshness
from foretest.evidence.store import EvidenceStore
from foretest.lab.campaign import Tally, read_cases, run_campaign
from foretest.lab.labels import Case
from foretest.lab.runner import Baseline
from foretest.lab.undo import undo_candidates
from foretest.learning import CASES, LAB, trace_suite
from foretest.replay.ageing import with_older_coverage
from foretest.replay.cases import trials_of
from foretest.replay.run import Replayed, replay
from foretest.report.page import write_page
from foretest.selection.policy import Rules

Progress = Callable[[str, int, int], None]
"""Called with a stage, what is done and the whole."""

MOST_SECONDS = 150.0
LEAST_SECONDS = 30.0
"""For undoing changes: what is left of the whole, within these bounds."""

WHOLE = 200.0
"""Seconds up to the end of undoing, so that with installation before it and judging after it the
whole stays under five minutes on two cores, however slow the stages before."""

HUNKS = 30
"""Of one release: it holds the work of months, many times what a commit holds."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the demonstration found."""

    replayed: Replayed
    page: Path
    project: Path
    seconds: float
    text: str
    """The table and what to do next, for the terminal."""


def run_demo(
    out: Path,
    progress: Progress = lambda *_: None,
    *,
    project: Project = MARSHMALLOW,
    workers: int = 2,
    within: float = MOST_SECONDS,
) -> Shown:
    """Do the main job on real releases of a real project, under `out` alone.

    What was fetched and tried stays there, so that a second call goes on where the first ended.
    Raises DemoFailed without git or a package index that pip can reach.
    """
    began = time.monotonic()
    out = out.resolve()
    config = _history(out, project, progress)
    bundle, baseline = _evidence(config, progress)
    _undo(config, bundle.store.commit, baseline, workers, within, began + WHOLE, progress)
    newest = bundle.store.commit
    cases = [c for c in read_cases(config.state / LAB / CASES) if c.commit == newest]
    repo = Repository.open(config.root)
    replayed = replay(
        list(trials_of(cases, newest)),
        bundle,
        rules=Rules.of(config),
        fresh=freshness(repo, bundle.store, newest),
        title=f"foretest on {project.name}",
        repository=project.name,
        summary=_summary(project, cases, bundle.store),
        notices=(_coverage_notice(project, bundle.store),),
        commands=NEXT,
        progress=progress,
    )
    page = write_page(replayed.report, out / "report.html")
    seconds = time.monotonic() - began
    return Shown(replayed, page, config.root, seconds, _text(replayed, page, seconds))


NEXT = (
    "foretest learn --undo 40 --within 10m",
    "pytest --foretest=observe",
    "foretest select --target 10%",
)
"""What to type in one's own repository."""


def _history(out: Path, project: Project, progress: Progress) -> Config:
    """The releases as commits, and an environment for their tests; each is made once."""
    root = out / project.name
    total = len(project.versions)
    progress("Preparing an environment", 0, 1)
    python = make_environment(out / "environment", project)
    progress("Preparing an environment", 1, 1)
    archives = download(
        python,
        project,
        out / "releases",
        lambda done: progress("Fetching releases", done, total),
    )
    marker = out / "history"
    wanted = "\n".join(archive.name for archive in archives)
    if not (root / ".git").exists() or not marker.exists() or marker.read_text() != wanted:
        lay_out(archives, root, lambda done: progress("Laying out the history", done, total))
        marker.write_text(wanted)
    progress("Laying out the history", total, total)
    return Config(
        root=root,
        repository=project.name,
        tests=project.tests,
        python=str(python),
        cache=str(out / "cache"),
        timeout=120.0,
    )


def _evidence(config: Config, progress: Progress) -> tuple[Bundle, Baseline]:
    """A bundle of the newest release whose coverage is one release old, as it is in real life."""
    repo = Repository.open(config.root)
    newest, older = repo.ancestors(repo.head(), 2)
    ensure_state(config)
    progress("Tracing the suite", 0, 2)
    now, baseline = trace_suite(repo, config, newest)
    progress("Tracing the suite", 1, 2)
    past, _ = trace_suite(repo, config, older)
    progress("Tracing the suite", 2, 2)
    lineage = {"commit": newest, "suite_seconds": round(baseline.suite_seconds, 3)}
    bundle = Bundle(with_older_coverage(repo, now, past), lineage=lineage)
    bundles.write(config.bundle_path, bundle)
    return bundle, baseline


def _undo(
    config: Config,
    commit: str,
    baseline: Baseline,
    workers: int,
    within: float,
    until: float,
    progress: Progress,
) -> Tally:
    """Take past changes back, hunk by hunk, and run the whole suite on each."""
    progress("Looking for changes that still apply", 0, 1)
    candidates = list(undo_candidates(Repository.open(config.root), commit, hunks=HUNKS))
    progress("Looking for changes that still apply", 1, 1)

    def told(_: Case | None, tally: Tally) -> None:
        done = tally.tried + tally.unfit + tally.known
        progress("Undoing past changes", done, len(candidates))

    return run_campaign(
        config.root,
        config,
        candidates,
        workers=workers,
        budget_seconds=min(within, max(LEAST_SECONDS, until - time.monotonic())),
        out=config.state / LAB,
        progress=told,
        commit=commit,
        baseline=baseline,
    )


def _summary(project: Project, cases: Sequence[Case], store: EvidenceStore) -> str:
    faulty = sum(case.faulty for case in cases)
    return (
        f"{len(project.versions)} source releases of {project.name}, {project.versions[0]} to "
        f"{project.versions[-1]}, became a git history. On the newest, {len(cases)} changes of "
        f"earlier releases were taken back one at a time and all {len(store.tests):,} test "
        f"functions were run on each: {faulty} of them break a test."
    )


def _coverage_notice(project: Project, store: EvidenceStore) -> str:
    unknown = int((~store.has_coverage).sum())
    return (
        f"Coverage was taken at the release before ({project.versions[-2]}), as coverage ages in "
        f"real life; {unknown:,} newer test functions have none."
    )


def _text(replayed: Replayed, page: Path, seconds: float) -> str:
    """What the terminal shows at the end."""
    report = replayed.report
    return "\n".join(
        (
            "",
            report.summary,
            "Percent of the faulty changes with a failing test within so much of the suite's time,",
            "and the time to the first failing test (mean and median share; seconds):",
            "",
            replayed.text(),
            "",
            *report.notices,
            "",
            f"Done in {seconds:,.0f} s. The report with charts: {page}",
            "In your own repository:",
            *(f"  {command}" for command in NEXT),
        )
    )
