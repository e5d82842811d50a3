"""Fits the failure ranker: boosted trees that start from the formula's score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretest.errors import NoTrainer
from foretest.features.catalogue import FEATURES
from foretest.models.contract import BASE, Model
from foretest.models.formula import Formula
from foretest.models.ranker import Ranker, base_logit, matrix
from foretest.models.trees import Trees
from foretest.training.examples import Example, sample

Floats = NDArray[np.float64]

SLIM = (
    "coverage_share",
    "coverage_rarity",
    "coverage_focus",
    "file_coverage_share",
    "propagated_share",
    "bm25",
    "bm25_name",
    "path_similarity",
    "import_depth",
    "cochange",
    "fail_rate",
    "change_unseen",
)
"""Features without a repository's scale: no counts of tests, no seconds, no commits."""


PASSING = 20.0
"""Weight of all passing tests of a change together, where its failing ones weigh 1."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a ranker is fitted. The defaults are what replay on left-out repositories chose."""

    inputs: tuple[str, ...] = SLIM
    objective: str = "binary"
    """Of LightGBM: `binary` or `lambdarank` (Burges 2010)."""
    start_from_base: bool = True
    """Trees correct the base's log-odds; else they stand alone."""
    monotone: bool = True
    rounds: int = 150
    leaves: int = 2
    """Two: a sum of one function a feature, which generalises to repositories never seen, and whose
    contributions are exact."""
    rate: float = 0.05
    least: int = 50
    """Rows in a leaf at least."""
    ridge: float = 5.0
    hard: int = 80
    easy: int = 80
    """Passing tests of a change that are kept: the most likely ones, and a weighed sample."""
    seed: int = 0

    def parameters(self) -> dict[str, Any]:
        """What LightGBM is told; deterministic, one thread for the same trees everywhere."""
        signs = [FEATURES[name].monotone if name != BASE else 1 for name in self.inputs]
        return {
            "objective": self.objective,
            "num_leaves": self.leaves,
            "learning_rate": self.rate,
            "min_data_in_leaf": self.least,
            "lambda_l2": self.ridge,
            "feature_fraction": 0.7,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "seed": self.seed,
            "deterministic": True,
            "num_threads": 1,
            "verbosity": -1,
            **({"monotone_constraints": signs} if self.monotone else {}),
            **({"lambdarank_truncation_level": 30} if self.objective == "lambdarank" else {}),
        }


def fit(
    examples: Sequence[Example],
    recipe: Recipe | None = None,
    base: Model | None = None,
    lineage: Mapping[str, Any] | None = None,
) -> Ranker:
    """Fit a ranker whose raw score is not yet a probability (see `crossfit`).

    Every change counts the same: its failing tests share a weight of 1, its passing tests another.
    Raises ValueError without examples, NoTrainer where LightGBM is not installed.
    """
    recipe, base = recipe or Recipe(), base or Formula()
    if not examples:
        raise ValueError("a ranker is fitted on at least one example")
    rows = rows_of(examples, recipe, base)
    data = dataset(rows, recipe, rows.start if recipe.start_from_base else None)
    booster = lightgbm_of().train(recipe.parameters(), data, recipe.rounds)
    return Ranker(
        Trees.from_text(booster.model_to_string()),
        base,
        start_from_base=recipe.start_from_base,
        lineage=dict(lineage or {}),
    )


def lightgbm_of() -> Any:
    """The module LightGBM, loaded when something is fitted. Raises NoTrainer."""
    try:
        import lightgbm
    except (ImportError, OSError) as error:  # OSError: its shared library lacks one of its own
        raise NoTrainer(
            f"LightGBM cannot be loaded: {error}.", "Run: pip install 'foretest[engine]'"
        ) from error
    return lightgbm


def dataset(rows: Rows, recipe: Recipe, start: Floats | None, reference: Any = None) -> Any:
    """The rows as LightGBM reads them, each from its raw score in `start` where one is given.

    `reference`: the data that this one is held against, whose bins it shares.
    """
    ranking = recipe.objective == "lambdarank"
    return lightgbm_of().Dataset(
        rows.matrix,
        rows.labels,
        weight=None if ranking else rows.weights,
        group=rows.groups if ranking else None,
        init_score=start,
        feature_name=list(recipe.inputs),
        params={"verbosity": -1},
        reference=reference,
    )


@dataclass(frozen=True, slots=True)
class Rows:
    """What any learner is fitted on: n sampled tests of many changes."""

    matrix: NDArray[np.float32]
    """float32[n, k], a column an input of the recipe, NaN = missing."""
    labels: Floats
    """float64[n]: 1 where the test failed."""
    weights: Floats
    start: Floats
    """float64[n]: log-odds of the base model's score."""
    groups: NDArray[np.int64]
    """Rows of each change, one after the other."""


def rows_of(examples: Sequence[Example], recipe: Recipe, base: Model) -> Rows:
    """Rows of the examples (one or more), passing tests sampled as the recipe says."""
    rng = np.random.default_rng(recipe.seed)
    parts = []
    for example in examples:
        scores = base.predict(example.frame)
        drawn = sample(example, scores, rng, recipe.hard, recipe.easy)
        frame = example.frame.take(drawn.rows)
        failed = example.failed[drawn.rows].astype(np.float64)
        whole = example.stands_for
        share = np.where(failed > 0, 1.0 / whole[example.failed].sum(), PASSING / whole.sum())
        start = base_logit(scores[drawn.rows])
        weights = drawn.weights * share * example.weight
        parts.append((matrix(frame, recipe.inputs, start), failed, weights, start))
    return Rows(
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([part[3] for part in parts]),
        np.array([len(part[1]) for part in parts], np.int64),
    )
