"""A linear contender: logistic regression with a ridge, its signs held to the catalogue's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.models.ranker import as_probability
from foretest.platform.ranking.inputs import Corrected, Floats, Inputs
from foretest.training.examples import Example
from foretest.training.fit import Recipe, rows_of

RIDGE = 1e-3
"""Per unit of weight."""


@dataclass(frozen=True, kw_only=True)
class Linear(Corrected):
    """log-odds = base's + bias + weights . columns."""

    weights: Floats
    bias: float

    name = "linear"

    def moved(self, columns: Floats) -> Floats:
        moved: Floats = columns @ self.weights + self.bias
        return moved


def fit_linear(
    examples: Sequence[Example], recipe: Recipe | None = None, base: Model | None = None
) -> Linear:
    """Fit on the very rows that trees are fitted on; L-BFGS-B holds the signs."""
    from scipy.optimize import minimize

    recipe, base = recipe or Recipe(), base or Formula()
    rows = rows_of(examples, recipe, base)
    inputs = Inputs.of(rows.matrix, recipe.inputs, rows.weights)
    x = inputs.columns(rows.matrix, rows.start)
    mass = float(rows.weights.sum())

    def loss(theta: Floats) -> tuple[float, Floats]:
        raw = rows.start + x @ theta[:-1] + theta[-1]
        wrong = np.logaddexp(0.0, raw) - rows.labels * raw
        slope = rows.weights * (as_probability(raw) - rows.labels) / mass
        value = float(rows.weights @ wrong) / mass + RIDGE / 2 * float(theta[:-1] @ theta[:-1])
        return value, np.append(x.T @ slope + RIDGE * theta[:-1], slope.sum())

    limits = {1.0: (0.0, None), -1.0: (None, 0.0), 0.0: (None, None)}
    signs = inputs.signs if recipe.monotone else np.zeros(x.shape[1])
    bounds = [*(limits[float(sign)] for sign in signs), (None, None)]
    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    return Linear(columns=inputs, weights=found.x[:-1], bias=float(found.x[-1]), base=base)
