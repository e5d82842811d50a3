"""What comes trained with foretest, and which model a bundle gets by default."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from foretest.errors import BadModel
from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.models.registry import read_model

RANKER = "ranker.json"

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
