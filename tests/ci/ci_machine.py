"""A CI machine in small: runs the shell steps of a template for real, carries what it carries."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_server import client

from foretest.ci.templates import template
from small_project import Project, clean_environment

LEARN = """\
import pathlib, shutil, sys
from foretest.cli.learn import command
command.make_context("learn", sys.argv[2:])  # a wrong option fails as it does in earnest
bundle = pathlib.Path(".foretest/bundle.ftb")
shutil.copy(sys.argv[1], bundle)
"""
"""What stands for `foretest learn`: the bundle that the real one made of the same commit."""


@dataclass(frozen=True)
class Build:
    """One build that a system starts."""

    kind: str
    """night (scheduled, on main), request or main (a push)."""
    commit: str
    tip: str = ""
    """Of a request: the commit it is to be compared with."""
    merge: str = ""
    """Of a request: its merge with the target, where the system checks that out."""
    number: int = 1

    @property
    def request(self) -> bool:
        return self.kind == "request"


@dataclass(frozen=True)
class Step:
    shell: str
    always: bool = False
    """Runs after a failure too."""


@dataclass
class Ran:
    """What a build left."""

    status: int
    text: str
    workspace: Path
    failed_late: list[str] = field(default_factory=list)
    """Steps that run after a failure too, and failed themselves."""

    @property
    def summary(self) -> str:
        found = [*self.workspace.glob("foretest-summary.md"), *self.workspace.parent.glob("*.md")]
        return "".join(path.read_text() for path in found)


class Machine:
    """Runs builds of one system one after the other."""

    def __init__(
        self,
        system: str,
        project: Project,
        folder: Path,
        server: Path | None,
        fakes: Mapping[str, str] | None = None,
    ) -> None:
        self.system, self.project, self.folder, self.server = system, project, folder, server
        self.home, self.shims = folder / "user-home", folder / "shims"
        self.carried = folder / "carried"
        self.more: dict[str, str] = {}
        """Variables set beside the system's own."""
        self._install_shims(fakes or {})

    def run(self, build: Build) -> Ran:
        place = self.folder / f"{build.number}-{build.kind}"
        workspace = place / "shop"
        self._check_out(build, workspace)
        if self.carried.exists():
            shutil.copytree(self.carried, workspace / ".foretest", dirs_exist_ok=True)
        variables = VARIABLES[self.system](build, place) | self.more
        ran = Ran(0, "", workspace)
        for step in STEPS[self.system](build, variables):
            if ran.status and not step.always:
                continue
            done = subprocess.run(
                [*SHELLS[self.system], "-c", step.shell],
                cwd=workspace,
                env=self._environment(variables),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=600,
                check=False,
            )
            ran.text += f"$ {step.shell}\n{done.stdout}"
            if step.always and done.returncode:
                ran.failed_late.append(step.shell)
            ran.status = ran.status or done.returncode
        if self.system in CARRIES_FOLDER and (not build.request or self.system != "azure"):
            shutil.copytree(workspace / ".foretest", self.carried, dirs_exist_ok=True)
        return ran

    def _check_out(self, build: Build, workspace: Path) -> None:
        workspace.parent.mkdir(parents=True)
        branch = "topic" if build.request else "main"
        only = () if self.system in BRINGS_EVERYTHING else ("--single-branch", "--branch", branch)
        self._git(self.folder, "clone", "-q", *only, self.project.root.as_uri(), str(workspace))
        commit = build.merge if self.system in CHECKS_OUT_A_MERGE and build.merge else build.commit
        if commit == build.merge:
            self._git(workspace, "fetch", "-q", "origin", "refs/pull/1/merge")
        self._git(workspace, "checkout", "-q", "--detach", commit)

    def _git(self, place: Path, *args: str) -> None:
        environment = self.project.environment
        subprocess.run(["git", *args], cwd=place, env=environment, check=True, capture_output=True)

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        path = f"{self.shims}{os.pathsep}{os.environ['PATH']}"
        more = {"PATH": path, "FORETEST_TARGET": "0.5", "PYTEST_ADDOPTS": "-p no:randomly"}
        return clean_environment(self.home) | more | variables

    def _install_shims(self, fakes: Mapping[str, str]) -> None:
        """The commands of the templates; only what would download or take long is stood in for."""
        self.shims.mkdir(parents=True)
        learn = self.shims / "learn.py"
        learn.write_text(LEARN)
        python = sys.executable
        foretest, pytest = f"{python} -m foretest", f"{python} -B -m pytest"
        if self.server is not None:
            script = self.shims / "client.py"
            script.write_text(client(self.server))
            foretest, pytest = (
                f"{python} -I -S {script} {name}" for name in ("foretest", "pytest")
            )
        shims = {
            "pip": 'test "$1" = install; case "$*" in *foretest*) ;; *) exit 1;; esac',
            "foretest": f'if [ "$1" = record ] && [ -e {self.shims}/record-fails ]; then exit 1;'
            f' fi; if [ "$1" = learn ]; then shift; exec {python} {learn} '
            f'"{self.project.bundle}" "$@"; fi; exec {foretest} "$@"',
            "pytest": f'exec {pytest} "$@"',
            "python3": 'test "$1 $2" = "-m venv"; mkdir -p "$3/bin"; : > "$3/bin/activate"',
            "buildkite-agent": 'test "$1" = annotate; cat > foretest-summary.md',
        }
        for name, text in {**shims, **fakes}.items():
            file = self.shims / name
            file.write_text(f"#!/bin/bash\nset -e\n{text}\n")
            file.chmod(0o755)


