"""The training loop: the same on a laptop, on a GPU and in every worker of a cluster."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from foretest.errors import BadConfiguration
from foretest.platform.encoder.checkpoints import Checkpoints, Progress, Step, Training
from foretest.platform.encoder.contrast import backward
from foretest.platform.encoder.pairs import PairSource
from foretest.platform.encoder.settings import Settings

_STATUS = Path("/proc/self/status")


def train(
    model: nn.Module,
    source: PairSource,
    settings: Settings,
    report: Callable[[Step], object] | None = None,
    checkpoints: Checkpoints | None = None,
    spread: Callable[[nn.Module], nn.Module] = lambda model: model,
) -> Progress:
    """Train `model` (in place, on the device it lies on) and say what each step came to.

    Goes on where `checkpoints` were cut off: the batches and the rate of a step depend on its
    number alone, so that on one CPU thread the weights are the same to the last bit. `spread`
    makes one model of many workers (DDP, FSDP), which share each batch.
    """
    device = next(model.parameters()).device
    dress(model, settings, device)
    shared = spread(model)
    learning = [weight for weight in shared.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=settings.rate, weight_decay=settings.decay)
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    training = Training(shared, optimiser, Progress(), scaler)
    if checkpoints is not None:
        checkpoints.restore(training)
    progress = training.progress
    batches = source.batches(settings.batch, settings.seed, start=progress.steps)
    while progress.steps < settings.steps:
        started = time.perf_counter()
        for group in optimiser.param_groups:
            group["lr"] = settings.rate_at(progress.steps)
        batch = next(batches).to(device)
        loss = backward(shared, batch, settings, scaler)
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(learning, settings.clip)
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad(set_to_none=True)
        step = Step(
            number=progress.steps + 1,
            loss=float(loss),
            rate=settings.rate_at(progress.steps),
            tokens=batch.tokens,
            seconds=elapsed(started, device),
            memory=peak_memory(device),
        )
        progress.curve.append(step)
        if report is not None:
            report(step)
        if checkpoints is not None and settings.due(progress.steps):
            checkpoints.keep(training)
    model.eval()
    return progress


def dress(model: nn.Module, settings: Settings, device: torch.device) -> None:
    """Set `model` up for training as `settings` ask. Raises BadConfiguration for fp16 on a CPU."""
    if settings.precision == "fp16" and device.type != "cuda":
        raise BadConfiguration("Training in fp16 needs CUDA.", "Choose bf16 or fp32.")
    model.train()
    model.checkpoint_activations = settings.checkpoint_activations
    if settings.compile:
        # Blocks are alike: compiled one by one they share a graph, which takes a fraction of the
        # time that a graph of the whole model takes. Widths are multiples of a few dozen tokens,
        # mostly the context: a graph for each is compiled sooner than one for all.
        for block in model.blocks:
            block.compile(dynamic=False)


def elapsed(started: float, device: torch.device) -> float:
    """Seconds since `started`, with what the device still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def peak_memory(device: torch.device) -> float:
    """MiB at most so far: allocated on a CUDA device, else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if _STATUS.exists():  # `getrusage` counts what the process was forked from, this does not
        return float(_STATUS.read_text().partition("VmHWM:")[2].split()[0]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
