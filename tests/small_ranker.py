"""A ranker of a few trees, written by LightGBM once and kept as text; and how to train another."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foretest.features.catalogue import CATALOGUE, FEATURES
from foretest.features.frame import FeatureFrame
from foretest.models.contract import BASE, Scores
from foretest.models.formula import Formula
from foretest.models.ranker import Calibration, Ranker, base_logit, matrix
from foretest.models.trees import Trees

TEXT = Path(__file__).with_name("small_ranker.txt")
NAMES = (BASE, "coverage_share", "coverage_rarity", "bm25", "import_depth", "fail_rate", "runs")
KNOTS = Calibration((-6.0, -2.0, 1.0), (0.001, 0.05, 0.9))
LINEAGE = {"repositories": {"example.org/a": {"commit": "0" * 40, "licence": "MIT", "cases": 12}}}


def ranker(knots: Calibration | None = KNOTS, start_from_base: bool = False) -> Ranker:
    trees = Trees.from_text(TEXT.read_text("utf-8"))
    return Ranker(trees, Formula(), knots, start_from_base, LINEAGE)


def rows_of(model: Ranker, frame: FeatureFrame) -> Scores:
    """What the ranker's trees read of a frame."""
    return matrix(frame, model.trees.features, base_logit(model.base.predict(frame)))


def random_frame(seed: int, size: int = 200, missing: float = 0.3) -> FeatureFrame:
    """Every feature of the catalogue in 0..1, some missing, some 0."""
    rng = np.random.default_rng(seed)
    columns = {}
    for feature in CATALOGUE:
        values = rng.random(size, np.float32)
        values[rng.random(size) < 0.2] = 0
        if feature.missing:
            values[rng.random(size) < missing] = np.nan
        columns[feature.name] = values
    return FeatureFrame(size, columns)


def train(seed: int = 0, names: Sequence[str] = NAMES, rounds: int = 8, **more: Any) -> str:
    """What LightGBM, which must be installed, learns from random frames.

    `small_ranker.txt` is `train()` without what follows its "end of trees".
    """
    lightgbm = importlib.import_module("lightgbm")
    frame = random_frame(seed, 4_000)
    likely = 0.7 * Formula().predict(frame) + 0.3 * np.nan_to_num(frame["import_depth"])
    failed = np.random.default_rng(seed).random(frame.size) < likely
    signs = [1 if name == BASE else FEATURES[name].monotone for name in names]
    start = base_logit(Formula().predict(frame))
    rows = matrix(frame, names, start)
    data = lightgbm.Dataset(rows, failed.astype(int), feature_name=list(names))
    settings = {"objective": "binary", "num_leaves": 6, "verbose": -1, "num_threads": 1}
    settings |= {"monotone_constraints": signs, **more}
    trained = lightgbm.train(settings, data, rounds)
    return str(trained.model_to_string())
