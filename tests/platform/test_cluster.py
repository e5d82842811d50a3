"""A cluster on this machine: nodes join, one dies as by a power cut, and nothing stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from foretest.errors import ClusterFailed
from foretest.platform import cluster as clusters
from foretest.platform.cluster import TOKEN, Cluster, connect, host, local_cluster

pytest.importorskip("ray", reason="Ray is not installed: pip install 'foretest[platform]'")
psutil = pytest.importorskip("psutil", reason="pip install 'foretest[platform]'")
# Ray's own code, and its sockets that are closed when a driver ends.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    with local_cluster(nodes=2, cpus=1) as cluster:
        yield cluster
    assert list(clusters._carrying(cluster.token)) == []
    assert not cluster.folder.exists()


def test_work_runs_on_every_node_and_outlives_one(two_nodes: Cluster) -> None:
    with connect(two_nodes.address) as address:
        import ray

        @ray.remote(num_cpus=1)
        def where() -> str:
            return str(ray.util.get_node_ip_address())

        for place in (host(0), host(1)):
            there = where.options(resources={f"node:{place}": 0.1})
            assert ray.get(there.remote()) == place
        two_nodes.kill_node(1)
        assert ray.get(where.options(max_retries=3).remote(), timeout=600) == host(0)
    assert address == two_nodes.address


def test_only_what_carries_the_token_is_ended() -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(900)"]
    ours, foreign = (
        subprocess.Popen(sleep, env={**os.environ, TOKEN: token}) for token in ("ours", "foreign")
    )
    try:
        while not list(clusters._carrying("ours")):
            time.sleep(0.01)
        assert clusters.end("ours") == 1
        assert not psutil.pid_exists(ours.pid)
        assert foreign.poll() is None
    finally:
        for process in (ours, foreign):
            process.kill()
            process.wait()


def test_a_head_that_is_not_there_is_said_plainly() -> None:
    assert clusters.alive(f"http://{host(0)}:1") == set()
    there = connect("nowhere")
    with pytest.raises(ClusterFailed, match="No Ray cluster can be joined at nowhere"), there:
        pass
