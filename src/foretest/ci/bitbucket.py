"""Bitbucket Pipelines: its default variables."""

from __future__ import annotations

from foretest.ci.context import CiContext, Environment, Table, read

TABLE = Table(
    system="Bitbucket Pipelines",
    sign="BITBUCKET_BUILD_NUMBER",
    deepen="Set `clone: depth: full`, at the top of the file or of the step.",
    commit=("BITBUCKET_COMMIT",),
    branch=("BITBUCKET_BRANCH",),
    tag=("BITBUCKET_TAG",),
    request=("BITBUCKET_PR_ID",),
    target=("BITBUCKET_PR_DESTINATION_BRANCH",),
    bases=("BITBUCKET_PR_DESTINATION_COMMIT",),
    run_id=("BITBUCKET_BUILD_NUMBER",),
    attempt=("BITBUCKET_STEP_RUN_NUMBER",),
    job=("BITBUCKET_STEP_UUID",),
    index=("BITBUCKET_PARALLEL_STEP",),
    total=("BITBUCKET_PARALLEL_STEP_COUNT",),
    first_index=0,
)


def detect(environment: Environment) -> CiContext | None:
    """What Bitbucket says of this step.

    A request's step merges the target into the checkout, so HEAD is a newer commit than the one
    that the system names; what both have in common is the target all the same.
    """
    return read(TABLE, environment)
