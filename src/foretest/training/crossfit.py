"""Fits across repositories: a model is judged and calibrated on those that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from foretest.features.frame import FeatureFrame
from foretest.models.contract import Model
from foretest.models.ranker import Calibration, Ranker
from foretest.training.examples import Example
from foretest.training.fit import Recipe, fit

Floats = NDArray[np.float64]
ByRepository = Mapping[str, Sequence[Example]]

FOLDS = 4
"""Parts into which repositories are cut to calibrate: each is scored by a model of the others."""
KNOTS = 12
"""Points of the calibration at most: few enough that no single change bends it."""
PASSED = 1e-4
"""What a passing test counts beside a failing one when knots are placed."""
APART, LEAST, MOST = 1e-6, 1e-7, 0.999


class Scorer(Protocol):
    """A dataclass whose field `calibration` makes probabilities of what `raw` scores."""

    @property
    def calibration(self) -> Calibration | None: ...

    def raw(self, frame: FeatureFrame) -> Floats: ...


Fitted = TypeVar("Fitted", bound=Scorer)
Fitter = Callable[[Sequence[Example]], Fitted]


def fit_calibrated(
    examples: ByRepository,
    recipe: Recipe | None = None,
    base: Model | None = None,
    extra: ByRepository | None = None,
    lineage: Mapping[str, Any] | None = None,
) -> Ranker:
    """A ranker fitted on all repositories, and calibrated on scores of repositories left out.

    Arguments as of `fit` and `calibrated`. Raises as `fit`.
    """
    return calibrated(examples, lambda part: fit(part, recipe, base, lineage), extra)


def calibrated(
    examples: ByRepository,
    fitter: Fitter[Fitted],
    extra: ByRepository | None = None,
    folds: Iterable[tuple[Sequence[str], Fitter[Fitted]]] | None = None,
) -> Fitted:
    """What `fitter` makes of all repositories, calibrated on scores of repositories left out.

    `extra` are augmented examples: they are fitted on, never calibrated on. `folds` are
    repositories that are left out together, each with what then fits the others (None: a quarter
    each, by `fitter`). Where nothing can be left out the raw score stays as it is.
    """
    names = sorted(examples)
    extra = extra or {}
    whole = fitter(_pooled(examples, extra, names))
    if folds is None:
        parts = min(FOLDS, len(names)) if len(names) > 1 else 0
        folds = [(names[number::FOLDS], fitter) for number in range(parts)]
    scored: list[tuple[Floats, Floats, Floats]] = []
    for held, fit_others in folds:
        others = [name for name in names if name not in held]
        model = fit_others(_pooled(examples, extra, others))
        scored.extend(
            (model.raw(example.frame), example.failed.astype(np.float64), example.stands_for)
            for name in held
            for example in examples[name]
        )
    if not scored:
        return whole
    raw, failed, weights = (np.concatenate(column) for column in zip(*scored, strict=True))
    made: Fitted = replace(whole, calibration=calibration_of(raw, failed, weights))  # type: ignore[type-var]
    return made


def left_out(
    examples: ByRepository,
    recipe: Recipe | None = None,
    base: Model | None = None,
    extra: ByRepository | None = None,
) -> dict[str, Ranker]:
    """For each repository a ranker that saw nothing of it, in fitting or in calibrating."""
    return {
        name: fit_calibrated(
            {other: part for other, part in examples.items() if other != name},
            recipe,
            base,
            {other: part for other, part in (extra or {}).items() if other != name},
        )
        for name in sorted(examples)
    }


def calibration_of(
    raw: Floats, failed: Floats, weights: Floats | None = None
) -> Calibration | None:
    """The map from raw scores to P(test fails | the change breaks something); None if it is flat.

    Isotonic regression (Zadrozny & Elkan 2002), thinned to a few knots with equally many failures
    between them, and made strictly rising, so that calibrating changes no order. The arguments
    are float64[n]; `failed` holds 0 and 1; `weights` says how many tests each stands for (None: 1).
    """
    from scipy.optimize import isotonic_regression

    values, of = np.unique(raw, return_inverse=True)
    counted = np.ones(len(raw)) if weights is None else weights
    tests = np.bincount(of, weights=counted)
    fails = np.bincount(of, weights=failed * counted)
    level = np.asarray(isotonic_regression(fails / tests, weights=tests).x)
    # Most tests pass: knots that follow the failures lie where a difference is worth something.
    mass = np.cumsum(fails + PASSED * tests)
    part = np.minimum((mass / mass[-1] * KNOTS).astype(np.int64), KNOTS - 1)
    x: list[float] = []
    y: list[float] = []
    for number in np.unique(part):
        there, weights = part == number, tests[part == number]
        at = float(np.average(values[there], weights=weights))
        share = float(np.average(level[there], weights=weights))
        x.append(max(at, x[-1] + APART if x else at))
        y.append(max(share, y[-1] * (1 + APART) if y else LEAST))
    y = [min(value, MOST - APART * (len(y) - at)) for at, value in enumerate(y)]
    return Calibration(tuple(x), tuple(y)) if len(x) > 1 else None


def _pooled(examples: ByRepository, extra: ByRepository, names: Iterable[str]) -> list[Example]:
    return [e for name in names for e in (*examples[name], *extra.get(name, ()))]
