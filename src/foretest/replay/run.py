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
from foretest.lab.campaign import read_cases
from foretest.learning import CASES, LAB
from foretest.replay.account import account
from foretest.replay.cases import trials_of
from foretest.replay.judge import ALL, Judgement, Setting, Trial, judge
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
        """The table for a terminal: all faulty changes, or every slice of them."""
        wanted = [line for line in self.lines if slices or line.slice == ALL]
        return as_text(wanted, intervals)


def run_replay(
    config: Config, *, page: Path | None = None, progress: Progress = lambda *_: None
) -> Replayed:
    """Judge every strategy on the changes that `foretest learn` has tried.

    With `page`, the HTML report is written there. Raises NoBundle, and NothingToReplay where no
    tried change broke a test.
    """
    bundle = read_bundle(config)
    repo = Repository.open(config.root)
    cases = read_cases(config.state / LAB / CASES)
    replayed = replay(
        list(trials_of(cases)),
        bundle,
        rules=Rules.of(config),
        fresh=freshness(repo, bundle.store, bundle.store.commit),
        title="Replay of past changes",
        repository=config.repository or bundle.store.repository,
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
    if not judgement.judged:
        raise NothingToReplay(
            f"Of {len(trials):,} changes tried, none broke a test: there is nothing to judge by.",
            "Run 'foretest learn --undo 100 --within 10m' to try more past changes.",
        )
    lines = tabulate(judgement.verdicts, OURS)
    report = account(
        judgement,
        lines,
        title=title,
        repository=repository,
        summary=summary,
        notices=(NO_REAL_FAILURES, *notices),
        commands=commands,
    )
    return Replayed(judgement, lines, report)


NO_REAL_FAILURES = (
    "Failures of undone changes were never met by anyone: the rule that what failed recently "
    "always runs is at rest here, and nothing is explored at random."
)


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