SHELLS = {
    "github": ("bash", "-e"),
    "gitlab": ("bash", "-eo", "pipefail"),
    "jenkins": ("sh", "-xe"),
    "circleci": ("bash", "-eo", "pipefail"),
    "azure": ("bash",),
    "buildkite": ("bash", "-e"),
    "bitbucket": ("bash", "-e"),
    "teamcity": ("sh",),
}
"""How each system starts a step that names no shell: not all of them end at the first failure."""
CARRIES_FOLDER = {"github", "gitlab", "circleci", "azure"}
BRINGS_EVERYTHING = {"github", "gitlab", "circleci", "azure", "bitbucket"}
CHECKS_OUT_A_MERGE = {"github", "azure"}


def loaded(system: str) -> Any:
    """A template that is YAML, as data."""
    import yaml

    data = yaml.safe_load(template(system))
    if system == "github":  # YAML 1.1 reads the key `on` as true
        data["on"] = data.pop(True)
    return data


def _github(build: Build, variables: dict[str, str]) -> Iterator[Step]:
    job = loaded("github")["jobs"]["tests"]
    mode = job["env"]["FORETEST_MODE"]
    assert mode == ("${{ github.event_name == 'pull_request' && vars.FORETEST_MODE || 'observe' }}")
    variables["FORETEST_MODE"] = "select" if build.request else "observe"
    holds = {
        None: True,
        "${{ !cancelled() }}": True,
        "${{ !cancelled() && github.ref == 'refs/heads/main' }}": not build.request,
        "${{ !cancelled() && (github.event_name == 'schedule'"
        " || github.event_name == 'workflow_dispatch') }}": build.kind == "night",
    }
    for step in job["steps"]:
        condition = step.get("if")
        if "run" in step and holds[condition]:
            yield Step(step["run"], always=condition is not None)


def _gitlab(build: Build, variables: dict[str, str]) -> Iterator[Step]:
    data = loaded("gitlab")
    job = data["tests"]
    variables.setdefault("FORETEST_MODE", data["variables"]["FORETEST_MODE"])
    yield Step("\n".join([*job["before_script"], *job["script"]]))


def _jenkins(build: Build, variables: dict[str, str]) -> Iterator[Step]:
    stages, post = template("jenkins").split("  post {")
    assert "always {" in post
    variables["FORETEST_MODE"] = "select" if build.request else "observe"
    variables["FORETEST_STATE"] = "../../user-home/foretest-state/shop"
    for text, always in ((stages, False), (post, True)):
        for shell in re.findall(r"sh '''(.*?)'''", text, re.DOTALL):
            yield Step(shell, always)


def _circleci(build: Build, variables: dict[str, str]) -> Iterator[Step]:
    learn = str(build.kind == "night").lower()
    for step in loaded("circleci")["jobs"]["tests"]["steps"]:
        if isinstance(step, dict) and "run" in step:
            shell = step["run"]["command"].replace("<< pipeline.parameters.learn >>", learn)
            assert "<<" not in shell
            yield Step(shell, step["run"].get("when") == "always")


def _azure(build: Build, variables: dict[str, str]) -> Iterator[Step]:
    data = loaded("azure")
    for variable in data["variables"]:
        variables.setdefault(variable["name"], variable["value"])
    holds = {
        None: True,
        "succeededOrFailed()": True,
        "and(succeededOrFailed(), eq(variables['Build.SourceBranch'], 'refs/heads/main'))": (
            not build.request
        ),
    }
    for step in data["jobs"][0]["steps"]:
        condition = step.get("condition")
        if "bash" in step and holds[condition]:
            yield Step(step["bash"], condition is not None)


