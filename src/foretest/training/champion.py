"""Which model serves a repository: its own only where it beats the others on later changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from foretest import bundle as bundles
from foretest.changes.git import Repository
from foretest.config import Config
from foretest.durable import lock
from foretest.engine import freshness, read_bundle
from foretest.errors import NoTrainer
from foretest.evidence.store import EvidenceStore
from foretest.features.timesplit import Fractions, split_in_time
from foretest.lab.campaign import read_kept
from foretest.learning import CASES, LAB, SPENT
from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.models.pretrained import load
from foretest.replay.cases import trials_of
from foretest.replay.compare import Comparison, compare_verdicts, holm
from foretest.replay.judge import ALL, Setting, Trial, judge
from foretest.replay.strategies import OURS, by_model, ours
from foretest.training.calibrate import faulty, spent_of
from foretest.training.crossfit import fit_calibrated
from foretest.training.examples import Example, examples_of
from foretest.training.fit import Recipe

OWN, PRETRAINED, FORMULA = "own ranker", "pre-trained ranker", "formula"
PARTS = Fractions(0.3, 0.1, 0.6, 0.0)
"""Of the faulty commits, in time: to fit on, to choose on; the promise is for the rest."""
FEWEST = 20
"""Faulty commits to fit on, below which no model of the repository's own is tried."""
FEWEST_TO_CHOOSE = 8
"""Faulty commits to choose on: below, no difference could be told from chance."""
OWN_RECIPE = Recipe(least=15)
"""One repository has few failing rows: a leaf may hold fewer of them."""
ALPHA = 0.05
LINEAGE = "model"

Progress = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Crowned:
    """The model that serves, and how the choice came about."""

    model: Model
    name: str
    fitted: int = 0
    """Faulty commits that a model of the repository's own was fitted on; 0 = none was."""
    compared: Mapping[tuple[str, str], Comparison] = field(default_factory=dict)
    """Each challenger against each model that it has to beat."""
    notice: str = ""

    def sentence(self) -> str:
        """What serves and why; empty where there was nothing to choose from."""
        if not self.compared:
            return self.notice
        told = "; ".join(
            f"{ours} {c.first.ours:.1%} against {theirs} {c.first.theirs:.1%} of suite time to the "
            f"first failure (p {c.first.p:.2f})"
            for (ours, theirs), c in self.compared.items()
        )
        cases = next(iter(self.compared.values())).cases
        return f"Model: {self.name}. On {cases:,} later faulty changes: {told}."


def crown(config: Config, *, progress: Progress = lambda *_: None) -> Crowned:
    """Choose the bundle's model on the changes tried at its commit, and keep it there.

    Commits are split in time: the oldest part fits a ranker of the repository's own, the next
    chooses (`choose`), by the time to the first failure, paired by commit. Raises NoBundle and
    BadBundle.
    """
    with lock(config.state / "learn.lock"):
        bundle = read_bundle(config)
        repo = Repository.open(config.root)
        commit = bundle.store.commit
        cases = read_kept(config.state / LAB / CASES).cases
        trials = faulty(trials_of(cases, commit), bundle.store)
        setting = Setting(freshness=freshness(repo, bundle.store, commit), draws=1)
        split = split_in_time(
            trials, time=lambda t: t.time, group=lambda t: t.commit, fractions=PARTS
        )
        crowned = choose(bundle.model, split.fit, split.choose, bundle.store, setting, progress)
        used = [t.commit for t in (*split.fit, *split.choose)] if crowned.compared else []
        # Once spent, always spent: the model that serves came out of all the choices before, too.
        spent = sorted(spent_of(bundle).union(used))
        lineage = {**bundle.lineage, LINEAGE: crowned.name, SPENT: spent}
        bundles.write(
            config.bundle_path, replace(bundle, model=crowned.model, lineage=lineage, digest="")
        )
    return crowned


def choose(
    champion: Model,
    fit: Sequence[Trial],
    later: Sequence[Trial],
    store: EvidenceStore,
    setting: Setting,
    progress: Progress = lambda *_: None,
) -> Crowned:
    """The best model by later changes; the champion where too few of them are known.

    The formula serves unless a challenger beats it: the pre-trained ranker has to beat the formula,
    a ranker of the repository's own both of them. One of its own that served before is not asked
    again: the new one is fitted on all that it knew.
    """
    name = name_of(champion)
    if commits(later) < FEWEST_TO_CHOOSE:
        return Crowned(champion, name)
    progress("Fitting a model of its own", 0, 1)
    models, notice = contestants(fit, store, setting)
    progress("Fitting a model of its own", 1, 1)
    # History, too, as of each later change: what came before it is known to all of them.
    strategies = {OURS: ours, **{other: by_model(model) for other, model in models.items()}}
    known = replace(setting, model=Formula(), strategies=strategies)
    dated = [replace(trial, repository=store.repository) for trial in (*fit, *later)]
    of_later = {trial.case_id for trial in later}
    verdicts = [v for v in judge(dated, store, known).verdicts if v.case_id in of_later]
    names = list(models)
    compared = {
        (other, rival): compare_verdicts(verdicts, other, rival, ALL)
        for place, other in enumerate(names)
        for rival in names[:place]
    }
    best = winner(compared)
    fitted = commits(fit) if OWN in models else 0
    return Crowned(models[best], best, fitted, compared, notice)


def contestants(
    fit: Sequence[Trial], store: EvidenceStore, setting: Setting
) -> tuple[dict[str, Model], str]:
    """The models that may serve, each of which must beat all before it; and why one is missing."""
    models: dict[str, Model] = {FORMULA: Formula()}
    if (pretrained := load()) is not None:
        models[PRETRAINED] = pretrained
    if commits(fit) < FEWEST:
        return models, ""
    try:
        return {**models, OWN: own_ranker(fit, store, setting)}, ""
    except NoTrainer as error:
        return models, f"No model of its own was fitted: {error}"


def winner(compared: Mapping[tuple[str, str], Comparison]) -> str:
    """The last challenger that beats all its rivals; the formula where none does.

    To beat all of several rivals each comparison has to hold, so that the largest p counts (an
    intersection-union test); over the challengers these are corrected by Holm.
    """
    challengers = list(dict.fromkeys(ours for ours, _ in compared))
    worst = [
        max(
            1.0 if not is_less(c) else c.first.p
            for (ours, _), c in compared.items()
            if ours == name
        )
        for name in challengers
    ]
    won = [name for name, p in zip(challengers, holm(worst), strict=True) if p <= ALPHA]
    return won[-1] if won else FORMULA


def is_less(comparison: Comparison) -> bool:
    """Whether the challenger's time to the first failure is the shorter one."""
    return comparison.first.ours < comparison.first.theirs


def name_of(model: Model) -> str:
    if isinstance(model, Formula):
        return FORMULA
    return PRETRAINED if model == load() else f"{OWN} of before"


def own_ranker(trials: Sequence[Trial], store: EvidenceStore, setting: Setting) -> Model:
    """A ranker fitted on a repository's own changes, calibrated on commits left out."""
    by_commit: dict[str, list[Example]] = {}
    for example in examples_of(trials, store, setting, store.repository):
        by_commit.setdefault(example.commit, []).append(example)
    lineage = {"commit": store.commit, "changes": len(trials), "commits": len(by_commit)}
    return fit_calibrated(by_commit, OWN_RECIPE, lineage=lineage)


def commits(trials: Sequence[Trial]) -> int:
    return len({trial.commit for trial in trials})
