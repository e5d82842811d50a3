"""Training on many workers by Ray Train: DDP or FSDP, checkpoints in an object store, resumed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from foretest.config import object_store_environment
from foretest.errors import BadConfiguration, ClusterFailed
from foretest.platform import cluster
from foretest.platform.encoder import checkpoints
from foretest.platform.encoder.checkpoints import Progress, Training
from foretest.platform.encoder.config import EncoderConfig
from foretest.platform.encoder.loop import train
from foretest.platform.encoder.model import CodeEncoder
from foretest.platform.encoder.pairs import PairSource
from foretest.platform.encoder.settings import Settings

Sharding = Literal["ddp", "fsdp"]

LOSSES = 8
"""Workers or nodes that may be lost, one after the other, before a training is given up."""
SILENCE = 120
"""Seconds after which workers stop waiting for one that no longer answers."""


@dataclass(frozen=True, slots=True)
class Workers:
    """How many share a training, how the model lies on them, and which cluster they come from.

    `ddp` gives each worker the whole model (Li et al., 2020); `fsdp` a share of every layer, which
    are put together only while they are needed (Zhao et al., 2023).
    """

    count: int = 2
    sharding: Sharding = "ddp"
    address: str | None = None
    """As `cluster.connect` takes it; without one, a local cluster for the time of the training."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.sharding not in ("ddp", "fsdp"):
            raise BadConfiguration(
                f"There is no training by {self.sharding} on {self.count} workers.",
                "Name at least one worker, and ddp or fsdp.",
            )


class Fitted(NamedTuple):
    model: CodeEncoder
    """Whole, on this process, ready to be used."""
    progress: Progress


def fit(
    config: EncoderConfig,
    source: PairSource,
    settings: Settings,
    workers: Workers,
    storage: str,
    name: str,
    start: Mapping[str, Tensor] | None = None,
) -> Fitted:
    """Train an encoder on several workers.

    `storage` is a folder that all nodes see, or `s3://bucket/prefix` with the usual `AWS_...`
    variables. Checkpoints lie below it under `name`, each worker's share written by itself. A
    training that lost a worker or a node goes on from the last of them on what is left, and so
    does one of the same name that is started again, with any number of workers. `start`: weights
    to begin with. Raises ClusterFailed, BadConfiguration, ExtraMissing.
    """
    if settings.batch < workers.count * settings.accumulate:
        raise BadConfiguration(
            f"{settings.batch} pairs cannot be shared by {workers.count} workers"
            f" in {settings.accumulate} parts.",
            "Take a larger batch, fewer workers or fewer parts.",
        )
    with cluster.connect(workers.address, cpus=workers.count):
        place, files = filesystem(storage)
        task = {
            "config": config,
            "source": source,
            "settings": settings,
            "sharding": workers.sharding,
            "start": start,
        }
        result = _run(task, workers, place, files, name)
        with result.checkpoint.as_directory() as folder:
            model = CodeEncoder(config)
            progress = checkpoints.weights(model, Path(folder))
        return Fitted(model.eval(), progress)


def _run(task: dict[str, Any], workers: Workers, place: str, files: Any, name: str) -> Any:
    ray = cluster.ray()
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    cuda = ray.cluster_resources().get("GPU", 0) >= workers.count
    trainer = TorchTrainer(
        _work,
        train_loop_config=task,
        scaling_config=ScalingConfig(
            num_workers=workers.count, use_gpu=cuda, placement_strategy="SPREAD"
        ),
        torch_config=TorchConfig(backend="nccl" if cuda else "gloo", timeout_s=SILENCE),
        run_config=RunConfig(
            name=name,
            storage_path=place,
            storage_filesystem=files,
            failure_config=FailureConfig(max_failures=LOSSES),
            checkpoint_config=CheckpointConfig(num_to_keep=checkpoints.KEPT),
            worker_runtime_env={"env_vars": {} if cuda else {"OMP_NUM_THREADS": "1"}},
        ),
    )
    try:
        return trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise ClusterFailed(
            f"The training {name} failed on its workers: {error}",
            "Mend the cause; started again under its name, it goes on from its last checkpoint.",
        ) from error


def filesystem(storage: str) -> tuple[str, Any]:
    """Where `storage` lies: (path, pyarrow's file system, None for a folder)."""
    bucket = storage.removeprefix("s3://")
    if bucket == storage:
        return str(Path(storage).resolve()), None
    from pyarrow.fs import S3FileSystem

    given = object_store_environment()
    scheme, _, host = given.get("AWS_ENDPOINT_URL", "").rpartition("://")
    options = {
        "access_key": given.get("AWS_ACCESS_KEY_ID"),
        "secret_key": given.get("AWS_SECRET_ACCESS_KEY"),
        "session_token": given.get("AWS_SESSION_TOKEN"),
        "region": given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION"),
        "endpoint_override": host,
        "scheme": scheme,
    }
    return bucket, S3FileSystem(**{key: value for key, value in options.items() if value})


def _work(task: dict[str, Any]) -> None:
    """What each worker does; runs on the cluster."""
    from ray.train.torch import get_device

    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(1)  # a worker is a CPU
    torch.manual_seed(task["settings"].seed)  # FSDP does not copy the first worker's weights
    model = CodeEncoder(task["config"])
    if task["start"] is not None:
        model.load_state_dict(task["start"])
    train(
        model.to(device),
        task["source"],
        task["settings"],
        checkpoints=_Reported(),
        spread={"ddp": replicated, "fsdp": sharded}[task["sharding"]],
    )


def replicated(model: nn.Module) -> nn.Module:
    """The whole model on each worker; gradients are averaged over them."""
    return DistributedDataParallel(model)


def sharded(model: nn.Module) -> nn.Module:
    """A share of each block on each worker; gathered for its forward and backward pass."""
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


class _Reported:
    """Checkpoints that Ray Train uploads, a share by each worker, and hands out again."""

    def restore(self, training: Training) -> None:
        from ray.train import get_checkpoint

        checkpoint = get_checkpoint()
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                checkpoints.read(training, Path(folder))

    def keep(self, training: Training) -> None:
        from ray.train import Checkpoint, report

        with tempfile.TemporaryDirectory() as folder:
            checkpoints.write(training, Path(folder))
            newest = training.progress.curve[-1]
            report(newest._asdict(), checkpoint=Checkpoint.from_directory(folder))
