"""What each training strategy saves and costs: peak memory, seconds a step, loss, side by side."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from foretest.errors import ClusterFailed
from foretest.platform.encoder.adapters import adapt
from foretest.platform.encoder.checkpoints import Folder, Training, weights
from foretest.platform.encoder.config import LADDER, EncoderConfig, parameters
from foretest.platform.encoder.costmodel import utilisation
from foretest.platform.encoder.distributed import replicated, sharded
from foretest.platform.encoder.loop import peak_memory, train
from foretest.platform.encoder.model import CodeEncoder
from foretest.platform.encoder.pairs import CHANGE, FILE, TEST, PairBatch, batch_of, draws
from foretest.platform.encoder.processes import device, spawned
from foretest.platform.encoder.settings import Settings

WARM = 3
"""Steps at the start that say nothing of speed: allocation, and compiling."""
LAST = 5
"""Steps at the end whose mean loss is the loss."""
SHORTEST = 16
"""Tokens of the shortest text drawn."""


@dataclass(frozen=True, slots=True)
class UnevenPairs:
    """Pairs about one of some subjects, as uneven in length as code: log-uniform to the context.

    Changes and tests have different words for a subject, so that nothing is alike at the start.
    """

    config: EncoderConfig
    subjects: int = 8

    def batches(self, size: int, seed: int, start: int = 0) -> Iterator[PairBatch]:
        first, last = FILE + 1, self.config.vocabulary
        roles = (CHANGE, TEST)
        known = np.random.default_rng(seed).integers(first, last, (len(roles), self.subjects, 8))

        def text(role: int, subject: int) -> np.ndarray:
            length = int(np.exp(random.uniform(np.log(SHORTEST), np.log(self.config.context))))
            words = random.integers(first, last, length)
            own = random.random(length) < 0.5
            words[own] = random.choice(known[roles.index(role), subject], own.sum())
            words[0] = role
            return words

        for random in draws(seed, start):
            about = random.integers(0, self.subjects, size)
            changes = [text(CHANGE, subject) for subject in about]
            tests = [text(TEST, subject) for subject in about]
            yield batch_of(changes, tests, about[:, None] == about[None, :])


@dataclass(frozen=True, slots=True)
class Strategy:
    name: str
    change: dict[str, Any] = field(default_factory=dict)
    """Settings other than the baseline's."""
    workers: int = 1
    sharding: str = ""
    tunes: str = ""
    """`all` or `lora`: begins with the baseline's checkpoint and learns other subjects."""


STRATEGIES = (
    Strategy("float32 (baseline)"),
    Strategy("bf16", {"precision": "bf16"}),
    Strategy("fp16", {"precision": "fp16"}),
    Strategy("gradient accumulation, 4 parts", {"accumulate": 4}),
    Strategy("activation checkpointing", {"checkpoint_activations": True}),
    Strategy("sequence packing", {"pack": True}),
    Strategy("torch.compile", {"compile": True}),
    Strategy("DDP, 2 workers", workers=2, sharding="ddp"),
    Strategy("FSDP, 2 workers", workers=2, sharding="fsdp"),
    Strategy("bf16, packing and checkpointing", {
        "precision": "bf16", "pack": True, "checkpoint_activations": True,
    }),
    Strategy("tuning a checkpoint, all weights", tunes="all"),
    Strategy("tuning a checkpoint, LoRA of rank 8", tunes="lora"),
)  # fmt: skip


class Task(NamedTuple):
    config: EncoderConfig
    settings: Settings
    strategy: Strategy
    folder: Path
    """Where the baseline's checkpoint is kept."""


class Outcome(NamedTuple):
    """One run of a strategy, seen by one worker."""

    seconds: list[float]  # a step, without the first ones
    loss: float
    tokens: int
    memory: float  # MiB at most over the training, above what the process held before it
    learning: int  # parameters


