"""Where a training stands, kept so that it goes on from there: on one process or shared by many."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
import torch.distributed.checkpoint as sharded
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.optim import Optimizer

from foretest.errors import BadConfiguration

KEPT = 2
"""Checkpoints kept in a folder: the newest, and one more where the newest was cut off."""


class Step(NamedTuple):
    """What one step of training came to."""

    number: int  # 1 for the first
    loss: float  # nats
    rate: float
    tokens: int  # without padding, over all workers
    seconds: float
    memory: float  # peak so far, MiB: of the device on CUDA, else of the process


@dataclass(slots=True)
class Progress:
    """Each step taken, once and in order: a resumed training drops what it takes again."""

    curve: list[Step] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return len(self.curve)

    @property
    def tokens(self) -> int:
        return sum(step.tokens for step in self.curve)


class Training:
    """Model, optimiser and progress as one state, each worker holding its own share of it.

    With fp16, the scale that its `scaler` has found is part of the state.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: Optimizer,
        progress: Progress,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.model, self.optimiser, self.progress = model, optimiser, progress
        self.scaler = scaler

    def state_dict(self) -> dict[str, Any]:
        model, optimiser = get_state_dict(self.model, self.optimiser)
        # One string: lists of numbers would be looked at one by one.
        scale = self.scaler.state_dict() if self.scaler else {}
        progress = json.dumps({**asdict(self.progress), "scale": scale})
        return {"model": model, "optimiser": optimiser, "progress": progress}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        set_state_dict(
            self.model,
            self.optimiser,
            model_state_dict=state["model"],
            optim_state_dict=state["optimiser"],
        )
        self.progress.curve[:] = progress_of(state["progress"]).curve
        if self.scaler and (scale := json.loads(state["progress"])["scale"]):
            self.scaler.load_state_dict(scale)


class Checkpoints(Protocol):
    def restore(self, training: Training) -> None:
        """Bring `training` to where the newest checkpoint left it; nothing where there is none."""
        ...

    def keep(self, training: Training) -> None: ...


def write(training: Training, place: Path) -> None:
    """Write this worker's share below `place`; the shares of all workers make one checkpoint."""
    with alone_or_not():
        sharded.save({"training": training.state_dict()}, checkpoint_id=place)


def read(training: Training, place: Path) -> None:
    """Read what any number of workers wrote: shares are cut anew for those there are now."""
    state = {"training": training.state_dict()}
    with alone_or_not():
        sharded.load(state, checkpoint_id=place)
    training.load_state_dict(state["training"])


def weights(model: nn.Module, place: Path) -> Progress:
    """Give `model`, whole and on one process, the weights at `place`; how it came to them."""
    state = {"training": {"model": model.state_dict(), "progress": ""}}
    with alone_or_not():
        sharded.load(state, checkpoint_id=place)
    model.load_state_dict(state["training"]["model"])
    return progress_of(state["training"]["progress"])


def progress_of(text: str) -> Progress:
    return Progress([Step(*step) for step in json.loads(text)["curve"]])


@contextmanager
def alone_or_not() -> Iterator[None]:
    """Let torch not warn of a single process: here it is one of the ways to train."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


@dataclass(frozen=True)
class Folder:
    """Checkpoints of one process in a folder, the newest `KEPT`."""

    path: Path

    def newest(self) -> Path | None:
        return max(self.path.glob("step-*"), default=None)

    def restore(self, training: Training) -> None:
        place = self.newest()
        if place is not None:
            try:
                read(training, place)
            except (sharded.CheckpointException, KeyError, RuntimeError) as error:
                raise BadConfiguration(
                    f"The checkpoint {place} is not one of this model.",
                    "Name another folder, or the configuration that it was trained with.",
                ) from error

    def keep(self, training: Training) -> None:
        place = self.path / f"step-{training.progress.steps:08d}"
        unfinished = self.path / f".{place.name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        write(training, unfinished)
        shutil.rmtree(place, ignore_errors=True)
        unfinished.rename(place)
        for old in sorted(self.path.glob("step-*"))[:-KEPT]:
            shutil.rmtree(old)
