"""Warm start: further trees on newer changes, behind those that a ranker has; loss by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from foretest.errors import BadModel
from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.models.ranker import Ranker
from foretest.models.trees import Trees
from foretest.training.examples import Example
from foretest.training.fit import Floats, Recipe, Rows, dataset, lightgbm_of, rows_of

MORE = 50
"""Rounds of a warm start: a third of those that a ranker begins with."""


def continued(ranker: Ranker, examples: Sequence[Example], recipe: Recipe | None = None) -> Ranker:
    """The ranker with `recipe.rounds` more trees, each fitted to what all before it leave.

    LightGBM's own `init_model` overrides the start score that a ranker begins with, so new trees
    are fitted from the ranker's raw score and put behind its own. What comes is not calibrated:
    see `crossfit.calibrated`. Raises ValueError without examples, NoTrainer, and BadModel where the
    recipe reads other inputs than the ranker.
    """
    recipe = recipe or Recipe(rounds=MORE)
    if recipe.inputs != ranker.trees.features:
        raise BadModel("The ranker reads other features than the recipe.", "Train a fresh one.")
    rows = rows_of(examples, recipe, ranker.base)
    data = dataset(rows, recipe, _raw(ranker, rows))
    booster = lightgbm_of().train(recipe.parameters(), data, recipe.rounds)
    text = joined(ranker.trees.text, booster.model_to_string())
    return replace(ranker, trees=Trees.from_text(text), calibration=None)


def joined(first: str, second: str) -> str:
    """LightGBM's text of a forest that is the sum of two over the same features."""
    head, *trees = _body(first)
    # Without their sizes LightGBM reads trees one after the other.
    kept = [line for line in head.split("\n") if not line.startswith("tree_sizes=")]
    blocks = [block.partition("\n")[2].strip("\n") for block in (*trees, *_body(second)[1:])]
    told = [f"Tree={number}\n{block}\n\n" for number, block in enumerate(blocks)]
    return "\n".join(("\n".join(kept).rstrip("\n") + "\n", *told, "end of trees\n"))


def curves(
    examples: Sequence[Example],
    held: Sequence[Example],
    recipe: Recipe,
    base: Model | None = None,
    start: Ranker | None = None,
) -> dict[str, list[float]]:
    """Mean log loss after each round, on what is `fitted` and on what is `held out`.

    Weighed as in training; from the raw score of `start` where one is given.
    """
    base = base or Formula()
    fitted, other = (rows_of(part, recipe, base) for part in (examples, held))
    from_base = [rows.start if recipe.start_from_base else None for rows in (fitted, other)]
    begin = [_raw(start, rows) for rows in (fitted, other)] if start else from_base
    data = dataset(fitted, recipe, begin[0])
    found: dict[str, dict[str, list[float]]] = {}
    lightgbm_of().train(
        recipe.parameters() | {"metric": "binary_logloss"},
        data,
        recipe.rounds,
        valid_sets=[data, dataset(other, recipe, begin[1], data)],
        valid_names=["fitted", "held out"],
        callbacks=[lightgbm_of().record_evaluation(found)],
    )
    return {name: next(iter(losses.values())) for name, losses in found.items()}


def _raw(ranker: Ranker, rows: Rows) -> Floats:
    raw = ranker.trees.raw(rows.matrix)
    return raw + rows.start if ranker.start_from_base else raw


def _body(text: str) -> list[str]:
    return text.partition("\nend of trees")[0].split("\nTree=")
