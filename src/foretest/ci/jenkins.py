"""Jenkins: variables of the Git plugin and of multibranch pipelines."""

from __future__ import annotations

from dataclasses import replace

from foretest.ci.context import CiContext, Environment, Table, read

TABLE = Table(
    system="Jenkins",
    sign="JENKINS_URL",
    deepen=(
        "Turn off `shallow clone` for the job, and fetch the target before selecting:"
        ' `git fetch --no-tags origin "+refs/heads/$CHANGE_TARGET:'
        'refs/remotes/origin/$CHANGE_TARGET"`.'
    ),
    commit=("GIT_COMMIT",),
    branch=("CHANGE_BRANCH", "BRANCH_NAME", "GIT_LOCAL_BRANCH", "GIT_BRANCH"),
    tag=("TAG_NAME",),
    request=("CHANGE_ID",),
    target=("CHANGE_TARGET",),
    previous=("GIT_PREVIOUS_SUCCESSFUL_COMMIT", "GIT_PREVIOUS_COMMIT"),
    run_id=("BUILD_NUMBER",),
    job=("JOB_NAME",),
)


def detect(environment: Environment) -> CiContext | None:
    """What Jenkins says of this build. A rebuild has a number of its own, so there is no attempt.

    Stages of one build share its variables: a matrix's cell sets FORETEST_FLAGS to its axes.
    """
    context = read(TABLE, environment)
    if context is None:
        return None
    primary = environment.get("BRANCH_IS_PRIMARY", "") == "true"
    return replace(
        context,
        default_branch=context.branch if primary else "",
        fork=bool(environment.get("CHANGE_FORK", "")),
    )
