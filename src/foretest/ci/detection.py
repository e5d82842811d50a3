"""Which CI system runs us, if any: the one list of those that are known."""

from __future__ import annotations

from foretest.ci import (
    azure,
    bitbucket,
    buildbot,
    buildkite,
    circleci,
    github,
    gitlab,
    jenkins,
    teamcity,
)
from foretest.ci.context import CiContext, Environment

SYSTEMS = {
    "github": github,
    "gitlab": gitlab,
    "jenkins": jenkins,
    "circleci": circleci,
    "azure": azure,
    "buildkite": buildkite,
    "bitbucket": bitbucket,
    "teamcity": teamcity,
    "buildbot": buildbot,
}
"""Every system by the short name that `foretest ci` takes."""


def detect(environment: Environment) -> CiContext | None:
    """The first system whose sign is set; None outside CI."""
    found = (system.detect(environment) for system in SYSTEMS.values())
    return next((context for context in found if context is not None), None)
