"""What comes trained with foretest: the ranker, the formula's likelihood, the default model."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from foretest.errors import BadModel
from foretest.models.contract import Model, Scores, identity
from foretest.models.formula import Formula
from foretest.models.ranker import Calibration, as_probability, base_logit
from foretest.models.registry import read_model

RANKER = "ranker.json"
LIKELIHOOD = "formula.json"
"""The likelihoods of one model's scores: its identity, knots, and what they were made of."""

DEFAULT = "formula"
"""Name of the model that `learn` puts into a bundle; a tie keeps the formula."""


@cache
def load() -> Model | None:
    """The ranker trained on other repositories; None where this foretest comes without one.

    Its `lineage` says which repositories, commits, licences and how many cases. Raises BadModel.
    """
    try:
        return read_model(json.loads(files(__name__).joinpath(RANKER).read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise BadModel(
            f"The pre-trained ranker cannot be read: {error}.", "Install foretest again."
        ) from error


def default_model() -> Model:
    """The model for a bundle of a repository about which nothing better is known."""
    ranker = load() if DEFAULT == "ranker" else None
    return ranker or Formula()


def likelihood(model: Model, scores: Scores) -> Scores | None:
    """P(a test fails | the change breaks something) for scores of a model, float32[n] in 0..1.

    The score itself where the model is calibrated; else what a map, fitted to the scores of this
    very model, makes of it, in the same order. None where there is no such map. Raises BadModel.
    """
    if model.calibrated:
        return scores
    found = _likelihoods()
    if found is None or found[0] != identity(model):
        return None
    return as_probability(found[1].log_odds(base_logit(scores))).astype(np.float32)


@cache
def _likelihoods() -> tuple[str, Calibration] | None:
    """Identity of the model that the map belongs to, and the map; None where none is shipped."""
    try:
        return read_likelihoods(files(__name__).joinpath(LIKELIHOOD).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(error) from error


def read_likelihoods(text: str) -> tuple[str, Calibration]:
    """Read what `write_likelihoods` wrote. Raises BadModel for anything else."""
    try:
        data = json.loads(text)
        model = data["model"]
        if not isinstance(model, str):
            raise TypeError("it does not say whose scores it maps")
        return model, Calibration.from_json(data)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _unreadable(error) from error


def write_likelihoods(model: Model, made: Calibration, lineage: dict[str, Any]) -> str:
    """The text that `read_likelihoods` reads: knots at the log-odds of the model's scores."""
    data = {"model": identity(model), **made.to_json(), "lineage": lineage}
    return json.dumps(data, indent=1) + "\n"


def _unreadable(error: Exception) -> BadModel:
    return BadModel(
        f"The formula's likelihoods cannot be read: {type(error).__name__}: {error}.",
        "Install foretest again.",
    )
