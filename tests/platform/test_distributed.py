"""Several workers: the same loss as one, and a training that outlives a worker and a node."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is missing: pip install 'foretest[platform]'")

from foretest.errors import BadConfiguration, ClusterFailed  # noqa: E402
from foretest.platform.encoder.config import EncoderConfig  # noqa: E402
from foretest.platform.encoder.distributed import (  # noqa: E402
    Workers,
    filesystem,
    fit,
    replicated,
    sharded,
)
from foretest.platform.encoder.loop import train  # noqa: E402
from foretest.platform.encoder.model import CodeEncoder  # noqa: E402
from foretest.platform.encoder.pairs import PairBatch, SyntheticPairs  # noqa: E402
from foretest.platform.encoder.processes import spawned  # noqa: E402
from foretest.platform.encoder.settings import Settings  # noqa: E402

CONFIG = EncoderConfig(512, 32, 2, 2, 64, 64, 16)
PAIRS = SyntheticPairs(CONFIG, subjects=16)
SETTINGS = Settings(steps=5, batch=13, warm_up=2, accumulate=2)


def one_process(settings=SETTINGS):
    torch.manual_seed(settings.seed)
    model = CodeEncoder(CONFIG)
    progress = train(model, PAIRS, settings)
    return [step.loss for step in progress.curve], model.state_dict()


def both(settings: Settings) -> dict:
    """Train by DDP and by FSDP in one of two processes: losses and weights."""
    found = {}
    for name, spread in (("ddp", replicated), ("fsdp", sharded)):
        for parts in (1, 2):
            torch.manual_seed(0)
            model = CodeEncoder(CONFIG)
            own = dataclasses.replace(settings, accumulate=parts)
            progress = train(model, PAIRS, own, spread=spread)
            last = model.out.weight.detach()
            last = last.full_tensor() if name == "fsdp" else last
            found[name, parts] = ([step.loss for step in progress.curve], last.numpy())
    return found


def test_two_workers_learn_what_one_learns_from_the_same_batches():
    """13 pairs do not share out evenly; parts and workers see each other's tests all the same."""
    losses, weights = one_process(dataclasses.replace(SETTINGS, accumulate=1))
    for found in spawned(both, SETTINGS, workers=2):
        assert set(found) == {("ddp", 1), ("ddp", 2), ("fsdp", 1), ("fsdp", 2)}
        for of_two, last in found.values():
            assert of_two == pytest.approx(losses, rel=1e-4)
            last = torch.from_numpy(last)
            torch.testing.assert_close(last, weights["out.weight"], atol=2e-3, rtol=0)


def fails(rank_that_fails: int) -> None:
    assert torch.distributed.get_rank() != rank_that_fails


def test_a_process_that_ends_without_a_result_is_said(capfd):
    with pytest.raises(ClusterFailed, match="without a result"):
        spawned(fails, 1, workers=2)


@pytest.mark.parametrize(
    ("workers", "batch"), [({"count": 0}, 8), ({"sharding": "none"}, 8), ({"count": 4}, 6)]
)
def test_what_cannot_be_shared_is_refused(workers, batch):
    settings = dataclasses.replace(SETTINGS, batch=batch)
    with pytest.raises(BadConfiguration):
        fit(CONFIG, PAIRS, settings, Workers(**workers), "never-made", "none")


@pytest.fixture
def bucket(monkeypatch):
    server = pytest.importorskip("moto.server", reason="moto[server] is missing").ThreadedMotoServer
    served = server(ip_address="127.0.0.2", port=0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    request = urllib.request.Request(f"http://{host}:{port}/models", method="PUT")
    urllib.request.urlopen(request, timeout=30).close()
    yield "s3://models/encoders"
    served.stop()


def shares(storage: str) -> list[tuple[str, int]]:
    """The checkpoints in the bucket, each with the number of shares it came in."""
    from pyarrow.fs import FileSelector

    place, files = filesystem(storage)
    found = files.get_file_info(FileSelector(place, recursive=True, allow_not_found=True))
    folders = [info.path.rsplit("/", 1)[0] for info in found if info.path.endswith(".distcp")]
    return sorted((name, folders.count(name)) for name in set(folders))


WORKER, NODE = "worker", "node"
KILLED_BY = {5: WORKER, 8: NODE}
"""Batches, counted from 0, that are given only once something was killed."""


@dataclasses.dataclass(frozen=True)
class Held:
    """The same batches, but a training cannot end before both were killed, however fast it is."""

    folder: Path

    def batches(self, size: int, seed: int, start: int = 0) -> Iterator[PairBatch]:
        for number, batch in enumerate(PAIRS.batches(size, seed, start), start):
            for first, victim in KILLED_BY.items():
                while number >= first and not (self.folder / victim).exists():
                    time.sleep(0.1)
            yield batch


class Reaper(threading.Thread):
    """Kills a worker after the first checkpoint, and a whole node after the next one."""

    def __init__(self, cluster, storage: str, folder: Path) -> None:
        super().__init__(daemon=True)
        self.cluster, self.storage, self.folder = cluster, storage, folder

    def run(self) -> None:
        import psutil

        self.wait_for_another(set())
        worker, _ = self.worker()
        known = {name for name, _ in shares(self.storage)}
        psutil.Process(worker).kill()
        (self.folder / WORKER).touch()
        self.wait_for_another(known)
        _, node = self.worker()
        self.cluster.kill_node(node)
        (self.folder / NODE).touch()

    def wait_for_another(self, known: set[str]) -> None:
        while not {name for name, _ in shares(self.storage)} - known:
            time.sleep(0.2)

    def worker(self) -> tuple[int, int]:
        """A worker's process on a node that is not the head, and the node's number."""
        import psutil

        while True:
            for number, node in enumerate(self.cluster.nodes[1:], 1):
                if node.poll() is None:
                    for process in psutil.Process(node.pid).children(recursive=True):
                        if "RayTrainWorker" in " ".join(process.cmdline()):
                            return process.pid, number
            time.sleep(0.2)


@pytest.mark.filterwarnings("ignore")  # Ray's, torch's and moto's own
def test_a_training_outlives_a_killed_worker_and_a_killed_node(bucket, tmp_path):
    pytest.importorskip("ray.train", reason="Ray is missing: pip install 'foretest[platform]'")
    import ray

    from foretest.platform.cluster import local_cluster

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers know no tests
    settings = Settings(steps=12, batch=32, warm_up=2, keep_every=3)
    with local_cluster(nodes=2, cpus=2) as cluster:
        Reaper(cluster, bucket, tmp_path).start()
        workers = Workers(2, "fsdp", cluster.address)
        fitted = fit(CONFIG, Held(tmp_path), settings, workers, bucket, "outlives")
    curve = fitted.progress.curve
    assert {path.name for path in tmp_path.iterdir()} == {WORKER, NODE}
    assert [step.number for step in curve] == list(range(1, 13))
    assert curve[-1].loss < curve[2].loss
    assert shares(bucket)[-1][1] == 2
    # Losing a worker and a node changed nothing in what was learned.
    losses, weights = one_process(settings)
    assert [step.loss for step in curve] == pytest.approx(losses, rel=0.01)
    torch.testing.assert_close(fitted.model.out.weight, weights["out.weight"], atol=0.01, rtol=0)