def _buildkite(build: Build, variables: dict[str, str]) -> Iterator[Step]:
    data = loaded("buildkite")
    variables.setdefault("FORETEST_MODE", data["env"]["FORETEST_MODE"])
    (step,) = data["steps"]
    single = re.findall(r"(?<!\$)\$(?!\$)", step["command"])
    assert single == [], "the upload would replace these"
    yield Step(step["command"].replace("$$", "$"))


def _bitbucket(build: Build, variables: dict[str, str]) -> Iterator[Step]:
    pipelines = loaded("bitbucket")["pipelines"]
    chosen = {
        "request": pipelines["pull-requests"]["**"],
        "main": pipelines["branches"]["main"],
        "night": pipelines["custom"]["learn"][1:],
    }[build.kind]
    (step,) = (entry["step"] for entry in chosen)
    yield Step("\n".join(step["script"]))


def _teamcity(build: Build, variables: dict[str, str]) -> Iterator[Step]:
    text = template("teamcity")
    for name, value in re.findall(r'param\("env\.(\w+)", "(.*?)"\)', text):
        if name in ("VENV", "FORETEST_STATE", "DEFAULT_BRANCH"):
            assert "%" in value
        elif name != "LEARN" or build.kind == "night":
            variables.setdefault(name, value)
    for step in re.findall(r"\n {8}script \{(.*?)\n {8}\}", text, re.DOTALL):
        (shell,) = re.findall(r'scriptContent = """(.*?)"""', step, re.DOTALL)
        assert "%" not in shell
        yield Step(shell.replace("${'$'}", "$"), "ExecutionMode.ALWAYS" in step)


STEPS = {
    "github": _github,
    "gitlab": _gitlab,
    "jenkins": _jenkins,
    "circleci": _circleci,
    "azure": _azure,
    "buildkite": _buildkite,
    "bitbucket": _bitbucket,
    "teamcity": _teamcity,
}


def _only(build: Build, **variables: str) -> dict[str, str]:
    return variables if build.request else {}


def _in_github(build: Build, place: Path) -> dict[str, str]:
    event: dict[str, Any] = {"repository": {"default_branch": "main"}}
    name = {"night": "schedule", "request": "pull_request", "main": "push"}[build.kind]
    if build.request:
        sides = {"base": {"sha": build.tip}, "head": {"sha": build.commit}}
        event["pull_request"] = {"number": 1, **sides}
    file = place / "event.json"
    file.write_text(json.dumps(event))
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": name,
        "GITHUB_EVENT_PATH": str(file),
        "GITHUB_SHA": build.merge if build.request else build.commit,
        "GITHUB_REF_NAME": "1/merge" if build.request else "main",
        "GITHUB_RUN_ID": str(build.number),
        "GITHUB_JOB": "tests",
        "GITHUB_STEP_SUMMARY": str(place / "summary.md"),
        **_only(build, GITHUB_BASE_REF="main", GITHUB_HEAD_REF="topic"),
    }


def _in_gitlab(build: Build, _: Path) -> dict[str, str]:
    source = {"night": "schedule", "request": "merge_request_event", "main": "push"}[build.kind]
    request = _only(
        build,
        FORETEST_MODE="select",
        CI_MERGE_REQUEST_IID="1",
        CI_MERGE_REQUEST_SOURCE_BRANCH_NAME="topic",
        CI_MERGE_REQUEST_TARGET_BRANCH_NAME="main",
        CI_MERGE_REQUEST_DIFF_BASE_SHA=build.tip,
    )
    return {
        "GITLAB_CI": "true",
        "CI_PIPELINE_SOURCE": source,
        "CI_COMMIT_SHA": build.commit,
        "CI_DEFAULT_BRANCH": "main",
        "CI_JOB_ID": str(build.number),
        "CI_JOB_NAME": "tests",
        **(request or {"CI_COMMIT_BRANCH": "main"}),
    }


