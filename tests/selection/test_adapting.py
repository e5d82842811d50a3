"""A budget that follows the risk."""

import math

import numpy as np
import pytest

from foretest.models.risk import NAMES, Risk, Scale
from foretest.records import Budget
from foretest.selection.adapting import adapted

LEVELS = tuple(np.linspace(0.1, 0.9, 5).tolist())
RISK = Risk(("lines",), (2.0,), (1.0,), (1.0,), 0.0, LEVELS, Scale(1.0, 2.0, 0.25, 1.6))


def row(lines):
    return np.array([lines if name == "lines" else math.nan for name in NAMES])


def test_an_average_change_keeps_its_budget():
    budget, told = adapted(Budget(0.1), RISK, row(2.0))
    assert budget.share == pytest.approx(0.1)
    assert told == (
        "This change is riskier than 50% of those learnt from: the budget is 10.0% of suite time "
        "instead of 10.0%."
    )


def test_a_risky_change_takes_more_and_a_safe_one_less_within_bounds():
    assert adapted(Budget(0.1), RISK, row(99.0))[0].share == pytest.approx(0.16)
    assert adapted(Budget(0.1), RISK, row(-99.0))[0].share == pytest.approx(0.025)
    assert adapted(Budget(0.9), RISK, row(99.0))[0].share == 1.0


def test_seconds_are_scaled_alike():
    budget, told = adapted(Budget(seconds=60.0), RISK, row(99.0))
    assert budget == Budget(seconds=pytest.approx(96.0))
    assert told.endswith("the budget is 96.0 s instead of 60.0 s.")


@pytest.mark.parametrize("budget", [Budget(), Budget(1.0)])
def test_where_nothing_limits_the_run_nothing_is_adapted(budget):
    assert adapted(budget, RISK, row(-99.0)) == (budget, "")


def test_a_budget_of_nothing_stays_nothing():
    assert adapted(Budget(0.0), RISK, row(99.0))[0].share == 0.0
