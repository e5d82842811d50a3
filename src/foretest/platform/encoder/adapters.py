"""Low-rank adapters: a checkpoint learns anew by a few numbers beside each frozen matrix.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021): W x + (scale / rank) B A x,
with B zero at the start, so that the adapted model begins as the one it adapts.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional


class Adapted(nn.Module):
    """A linear layer whose own weight is frozen, with a low-rank correction that learns."""

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        self.scale = scale / rank
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, features: Tensor) -> Tensor:
        low = functional.linear(functional.linear(features, self.down), self.up)
        return self.base(features) + self.scale * low


def adapt(model: nn.Module, rank: int = 8, scale: float = 16.0) -> nn.Module:
    """Freeze `model` and put an adapter beside each linear layer of its blocks; in place."""
    model.requires_grad_(False)
    for parent in list(model.blocks.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(parent, name, Adapted(layer, rank, scale))
    return model
