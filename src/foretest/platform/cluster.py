"""A Ray cluster of our own on this machine, of one node or several, and the way into any cluster.

Every process of a cluster carries the cluster's token in its environment, so that stopping ends
what was started here and nothing else, whoever adopted it meanwhile, and whatever signals it
ignores (Ray's `gcs_server` ignores SIGTERM).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foretest.config import child_environment, environment
from foretest.durable import write_text
from foretest.errors import ClusterFailed, ExtraMissing

HEAD = "127.0.0.2"
"""The head's own address; further nodes take the next ones. Loopback: nobody else gets in."""
TOKEN = "RAY_CLUSTER_TOKEN_OF_FORETEST"
"""The variable by which a process is known as one of ours."""
PATIENCE = 600.0
"""Seconds within which a node must be there: a quiet machine needs about ten, a busy one minutes.
One that ends by itself is known at once."""
_FOLDER, _RECORD = "ray-", "cluster.json"
"""A cluster's folder has a short name, since it holds sockets; the record tells others of it."""
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A worker imports for seconds; on a busy machine for more than the minute that Ray allows.
    "RAY_worker_register_timeout_seconds": "600",
    "PYTHONWARNINGS": "ignore",
}
_WAY = "The last lines of its log are above; free memory and ports, then try again."


def ray() -> Any:
    """The library. Raises ExtraMissing where it is not installed."""
    try:
        import ray as library
    except ImportError as error:
        raise ExtraMissing(
            "Clusters need Ray, which is not installed.", "Run: pip install 'foretest[platform]'"
        ) from error
    return library


@dataclass
class Cluster:
    """Nodes of one cluster on this machine; `nodes[0]` is the head."""

    cpus: int
    memory: int
    folder: Path
    token: str
    gcs: int
    """Port of the head's directory, by which nodes and drivers join."""
    dashboard: int
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """What `connect` and Ray itself take."""
        return f"{HEAD}:{self.gcs}"

    @property
    def jobs(self) -> str:
        """What `platform.jobs` takes: the head's HTTP address."""
        return f"http://{HEAD}:{self.dashboard}"

    def add_node(self) -> int:
        """Start one more node and wait until it has joined; its number. Raises ClusterFailed."""
        number = len(self.nodes)
        ip = host(number)
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
            f"--node-ip-address={ip}",
            f"--num-cpus={self.cpus}",
            f"--object-store-memory={self.memory}",
            # Two clusters on one machine must not meet on a port.
            f"--dashboard-agent-listen-port={free_port(ip)}",
            *("--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats"),
            *((f"--address={self.address}",) if number else self._as_head()),
        ]
        with (self.folder / f"node-{number}.log").open("wb") as log:
            self.nodes.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=child_environment(
                        ("RAY_ADDRESS", "RAY_JOB_ID"), {**_SETTINGS, TOKEN: self.token}
                    ),
                    # A killed submitter, or Ctrl-C in its terminal, leaves the nodes alone.
                    start_new_session=True,
                )
            )
        self._wait(number)
        return number

    def _as_head(self) -> list[str]:
        return [
            "--head",
            f"--port={self.gcs}",
            f"--ray-client-server-port={free_port(HEAD)}",
            "--include-dashboard=true",
            f"--dashboard-host={HEAD}",
            f"--dashboard-port={self.dashboard}",
            f"--temp-dir={self.folder}",
        ]

    def kill_node(self, number: int) -> None:
        """End a node as a power cut would: every process of it, at once."""
        victims = [self.nodes[number].pid]
        with suppress(Exception):
            victims += [p.pid for p in _psutil().Process(victims[0]).children(recursive=True)]
        _kill(victims)
        self.nodes[number].wait()

    def stop(self) -> None:
        """End every process of this cluster and remove its folder."""
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            with suppress(subprocess.TimeoutExpired):
                node.wait(2.0)
        end(self.token)
        for node in self.nodes:
            node.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self, number: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.nodes[number].poll() is not None:
                break
            if host(number) in alive(self.jobs):
                return
            time.sleep(0.25)
        log = (self.folder / f"node-{number}.log").read_text("utf-8", "replace")[-2000:]
        raise ClusterFailed(f"A node of the Ray cluster did not come up.\n{log}", _WAY)


