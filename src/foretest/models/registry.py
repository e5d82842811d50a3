"""All models by name, and how each is read: models do not know one another, this module does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from foretest.errors import BadModel, ForetestError
from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.models.prioritiser import Prioritiser
from foretest.models.ranker import Ranker


def read_model(data: Mapping[str, Any]) -> Model:
    """The model that a model's `to_json` describes. Raises BadModel."""
    name = str(data.get("name", "?") if isinstance(data, Mapping) else "?")
    if name not in MODELS:
        raise BadModel(f"The model '{name[:60]}' is not known here.", "Upgrade foretest.")
    try:
        return MODELS[name](data)
    except ForetestError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadModel(
            f"The model '{name}' cannot be read: {error}.",
            "Run 'foretest learn' again with this version of foretest.",
        ) from error


def _read_ranker(data: Mapping[str, Any]) -> Ranker:
    # One level deep: a ranker does not build on a ranker.
    return Ranker.from_json(data, Formula.from_json(data["base"]))


MODELS: Mapping[str, Callable[[Mapping[str, Any]], Model]] = {
    "formula": Formula.from_json,
    "prioritiser": Prioritiser.from_json,
    "ranker": _read_ranker,
}
