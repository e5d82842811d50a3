"""GitLab CI/CD: variables of branch, merge request and merged-results pipelines."""

from __future__ import annotations

import re
from dataclasses import replace

from foretest.ci.context import CiContext, Environment, Table, read

TABLE = Table(
    system="GitLab CI",
    sign="GITLAB_CI",
    deepen="Set the variable `GIT_DEPTH: 0`.",
    commit=("CI_COMMIT_SHA",),
    branch=(
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
        "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME",
        "CI_COMMIT_BRANCH",
        "CI_COMMIT_REF_NAME",
    ),
    tag=("CI_COMMIT_TAG",),
    request=("CI_MERGE_REQUEST_IID", "CI_EXTERNAL_PULL_REQUEST_IID"),
    target=(
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
        "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME",
    ),
    # The target's tip is set in merged-results pipelines alone, where HEAD holds it.
    bases=(
        "CI_MERGE_REQUEST_TARGET_BRANCH_SHA",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA",
        "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA",
    ),
    previous=("CI_COMMIT_BEFORE_SHA",),
    default_branch=("CI_DEFAULT_BRANCH",),
    run_id=("CI_JOB_ID", "CI_PIPELINE_ID"),
    job=("CI_JOB_NAME",),
    index=("CI_NODE_INDEX",),
    total=("CI_NODE_TOTAL",),
)

_CELL = re.compile(r"(?P<job>.*?)(?:: \[(?P<cell>.*)\]| (?P<shard>\d+/\d+))$", re.DOTALL)


def detect(environment: Environment) -> CiContext | None:
    """What GitLab says of this job. A retried job has an id of its own, so there is no attempt.

    A job of a matrix is called `tests: [3.12, postgres]`, one of several `tests 1/3`.
    """
    context = read(TABLE, environment)
    if context is None:
        return None
    source = environment.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "")
    context = replace(
        context,
        merged=environment.get("CI_MERGE_REQUEST_EVENT_TYPE", "") == "merged_result",
        fork=bool(source) and source != environment.get("CI_MERGE_REQUEST_PROJECT_ID", ""),
    )
    name = _CELL.fullmatch(context.job)
    if name is None:
        return context
    cell = tuple(part.strip() for part in (name["cell"] or "").split(",") if part.strip())
    return replace(context, job=name["job"], configuration=cell)
