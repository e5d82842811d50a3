"""The contenders of a comparison: kinds of model, and sets of feature families."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from foretest.errors import NothingToReplay
from foretest.features.catalogue import CATALOGUE, FEATURES
from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.platform.ranking.inputs import Blind
from foretest.platform.ranking.linear import fit_linear
from foretest.platform.ranking.neural import fit_neural
from foretest.training.crossfit import ByRepository, Scorer, calibrated
from foretest.training.examples import Example
from foretest.training.fit import SLIM, Recipe, fit

SHIPPED = "trees, binary"
"""The recipe as it ships: every other contender differs from it in one thing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to make a ranker of examples."""

    name: str
    recipe: Recipe
    fitter: Callable[[Sequence[Example], Recipe, Model], Scorer] = fit
    lost: frozenset[str] = frozenset()
    """Features that the formula, too, has to do without."""

    def fitted(self, examples: ByRepository, extra: ByRepository, base: Model) -> Model:
        """Fitted on these repositories, and calibrated on what it saw nothing of."""
        base = Blind(base, self.lost) if self.lost else base
        made = calibrated(examples, lambda part: self.fitter(part, self.recipe, base), extra)
        assert isinstance(made, Model)
        return made


def kinds() -> tuple[Contender, ...]:
    """Kinds of model on the same features."""
    return (
        Contender(SHIPPED, Recipe()),
        Contender("trees, lambdarank", Recipe(objective="lambdarank", start_from_base=False)),
        Contender("trees, 15 leaves", Recipe(leaves=15)),
        Contender("trees alone", Recipe(start_from_base=False, inputs=(*SLIM, "base"))),
        Contender("linear", Recipe(), fit_linear),
        Contender("small neural", Recipe(), fit_neural),
    )


def families() -> tuple[Contender, ...]:
    """Each family of features taken away (from the formula, too), alone beside it, and whole."""
    groups: dict[str, tuple[str, ...]] = {}
    for feature in CATALOGUE:
        groups[feature.family] = (*groups.get(feature.family, ()), feature.name)
    used = {name: tuple(n for n in names if n in SLIM) for name, names in groups.items()}
    used = {name: names for name, names in used.items() if names}
    return (
        Contender(SHIPPED, Recipe()),
        *(
            Contender(
                f"less {family}",
                Recipe(inputs=tuple(n for n in SLIM if n not in groups[family])),
                lost=frozenset(groups[family]),
            )
            for family in used
        ),
        *(Contender(f"{family} alone", Recipe(inputs=names)) for family, names in used.items()),
        *(
            Contender(f"with all of {family}", Recipe(inputs=(*SLIM, *more)))
            for family, names in groups.items()
            if (more := tuple(n for n in names if n not in SLIM))
        ),
        Contender("every feature", Recipe(inputs=tuple(FEATURES))),
    )


QUESTIONS: Mapping[str, Callable[[], tuple[Contender, ...]]] = {
    "kinds": kinds,
    "families": families,
}


def crossed(
    contender: Contender,
    real: ByRepository,
    extra: ByRepository,
    folds: int,
    base: Model | None = None,
) -> dict[str, Model]:
    """For each repository a model that saw nothing of it, in fitting or in calibrating.

    Repositories are dealt to `folds` parts in the order of their names; those of a part share one
    model, fitted on the other parts. Raises NothingToReplay for less than two.
    """
    names, base = sorted(real), base or Formula()
    if min(folds, len(names)) < 2:
        raise NothingToReplay(
            "Leaving repositories out takes two of them with faulty changes.",
            "Mine more: foretest platform corpus.",
        )
    models: dict[str, Model] = {}
    for number in range(min(folds, len(names))):
        held = names[number::folds]
        others = {name: part for name, part in real.items() if name not in held}
        more = {name: part for name, part in extra.items() if name not in held}
        model = contender.fitted(others, more, base)
        models.update(dict.fromkeys(held, model))
    return models
