"""Re-training on newer changes: champion against challenger on the same, still later, window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from foretest.features.timesplit import Fractions, split_in_time
from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.models.ranker import Ranker
from foretest.platform.gate.exam import CHAMPION, FORMULA, Candidate
from foretest.platform.training.producing import told_curves
from foretest.platform.training.trained import UNTIL, Trained, everyday, lessons, train
from foretest.replay.compare import Comparison, compare_verdicts
from foretest.replay.judge import ALL, Setting, Trial, judge
from foretest.replay.strategies import OURS, by_model, ours
from foretest.replay.table import Verdict
from foretest.training.calibrate import faulty
from foretest.training.champion import winner
from foretest.training.fit import Recipe
from foretest.training.pool import Taught

if TYPE_CHECKING:
    from foretest.platform.tracking.lineage import Lineage
    from foretest.platform.tracking.runs import Run

WARM, FRESH = "warm start", "fresh fit"
PARTS = Fractions(0.5, 0.0, 0.0, 0.5)
"""Of each repository's newer commits, in time: to go on with, and to judge by."""
FEWEST = 8
"""Newer faulty commits, over all repositories, below which nothing is fitted."""
Progress = Callable[..., None]
Known = Mapping[str, frozenset[str]]
"""Cases by repository."""


@dataclass(frozen=True)
class Later:
    """The newer changes of each repository: what is fitted on, and the window that judges."""

    since: Mapping[str, float]
    """The last change that the champion knew, seconds since 1970; absent: it knew none."""
    fit: Known
    window: Known

    @property
    def size(self) -> int:
        return sum(map(len, (*self.fit.values(), *self.window.values())))


@dataclass(frozen=True)
class Retrained:
    """What a re-training came to."""

    sentence: str
    challenger: Trained | None = None
    """None where nothing newer was known."""
    window: tuple[Taught, ...] = ()
    compared: Mapping[tuple[str, str], Comparison] | None = None
    won: bool = False


def tell(run: Run, done: Retrained) -> None:
    """What a re-training came to, whoever won: a challenger that lost is known by its run alone."""
    run.tags({"outcome": done.sentence})
    for (challenger, rival), compared in (done.compared or {}).items():
        both = {challenger: compared.first.ours, rival: compared.first.theirs}
        run.metrics({f"window/{name} first failure": value for name, value in both.items()})
    if done.challenger is not None and not done.won:
        told_curves(run, done.challenger.curves)


def in_time(made: Trained) -> Trained:
    """The challenger as it is examined on the window: nothing in it was fitted on that."""
    return replace(made, candidate=replace(made.candidate, in_time=True))


def until_of(model: Model) -> dict[str, float]:
    """The last change of each repository that a model was fitted on, as its lineage tells."""
    told = getattr(model, "lineage", {}).get(UNTIL, {})
    return {str(name): float(last) for name, last in told.items()}


def later_than(since: Mapping[str, float], taught: Sequence[Taught]) -> Later:
    """Split what each repository's faulty changes after `since` are: all of a commit together."""
    fit: dict[str, frozenset[str]] = {}
    window: dict[str, frozenset[str]] = {}
    for lesson, _ in taught:
        name = lesson.repository
        newer = [
            trial
            for trial in faulty(lesson.trials, lesson.store)
            if trial.time > since.get(name, float("-inf"))
        ]
        if newer:
            split = split_in_time(
                newer, time=lambda t: t.time, group=lambda t: t.commit, fractions=PARTS
            )
            fit[name] = frozenset(t.case_id for t in split.fit)
            window[name] = frozenset(t.case_id for t in split.report)
    return Later(since, fit, window)


def retrain(
    facts: Path,
    names: Sequence[str],
    champion: Candidate,
    *,
    recipe: Recipe | None = None,
    origin: Lineage | None = None,
    warm: bool = True,
    progress: Progress = lambda *_: None,
) -> Retrained:
    """Fit a challenger on what came after the champion, and judge both on what came after that.

    The challenger goes on from the champion's trees (`warm`), or is fitted afresh on all changes up
    to the window. It wins where its first failure comes sooner than the champion's and the
    formula's, by the tests of `training.champion`. Raises as `train`.
    """
    seen = everyday(facts, names)
    later = later_than(until_of(champion.model), seen)
    commits = {
        (lesson.repository, trial.commit)
        for lesson, _ in seen
        for trial in lesson.trials
        if _among(later.fit, later.window)(lesson.repository, trial)
    }
    if len(commits) < FEWEST:
        return Retrained(
            f"Nothing to do: {len(commits)} faulty commits are newer than the champion's data, "
            f"{FEWEST} are needed."
        )
    begin = champion if warm and isinstance(champion.model, Ranker) else None
    made = train(
        lessons(facts, names, _among(later.fit) if begin else _before(later)),
        recipe,
        start=begin,
        origin=origin,
        progress=progress,
    )
    challenger = WARM if begin else FRESH
    models = {CHAMPION: champion.model, challenger: made.candidate.model}
    progress("Judging", 0, 1)
    verdicts = on_window(later.window, seen, models)
    progress("Judging", 1, 1)
    rivals = [CHAMPION] if isinstance(champion.model, Formula) else [FORMULA, CHAMPION]
    compared = {
        (challenger, rival): compare_verdicts(verdicts, challenger, rival, ALL) for rival in rivals
    }
    won = winner(compared) == challenger
    window = tuple(everyday(facts, names, _among(later.window)))
    return Retrained(_sentence(compared, won), made, window, compared, won)


def on_window(
    window: Known, taught: Sequence[Taught], models: Mapping[str, Model]
) -> list[Verdict]:
    """The replay's verdicts on the window alone; earlier changes are history to all models."""
    found: list[Verdict] = []
    for lesson, age in taught:
        wanted = window.get(lesson.repository, frozenset())
        if not wanted:
            continue
        strategies = {OURS: ours, **{name: by_model(model) for name, model in models.items()}}
        setting = Setting(freshness=age, strategies=strategies, draws=1)
        found.extend(
            replace(v, strategy=FORMULA) if v.strategy == OURS else v
            for v in judge(lesson.trials, lesson.store, setting).verdicts
            if v.case_id in wanted
        )
    return found


def _among(*known: Known) -> Callable[[str, Trial], bool]:
    return lambda name, trial: any(trial.case_id in part.get(name, ()) for part in known)


def _before(later: Later) -> Callable[[str, Trial], bool]:
    """Every change that is not of the window, nor later than its beginning."""
    return lambda name, trial: (
        trial.time <= later.since.get(name, float("-inf"))
        or trial.case_id in later.fit.get(name, ())
    )


def _sentence(compared: Mapping[tuple[str, str], Comparison], won: bool) -> str:
    told = "; ".join(
        f"{ours} {c.first.ours:.2%} against {theirs} {c.first.theirs:.2%} of suite time to the "
        f"first failure ({100 * c.first.difference.mean:+.2f} points "
        f"[{100 * c.first.difference.low:+.2f}, {100 * c.first.difference.high:+.2f}], "
        f"p {c.first.p:.3f})"
        for (ours, theirs), c in compared.items()
    )
    cases = next(iter(compared.values())).cases
    outcome = "The challenger wins" if won else "The champion stays"
    return f"{outcome}. On {cases:,} later faulty changes: {told}."
