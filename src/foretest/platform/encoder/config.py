"""How large an encoder is, and the ladder of sizes from a laptop's to a cluster's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from foretest.errors import BadConfiguration


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The shape of one tower, which reads changes and tests alike.

    Raises BadConfiguration where the shape cannot be built.
    """

    vocabulary: int
    """Tokens that the tokenizer knows, special ones included."""
    width: int
    layers: int
    heads: int
    feed_forward: int
    context: int
    """Tokens of one sequence at most, its role token included."""
    out: int
    """Dimensions of the vector that a sequence becomes."""

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 1 or self.width % (2 * self.heads):
            raise BadConfiguration(
                f"No encoder has {self.heads} heads in a width of {self.width}.",
                "Every number is at least 1, and the width an even multiple of the heads.",
            )

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EncoderConfig:
        return cls(**data)


LADDER = {
    "tiny": EncoderConfig(8_192, 128, 4, 4, 512, 128, 128),
    "small": EncoderConfig(16_384, 256, 6, 4, 1_024, 256, 256),
    "base": EncoderConfig(32_768, 512, 12, 8, 2_048, 512, 256),
    "large": EncoderConfig(32_768, 1_024, 24, 16, 4_096, 512, 512),
}
"""About 2, 9, 55 and 340 million parameters: CPU minutes, CPU hours, one GPU, several GPUs."""


def parameters(config: EncoderConfig) -> int:
    """How many numbers are learned: the same as counting those of the built model."""
    c = config
    attention = 4 * c.width * c.width
    block = attention + 2 * c.width * c.feed_forward + 2 * c.width
    return c.vocabulary * c.width + c.layers * block + c.width + c.width * c.out


def flops_per_token(config: EncoderConfig) -> int:
    """Floating-point operations of training on one token, forward and backward.

    Six for each number that a token is multiplied with (Kaplan et al., 2020; a look-up in the
    embedding multiplies nothing), and attention over a full context (Chowdhery et al., 2022).
    """
    c = config
    multiplied = parameters(c) - c.vocabulary * c.width
    return 6 * multiplied + 12 * c.layers * c.width * c.context


HELD_OUT = ("graphql-core", "h11", "mako", "pyflakes", "pyjwt", "wtforms")
"""Repositories that judge the encoder: no text of theirs reaches its tokenizer or its weights."""

WEIGHED_ON = ("apispec", "glom", "pyupgrade", "starlette")
"""Repositories on which the encoder's weight in the formula is chosen. It is not trained on them:
of a repository that it learned by heart it would promise too much. Its tokenizer may know them.

All ten were named before anything was trained: of the repositories with facts on which nothing else
was chosen, in the order of their names' digests (BLAKE2b), the first six and the next four.
"""


def training_names(names: Iterable[str]) -> list[str]:
    """Those of the names whose pairs the encoder may learn."""
    return [name for name in names if name not in HELD_OUT + WEIGHED_ON]
