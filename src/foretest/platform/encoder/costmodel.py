"""What a step costs on n workers: computation shared by all of them, and what they tell each other.

Ring collectives (Patarasuk and Yuan, 2009): an all-reduce of b bytes sends 2 (n-1)/n b over each
link in 2 (n-1) rounds, an all-gather or a reduce-scatter half of that. DDP reduces all gradients
once a step; FSDP gathers all weights before the forward and again before the backward pass, and
reduces gradients to shares (Zhao et al., 2023). Changes' and tests' vectors are each gathered, and
their slopes come back by an all-reduce.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from foretest.platform.encoder.config import EncoderConfig, flops_per_token, parameters

BYTES = 4
"""A weight and a gradient travel in float32: reduced precision is the computation's alone."""
PARTS_OF_FSDP = 3
"""Collectives a step and layer: gathered forward, gathered backward, scattered."""
SIDES = 2
"""Changes and tests, whose vectors are told apart from each other."""
PARTS_OF_VECTORS = 3
"""Half rings a step and side: gathered, and two of the all-reduce that brings the slopes back."""
UTILISATION = (0.25, 0.35, 0.5)
"""Share of the peak that training a transformer reaches, by published runs: low, middle, high."""


@dataclass(frozen=True, slots=True)
class Link:
    """How fast workers tell each other something."""

    bandwidth: float
    """Bytes a second, one way."""
    latency: float
    """Seconds a round of a collective."""

    def half_ring(self, size: float, workers: int) -> float:
        """Seconds of an all-gather or a reduce-scatter of `size` bytes in all."""
        return (workers - 1) * (size / workers / self.bandwidth + self.latency)


@dataclass(frozen=True, slots=True)
class Load:
    """What a step does, whoever does it."""

    weights: int
    """Numbers that are learned, which is also how many gradients there are."""
    layers: int
    vectors: int
    """Numbers in the batch's embeddings, which all workers need for the loss."""
    seconds: float
    """Of the computation that workers share, on one of them."""
    fixed: float = 0.0
    """Seconds of what each worker does whole: drawing the batch, the optimiser."""


def step_seconds(load: Load, link: Link, workers: int, sharding: str) -> float:
    """Seconds of one step, nothing of the exchange hidden behind computation."""
    computing = load.fixed + load.seconds / workers
    side = link.half_ring(load.vectors * BYTES / SIDES, workers)
    telling = SIDES * PARTS_OF_VECTORS * side
    if sharding == "ddp":
        return computing + telling + 2 * link.half_ring(load.weights * BYTES, workers)
    groups = load.layers + 1  # each block, and the rest
    each = link.half_ring(load.weights * BYTES / groups, workers)
    return computing + telling + PARTS_OF_FSDP * groups * each


def fitted(sizes: Sequence[float], seconds: Sequence[float], workers: int) -> Link:
    """The link under measured all-reduces of `sizes` bytes: two numbers, least squares of ratios.

    Ratios, since the small ones say the latency and the large ones the bandwidth.
    """
    import numpy as np

    rounds = 2 * (workers - 1)
    design = np.array([[rounds * size / workers, rounds] for size in sizes])
    slope, start = np.linalg.lstsq(
        design / np.array(seconds)[:, None], np.ones(len(sizes)), rcond=None
    )[0]
    return Link(float(1 / max(slope, 1e-15)), float(max(start, 0.0)))


@dataclass(frozen=True, slots=True)
class Machine:
    """A kind of node that can be reserved, by what is published of it."""

    name: str
    what: str
    peak: float
    """Floating-point operations a second and GPU, bfloat16, dense."""
    inside: Link
    """Between the GPUs of one node."""
    gpus: int
    """Of one node."""
    nodes: int
    between: Link | None = None
    """From node to node."""

    def link(self, workers: int) -> Link | None:
        """The slowest link on a ring of so many GPUs; None where there are not so many."""
        if workers <= self.gpus:
            return self.inside
        return self.between if workers <= self.gpus * self.nodes else None


_ROUND = 10e-6
"""Seconds a round of NCCL between GPUs: assumed, of the order that nccl-tests print."""
_PCIE = Link(32e9, _ROUND)
_NVLINK = Link(300e9, _ROUND)
_ETHERNET = Link(25e9 / 8, 50e-6)

A100 = 312e12
CHAMELEON = (
    Machine("gpu_a100_pcie", "4 x A100 PCIe a node, 4 nodes", A100, _PCIE, 4, 4, _ETHERNET),
    Machine("gpu_a100_nvlink", "4 x A100 SXM with NVLink, 1 node", A100, _NVLINK, 4, 1),
    Machine("compute_gigaio", "8 x A100 PCIe on one PCIe fabric", A100, _PCIE, 8, 1),
)
"""Chameleon's nodes of several A100 at CHI@UC: sources stand in docs/distributed.md.

A100: 312 TFLOP/s in bfloat16; PCIe 4.0 x16: 32 GB/s one way; NVLink 3: 300 GB/s one way. The
Ethernet between nodes is assumed to be of 25 Gbit/s.
"""

PEAKS = {"A100": A100, "H100": 989e12, "H200": 989e12}
"""Peak in bfloat16 by what a GPU's name contains; NVIDIA's data sheets, SXM, dense."""


def load_of(config: EncoderConfig, pairs: int, length: int, rate: float) -> Load:
    """A step of `pairs` pairs of texts of `length` tokens at `rate` operations a second."""
    operations = 2 * pairs * length * flops_per_token(replace(config, context=length))
    return Load(parameters(config), config.layers, 2 * pairs * config.out, operations / rate)


def utilisation(
    config: EncoderConfig, tokens_per_second: float, length: int, gpu: str, precision: str
) -> float | None:
    """Model FLOP utilisation, 0..1 (Chowdhery et al., 2022); None where the peak is not known."""
    peak = next((peak for name, peak in PEAKS.items() if name in gpu), None)
    if peak is None or precision == "fp32":
        return None
    return tokens_per_second * flops_per_token(replace(config, context=length)) / peak
