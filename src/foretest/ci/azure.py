"""Azure Pipelines: predefined variables as a job's environment holds them."""

from __future__ import annotations

from dataclasses import replace

from foretest.ci.context import CiContext, Environment, Table, read

TABLE = Table(
    system="Azure Pipelines",
    sign="TF_BUILD",
    deepen="Give the step `checkout: self` the line `fetchDepth: 0`.",
    commit=("BUILD_SOURCEVERSION",),
    branch=("SYSTEM_PULLREQUEST_SOURCEBRANCH", "BUILD_SOURCEBRANCH"),
    request=("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "SYSTEM_PULLREQUEST_PULLREQUESTID"),
    target=("SYSTEM_PULLREQUEST_TARGETBRANCH",),
    run_id=("BUILD_BUILDID",),
    attempt=("SYSTEM_JOBATTEMPT",),
    job=("SYSTEM_JOBNAME", "AGENT_JOBNAME"),
    index=("SYSTEM_JOBPOSITIONINPHASE",),
    total=("SYSTEM_TOTALJOBSINPHASE",),
)


def detect(environment: Environment) -> CiContext | None:
    """What Azure says of this job; a build of a pull request checks out a merge with its target."""
    context = read(TABLE, environment)
    if context is None:
        return None
    source = environment.get("SYSTEM_PULLREQUEST_SOURCECOMMITID", "")
    return replace(
        context,
        other_heads=(source,) if source else (),
        merged=bool(context.request),
        fork=environment.get("SYSTEM_PULLREQUEST_ISFORK", "").lower() == "true",
    )
