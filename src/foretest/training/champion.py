"""Which model serves a repository: its own only where it beats the others on later changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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
from foretest.replay.compare import Comparison, compare_verdicts
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
    compared: Mapping[str, Comparison] | None = None
    """Each challenger against the one that served by default."""
    notice: str = ""

    def sentence(self) -> str:
        """What serves and why; empty where there was nothing to choose from."""
        if not self.compared:
            return self.notice
        told = "; ".join(
            f"{name} {c.first.ours:.1%} against {c.first.theirs:.1%} of suite time to the first "
            f"failure (p {c.first.p:.2f})"
            for name, c in self.compared.items()
        )
        cases = next(iter(self.compared.values())).cases
        return f"Model: {self.name}. On {cases:,} later faulty changes: {told}."


def crown(config: Config, *, progress: Progress = lambda *_: None) -> Crowned:
    """Choose the bundle's model on the changes tried at its commit, and keep it there.

    Commits are split in time: the oldest part fits a ranker of the repository's own, the next
    chooses. The default stays unless a challenger needs significantly less time to the first
    failure there (paired, by commit). Raises NoBundle, BadBundle.
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
    """The best model by later changes; the champion where too few are known, or none is better."""
    name = name_of(champion)
    if commits(later) < FEWEST_TO_CHOOSE:
        return Crowned(champion, name)
    progress("Fitting a model of its own", 0, 1)
    challengers, notice = challengers_of(name, fit, store, setting)
    progress("Fitting a model of its own", 1, 1)
    strategies = {OURS: ours, **{other: by_model(model) for other, model in challengers.items()}}
    # History, too, as of each later change: what came before it is known to all of them.
    known = replace(setting, model=champion, strategies=strategies)
    dated = [replace(trial, repository=store.repository) for trial in (*fit, *later)]
    of_later = {trial.case_id for trial in later}
    verdicts = [v for v in judge(dated, store, known).verdicts if v.case_id in of_later]
    compared = {other: compare_verdicts(verdicts, other, OURS, ALL) for other in challengers}
    better = {other: c.first.ours for other, c in compared.items() if beats(c)}
    best = min(better, key=better.__getitem__, default=name)
    fitted = commits(fit) if OWN in challengers else 0
    return Crowned(challengers.get(best, champion), best, fitted, compared, notice)


def challengers_of(
    champion: str, fit: Sequence[Trial], store: EvidenceStore, setting: Setting
) -> tuple[dict[str, Model], str]:
    """The other models that could serve, and why one of its own is not among them, if it failed."""
    known = {PRETRAINED: load(), FORMULA: Formula()}
    challengers = {name: m for name, m in known.items() if m is not None and name != champion}
    if commits(fit) < FEWEST:
        return challengers, ""
    try:
        return {**challengers, OWN: own_ranker(fit, store, setting)}, ""
    except NoTrainer as error:
        return challengers, f"No model of its own was fitted: {error}"


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


def beats(comparison: Comparison) -> bool:
    """Whether the challenger needs significantly less time to the first failure."""
    first = comparison.first
    return first.p <= ALPHA and first.ours < first.theirs


def commits(trials: Sequence[Trial]) -> int:
    return len({trial.commit for trial in trials})
