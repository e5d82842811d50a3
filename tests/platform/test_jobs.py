"""Jobs: a verb on a local head ends as it would in a shell, and outlives its submitter."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from foretest.errors import ClusterFailed
from foretest.platform import jobs
from foretest.platform.cluster import Cluster, abandoned, local_cluster, recorded

pytest.importorskip("ray", reason="Ray is not installed: pip install 'foretest[platform]'")
# Ray's own code, and its sockets that are closed late.
pytestmark = pytest.mark.filterwarnings("ignore")

FORETEST = [sys.executable, "-m", "foretest", "platform", "job"]


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    with local_cluster(cpus=1) as cluster:
        yield cluster


def test_a_job_prints_and_ends_as_its_verb_does(head: Cluster) -> None:
    fine = jobs.submit(["--version"], head.jobs)
    wrong = jobs.submit(["no-such-verb"], head.jobs)
    assert "foretest" in "".join(fine.follow())
    assert "no-such-verb" in "".join(wrong.follow())
    assert (fine.state().exit, wrong.state().exit) == (0, 2)
    assert {fine.name, wrong.name} <= {state.name for state in jobs.states(head.jobs)}
    assert fine.state().command.endswith("-m foretest --version")


def test_a_killed_submitter_leaves_a_job_that_can_be_asked_about(head: Cluster) -> None:
    submit = [*FORETEST, "submit", "--address", head.jobs, "--", "platform", "--help"]
    submitter = subprocess.Popen(submit, stderr=subprocess.PIPE, text=True)
    assert submitter.stderr is not None
    name = submitter.stderr.readline().split()[1]
    submitter.send_signal(signal.SIGKILL)
    submitter.communicate()
    asked = [*FORETEST, "logs", name, "--follow", "--address", head.jobs]
    logs = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert "Usage: foretest platform" in logs
    assert jobs.Job(name, head.jobs).state().status == "SUCCEEDED"


def test_a_cluster_is_known_to_others_while_it_is_up(head: Cluster) -> None:
    assert head.jobs in {one.jobs for one in recorded()}
    assert head.jobs not in {one.jobs for one in abandoned()}, "its owner, this process, is alive"


def test_what_is_not_there_is_said_plainly(head: Cluster) -> None:
    with pytest.raises(ClusterFailed, match="nobody"):
        jobs.Job("nobody", head.jobs).state()
    with pytest.raises(ClusterFailed, match=r"127\.0\.0\.2:1"):
        jobs.submit(["--version"], "http://127.0.0.2:1")
