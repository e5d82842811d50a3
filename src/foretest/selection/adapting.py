"""A budget that follows the change's risk: an average over changes instead of a share of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from foretest.evidence.store import EvidenceStore
from foretest.features.build import build
from foretest.features.query import Query
from foretest.models.contract import predict
from foretest.models.formula import Formula
from foretest.models.risk import INPUTS, Floats, Risk, Size, describe
from foretest.records import Budget


def risk_row(
    query: Query,
    size: Size,
    store: EvidenceStore,
    now: float,
    *,
    ages: Sequence[float] | None = None,
    stale_after: float = np.inf,
) -> Floats:
    """What the risk model reads of a change: one way for learning from it and for judging it.

    The scores are the formula's, whatever model ranks: risk is learnt once for all of them.
    """
    formula = Formula()
    wanted = INPUTS.union(formula.inputs)
    frame = build(query, store, now, ages=ages, stale_after=stale_after, only=wanted)
    return describe(query, size, frame, predict(formula, frame))


def adapted(budget: Budget, risk: Risk, row: Floats) -> tuple[Budget, str]:
    """The budget of this change and a sentence about it; a budget of no limit stays as it is."""
    if (budget.share is None or budget.share >= 1.0) and budget.seconds is None:
        return budget, ""
    likely = risk.probability(row)
    factor = risk.scale.factor(likely)
    above = risk.above(likely)
    learnt = f"This change is riskier than {above:.0%} of those learnt from"
    if budget.share is not None:
        share = min(1.0, budget.share * factor)
        told = f"{learnt}: the budget is {share:.1%} of suite time instead of {budget.share:.1%}."
        return replace(budget, share=share), told
    seconds = (budget.seconds or 0.0) * factor
    told = f"{learnt}: the budget is {seconds:.1f} s instead of {budget.seconds:.1f} s."
    return replace(budget, seconds=seconds), told