def _in_jenkins(build: Build, place: Path) -> dict[str, str]:
    request = _only(build, CHANGE_ID="1", CHANGE_TARGET="main", CHANGE_BRANCH="topic")
    return {
        "JENKINS_URL": "https://ci.example.org/",
        "GIT_COMMIT": build.commit,
        "BRANCH_NAME": "PR-1" if build.request else "main",
        "JOB_NAME": "shop/main",
        "BUILD_NUMBER": str(build.number),
        "VENV": str(place / "venv"),
        "LEARN": str(build.kind == "night").lower(),
        **(request or {"BRANCH_IS_PRIMARY": "true"}),
    }


def _in_circleci(build: Build, _: Path) -> dict[str, str]:
    return {
        "CIRCLECI": "true",
        "CIRCLE_SHA1": build.commit,
        "CIRCLE_BRANCH": "topic" if build.request else "main",
        "CIRCLE_BUILD_NUM": str(build.number),
        "CIRCLE_JOB": "tests",
        "FORETEST_MODE": "select",
    }


def _in_azure(build: Build, place: Path) -> dict[str, str]:
    request = _only(
        build,
        SYSTEM_PULLREQUEST_PULLREQUESTID="1",
        SYSTEM_PULLREQUEST_TARGETBRANCH="refs/heads/main",
        SYSTEM_PULLREQUEST_SOURCECOMMITID=build.commit,
        FORETEST_MODE="select",
    )
    return {
        "TF_BUILD": "True",
        "BUILD_SOURCEVERSION": build.merge if build.request else build.commit,
        "BUILD_SOURCEBRANCH": "refs/pull/1/merge" if build.request else "refs/heads/main",
        "BUILD_REASON": {"night": "Schedule", "request": "PullRequest"}.get(
            build.kind, "IndividualCI"
        ),
        "BUILD_BUILDID": str(build.number),
        "SYSTEM_JOBNAME": "tests",
        "AGENT_TEMPDIRECTORY": str(place),
        **request,
    }


def _in_buildkite(build: Build, _: Path) -> dict[str, str]:
    request = _only(build, BUILDKITE_PULL_REQUEST_BASE_BRANCH="main", FORETEST_MODE="select")
    return {
        "BUILDKITE": "true",
        "BUILDKITE_COMMIT": build.commit,
        "BUILDKITE_BRANCH": "topic" if build.request else "main",
        "BUILDKITE_PULL_REQUEST": "1" if build.request else "false",
        "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main",
        "BUILDKITE_PIPELINE_SLUG": "shop",
        "BUILDKITE_BUILD_ID": str(build.number),
        "BUILDKITE_STEP_KEY": "tests",
        "LEARN": str(build.kind == "night").lower(),
        **request,
    }


def _in_bitbucket(build: Build, _: Path) -> dict[str, str]:
    request = _only(
        build,
        BITBUCKET_PR_ID="1",
        BITBUCKET_PR_DESTINATION_BRANCH="main",
        BITBUCKET_PR_DESTINATION_COMMIT=build.tip[:12],
    )
    return {
        "BITBUCKET_BUILD_NUMBER": str(build.number),
        "BITBUCKET_COMMIT": build.commit,
        "BITBUCKET_BRANCH": "topic" if build.request else "main",
        "FORETEST_MODE": "select",
        **({"LEARN": "true"} if build.kind == "night" else {}),
        **request,
    }


def _in_teamcity(build: Build, place: Path) -> dict[str, str]:
    branch = "pull/1" if build.request else "<default>"
    lines = [
        f"teamcity.build.id={build.number}",
        f"teamcity.build.branch={branch}",
        f"teamcity.build.branch.is_default={str(not build.request).lower()}",
    ]
    if build.request:
        request = ("number=1", "target.branch=main", "source.branch=topic")
        lines += [f"teamcity.pullRequest.{part}" for part in request]
    (place / "build.properties").write_text("\n".join(lines))
    return {
        "TEAMCITY_VERSION": "2025.07",
        "TEAMCITY_BUILD_PROPERTIES_FILE": str(place / "build.properties"),
        "TEAMCITY_BUILDCONF_NAME": "Tests",
        "BUILD_VCS_NUMBER": build.commit,
        "VENV": str(place / "venv"),
        "FORETEST_STATE": "../../user-home/foretest-state/shop",
        "DEFAULT_BRANCH": str(not build.request).lower(),
        **_only(build, FORETEST_MODE="select"),
    }


VARIABLES = {
    "github": _in_github,
    "gitlab": _in_gitlab,
    "jenkins": _in_jenkins,
    "circleci": _in_circleci,
    "azure": _in_azure,
    "buildkite": _in_buildkite,
    "bitbucket": _in_bitbucket,
    "teamcity": _in_teamcity,
}
