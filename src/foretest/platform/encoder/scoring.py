"""What an exported encoder says of a change and each test: one more piece of evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretest.errors import BadModel, ExtraMissing
from foretest.features.frame import Column, FeatureFrame
from foretest.models.contract import Model
from foretest.platform.encoder.tokenizer import Tokens

ROWS = 64
"""Sequences of like length that go through the encoder together."""

Vectors = NDArray[np.float32]


class Encoder:
    """An exported encoder, on one CPU thread.

    Raises ExtraMissing without onnxruntime, BadModel where the file is no encoder.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ExtraMissing(
                "Asking an encoder needs onnxruntime.", "pip install 'foretest[platform]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library has an exception for each way to be unreadable
            raise BadModel(f"There is no encoder at {path}.", "Make it: encoder export.") from error

    def vectors(self, sequences: Sequence[Tokens]) -> Vectors:
        """A vector of length 1 for each sequence: float32[n, out]; n is at least 1."""
        order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
        parts = []
        for at in range(0, len(order), ROWS):
            rows = [sequences[place] for place in order[at : at + ROWS]]
            width = max(map(len, rows))
            mask = np.arange(width) < np.array([len(row) for row in rows])[:, None]
            tokens = np.zeros(mask.shape, np.int64)
            tokens[mask] = np.concatenate(rows)
            parts.append(self._session.run(None, {"tokens": tokens, "mask": mask})[0])
        found = np.concatenate(parts)
        vectors = np.empty_like(found)
        vectors[order] = found
        return vectors


def likeness(hunks: Vectors, owners: NDArray[np.int64], tests: Vectors) -> Vectors:
    """Cosine of each change's most similar hunk with each test: float32[changes, tests].

    `owners` int64[hunks] gives the change of each hunk, ascending, none left out.
    """
    each = hunks @ tests.T
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    return np.maximum.reduceat(each, starts, axis=0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Weight:
    """How much the encoder adds: `most` x likeness above `floor`, to the power of `power`."""

    most: float = 0.3
    floor: float = 0.3
    power: float = 2.0

    def strength(self, column: Column) -> Column:
        """0..most; what is not known adds nothing."""
        above = (np.nan_to_num(column, nan=-1.0) - self.floor) / (1 - self.floor)
        found: Column = (self.most * np.clip(above, 0, 1) ** self.power).astype(np.float32)
        return found


@dataclass(frozen=True, slots=True)
class Joined:
    """A model joined with what the encoder says of one change: a noisy-or, as in the formula."""

    model: Model
    column: Column
    weight: Weight

    @property
    def name(self) -> str:
        return f"{self.model.name} + encoder"

    @property
    def calibrated(self) -> bool:
        return False

    @property
    def prior(self) -> float:
        return self.model.prior

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.model.inputs

    def predict(self, frame: FeatureFrame) -> Column:
        spared = (1 - self.model.predict(frame)) * (1 - self.weight.strength(self.column))
        return np.clip(1 - spared, 0, 1).astype(np.float32)

    def terms(self, frame: FeatureFrame) -> Mapping[str, Column]:
        """Those of the model alone: nothing explains a likeness, and rows may be few of many."""
        return self.model.terms(frame)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "model": self.model.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Joined:  # noqa: ARG003 (the contract's name)
        raise BadModel("A model joined with an encoder is of one change.", "It is never stored.")
