"""One contrastive step: the whole batch's loss and gradient, over parts and over workers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from foretest.platform.encoder.loss import info_nce
from foretest.platform.encoder.pairs import PairBatch, packed
from foretest.platform.encoder.settings import Settings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Part(NamedTuple):
    """Some changes and some tests of a batch."""

    change_tokens: Tensor
    change_mask: Tensor
    test_tokens: Tensor
    test_mask: Tensor

    def cut(self, count: int) -> list[Part]:
        """`count` parts, whose sizes differ by one row at most."""
        sides = [side.tensor_split(count) for side in self]
        return [Part(*rows) for rows in zip(*sides, strict=True)]


def backward(
    model: nn.Module, batch: PairBatch, settings: Settings, scaler: torch.amp.GradScaler
) -> Tensor:
    """Add the gradient of the whole batch's loss to the parameters; returns that loss.

    A part of a contrastive batch has fewer tests to tell apart, so the losses of parts do not sum
    up to the whole's. Parts are therefore embedded twice: first without gradients, for the loss
    and its slope at each vector, then one by one to carry the slopes to the parameters (Gao et
    al., 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup").
    """
    rank, world = place()
    own = Part(batch.change_tokens, batch.change_mask, batch.test_tokens, batch.test_mask)
    parts = own.cut(world)[rank].cut(settings.accumulate)
    if len(parts) == 1:
        loss = loss_of(embed(model, parts[0], settings), batch, settings)
        scaler.scale(loss).backward()
        return loss.detach()
    with torch.no_grad():
        embedded = [embed(model, part, settings) for part in parts]
    leaves = [torch.cat(side).requires_grad_() for side in zip(*embedded, strict=True)]
    loss = loss_of(leaves, batch, settings)
    scaler.scale(loss).backward()
    for number, (part, vectors) in enumerate(zip(parts, embedded, strict=True), 1):
        before = [sum(len(done[side]) for done in embedded[: number - 1]) for side in (0, 1)]
        slopes = [
            leaf.grad[start : start + len(rows)]
            for leaf, start, rows in zip(leaves, before, vectors, strict=True)
        ]
        with silent(model, until=number == len(parts)):
            torch.autograd.backward(embed(model, part, settings), slopes)
    return loss.detach()


def embed(model: nn.Module, part: Part, settings: Settings) -> list[Tensor]:
    """The vectors of a part's changes and tests: [float[b, d], float[m, d]]."""
    device, dtype = part.change_tokens.device, DTYPES[settings.precision]
    with torch.autocast(device.type, dtype, enabled=settings.precision != "fp32"):
        if not settings.pack:
            vectors = [
                model(part.change_tokens, part.change_mask),
                model(part.test_tokens, part.test_mask),
            ]
        else:
            width = max(part.change_tokens.shape[1], part.test_tokens.shape[1])
            tokens, mask = (
                torch.cat([functional.pad(side, (0, width - side.shape[1])) for side in sides])
                for sides in (part[::2], part[1::2])
            )
            rows = model(*packed(tokens, mask, width))
            vectors = rows.split([len(part.change_tokens), len(part.test_tokens)])
    return [side.float() for side in vectors]


def loss_of(own: Sequence[Tensor], batch: PairBatch, settings: Settings) -> Tensor:
    """The loss over the vectors of all workers; every worker computes the same one.

    The gradient of a worker's own vectors is summed over the workers on its way back and their
    mean is taken over parameters (DDP, FSDP), which together is the gradient of the loss.
    """
    rows = (len(batch.change_tokens), len(batch.test_tokens))
    changes, tests = (gathered(side, count) for side, count in zip(own, rows, strict=True))
    return info_nce(changes, tests, settings.temperature, batch.positives)


def gathered(own: Tensor, rows: int) -> Tensor:
    """All workers' vectors float[rows, d] in the batch's order, of which `own` are this one's."""
    _, world = place()
    if world == 1:
        return own
    counts = [len(share) for share in torch.empty(rows, 0).tensor_split(world)]
    alike = functional.pad(own, (0, 0, 0, counts[0] - len(own)))
    shares = _Gather.apply(alike).tensor_split(world)
    return torch.cat([share[:count] for share, count in zip(shares, counts, strict=True)])


class _Gather(torch.autograd.Function):
    """All workers' rows, one after the other; the slopes of a worker's rows are summed over all."""

    @staticmethod
    def forward(_: Any, own: Tensor) -> Tensor:
        shares = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(shares, own.contiguous())
        return torch.cat(shares)

    @staticmethod
    def backward(_: Any, slope: Tensor) -> Tensor:
        slope = slope.contiguous()
        dist.all_reduce(slope)
        rank, world = place()
        return slope.tensor_split(world)[rank]


def place() -> tuple[int, int]:
    """The number of this worker and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def silent(model: nn.Module, until: bool) -> AbstractContextManager[None]:
    """Let DDP exchange gradients once, after the last part."""
    if isinstance(model, DistributedDataParallel) and not until:
        return model.no_sync()
    return nullcontext()
