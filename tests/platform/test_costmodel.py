"""The cost model: rings by hand, a link found again, and nothing predicted where no node is."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as some

from foretest.platform.encoder.config import LADDER, flops_per_token
from foretest.platform.encoder.costmodel import (
    CHAMELEON,
    Link,
    Load,
    fitted,
    load_of,
    step_seconds,
    utilisation,
)

LOAD = Load(weights=1_000_000, layers=4, vectors=4096, seconds=1.0, fixed=0.1)
LINK = Link(bandwidth=1e9, latency=1e-4)


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_one_worker_tells_nobody(way):
    assert step_seconds(LOAD, LINK, 1, way) == pytest.approx(1.1)


def test_an_all_reduce_sends_what_a_ring_sends():
    """2 (n-1)/n of 4 MB at 1 GB/s in 2 (n-1) rounds.

    Changes' and tests' vectors beside: gathered in n-1 rounds, and their slopes in 2 (n-1) back.
    """
    vectors = 3 * 3 / 4 * 4096 * 4 / 1e9 + 6 * 3 * 1e-4
    gradients = 2 * 3 / 4 * 4e6 / 1e9 + 6 * 1e-4
    assert step_seconds(LOAD, LINK, 4, "ddp") == pytest.approx(0.1 + 0.25 + vectors + gradients)


@given(
    workers=some.integers(2, 64),
    bandwidth=some.floats(1e6, 1e12),
    latency=some.floats(0, 1e-3),
)
def test_fsdp_tells_half_as_much_again_and_nothing_is_free(workers, bandwidth, latency):
    link = Link(bandwidth, latency)
    ddp, fsdp = (step_seconds(LOAD, link, workers, way) for way in ("ddp", "fsdp"))
    assert fsdp >= ddp >= LOAD.fixed + LOAD.seconds / workers
    quick = Link(bandwidth, 0.0)
    bare = LOAD.fixed + LOAD.seconds / workers + 3 * quick.half_ring(LOAD.vectors * 4, workers)
    told = [step_seconds(LOAD, quick, workers, way) - bare for way in ("ddp", "fsdp")]
    assert told[1] == pytest.approx(1.5 * told[0], rel=1e-3, abs=1e-9)


@given(bandwidth=some.floats(1e6, 1e11), latency=some.floats(1e-6, 1e-2))
def test_the_link_is_found_again(bandwidth, latency):
    sizes = [4.0**power for power in range(5, 12)]
    link = Link(bandwidth, latency)
    found = fitted(sizes, [2 * link.half_ring(size, 2) for size in sizes], 2)
    assert found.latency == pytest.approx(latency, rel=1e-2)
    if sizes[-1] / bandwidth > latency:  # else the bandwidth does not show
        assert found.bandwidth == pytest.approx(bandwidth, rel=1e-2)


def test_nodes_have_as_many_gpus_as_they_have():
    pcie, nvlink, fabric = CHAMELEON
    assert pcie.link(4) == pcie.inside
    assert pcie.link(8) == pcie.between
    assert pcie.link(32) is None
    assert nvlink.link(8) is None
    assert fabric.link(8) == fabric.inside


def test_utilisation_is_of_a_known_peak_alone():
    config = LADDER["base"]
    one = flops_per_token(dataclasses.replace(config, context=100))
    assert utilisation(config, 312e12 / one / 2, 100, "NVIDIA A100-SXM4-80GB", "bf16") == 0.5
    assert utilisation(config, 1e6, 100, "some CPU", "bf16") is None
    assert utilisation(config, 1e6, 100, "NVIDIA A100", "fp32") is None


def test_a_step_twice_as_large_takes_twice_as_long():
    once, twice = (load_of(LADDER["tiny"], pairs, 64, 1e12) for pairs in (32, 64))
    assert twice.seconds == pytest.approx(2 * once.seconds)
    assert twice.weights == once.weights