def host(number: int) -> str:
    """The address of a node on this machine."""
    return HEAD.rpartition(".")[0] + f".{2 + number}"


def free_port(ip: str) -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((ip, 0))
        return int(probe.getsockname()[1])


def alive(jobs: str) -> set[str]:
    """The addresses of the nodes that a head counts as alive; none where it does not answer."""
    try:
        with urllib.request.urlopen(f"{jobs}/nodes?view=summary", timeout=5.0) as answer:
            summary = json.load(answer)["data"]["summary"]
        return {node["ip"] for node in summary if node["raylet"].get("state") == "ALIVE"}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def start(nodes: int = 1, cpus: int = 2, memory: int = 512 << 20) -> Cluster:
    """Start a cluster that outlives this process unless it is stopped; see `local_cluster`."""
    ray()
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
    token = secrets.token_hex(8)
    cluster = Cluster(cpus, memory, folder, token, free_port(HEAD), free_port(HEAD))
    record = {"jobs": cluster.jobs, "token": token, "owner": os.getpid()}
    write_text(folder / _RECORD, json.dumps(record))
    try:
        for _ in range(nodes):
            cluster.add_node()
    except BaseException:
        cluster.stop()
        raise
    return cluster


@contextmanager
def local_cluster(nodes: int = 1, cpus: int = 2, memory: int = 512 << 20) -> Iterator[Cluster]:
    """A cluster of `nodes` nodes of `cpus` CPUs and `memory` bytes of object store each.

    It is stopped when the block ends. Raises ClusterFailed, ExtraMissing.
    """
    cluster = start(nodes, cpus, memory)
    try:
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def connect(address: str | None = None, cpus: int = 2) -> Iterator[str]:
    """Join a cluster as a driver for the length of the block; gives its address.

    Without an address: the cluster in whose job this process runs, else a local one of one node
    that ends with the block. Raises ClusterFailed where nobody answers at the address.
    """
    library = ray()
    address = address or environment().get("RAY_ADDRESS")
    if address is None:
        with local_cluster(cpus=cpus) as cluster, connect(cluster.address):
            yield cluster.address
        return
    own = {"_node_ip_address": HEAD} if address.startswith("127.") else {}
    try:
        library.init(address, log_to_driver=False, logging_level="ERROR", **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterFailed(
            f"No Ray cluster can be joined at {address}: {error}.",
            "Start one with `ray start --head`, or leave the address out for a local one.",
        ) from error
    try:
        yield address
    finally:
        library.shutdown()


@dataclass(frozen=True)
class Recorded:
    """A cluster as its folder tells of it, to those who did not start it."""

    jobs: str
    token: str
    owner: int
    """Process that started it, and would stop it."""
    folder: Path

    def stop(self) -> None:
        end(self.token)
        shutil.rmtree(self.folder, ignore_errors=True)


def recorded() -> list[Recorded]:
    """The clusters that this user started on this machine and that answer, the newest first."""
    found = []
    for file in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*/{_RECORD}"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            told = json.loads(file.read_text("utf-8"))
            one = Recorded(str(told["jobs"]), str(told["token"]), int(told["owner"]), file.parent)
            if any(True for _ in _carrying(one.token)):
                found.append((file.stat().st_mtime, one))
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


def abandoned() -> list[Recorded]:
    """Of those, the ones that nobody will stop any more."""
    return [one for one in recorded() if not _psutil().pid_exists(one.owner)]


def cpus_here() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def end(token: str) -> int:
    """Kill every process that carries a cluster's token; how many there were."""
    killed = 0
    while found := [process.pid for process in _carrying(token)]:
        killed += len(found)
        _kill(found)
    return killed


def _carrying(token: str) -> Iterator[Any]:
    psutil = _psutil()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _kill(pids: list[int]) -> None:
    psutil = _psutil()
    gone = []
    for pid in pids:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            process.kill()
            gone.append(process)
    psutil.wait_procs(gone, timeout=5.0)


def _psutil() -> Any:
    try:
        import psutil
    except ImportError as error:
        raise ExtraMissing(
            "Clusters need psutil, which is not installed.", "Run: pip install 'foretest[platform]'"
        ) from error
    return psutil
