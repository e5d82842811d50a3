"""Warm start: what more trees add, and that LightGBM reads the joined forest as we do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foretest.errors import BadModel
from foretest.features.catalogue import FEATURES
from foretest.features.frame import FeatureFrame
from foretest.models.ranker import matrix
from foretest.training.continuing import continued, curves
from foretest.training.examples import Example
from foretest.training.fit import Recipe, fit

lightgbm = pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))

QUICK = Recipe(rounds=20, least=5, hard=20, easy=20)


def changes(signal: str, seeds: range) -> list[Example]:
    """Changes of which the tests with the highest `signal` fail."""
    made = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        columns = {name: rng.random(60).astype(np.float32) for name in FEATURES}
        failed = columns[signal] > 0.95
        failed[int(columns[signal].argmax())] = True
        made.append(Example("r", f"{seed}", f"{seed}", FeatureFrame(60, columns), failed))
    return made


def test_lightgbm_reads_the_joined_forest_to_the_same_bit():
    old, new = changes("cochange", range(10)), changes("cochange", range(10, 20))
    first = fit(old, QUICK)
    more = continued(first, new, QUICK)
    assert len(more.trees.trees) > len(first.trees.trees)
    rows = matrix(new[0].frame, QUICK.inputs, np.zeros(60))
    booster = lightgbm.Booster(model_str=more.trees.text)
    assert booster.num_trees() == len(more.trees.trees)
    assert np.array_equal(booster.predict(rows, raw_score=True), more.trees.raw(rows))


def test_new_trees_learn_what_is_new_and_keep_what_was_known():
    first = fit(changes("cochange", range(20)), QUICK)
    more = continued(first, changes("import_depth", range(20, 40)), QUICK)

    def ahead(model, signal):
        """By how much the failing tests of unseen changes stand above the others."""
        raw = [(model.raw(e.frame), e.failed) for e in changes(signal, range(40, 60))]
        return np.mean([scores[failed].mean() - scores[~failed].mean() for scores, failed in raw])

    assert ahead(more, "import_depth") > ahead(first, "import_depth") + 0.5
    assert ahead(more, "cochange") > 0.5 * ahead(first, "cochange")


def test_a_ranker_is_continued_on_its_own_features_alone():
    first = fit(changes("cochange", range(5)), QUICK)
    with pytest.raises(BadModel, match="other features"):
        continued(first, changes("cochange", range(5)), replace(QUICK, inputs=("bm25",)))


def test_a_curve_has_a_loss_a_round_and_begins_where_the_start_model_ends():
    old, new = changes("cochange", range(10)), changes("cochange", range(10, 20))
    fresh = curves(old, new, QUICK)
    assert {len(losses) for losses in fresh.values()} == {QUICK.rounds}
    assert fresh["fitted"][-1] < fresh["fitted"][0]
    warm = curves(old, new, QUICK, start=fit(old, QUICK))
    assert warm["held out"][0] < fresh["held out"][0]
