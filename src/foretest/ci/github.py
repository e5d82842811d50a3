"""GitHub Actions: its variables, and the file that holds the event which began the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from foretest.ci.context import CiContext, Environment, Table, read

LONGEST = 32 << 20
"""Bytes of an event that are read; GitHub's own limit for payloads is 25 MB."""

TABLE = Table(
    system="GitHub Actions",
    sign="GITHUB_ACTIONS",
    deepen="Give actions/checkout `fetch-depth: 0`.",
    commit=("GITHUB_SHA",),
    branch=("GITHUB_HEAD_REF", "GITHUB_REF_NAME"),
    target=("GITHUB_BASE_REF",),
    run_id=("GITHUB_RUN_ID",),
    attempt=("GITHUB_RUN_ATTEMPT",),
    job=("GITHUB_JOB",),
)


def detect(environment: Environment) -> CiContext | None:
    """What GitHub says of this run; the event adds what no variable holds.

    A `pull_request` run checks out a merge of the request into its target: the merge's first
    parent is what the request is compared with. A `pull_request_target` run checks out the target
    itself, unless the workflow names the request's head.
    """
    context = read(TABLE, environment)
    if context is None:
        return None
    name = environment.get("GITHUB_EVENT_NAME", "")
    event = _event(environment.get("GITHUB_EVENT_PATH", ""))
    context = replace(context, default_branch=_text(event, "repository", "default_branch"))
    if environment.get("GITHUB_REF_TYPE", "") == "tag":
        context = replace(context, branch="")
    if name.startswith("pull_request"):
        return _of_request(context, event, merged=name != "pull_request_target")
    if name == "merge_group":
        base = _text(event, "merge_group", "base_sha")
        target = _text(event, "merge_group", "base_ref").removeprefix("refs/heads/")
        return replace(context, bases=(base,) if base else (), target=target)
    if name == "push":
        before = _text(event, "before")
        return replace(context, previous=before if before.strip("0") else "")
    return context


def _of_request(context: CiContext, event: Mapping[str, Any], *, merged: bool) -> CiContext:
    request = event.get("pull_request")
    request = request if isinstance(request, dict) else {}
    base, head = _text(request, "base", "sha"), _text(request, "head", "sha")
    number = request.get("number")
    source = _text(request, "head", "repo", "full_name")
    return replace(
        context,
        # The target's own commit is no state of the request: nothing would seem to have changed.
        commit=context.commit if merged else head,
        other_heads=(head,) if merged and head else (),
        request=str(number) if isinstance(number, int) else "",
        bases=(base, *context.bases) if base else context.bases,
        merged=merged,
        fork=bool(source) and source != _text(request, "base", "repo", "full_name"),
    )


def _event(path: str) -> Mapping[str, Any]:
    """The event that began the run; empty where the file is missing, damaged or endless."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(LONGEST + 1)
        event = json.loads(data) if len(data) <= LONGEST else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _text(data: object, *path: str) -> str:
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, str) else ""
