"""`foretest platform job`: verbs of foretest as jobs of a Ray cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from foretest.platform.jobs import Job

address_option = click.option(
    "--address",
    help="HTTP address of the cluster's head (default: the newest local cluster that is up).",
)


@click.group(
    "job",
    short_help="Run a verb as a job of a Ray cluster",
    epilog="""\b
Examples:
  foretest platform job submit -- platform corpus --minutes 10
  foretest platform job submit --address http://head:8265 --no-wait -- platform corpus
  foretest platform job status
  foretest platform job logs foretest-3f2a
  foretest platform job end
""",
)
def command() -> None:
    """Submit verbs to a Ray cluster by its Jobs API, and ask what became of them.

    A job does what the same verb does in a shell, and its exit status is the verb's. It runs on
    where its submitter is killed: `status` and `logs` then say what became of it.
    """


@command.command(
    "submit",
    epilog="""\b
Examples:
  foretest platform job submit -- platform corpus --names addict,schema --minutes 2
  foretest platform job submit --address http://head:8265 --upload . -- learn --undo 200
""",
)
@click.argument("verb", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--address", help="HTTP address of the cluster's head (default: a local cluster).")
@click.option("--upload", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Folder to send along; it becomes the job's working directory.")  # fmt: skip
@click.option("--cpus", type=click.IntRange(1), help="CPUs of the local cluster (default: all).")
@click.option("--no-wait", is_flag=True, help="Return once it is submitted.")
def submit(
    verb: tuple[str, ...], address: str | None, upload: Path | None, cpus: int | None, no_wait: bool
) -> int:
    """Run `foretest VERB...` as a job, show what it prints, and end with its exit status.

    Without --address a local cluster is started, and stopped when the job has ended.
    """
    from foretest.platform.cluster import cpus_here, local_cluster, start
    from foretest.platform.jobs import submit as submitted

    if address is not None:
        job = submitted(verb, address, upload=upload)
        return _announced(job) if no_wait else _followed(job)
    if no_wait:
        return _announced(submitted(verb, start(cpus=cpus or cpus_here()).jobs, upload=upload))
    with local_cluster(cpus=cpus or cpus_here()) as cluster:
        return _followed(submitted(verb, cluster.jobs, upload=upload))


@command.command(
    "status",
    epilog="""\b
Examples:
  foretest platform job status
  foretest platform job status raysubmit_Xy12 --address http://head:8265
""",
)
@click.argument("name", required=False)
@address_option
def status(name: str | None, address: str | None) -> int:
    """Say how a job stands, or every job; exit status 1 where the job asked about failed."""
    from foretest.platform.jobs import Job, states

    where = _where(address)
    if name is None:
        known = states(where)
        click.echo(f"{where}: {len(known)} job{'' if len(known) == 1 else 's'}")
        for state in known:
            click.echo(f"  {state.sentence()}")
        return 0
    state = Job(name, where).state()
    click.echo(state.sentence())
    if state.exit and state.message:
        click.echo(f"  {state.message.splitlines()[0]}")
    return int(bool(state.exit))


@command.command("logs", epilog="\b\nExample:\n  foretest platform job logs NAME --follow\n")
@click.argument("name")
@address_option
@click.option("--follow", is_flag=True, help="Go on until the job has ended.")
def logs(name: str, address: str | None, follow: bool) -> None:
    """Show what a job printed."""
    from foretest.platform.jobs import Job

    job = Job(name, _where(address))
    for piece in job.follow() if follow else (job.logs(),):
        click.echo(piece, nl=False)


@command.command("end", epilog="\b\nExample:\n  foretest platform job end\n")
def end() -> None:
    """End local clusters whose submitter is gone, and the jobs that run there."""
    from foretest.platform.cluster import abandoned

    left = abandoned()
    for cluster in left:
        cluster.stop()
    click.echo(f"Ended {len(left)} local cluster{'' if len(left) == 1 else 's'}.")


def _announced(job: Job) -> int:
    click.echo(f"Job {job.name} at {job.address}")
    return 0


def _followed(job: Job) -> int:
    click.echo(f"Job {job.name} at {job.address}", err=True)
    for piece in job.follow():
        click.echo(piece, nl=False)
        sys.stdout.flush()
    state = job.state()
    click.echo(state.sentence(), err=True)
    return 0 if state.exit is None else state.exit


def _where(address: str | None) -> str:
    from foretest.errors import ClusterFailed
    from foretest.platform.cluster import recorded

    if address is not None:
        return address
    for left in recorded():
        return left.jobs
    raise ClusterFailed(
        "No local cluster is up.", "Name the cluster of the job: --address http://HEAD:8265."
    )
