"""Buildbot: it gives steps no variables of its own, so these are the ones our template sets."""

from __future__ import annotations

from foretest.ci.context import CiContext, Environment, Table, read

TABLE = Table(
    system="Buildbot",
    sign="BUILDBOT_BUILDNUMBER",
    deepen="Take `shallow` out of the Git step.",
    commit=("BUILDBOT_GOT_REVISION", "BUILDBOT_REVISION"),
    branch=("BUILDBOT_BRANCH",),
    request=("BUILDBOT_REQUEST",),
    target=("BUILDBOT_TARGET",),
    bases=("BUILDBOT_BASE",),
    default_branch=("BUILDBOT_DEFAULT_BRANCH",),
    run_id=("BUILDBOT_BUILDNUMBER",),
    job=("BUILDBOT_BUILDERNAME",),
)


def detect(environment: Environment) -> CiContext | None:
    """What the template tells of this build. A rebuild has a number of its own."""
    return read(TABLE, environment)
