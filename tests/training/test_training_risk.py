"""Learning change risk: measures by hand, no repository judges itself, budgets of equal time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.models.risk import NAMES, Risk, Scale
from foretest.training.probabilities import auc, brier, calibration_slope, log_loss, logistic
from foretest.training.risk import SHIPPED, Tried, fit, left_out, mix, needs, normalised, saving

ONES = np.ones(4)


def test_auc_by_hand():
    y = np.array([0.0, 1, 0, 1])
    assert auc(np.array([0.1, 0.4, 0.35, 0.8]), y, ONES) == 1.0
    assert auc(np.array([0.1, 0.3, 0.35, 0.8]), y, ONES) == 0.75
    assert auc(np.full(4, 0.5), y, ONES) == 0.5
    assert auc(np.array([0.1, 0.35, 0.35, 0.8]), y, ONES) == pytest.approx(7 / 8)
    # The pair that is the wrong way round counts thrice of four where its cases weigh so.
    assert auc(np.array([0.1, 0.3, 0.35, 0.8]), y, np.array([0.0, 3, 1, 1])) == pytest.approx(1 / 4)
    assert math.isnan(auc(np.array([0.2, 0.3]), np.ones(2), np.ones(2)))
    assert math.isnan(auc(np.zeros(0), np.zeros(0), np.zeros(0)))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=2))
def test_weights_are_repetitions(cases):
    p, y, w = (np.array(column, float) for column in zip(*cases, strict=True))
    again = np.repeat(np.arange(len(p)), w.astype(int))
    ones = np.ones(len(again))
    assert auc(p, y, w) == pytest.approx(auc(p[again], y[again], ones), nan_ok=True)
    if len(again):
        assert brier(p / 5, y, w) == pytest.approx(brier(p[again] / 5, y[again], ones))


def test_brier_and_log_loss_by_hand():
    p, y = np.array([0.9, 0.2]), np.array([1.0, 0.0])
    assert brier(p, y, np.ones(2)) == pytest.approx((0.01 + 0.04) / 2)
    assert log_loss(p, y, np.ones(2)) == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2)
    assert math.isfinite(log_loss(np.array([0.0]), np.ones(1), np.ones(1)))


def test_the_slope_finds_what_was_overstated():
    generator = np.random.default_rng(1)
    logit = generator.normal(size=20_000)
    y = (generator.random(20_000) < 1 / (1 + np.exp(-logit))).astype(float)
    ones = np.ones(len(y))
    assert calibration_slope(1 / (1 + np.exp(-logit)), y, ones) == pytest.approx(1, abs=0.06)
    assert calibration_slope(1 / (1 + np.exp(-2 * logit)), y, ones) == pytest.approx(0.5, abs=0.03)
    assert math.isnan(calibration_slope(np.full(4, 0.3), np.array([0.0, 1, 0, 1]), ONES))


def test_logistic_of_one_switch_is_the_logit_of_its_rates():
    x = np.repeat([0.0, 1.0], 10)[:, None]
    y = np.array([1.0] * 2 + [0.0] * 8 + [1.0] * 7 + [0.0] * 3)
    found = logistic(x, y, np.ones(20))
    assert found == pytest.approx([math.log(2 / 8), math.log(7 / 3) - math.log(2 / 8)], rel=1e-4)
    assert abs(logistic(x, y, np.ones(20), ridge=1e6)[1]) < 1e-3


def test_separated_data_do_not_break_it():
    found = logistic(np.arange(6.0)[:, None], np.array([0.0, 0, 0, 1, 1, 1]), np.ones(6), 1.0)
    assert np.isfinite(found).all()
    assert found[1] > 0


def tried(n=200, repositories=4, seed=0, slope=2.0):
    generator = np.random.default_rng(seed)
    made = []
    for i in range(n):
        row = generator.normal(size=len(NAMES))
        row[NAMES.index("unseen")] = math.nan if i % 5 == 0 else row[NAMES.index("unseen")]
        likely = 1 / (1 + math.exp(-slope * row[NAMES.index("words")]))
        faulty = bool(generator.random() < likely)
        first = float(generator.random() ** 3) if faulty else math.nan
        made.append(Tried(f"c{i}", f"r{i % repositories}", f"k{i}", row, faulty, first))
    return made


def test_it_learns_what_there_is_to_learn():
    changes = tried()
    risk = fit(changes)
    assert risk.names == SHIPPED
    weights = dict(zip(risk.names, risk.weights, strict=True))
    assert max(weights, key=weights.get) == "words"
    assert risk.lineage["changes"] == 200
    assert risk.lineage["faulty"] == sum(c.faulty for c in changes)
    assert Risk.from_json(risk.to_json()) == risk
    y = np.array([float(c.faulty) for c in changes])
    p = risk.probabilities(np.array([c.row for c in changes]))
    assert auc(p, y, np.ones(len(y))) > 0.8
    weights = mix(y, 0.05)
    assert np.average(risk.scale.factors(p), weights=weights) == pytest.approx(1, abs=1e-6)


def test_nothing_is_learnt_from_one_kind_of_change():
    with pytest.raises(ValueError, match="some that did not"):
        fit([c for c in tried() if c.faulty])
    with pytest.raises(ValueError, match="some that did not"):
        fit([])


def test_a_column_that_nobody_knows_counts_for_nothing():
    changes = tried(60)
    for change in changes:
        change.row[NAMES.index("unseen")] = math.nan
    risk = fit(changes)
    assert dict(zip(risk.names, risk.weights, strict=True))["unseen"] == 0.0


def test_no_repository_has_a_say_in_its_own_risk():
    seen = []

    def learn(others):
        seen.append({c.repository for c in others})
        return lambda rows: np.full(len(rows), float(len(seen)))

    risks = left_out(tried(), learn)
    assert seen == [{"r0", "r1", "r2", "r3"} - {f"r{i}"} for i in range(4)]
    assert risks.tolist() == [float(i % 4 + 1) for i in range(200)]


def test_mixes():
    y = np.array([1.0, 1, 1, 0])
    weights = mix(y, 0.05)
    assert (weights * y).sum() / weights.sum() == pytest.approx(0.05)
    assert mix(y, None).tolist() == [1.0] * 4


@given(
    st.lists(st.floats(0.001, 0.999), min_size=1, max_size=30),
    st.floats(0.0, 1.5),
)
def test_a_normalised_scale_has_the_mean_one(risks, exponent):
    risks = np.array(risks)
    scale = normalised(Scale(exponent), risks, np.ones(len(risks)))
    assert scale.factors(risks).mean() == pytest.approx(1, abs=1e-6)


def test_needs_compare_at_the_same_time():
    firsts, factors = np.array([0.04, math.nan]), np.array([4.0, 2.0])
    # Of mean 3: the faulty change gets 4/3 of the mean budget and is caught from 3 % on.
    assert needs(firsts, factors, np.ones(2))[0] == pytest.approx(0.03)
    assert needs(firsts, factors, np.array([1.0, 3.0]))[0] == pytest.approx(0.04 / 4 * 2.5)
    flat = needs(np.array([0.1, 0.2]), np.full(2, 7.0), np.ones(2))
    assert flat == pytest.approx([0.1, 0.2])


def test_savings_by_hand():
    flat, less = np.array([0.01, 0.05, 0.20]), np.array([0.005, 0.025, 0.40])
    assert saving(flat, less, 0.05, np.ones(3)) == pytest.approx(0.5)
    assert saving(flat, less, 0.20, np.ones(3)) == pytest.approx(-1.0)
    assert math.isnan(saving(flat, less, 0.001, np.ones(3)))
    assert saving(flat, less, 0.05, np.array([1.0, 0.0, 1.0])) == pytest.approx(0.9)
