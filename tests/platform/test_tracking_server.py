"""The tracking server: up by one verb, ended by a signal; on PostgreSQL and S3 as well."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from foretest.errors import TrackingFailed
from foretest.platform.tracking.lineage import Lineage
from foretest.platform.tracking.runs import open_tracker
from foretest.platform.tracking.server import tracking_server

mlflow = pytest.importorskip(
    "mlflow", reason="MLflow is not installed: pip install 'foretest[platform]'"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's, boto's and moto's own
LINEAGE = Lineage("facts:abc", "0.1", {"seed": 1})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_verb_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    port = free_port()
    verb = [sys.executable, "-m", "foretest", "platform", "tracking", "serve", "--port", str(port)]
    server = subprocess.Popen(
        verb, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline().strip() == f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            assert answer.status == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(300) == 0
        server.stdout.close()
    finally:
        server.kill()
        server.wait()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass
    assert (tmp_path / ".foretest" / "tracking-server" / "runs.db").exists()


def test_a_server_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho no such database; exit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    with (
        pytest.raises(TrackingFailed, match="no such database"),
        tracking_server("sqlite:///x", str(tmp_path), tmp_path / "log", port=free_port()),
    ):
        pass


def test_a_taken_port_is_said_and_the_log_of_who_has_it_stays(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("of the other")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = int(other.getsockname()[1])
        with (
            pytest.raises(TrackingFailed, match=f"listen on 127.0.0.1:{port}"),
            tracking_server("sqlite:///x", str(tmp_path), log, port=port),
        ):
            pass
    assert log.read_text() == "of the other"


def test_postgresql_and_s3_and_a_server_that_dies_in_the_middle_of_a_run(
    postgres: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    moto = pytest.importorskip("moto.server", reason="LEFT OUT: no moto[server], no S3 to test on")
    boto3 = pytest.importorskip("boto3", reason="LEFT OUT: boto3 is not installed")
    store = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    store.start()
    s3 = "http://{}:{}".format(*store.get_host_and_port())
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "word",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3,
    }.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    log, port = tmp_path / "log", free_port()

    def server() -> AbstractContextManager[tuple[str, subprocess.Popen[bytes]]]:
        return tracking_server(postgres, "s3://team/runs", log, port=port)

    try:
        boto3.client("s3").create_bucket(Bucket="team")

        with server() as (address, process):
            tracker = open_tracker(address, spool=tmp_path / "spool", say=said.append)
            with tracker.run("judging", "cut", parameters={"a": 1}, lineage=LINEAGE) as run:
                run.metric("all/loss", 2.0, 0)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                run.metric("all/loss", 1.0, 1)
                run.artifact(b"kept", "notes/a.txt")
        assert run.id
        assert any("tracking send" in line for line in said)

        with server() as (address, _):
            asked = mlflow.MlflowClient(tracking_uri=address)
            assert asked.get_run(run.id).info.status == "RUNNING"
            assert tracker.send() == (1, 0)
            kept = asked.get_run(run.id)
            assert kept.info.status == "FINISHED"
            curve = asked.get_metric_history(run.id, "all/loss")
            assert sorted((m.step, m.value) for m in curve) == [(0, 2.0), (1, 1.0)]
            text = asked.download_artifacts(run.id, "notes/a.txt")
            assert Path(text).read_bytes() == b"kept"
            assert said[-1].startswith(f"{address}/#/experiments/")
            assert said[-1].endswith(run.id)
            assert capsys.readouterr().out == ""  # which belongs to the verb
        stored = boto3.client("s3").list_objects_v2(Bucket="team", Prefix="runs/")["Contents"]
        assert any(item["Key"].endswith("notes/a.txt") for item in stored)
        assert "word" not in log.read_text("utf-8")
    finally:
        store.stop()