def run(task: Task) -> Outcome:
    """Train once in this process, as `task` asks."""
    strategy, settings = task.strategy, replace(task.settings, **task.strategy.change)
    where = device()
    torch.manual_seed(settings.seed)
    before = reset_peak(where)
    model = CodeEncoder(task.config)
    if strategy.tunes:
        newest = Folder(task.folder).newest()
        assert newest is not None  # the baseline runs first
        weights(model, newest)
        settings = replace(settings, seed=settings.seed + 1)
        if strategy.tunes == "lora":
            adapt(model)
    spread: dict[str, Callable[[nn.Module], nn.Module]] = {"ddp": replicated, "fsdp": sharded}
    model = model.to(where)
    progress = train(
        model,
        UnevenPairs(task.config),
        settings,
        spread=spread.get(strategy.sharding, lambda model: model),
    )
    memory = max(0.0, peak_memory(where) - before)
    if not (strategy.change or strategy.sharding or strategy.tunes):
        # After the measurement: no other strategy has to write its weights.
        optimiser = torch.optim.AdamW(model.parameters())
        Folder(task.folder).keep(Training(model, optimiser, progress))
    return Outcome(
        seconds=[step.seconds for step in progress.curve[WARM:]],
        loss=float(np.mean([step.loss for step in progress.curve[-LAST:]])),
        tokens=progress.tokens,
        memory=memory,
        learning=sum(w.numel() for w in model.parameters() if w.requires_grad),
    )


def reset_peak(where: torch.device) -> float:
    """Begin to count memory anew; MiB held already."""
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    elif (reset := Path("/proc/self/clear_refs")).exists():
        reset.write_text("5")  # the kernel's word for the peak of resident memory
    return peak_memory(where)


def compare(
    size: str, steps: int, rounds: int, batch: int, limit: float, say: Callable[[str], object]
) -> dict[str, Any]:
    """Run each strategy `rounds` times in fresh processes, in turns; a row for each.

    Each sees the same batches. Turns, so that a busy minute of the machine meets all of them.
    """
    config, settings = LADDER[size], Settings(steps, batch, warm_up=max(1, steps // 10))
    found: dict[str, list[list[Outcome]]] = {strategy.name: [] for strategy in STRATEGIES}
    load, lost = [], dict[str, str]()
    for turn in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for strategy in STRATEGIES:
                if impossible(strategy) is None and strategy.name not in lost:
                    task = Task(config, settings, strategy, Path(folder))
                    try:
                        runs = spawned(run, task, strategy.workers, limit)
                        found[strategy.name].append(runs)
                    except ClusterFailed as error:
                        lost[strategy.name] = error.message
                    load.append(os.getloadavg()[0])
                    say(f"{turn + 1}/{rounds} {strategy.name}")
    rows = [row(each, found[each.name], lost.get(each.name)) for each in STRATEGIES]
    return {
        "size": size,
        "parameters": parameters(config),
        "device": device_name(),
        "steps": steps,
        "rounds": rounds,
        "batch": batch,
        "load": [round(min(load), 1), round(float(np.median(load)), 1), round(max(load), 1)],
        "rows": [{**each, **flops(config, each, settings)} for each in rows],
    }


def impossible(strategy: Strategy) -> str | None:
    """Why a strategy cannot be measured on this machine."""
    if strategy.change.get("precision") == "fp16" and not torch.cuda.is_available():
        return "needs CUDA"
    if torch.cuda.is_available() and torch.cuda.device_count() < strategy.workers:
        return f"needs {strategy.workers} GPUs"
    return None


def row(
    strategy: Strategy, runs: Sequence[Sequence[Outcome]], lost: str | None = None
) -> dict[str, Any]:
    """A strategy's line: the slowest and largest worker counts; ranges are over the runs."""
    if not runs:
        return {"strategy": strategy.name, "not_measured": lost or impossible(strategy)}
    medians = [max(float(np.median(worker.seconds)) for worker in each) for each in runs]
    memory = [max(worker.memory for worker in each) for each in runs]
    first = runs[0][0]
    return {
        "strategy": strategy.name,
        "workers": strategy.workers,
        "seconds": float(np.median(medians)),
        "seconds_range": [min(medians), max(medians)],
        "memory": float(np.median(memory)),
        "memory_range": [min(memory), max(memory)],
        "loss": first.loss,
        "loss_range": [min(each[0].loss for each in runs), max(each[0].loss for each in runs)],
        "tokens": first.tokens,
        "learning": first.learning,
    }


def flops(config: EncoderConfig, found: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Tokens a second and, where the device's peak is known, model FLOP utilisation."""
    if "seconds" not in found:
        return {}
    each = found["tokens"] / settings.steps
    speed = each / found["seconds"]
    length = round(each / settings.batch / 2)
    precision = "bf16" if "bf16" in found["strategy"] or "fp16" in found["strategy"] else "fp32"
    used = utilisation(config, speed, length, device_name(), precision)
    return {"tokens_per_second": speed, "utilisation": used}


def device_name() -> str:
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    kind = torch.backends.cpu.get_cpu_capability()
    return f"CPU ({kind}), one thread a worker, {os.cpu_count()} cores"
