"""A small neural contender: one hidden layer over the linear one's columns, trained by torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.platform.ranking.inputs import Corrected, Floats, Inputs
from foretest.training.examples import Example
from foretest.training.fit import Recipe, rows_of

HIDDEN, BATCH, RATE, DECAY = 32, 1024, 3e-3, 1e-2
EPOCHS, STEPS = 20, 400
"""Passes over the rows, and steps at least where the rows are few."""


@dataclass(frozen=True, kw_only=True)
class Neural(Corrected):
    """log-odds = base's + out . relu(into @ columns + level) + bias; numpy alone to predict."""

    into: Floats
    level: Floats
    out: Floats
    bias: float

    name = "neural"

    def moved(self, columns: Floats) -> Floats:
        hidden = np.maximum(columns @ self.into.T + self.level, 0.0)
        moved: Floats = hidden @ self.out + self.bias
        return moved


def fit_neural(
    examples: Sequence[Example], recipe: Recipe | None = None, base: Model | None = None
) -> Neural:
    """Fit on the very rows that trees are fitted on; one thread, a fixed seed."""
    import torch

    recipe, base = recipe or Recipe(), base or Formula()
    rows = rows_of(examples, recipe, base)
    inputs = Inputs.of(rows.matrix, recipe.inputs, rows.weights)
    torch.set_num_threads(1)
    dice = torch.Generator().manual_seed(recipe.seed)
    x, start, labels, weights = (
        torch.as_tensor(part, dtype=torch.float32)
        for part in (
            inputs.columns(rows.matrix, rows.start),
            rows.start,
            rows.labels,
            rows.weights / rows.weights.mean(),
        )
    )
    into = (torch.randn(HIDDEN, x.shape[1], generator=dice) / x.shape[1] ** 0.5).requires_grad_()
    level = torch.zeros(HIDDEN, requires_grad=True)
    out = torch.zeros(HIDDEN, requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    steps = torch.optim.AdamW([into, level, out, bias], lr=RATE, weight_decay=DECAY)
    for _ in range(max(EPOCHS, STEPS * BATCH // len(x))):
        for part in torch.randperm(len(x), generator=dice).split(BATCH):
            moved = torch.relu(x[part] @ into.T + level) @ out + bias
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                start[part] + moved, labels[part], weights[part]
            )
            steps.zero_grad()
            loss.backward()
            steps.step()
    found = [part.detach().numpy().astype(np.float64) for part in (into, level, out)]
    return Neural(
        columns=inputs,
        into=found[0],
        level=found[1],
        out=found[2],
        bias=float(bias.detach()[0]),
        base=base,
    )
