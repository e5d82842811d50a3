"""Time to a fixed loss against workers, measured here and predicted for GPUs, never mixed up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import distributed as dist

from foretest.errors import BadConfiguration
from foretest.platform.encoder.config import LADDER, EncoderConfig, parameters
from foretest.platform.encoder.costmodel import (
    CHAMELEON,
    SIDES,
    UTILISATION,
    Link,
    Load,
    fitted,
    load_of,
    step_seconds,
)
from foretest.platform.encoder.distributed import replicated, sharded
from foretest.platform.encoder.loop import train
from foretest.platform.encoder.model import CodeEncoder
from foretest.platform.encoder.processes import device, spawned
from foretest.platform.encoder.settings import Settings
from foretest.platform.encoder.strategies import WARM, UnevenPairs, device_name

SPREADS = {"one": lambda model: model, "ddp": replicated, "fsdp": sharded}
WAYS = (("one", 1), ("ddp", 2), ("fsdp", 2))
SMOOTH = 5
"""Steps whose mean loss has to reach the goal."""
SIZES = tuple(4**power for power in range(5, 12))
"""Bytes of the all-reduces that the link is measured by: 1 KiB to 4 MiB."""
TRIES = 15
GPUS = (1, 2, 4, 8)
PREDICTED = ("large", 1024, 256, 1e9)
"""What is predicted for GPUs: size, pairs a step, tokens a text, tokens to train on."""


class Task(NamedTuple):
    config: EncoderConfig
    settings: Settings
    way: str


def run(task: Task) -> list[tuple[float, float]]:
    """Train once in this process, which may be one of several: (seconds, loss) of each step."""
    torch.manual_seed(task.settings.seed)
    model = CodeEncoder(task.config).to(device())
    progress = train(model, UnevenPairs(task.config), task.settings, spread=SPREADS[task.way])
    return [(step.seconds, step.loss) for step in progress.curve]


def exchange(sizes: Sequence[int]) -> list[float]:
    """Median seconds of an all-reduce of each size in bytes among the processes joined."""
    medians = []
    for size in sizes:
        numbers = torch.zeros(size // 4, device=device())
        seconds = []
        for _ in range(TRIES):
            dist.barrier()
            started = time.perf_counter()
            dist.all_reduce(numbers)
            float(numbers[0])  # waits for the device
            seconds.append(time.perf_counter() - started)
        medians.append(float(np.median(seconds)))
    return medians


def reached(losses: Sequence[float], goal: float) -> int | None:
    """The step, counted from 1, after which the mean of the last `SMOOTH` losses is at the goal."""
    for step in range(SMOOTH, len(losses) + 1):
        if float(np.mean(losses[step - SMOOTH : step])) <= goal:
            return step
    return None


def measure(
    size: str, settings: Settings, goal: float, rounds: int, say: Callable[[str], object]
) -> dict[str, Any]:
    """Train in each of `WAYS`, in turns, and find the cost model's constants: see `predicted`."""
    config = LADDER[size]
    found: dict[str, list[dict[str, Any]]] = {way: [] for way, _ in WAYS}
    halves, exchanged, load = [], [], []
    for turn in range(rounds):
        for way, workers in WAYS:
            curves = spawned(run, Task(config, settings, way), workers)
            found[way].append(_run_of(curves, goal))
            say(f"{turn + 1}/{rounds} {way}, {workers}: {found[way][-1]}")
        half = replace(settings, batch=settings.batch // 2, steps=min(settings.steps, 4 * WARM))
        halves.append(_median(spawned(run, Task(config, half, "one"))[0]))
        exchanged.append(spawned(exchange, SIZES, 2)[0])
        load.append(os.getloadavg()[0])
    seconds = _step(found["one"])
    link = fitted(SIZES, np.median(exchanged, axis=0).tolist(), 2)
    shared = max(0.0, 2 * (seconds - float(np.median(halves))))
    shared = min(shared, seconds)
    return {
        "size": size,
        "parameters": parameters(config),
        "device": device_name(),
        "batch": settings.batch,
        "goal": goal,
        "rounds": rounds,
        "load": load,
        "measured": [{"way": way, "workers": workers, "runs": found[way]} for way, workers in WAYS],
        "constants": {**asdict(link), "shared": shared, "each": seconds - shared},
    }


def predicted(found: Mapping[str, Any]) -> dict[str, Any]:
    """What `measure` found, with what the cost model says of it and of GPUs.

    It knows one worker's steps at the whole and at half the batch, and all-reduces between two
    processes; nothing of a training by two. Raises BadConfiguration where nothing was measured.
    """
    try:
        config, known = LADDER[found["size"]], found["constants"]
        runs = {row["way"]: row["runs"] for row in found["measured"]}
        vectors = SIDES * found["batch"] * config.out
        work = Load(found["parameters"], config.layers, vectors, known["shared"], known["each"])
        link = Link(known["bandwidth"], known["latency"])
        back_test = []
        for way in ("ddp", "fsdp"):
            step, own = step_seconds(work, link, 2, way), _step(runs[way])
            back_test.append(
                {"way": way, "predicted": step, "measured": own, "off": step / own - 1}
            )
        steps = next((run["steps"] for run in runs["one"] if run["steps"]), None)
    except (KeyError, TypeError) as error:
        raise BadConfiguration(
            "This is nothing that was measured of scaling.",
            "Name what `foretest platform scaling --out FILE` kept, or measure again.",
        ) from error
    return {
        **found,
        "back_test": back_test,
        "back_test_steps": steps,
        "predicted": predictions(),
    }


def predictions() -> list[dict[str, Any]]:
    """Hours of a training on Chameleon's nodes by the cost model: low, middle, high utilisation."""
    size, pairs, length, tokens = PREDICTED
    config = LADDER[size]
    steps = tokens / (2 * pairs * length)
    rows = []
    for machine in CHAMELEON:
        for sharding in ("ddp", "fsdp"):
            for gpus in GPUS:
                link = machine.link(gpus)
                if link is None:
                    continue
                hours = [
                    steps * step_seconds(_at(config, machine.peak * used), link, gpus, sharding)
                    / 3600
                    for used in UTILISATION
                ]  # fmt: skip
                rows.append({
                    "node": machine.name, "way": sharding, "gpus": gpus, "hours": hours[1],
                    "hours_range": [min(hours), max(hours)], "bandwidth": link.bandwidth,
                })  # fmt: skip
    return rows


def _at(config: EncoderConfig, rate: float) -> Load:
    _, pairs, length, _ = PREDICTED
    return load_of(config, pairs, length, rate)


def _run_of(curves: Sequence[Sequence[tuple[float, float]]], goal: float) -> dict[str, Any]:
    """One training: seconds to the goal (None: not reached) and of a step, by its first worker."""
    seconds, losses = zip(*curves[0], strict=True)
    steps = reached(losses, goal)
    return {
        "steps": steps,
        "seconds": sum(seconds[:steps]) if steps else None,
        "step": _median(curves[0]),
        "loss": float(np.mean(losses[-SMOOTH:])),
    }


def _step(runs: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of a step over several trainings: their median."""
    return float(np.median([run["step"] for run in runs]))


def _median(curve: Sequence[tuple[float, float]]) -> float:
    return float(np.median([seconds for seconds, _ in curve[WARM:]]))
