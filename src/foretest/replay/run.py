"""Replays what a repository's lab has tried: cases and bundle in, judgement and report out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from foretest.bundle import Bundle
from foretest.changes.git import Repository
from foretest.config import Config
from foretest.engine import freshness, read_bundle
from foretest.errors import NothingToReplay
from foretest.lab.campaign import read_kept
from foretest.learning import CASES, LAB
from foretest.replay.account import account
from foretest.replay.cases import trials_of
from foretest.replay.judge import ALL, ELSEWHERE, FAULTS, Judgement, Setting, Trial, judge
from foretest.replay.strategies import OURS
from foretest.replay.table import Line, as_text, tabulate
from foretest.report.contents import ReplayReport
from foretest.selection.policy import Freshness, Rules

Progress = Callable[[str, int, int], None]
"""Called with a stage, what is done and the whole."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The judge's answer in the three forms that people want."""

    judgement: Judgement
    lines: tuple[Line, ...]
    report: ReplayReport

    def text(self, slices: bool = False, intervals: bool = False) -> str:
        """The table for a terminal: all faulty changes, or every slice.

        Where no past change is faulty, the slices that stand beside are all there is.
        """
        slices = slices or not self.judgement.judged
        wanted = [line for line in self.lines if slices or line.slice == ALL]
        return as_text(wanted, intervals)


def run_replay(
    config: Config, *, page: Path | None = None, progress: Progress = lambda *_: None
) -> Replayed:
    """Judge every strategy on the changes that `foretest learn` has tried.

    Past changes tried at the bundle's commit make the headline; others have slices of their own.
    With `page`, the HTML report is written there. Raises NoBundle, and NothingToReplay where no
    tried change broke a test.
    """
    bundle = read_bundle(config)
    repo = Repository.open(config.root)
    kept = read_kept(config.state / LAB / CASES)
    commit = bundle.store.commit
    replayed = replay(
        list(trials_of(kept.cases, commit)),
        bundle,
        rules=Rules.of(config),
        fresh=freshness(repo, bundle.store, commit),
        title="Replay of past changes",
        repository=config.repository or bundle.store.repository,
        notices=(*kept.notices(), *_flattering(bundle, commit)),
        commands=("foretest replay", "foretest learn --undo 100 --within 10m"),
        progress=progress,
    )
    if page is not None:
        from foretest.report.page import write_page  # charts are heavy: only who wants them pays

        write_page(replayed.report, page)
    return replayed


def replay(
    trials: Sequence[Trial],
    bundle: Bundle,
    *,
    rules: Rules,
    fresh: Freshness,
    title: str,
    repository: str,
    summary: str = "",
    notices: Sequence[str] = (),
    commands: Sequence[str] = (),
    progress: Progress = lambda *_: None,
) -> Replayed:
    """Judge the trials with a bundle's evidence and model. Raises NothingToReplay."""
    setting = Setting(
        model=bundle.model,
        rules=as_judged(rules),
        freshness=fresh,
        start_up=_start_up(bundle),
    )
    done = iter(range(1, len(trials) + 1))
    judgement = judge(
        trials,
        bundle.store,
        setting,
        lambda: progress("Judging", next(done), len(trials)),
    )
    if not judgement.verdicts:
        raise NothingToReplay(
            f"Of {len(trials):,} changes tried, none broke a test that can be judged here: "
            "there is nothing to judge by.",
            "Run 'foretest learn --undo 100 --within 10m' to try more past changes.",
        )
    lines = tabulate(judgement.verdicts, OURS)
    report = account(
        judgement,
        lines,
        title=title,
        repository=repository,
        summary=summary,
        notices=(*_beside(trials, judgement), NO_REAL_FAILURES, NOT_AS_OF_THEN, *notices),
        commands=commands,
    )
    return Replayed(judgement, lines, report)


NO_REAL_FAILURES = (
    "Failures of undone changes were never met by anyone: the rule that what failed recently "
    "always runs is at rest here, and nothing is explored at random."
)


NOT_AS_OF_THEN = (
    "A change that is taken back carries no tests: the rule that changed tests always run is at "
    "rest. Which files changed together is counted over the whole history, these changes included."
)


def _flattering(bundle: Bundle, commit: str) -> tuple[str, ...]:
    """What makes these figures better than everyday ones, where the coverage is that of today."""
    if any(each != commit for each in bundle.store.coverage_commits):
        return ()
    return (
        "Coverage is of the very commit that was tried (age 0): everyday coverage is older, and "
        "these figures are the best that can be hoped for.",
    )


def _beside(trials: Sequence[Trial], judgement: Judgement) -> tuple[str, ...]:
    """A sentence for each kind that is judged in a slice of its own."""
    told = []
    for kind in (FAULTS, ELSEWHERE):
        tried = sum(trial.beside == kind for trial in trials)
        judged = sum((v.slice, v.strategy) == (kind, OURS) for v in judgement.verdicts)
        if tried:
            told.append(
                f"{kind}: {tried:,} tried, {judged:,} judged in a slice of their own alone."
            )
    return tuple(each[0].upper() + each[1:] for each in told)


def as_judged(rules: Rules) -> Rules:
    """The user's rules, less what has no meaning here (see NO_REAL_FAILURES)."""
    return Rules(
        must_run=rules.must_run,
        never_widen=rules.never_widen,
        recent_days=-1.0,
        max_coverage_age=rules.max_coverage_age,
        explore=0.0,
    )


def _start_up(bundle: Bundle) -> float:
    """Seconds of a run that no test accounts for, where the bundle knows them."""
    suite = bundle.lineage.get("suite_seconds")
    known = bundle.store.seconds[bundle.store.seconds == bundle.store.seconds]
    return max(0.0, float(suite) - float(known.sum())) if suite is not None else 0.0
