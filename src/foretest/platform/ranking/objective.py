"""What tuning minimises: the loss of a recipe on repositories left out, a few rounds at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretest.models.formula import Formula
from foretest.training.examples import Example
from foretest.training.fit import Recipe, Rows, rows_of

ROUNDS, STEP = 250, 25
"""Boosting rounds of a trial at most, and after how many of them it reports."""
FOLDS = 3
LOSS = "loss"
"""What is minimised: log loss on repositories left out; every change counts alike."""

Space = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows to fit on and rows of other repositories to judge by."""

    fit: Rows
    held: Rows


def folds_of(
    examples: Mapping[str, Sequence[Example]], extra: Mapping[str, Sequence[Example]]
) -> list[Fold]:
    """Repositories dealt to FOLDS parts; each part is held out once. The same for every trial."""
    names, recipe, base = sorted(examples), Recipe(), Formula()
    folds = []
    for number in range(FOLDS):
        held = names[number::FOLDS]
        fit = [e for n in names if n not in held for e in (*examples[n], *extra.get(n, ()))]
        judge = [e for n in held for e in examples[n]]
        folds.append(Fold(rows_of(fit, recipe, base), rows_of(judge, recipe, base)))
    return folds


def recipe_of(config: Space) -> Recipe:
    """The recipe that a point of the space stands for."""
    chosen = {
        "rate": float(config["rate"]),
        "leaves": int(config["leaves"]),
        "least": int(config["least"]),
        "ridge": float(config["ridge"]),
        "monotone": bool(config.get("monotone", True)),
    }
    return replace(Recipe(), **chosen)  # type: ignore[arg-type]


class Boosting:
    """The boosters of all folds, grown a few rounds at a time."""

    def __init__(self, folds: Sequence[Fold], config: Space) -> None:
        self.folds, self.config = folds, dict(config)
        self.raw = [np.array(fold.held.start) for fold in folds]
        self.fitted = [np.array(fold.fit.start) for fold in folds]
        self.rounds = 0

    def grow(self, rounds: int) -> float:
        """Grow by some rounds; the loss on what is held out."""
        import lightgbm

        recipe = recipe_of(self.config)
        losses = []
        for place, fold in enumerate(self.folds):
            data = lightgbm.Dataset(
                fold.fit.matrix,
                fold.fit.labels,
                weight=fold.fit.weights,
                init_score=self.fitted[place],
                feature_name=list(recipe.inputs),
                params={"verbosity": -1},
            )
            seed = recipe.seed + self.rounds
            booster = lightgbm.train({**recipe.parameters(), "seed": seed}, data, rounds)
            self.fitted[place] += np.asarray(booster.predict(fold.fit.matrix, raw_score=True))
            self.raw[place] += np.asarray(booster.predict(fold.held.matrix, raw_score=True))
            losses.append(log_loss(self.raw[place], fold.held))
        self.rounds += rounds
        return float(np.mean(losses))

    def save(self, folder: Path) -> None:
        """What a trial needs to go on, or another one to go on from here."""
        arrays = {f"raw{place}": part for place, part in enumerate(self.raw)}
        arrays |= {f"fitted{place}": part for place, part in enumerate(self.fitted)}
        np.savez(folder / "boosting.npz", rounds=self.rounds, **arrays)  # type: ignore[arg-type]

    def load(self, folder: Path) -> None:
        with np.load(folder / "boosting.npz") as kept:
            self.rounds = int(kept["rounds"])
            self.raw = [kept[f"raw{place}"] for place in range(len(self.folds))]
            self.fitted = [kept[f"fitted{place}"] for place in range(len(self.folds))]


def log_loss(raw: NDArray[np.float64], rows: Rows) -> float:
    """Weighed mean log loss of log-odds, every change counting alike."""
    wrong = np.logaddexp(0.0, raw) - rows.labels * raw
    return float(rows.weights @ wrong / rows.weights.sum())
