"""TeamCity: its few variables, and the files of properties that hold the rest."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from foretest.ci.context import CiContext, Environment, Table, plain_branch, read

LONGEST = 4 << 20
"""Bytes of a file of properties that are read."""

TABLE = Table(
    system="TeamCity",
    sign="TEAMCITY_VERSION",
    deepen="Set the parameter `teamcity.git.shallowClone` to false, and clean the checkout once.",
    commit=("BUILD_VCS_NUMBER",),
    run_id=("BUILD_NUMBER",),
    job=("TEAMCITY_BUILDCONF_NAME",),
)

_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_PAIR = re.compile(r"((?:[^\\=:\s]|\\.)+)\s*[=:]?\s*(.*)")
_SPECIAL = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def detect(environment: Environment) -> CiContext | None:
    """What TeamCity says of this build; branch and request stand in its files alone."""
    context = read(TABLE, environment)
    if context is None:
        return None
    build = properties(environment.get("TEAMCITY_BUILD_PROPERTIES_FILE", ""))
    more = properties(build.get("teamcity.configuration.properties.file", ""))
    known = {**more, **build}
    target = plain_branch(known.get("teamcity.pullRequest.target.branch", ""))
    source = known.get("teamcity.pullRequest.source.branch", "")
    branch = plain_branch(source or known.get("teamcity.build.branch", ""))
    if branch == "<default>":
        branch = plain_branch(known.get("vcsroot.branch", "")) or branch
    first = known.get("teamcity.build.branch.is_default", "") == "true"
    batch = known.get("teamcity.build.parallelTests.currentBatch", "")
    batches = known.get("teamcity.build.parallelTests.totalBatches", "")
    return replace(
        context,
        branch=branch,
        default_branch=branch if first else "",
        request=known.get("teamcity.pullRequest.number", ""),
        target=target,
        bases=(f"origin/{target}",) if target else (),
        run_id=known.get("teamcity.build.id", "") or context.run_id,
        shard=f"{batch}/{batches}" if batch and batches else "",
    )


def properties(path: str) -> dict[str, str]:
    """A Java properties file; empty where it is missing or endless, odd lines passed over."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(LONGEST).decode("latin-1")
    except (OSError, ValueError):
        return {}
    found = {}
    for line in re.sub(r"\\\r?\n[ \t]*", "", text).splitlines():
        pair = _PAIR.fullmatch(line.strip())
        if pair and not line.lstrip().startswith(("#", "!")):
            found[_unescaped(pair[1])] = _unescaped(pair[2])
    return found


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) == 5 else _SPECIAL.get(code, code)

    return _ESCAPE.sub(one, text)
