"""What a model is: scores in 0..1 from a FeatureFrame, comparable across changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from foretest.errors import BadModel
from foretest.features.catalogue import FEATURES
from foretest.features.frame import FeatureFrame

Scores = NDArray[np.float32]

BASE = "base"
"""Among a model's terms: the score of another model that it reads, as log-odds."""


@runtime_checkable
class Model(Protocol):
    """A ranker of tests.

    A score depends on its own row alone: no ranks, no maximum over the batch. So scores of
    different changes compare, and a threshold means the same everywhere.
    """

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the features that it reads, all of them in the catalogue."""
        ...

    @property
    def calibrated(self) -> bool:
        """Whether a score is a probability, and not only an order."""
        ...

    @property
    def prior(self) -> float:
        """Score of a test that nothing speaks for or against: above it there is evidence."""
        ...

    def predict(self, frame: FeatureFrame) -> Scores:
        """Likelihood (0..1, float32[n]) that each test fails because of the change."""
        ...

    def terms(self, frame: FeatureFrame) -> Mapping[str, Scores]:
        """What moved each score, by name of a feature or BASE: log-odds, float32[n] each.

        Positive where it made a failure more likely. exp(term) is the factor on the odds.
        """
        ...

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self: ...


def predict(model: Model, frame: FeatureFrame) -> Scores:
    """Ask a model and hold it to the contract; raises BadModel where it breaks it."""
    unknown = [name for name in model.inputs if name not in FEATURES]
    missing = [name for name in model.inputs if name not in frame.columns]
    if unknown or missing:
        names = ", ".join(unknown or missing)
        raise BadModel(
            f"Model '{model.name}' asks for features that do not exist here: {names}.",
            "Run 'foretest learn' with this version of foretest.",
        )
    scores = model.predict(frame)
    if scores.shape != (frame.size,) or scores.dtype != np.float32:
        raise BadModel(
            f"Model '{model.name}' answered {scores.dtype}{scores.shape} for {frame.size} tests.",
            "Run 'foretest learn' with this version of foretest.",
        )
    if not bool(np.all((scores >= 0) & (scores <= 1))):  # NaN fails both comparisons
        raise BadModel(
            f"Model '{model.name}' answered scores outside 0..1.",
            "Run 'foretest learn' again; report it if it stays.",
        )
    return scores


def identity(model: Model) -> str:
    """Name and digest of a scoring model: of equal identity are models that score alike."""
    text = json.dumps(model.to_json(), sort_keys=True)
    return f"{model.name}:{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
