"""CircleCI: its variables; of a pull request they hold the address alone, never the target."""

from __future__ import annotations

from dataclasses import replace

from foretest.ci.context import CiContext, Environment, Table, read

TABLE = Table(
    system="CircleCI",
    sign="CIRCLECI",
    deepen="Add a step after `checkout`: `git fetch --unshallow || git fetch origin`.",
    commit=("CIRCLE_SHA1",),
    branch=("CIRCLE_BRANCH",),
    tag=("CIRCLE_TAG",),
    request=("CIRCLE_PR_NUMBER", "CIRCLE_PULL_REQUEST"),
    run_id=("CIRCLE_BUILD_NUM", "CIRCLE_WORKFLOW_JOB_ID", "CIRCLE_WORKFLOW_ID"),
    job=("CIRCLE_JOB",),
    index=("CIRCLE_NODE_INDEX",),
    total=("CIRCLE_NODE_TOTAL",),
    first_index=0,
)


def detect(environment: Environment) -> CiContext | None:
    """What CircleCI says of this job. A job that runs again has a number of its own.

    The base is where the branch left the main line, which needs no word from the system.
    """
    context = read(TABLE, environment)
    if context is None:
        return None
    return replace(
        context,
        request=context.request.rstrip("/").rpartition("/")[2],
        fork=bool(environment.get("CIRCLE_PR_NUMBER", "")),
    )
