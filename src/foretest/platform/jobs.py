"""foretest's own verbs as jobs of a Ray cluster, submitted and asked about by the Ray Jobs API."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from foretest.errors import ClusterFailed
from foretest.platform.cluster import ray

ENDED = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
LOST = 2
"""Exit status of a job whose own is not known: its node died, or it was stopped."""
_POLL = 0.5
"""Seconds between two questions to the cluster."""


@dataclass(frozen=True, slots=True)
class State:
    """What a cluster knows of a job."""

    name: str
    status: str
    """Ray's word: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    command: str
    exit: int | None
    """The command's exit status; None while it runs."""
    message: str
    seconds: float

    def sentence(self) -> str:
        spent = f", {self.seconds:,.0f} s" if self.seconds else ""
        code = "" if self.exit is None else f" with exit status {self.exit}"
        return f"{self.name}  {self.status.lower()}{code}{spent}: {self.command}"


@dataclass(frozen=True, slots=True)
class Job:
    """One job of the cluster whose head answers at `address` (http://...)."""

    name: str
    address: str

    def state(self) -> State:
        """What is known of it now. Raises ClusterFailed, also where there is no such job."""
        with _Asking(self.address) as client:
            return _state(client.get_job_info(self.name))

    def logs(self) -> str:
        """What it printed so far, both streams. Raises ClusterFailed."""
        with _Asking(self.address) as client:
            return str(client.get_job_logs(self.name))

    def follow(self) -> Iterator[str]:
        """What it prints, piece by piece, until it has ended."""
        said, ended = 0, False
        while True:
            text = self.logs()
            if text[said:]:
                yield text[said:]
            said = len(text)
            if ended:
                return
            ended = self.state().status in ENDED
            if not ended:
                time.sleep(_POLL)

    def stop(self) -> None:
        """Ask it to end. Raises ClusterFailed."""
        with _Asking(self.address) as client:
            client.stop_job(self.name)


def submit(
    verb: Sequence[str], address: str, *, upload: Path | None = None, name: str | None = None
) -> Job:
    """Start `foretest VERB...` on a cluster; it runs on, whatever becomes of this process.

    On this machine the job has its submitter's interpreter and working directory; elsewhere
    foretest must be installed, and `upload` is the folder that becomes the job's own.
    Raises ClusterFailed, ExtraMissing.
    """
    here = (urlsplit(address).hostname or "").startswith(("127.", "localhost"))
    command = shlex.join([sys.executable if here else "python", "-m", "foretest", *verb])
    if here:
        command = f"cd {shlex.quote(str(Path.cwd()))} && exec {command}"
    environment = {"working_dir": str(upload)} if upload else {}
    with _Asking(address) as client:
        return Job(
            client.submit_job(entrypoint=command, runtime_env=environment, submission_id=name),
            address,
        )


def states(address: str) -> list[State]:
    """Every job that the cluster knows, the oldest first. Raises ClusterFailed."""
    with _Asking(address) as client:
        known = [job for job in client.list_jobs() if job.submission_id]
        return [_state(job) for job in sorted(known, key=lambda job: job.start_time or 0)]


class _Asking:
    """A client of the Jobs API whose failures are ours."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __enter__(self) -> Any:
        ray()
        from ray.job_submission import JobSubmissionClient

        try:
            return JobSubmissionClient(self.address)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise self._failed(error) from error

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConnectionError | RuntimeError | ValueError):
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> ClusterFailed:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return ClusterFailed(
            f"The cluster at {self.address} says: {lines[-1][:300]}",
            "Name its head's HTTP address, and a job that `foretest platform job status` lists.",
        )


def _state(details: Any) -> State:
    status = str(getattr(details.status, "value", details.status))
    code = details.driver_exit_code
    if status == "SUCCEEDED":
        code = 0
    elif code is None and status in ENDED:
        code = LOST
    began, ended = details.start_time or 0, details.end_time or time.time() * 1000
    return State(
        str(details.submission_id),
        status,
        str(details.entrypoint).rpartition("&& exec ")[2],
        code,
        str(details.message or ""),
        max(0.0, (ended - began) / 1000) if began else 0.0,
    )
