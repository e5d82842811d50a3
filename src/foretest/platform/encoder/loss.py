"""The contrastive loss: a change lies nearer to its tests than to the other tests of the batch."""

from __future__ import annotations

import torch
from torch import Tensor


def info_nce(changes: Tensor, tests: Tensor, temperature: float, positives: Tensor) -> Tensor:
    """The mean of both directions, changes to tests and tests to changes: a scalar, in nats.

    changes float[B, d] and tests float[M, d] of length 1; positives bool[B, M] says which belong
    together (M > B where tests that belong to no change were added to tell apart from). van den
    Oord et al. (2018), InfoNCE; with several positives the mean over them stands outside the
    logarithm (Khosla et al., 2020). Rows and columns without a positive count for nothing.
    """
    likeness = changes.float() @ tests.float().T / temperature
    return (_one_way(likeness, positives) + _one_way(likeness.T, positives.T)) / 2


def _one_way(likeness: Tensor, positives: Tensor) -> Tensor:
    chosen = positives.to(likeness.dtype)
    each = -(torch.log_softmax(likeness, dim=1) * chosen).sum(1) / chosen.sum(1).clamp(min=1)
    has_one = positives.any(1)
    return each[has_one].sum() / has_one.sum().clamp(min=1)
