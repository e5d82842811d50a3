"""The encoder: a transformer that turns the tokens of a change or a test into a unit vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from foretest.platform.encoder.config import EncoderConfig

ROTARY_BASE = 10_000.0


def rotary(length: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine [length, width / 2] by which a position turns queries and keys.

    Su et al. (2021), RoFormer. Attention then sees distances alone, which is why sequences packed
    into one row need no positions of their own.
    """
    speeds = ROTARY_BASE ** (-torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(length, device=device)[:, None] * speeds
    return angles.cos(), angles.sin()


def turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn each pair of coordinates of x [..., length, width] by its position's angle."""
    left, right = x.chunk(2, dim=-1)
    cosine, sine = cosine.to(x.dtype), sine.to(x.dtype)
    return torch.cat((left * cosine - right * sine, right * cosine + left * sine), dim=-1)


class Attention(nn.Module):
    """Every token looks at those it may see; one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, seen: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        batch, length, width = x.shape
        split = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        q, k = turned(q, cosine, sine), turned(k, cosine, sine)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """Attention, then a layer applied to each token; both read normalised input (pre-norm).

    Xiong et al. (2020): normalising before each layer trains without a delicate warm-up.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.before_attention = nn.RMSNorm(config.width)
        self.attention = Attention(config.width, config.heads)
        self.before_feed = nn.RMSNorm(config.width)
        self.up = nn.Linear(config.width, config.feed_forward, bias=False)
        self.down = nn.Linear(config.feed_forward, config.width, bias=False)

    def forward(self, x: Tensor, seen: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        x = x + self.attention(self.before_attention(x), seen, cosine, sine)
        return x + self.down(functional.gelu(self.up(self.before_feed(x))))


class CodeEncoder(nn.Module):
    """One tower for changes and tests; the first token of a sequence says which of the two it is.

    `checkpoint_activations`: forget what the blocks computed and compute it again on the way back
    (Chen et al., 2016): less memory for about a third more work.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpoint_activations = False
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.last = nn.RMSNorm(config.width)
        self.out = nn.Linear(config.width, config.out, bias=False)
        self._begin()

    def _begin(self) -> None:
        """Begin as hardly more than a bag of words: texts that share words are alike at once.

        What the blocks add to a token is small at first, less the more blocks there are (Radford
        et al., 2019). Were it large, all texts would begin, and stay, alike.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.normal_(self.embedding.weight, std=0.1)
        for block in self.blocks:
            for last in (block.attention.out, block.down):
                nn.init.normal_(last.weight, std=0.02 / (2 * self.config.layers) ** 0.5)

    def forward(self, tokens: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        """Vectors of length 1: float[B, out], or float[sequences, out] where rows are packed.

        tokens int64[B, T]; mask bool[B, T], True where a token stands; segments int64[B, T]: the
        number of the sequence that a token belongs to, counted over the batch, -1 where none does.
        """
        if segments is None:
            seen = mask[:, None, None, :]
        else:  # padding sees padding: a row of attention without anything to see would be NaN
            seen = segments[:, None, :, None] == segments[:, None, None, :]
        x = self.embedding(tokens)
        cosine, sine = rotary(
            tokens.shape[1], self.config.width // self.config.heads, tokens.device
        )
        for block in self.blocks:
            if self.checkpoint_activations and self.training:
                x = checkpoint(block, x, seen, cosine, sine, use_reentrant=False)
            else:
                x = block(x, seen, cosine, sine)
        x = self.last(x)
        pooled = mean(x, mask) if segments is None else means_of_segments(x, mask, segments)
        return functional.normalize(self.out(pooled), dim=-1)


def mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean [B, width] over the tokens of each row."""
    weights = mask.unsqueeze(-1).to(x.dtype)
    return (x * weights).sum(1) / weights.sum(1).clamp(min=1)


def means_of_segments(x: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
    """The mean [sequences, width] over the tokens of each packed sequence."""
    number, values = segments[mask], x[mask]
    total = values.new_zeros(int(segments.max()) + 1, x.shape[-1]).index_add(0, number, values)
    return total / torch.bincount(number, minlength=len(total)).clamp(min=1)[:, None].to(x.dtype)
