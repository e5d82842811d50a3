"""A function in fresh processes of this machine, one a worker, which can exchange tensors."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from multiprocessing import get_all_start_methods, get_context
from queue import Empty
from typing import Any, TypeVar

import torch
from torch import distributed as dist

from foretest.errors import ClusterFailed

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def spawned(
    work: Callable[[Task], Answer], task: Task, workers: int = 1, limit: float = math.inf
) -> list[Answer]:
    """What `work(task)` returns in each of `workers` new processes, by rank.

    A CPU process gets one thread, so that two workers have twice the computing power of one. More
    than one are joined by NCCL where each has a GPU, else by gloo. Both arguments are pickled.
    Raises ClusterFailed where a process ends without an answer, or has none in `limit` seconds.
    """
    fresh = _context(work.__module__)
    answers = fresh.Queue()
    port = _free_port()
    processes = [
        fresh.Process(target=_begin, args=(work, task, rank, workers, port, answers), daemon=True)
        for rank in range(workers)
    ]
    for process in processes:
        process.start()
    found: dict[int, Answer] = {}
    started = time.monotonic()
    try:
        while len(found) < workers:
            try:
                rank, answer = answers.get(timeout=1.0)
                found[rank] = answer
            except Empty:
                if time.monotonic() - started > limit:
                    raise ClusterFailed(
                        f"no result within {limit:.0f} s", "Allow for more."
                    ) from None
                if any(process.exitcode for process in processes):
                    raise ClusterFailed(
                        "A process of the measurement ended without a result.",
                        "Its message stands above; free memory, or choose a smaller size.",
                    ) from None
    finally:
        for process in processes:
            process.join(10.0 if len(found) == workers else 0.0)
            process.kill()
    return [found[rank] for rank in range(workers)]


def _begin(
    work: Callable[[Any], Any], task: Any, rank: int, workers: int, port: int, answers: Any
) -> None:
    cuda = torch.cuda.device_count() >= workers
    if cuda:
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(1)
    if workers > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        dist.init_process_group("nccl" if cuda else "gloo", rank=rank, world_size=workers)
    answers.put((rank, work(task)))
    if workers > 1:
        dist.destroy_process_group()


def _context(module: str) -> Any:
    """How processes begin: torch is loaded once for all of them where the system can do that."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def device() -> torch.device:
    """Where a process of `spawned` computes."""
    _, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if torch.cuda.device_count() >= world:
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
