"""How an encoder is trained: one record, the same for every way to run it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from foretest.errors import BadConfiguration

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. Raises BadConfiguration where that cannot be done."""

    steps: int
    batch: int = 64
    """Pairs of a step, over all workers and parts."""
    rate: float = 1e-3
    warm_up: int = 20
    """Steps over which the rate rises; then it falls to a tenth along half a cosine."""
    decay: float = 0.01
    clip: float = 1.0
    """The longest gradient that is followed as it is."""
    temperature: float = 0.05
    precision: Precision = "fp32"
    accumulate: int = 1
    """Parts that a worker's share is computed in, one after the other."""
    checkpoint_activations: bool = False
    compile: bool = False
    pack: bool = False
    seed: int = 0
    keep_every: int = 0
    """Steps between two checkpoints; 0: one at the end."""

    def __post_init__(self) -> None:
        if self.accumulate < 1 or self.steps < 1 or self.batch < self.accumulate:
            raise BadConfiguration(
                f"There is no training of {self.steps} steps with {self.batch} pairs"
                f" in {self.accumulate} parts.",
                "Each number is at least 1, and each part at least one pair.",
            )

    def rate_at(self, step: int) -> float:
        """The learning rate of a step counted from 0."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.rate * (0.55 + 0.45 * math.cos(math.pi * done))

    def due(self, steps: int) -> bool:
        """Whether a checkpoint belongs after so many steps."""
        return steps == self.steps or (self.keep_every > 0 and steps % self.keep_every == 0)
