"""The one training: facts in, a candidate out that the gate can examine without having seen it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from foretest.bundle import Bundle
from foretest.errors import BadBundle, BadModel, NothingToReplay
from foretest.evidence.store import empty
from foretest.models.formula import Formula
from foretest.models.ranker import Ranker
from foretest.models.registry import read_model
from foretest.platform.corpus.facts import FRESH, LAGGED, lessons_of
from foretest.platform.corpus.recipes import read_recipes
from foretest.platform.gate.exam import Candidate
from foretest.platform.gate.promise import calibrated as with_promise
from foretest.platform.tracking.lineage import Lineage
from foretest.replay.judge import Trial
from foretest.selection.promise import Calibration
from foretest.training.continuing import MORE, continued, curves
from foretest.training.crossfit import ByRepository, calibrated, fit_calibrated
from foretest.training.examples import Example
from foretest.training.fit import Recipe
from foretest.training.pool import Pool, Taught, pool

PROMISE, STAND_INS, UNTIL = "pooled", "stand-ins", "until"
"""Under which a bundle holds the pooled calibration (thresholds), and its lineage the rest."""
STAND_INS_MOST = 5
"""Parts into which repositories are cut, each with a stand-in fitted on the others."""
HELD = 4
"""One in so many repositories is held out for the curve of losses."""
Progress = Callable[..., None]


@dataclass(frozen=True)
class Trained:
    """What a training brought."""

    candidate: Candidate
    pool: Pool
    curves: Mapping[str, Sequence[float]]
    """Loss by round, on what is fitted and what is held out; empty with one repository."""

    @property
    def example(self) -> Example:
        """One change as the model sees it: for the signature."""
        return next(iter(next(iter(self.pool.real.values()))))


def train(
    taught: Iterable[Taught],
    recipe: Recipe | None = None,
    *,
    start: Candidate | None = None,
    origin: Lineage | None = None,
    augment: bool = True,
    stand_ins: bool = True,
    progress: Progress = lambda *_: None,
) -> Trained:
    """Fit a ranker, and for each repository a stand-in of the same recipe that never saw it.

    A stand-in leaves out a fifth of the repositories, and stands in for each of these.

    `taught` holds all kinds of evidence of each repository. With a `start`, its trees are gone on
    from, and its stand-ins' trees likewise. Without `stand_ins` only the gate on later changes can
    examine what comes. Raises NothingToReplay without a faulty change, BadModel, NoTrainer.
    """
    recipe = recipe or Recipe(rounds=MORE if start else Recipe().rounds)
    if start is not None:
        going_on(start, recipe)
    progress("Reading facts", 0, 1)
    made = pool(taught, augment=augment, seed=recipe.seed)
    progress("Reading facts", 1, 1)
    if not made.real:
        raise NothingToReplay(
            "The facts hold no change that broke a test.", "Mine some: foretest platform corpus."
        )
    names = sorted(made.real)
    before = start.model if start else None
    known = sorted(fitted_by(before)) if before else []
    lineage = lineage_of(made, recipe, origin, before)
    progress("Fitting", 0, 1)
    model = _fitted(made.real, made.extra, recipe, start, lineage)
    others: dict[str, Any] = {}
    parts = _parts(start, names) if stand_ins else []
    for place, (part, begin) in enumerate(parts):
        progress("Fitting", 1 + place, 1 + len(parts), f"without {', '.join(part)}")
        real, extra = (_without(each, part) for each in (made.real, made.extra))
        others |= dict.fromkeys(part, _fitted(real, extra, recipe, begin, {}))
    progress("Fitting", 1, 1)
    # What a start was fitted on without a stand-in of its own can judge nothing any more.
    candidate = Candidate(model, stand_ins=others, fitted_on=frozenset({*names, *known}))
    return Trained(candidate, made, _curves(made, recipe, start))


def going_on(start: Candidate, recipe: Recipe) -> Ranker:
    """The ranker that a warm start goes on from. Raises BadModel where it cannot be."""
    if not isinstance(start.model, Ranker):
        raise BadModel("Only a ranker can be gone on from.", "Train a fresh one.")
    if start.model.trees.features != recipe.inputs:
        raise BadModel("The ranker reads other features than the recipe.", "Train a fresh one.")
    return start.model


def promising(candidate: Candidate, taught: Iterable[Taught], data: str) -> Candidate:
    """The candidate with its promise, calibrated on each repository by what never saw it."""
    return with_promise(candidate, tuple(taught), data=data)


def lessons(
    facts: Path, names: Sequence[str], keep: Callable[[str, Trial], bool] = lambda *_: True
) -> list[Taught]:
    """Both kinds of evidence of each repository, with the trials that are to be known."""
    return [
        taught
        for name in names
        for kind in (FRESH, LAGGED)
        for taught in _kept(lessons_of(facts, [name], kind), keep)
    ]


def everyday(
    facts: Path, names: Sequence[str], keep: Callable[[str, Trial], bool] = lambda *_: True
) -> list[Taught]:
    """Each repository once, as everyday use meets it: lagged coverage, else fresh."""
    found: list[Taught] = []
    for name in names:
        one = [*_kept(lessons_of(facts, [name], LAGGED), keep)]
        found.extend(one or _kept(lessons_of(facts, [name], FRESH), keep))
    return found


def _kept(taught: Iterable[Taught], keep: Callable[[str, Trial], bool]) -> Iterable[Taught]:
    for lesson, age in taught:
        trials = tuple(trial for trial in lesson.trials if keep(lesson.repository, trial))
        if trials:
            yield replace(lesson, trials=trials, _rows={}), age


def lineage_of(
    made: Pool, recipe: Recipe, origin: Lineage | None, before: object = None
) -> dict[str, Any]:
    """What a model says of its own making: repositories, counts, versions, and until when."""
    recipes = {each.name: each for each in read_recipes()}
    until = {
        name: max((t.time for lesson, _ in part for t in lesson.trials if t.time == t.time))
        for name, part in made.taught.items()
    }
    told: dict[str, Any] = {
        "repositories": [
            {
                "name": name,
                "url": recipes[name].url if name in recipes else "",
                "commit": made.taught[name][0][0].store.commit,
                "licence": recipes[name].licence if name in recipes else "unknown",
                "changes": len({e.case_id for e in part}),
            }
            for name, part in sorted(made.real.items())
        ],
        "examples": made.examples,
        "augmented": made.augmented,
        "recipe": {**asdict(recipe), "inputs": list(recipe.inputs)},
        UNTIL: until,
    }
    if origin is not None:
        told |= {"data": origin.data_version, "code": origin.code_version}
    if isinstance(before, Ranker):
        earlier = {each["name"]: each for each in before.lineage.get("repositories", [])}
        now = {each["name"]: each for each in told["repositories"]}
        told["repositories"] = [{**earlier, **now}[name] for name in sorted({**earlier, **now})]
        told[UNTIL] = {**before.lineage.get(UNTIL, {}), **until}
        told["warm start"] = {"trees": len(before.trees.trees), "data": before.lineage.get("data")}
    return told


def fitted_by(model: object) -> frozenset[str]:
    """The repositories that a model says it was fitted on."""
    lineage = getattr(model, "lineage", {})
    return frozenset(str(each["name"]) for each in lineage.get("repositories", []))


def bundle_of(candidate: Candidate) -> Bundle:
    """One file for all that a candidate is; it holds evidence of no repository."""
    thresholds = {PROMISE: candidate.promise.to_json()} if candidate.promise else {}
    lineage = {
        "what": "a model for any repository: it holds no evidence",
        "fitted on": sorted(candidate.fitted_on),
        STAND_INS: {name: model.to_json() for name, model in candidate.stand_ins.items()},
    }
    return Bundle(replace(empty(""), created_at=0.0), candidate.model, thresholds, lineage)


def candidate_of(bundle: Bundle) -> Candidate:
    """Undo `bundle_of`; any other bundle's model comes without stand-ins. Raises BadBundle."""
    try:
        made = bundle.thresholds.get(PROMISE)
        return Candidate(
            bundle.model,
            stand_ins={n: read_model(m) for n, m in bundle.lineage.get(STAND_INS, {}).items()},
            fitted_on=frozenset(bundle.lineage.get("fitted on", fitted_by(bundle.model))),
            promise=Calibration.from_json(made) if made else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadBundle(
            f"The bundle is not one of a trained model ({type(error).__name__}: {error}).",
            "Name one that 'foretest platform train' wrote.",
        ) from error


def _fitted(
    real: ByRepository,
    extra: ByRepository,
    recipe: Recipe,
    start: Candidate | None,
    lineage: Mapping[str, Any],
) -> Ranker:
    if start is None:
        return fit_calibrated(real, recipe, Formula(), extra, lineage)
    ranker = going_on(start, recipe)
    parts = _parts(start, sorted(real))
    # Where most cannot be held out, what was known of the scores' meaning says more.
    enough = 2 * sum(len(part) for part, _ in parts) >= len(real)
    folds = [(part, _further(going_on(begin, recipe), recipe)) for part, begin in parts if begin]
    made = calibrated(real, _further(ranker, recipe), extra, folds if enough else ())
    return replace(made, lineage=dict(lineage), calibration=made.calibration or ranker.calibration)


def _further(ranker: Ranker, recipe: Recipe) -> Callable[[Sequence[Example]], Ranker]:
    return lambda part: continued(ranker, part, recipe)


def _curves(made: Pool, recipe: Recipe, start: Candidate | None) -> dict[str, list[float]]:
    names = sorted(made.real)
    parts = [(names[::HELD], None)] if start is None else _parts(start, names)
    if len(names) < 2 or not parts or recipe.objective != "binary":
        return {}
    held, begin = parts[0]
    fitted = [e for n in names if n not in held for e in (*made.real[n], *made.extra[n])]
    other = [e for n in held for e in made.real[n]]
    return curves(fitted, other, recipe, Formula(), going_on(begin, recipe) if begin else None)


def _parts(
    start: Candidate | None, names: Sequence[str]
) -> list[tuple[list[str], Candidate | None]]:
    """Repositories that are held out together, and what is gone on from without them.

    That never saw any of them: the stand-in that they share, or for new ones the start itself.
    What the start was fitted on without a stand-in is in no part.
    """
    saw = start.fitted_on if start else frozenset()
    new = [name for name in names if name not in saw]
    found = [(new[number::STAND_INS_MOST], start) for number in range(STAND_INS_MOST)]
    for name in names:
        if start is None or name in new or name not in start.stand_ins:
            continue
        model = start.stand_ins[name]
        shared = (p for p, b in found if b is not None and b is not start and b.model == model)
        if (part := next(shared, None)) is None:
            # Of the others it says no more than that they may have been seen.
            found.append((part := [], Candidate(model, fitted_on=start.fitted_on)))
        part.append(name)
    return [(part, begin) for part, begin in found if part and len(part) < len(names)]


def _without(part: ByRepository, names: Sequence[str]) -> dict[str, Sequence[Example]]:
    return {other: examples for other, examples in part.items() if other not in names}
