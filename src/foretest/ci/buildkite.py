"""Buildkite: variables that the agent gives each job."""

from __future__ import annotations

from dataclasses import replace

from foretest.ci.context import CiContext, Environment, Table, number, read

TABLE = Table(
    system="Buildkite",
    sign="BUILDKITE",
    deepen=(
        "Remove `--depth` from BUILDKITE_GIT_CLONE_FLAGS, or fetch the target before selecting:"
        ' `git fetch origin "$BUILDKITE_PULL_REQUEST_BASE_BRANCH"`.'
    ),
    commit=("BUILDKITE_COMMIT",),
    branch=("BUILDKITE_BRANCH",),
    tag=("BUILDKITE_TAG",),
    request=("BUILDKITE_PULL_REQUEST",),
    target=("BUILDKITE_PULL_REQUEST_BASE_BRANCH",),
    default_branch=("BUILDKITE_PIPELINE_DEFAULT_BRANCH",),
    run_id=("BUILDKITE_BUILD_ID",),
    job=("BUILDKITE_STEP_KEY", "BUILDKITE_LABEL", "BUILDKITE_STEP_ID"),
    index=("BUILDKITE_PARALLEL_JOB",),
    total=("BUILDKITE_PARALLEL_JOB_COUNT",),
    first_index=0,
)


def detect(environment: Environment) -> CiContext | None:
    """What Buildkite says of this job: retries are counted from 0, no request is called `false`."""
    context = read(TABLE, environment)
    if context is None:
        return None
    source = environment.get("BUILDKITE_PULL_REQUEST_REPO", "")
    return replace(
        context,
        # A build started by hand may be called HEAD until the agent has looked it up.
        commit="" if context.commit == "HEAD" else context.commit,
        request="" if context.request == "false" else context.request,
        attempt=1 + number(environment.get("BUILDKITE_RETRY_COUNT", ""), 0),
        fork=bool(source) and source != environment.get("BUILDKITE_REPO", ""),
    )
