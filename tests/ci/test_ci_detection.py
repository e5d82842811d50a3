"""What each system's variables are read as: whole contexts, odd values, other systems' signs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.ci import context as room
from foretest.ci.detection import SYSTEMS, detect
from foretest.ci.teamcity import properties

A, B, C = "a" * 40, "b" * 40, "c" * 40
NONE = "0" * 40

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SHA": A,
    "GITHUB_RUN_ID": "4711",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_JOB": "tests",
    "GITHUB_REF_NAME": "main",
}
REQUEST = {
    "number": 12,
    "base": {"sha": B, "ref": "main", "repo": {"full_name": "o/r"}},
    "head": {"sha": C, "ref": "topic", "repo": {"full_name": "stranger/r"}},
}

CASES: dict[str, tuple[dict[str, str], dict[str, object]]] = {
    "gitlab branch": (
        {
            "GITLAB_CI": "true",
            "CI_COMMIT_SHA": A,
            "CI_COMMIT_BRANCH": "topic",
            "CI_COMMIT_BEFORE_SHA": NONE,
            "CI_DEFAULT_BRANCH": "trunk",
            "CI_PIPELINE_ID": "7",
            "CI_JOB_ID": "70",
            "CI_JOB_NAME": "tests: [3.12, postgres]",
        },
        {
            "commit": A,
            "branch": "topic",
            "previous": "",
            "default_branch": "trunk",
            "run": "gitlab-70-tests-3.12-postgres",
            "configuration": ("3.12", "postgres"),
            "bases": (),
        },
    ),
    "gitlab merge request from a fork": (
        {
            "GITLAB_CI": "true",
            "CI_COMMIT_SHA": A,
            "CI_MERGE_REQUEST_IID": "3",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "topic",
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": B,
            "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "2",
            "CI_MERGE_REQUEST_PROJECT_ID": "1",
            "CI_JOB_NAME": "tests 2/3",
            "CI_NODE_INDEX": "2",
            "CI_NODE_TOTAL": "3",
        },
        {
            "request": "3",
            "target": "main",
            "bases": (B, "origin/main"),
            "fork": True,
            "job": "tests",
            "shard": "2/3",
            "merged": False,
            "run": "",
        },
    ),
    "gitlab merged results": (
        {
            "GITLAB_CI": "true",
            "CI_MERGE_REQUEST_EVENT_TYPE": "merged_result",
            "CI_MERGE_REQUEST_TARGET_BRANCH_SHA": B,
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": C,
            "CI_COMMIT_SHA": A,
        },
        {"merged": True, "bases": (B, C)},
    ),
    "jenkins multibranch": (
        {
            "JENKINS_URL": "https://ci.example.org/",
            "GIT_COMMIT": A,
            "BRANCH_NAME": "PR-5",
            "CHANGE_BRANCH": "topic",
            "CHANGE_ID": "5",
            "CHANGE_TARGET": "main",
            "CHANGE_FORK": "stranger",
            "JOB_NAME": "shop/PR-5",
            "BUILD_NUMBER": "9",
        },
        {
            "request": "5",
            "branch": "topic",
            "bases": ("origin/main",),
            "fork": True,
            "run": "jenkins-9-shop-PR-5",
        },
    ),
    "jenkins freestyle": (
        {
            "JENKINS_URL": "x",
            "GIT_BRANCH": "origin/main",
            "GIT_PREVIOUS_SUCCESSFUL_COMMIT": B,
            "GIT_PREVIOUS_COMMIT": C,
            "BRANCH_IS_PRIMARY": "true",
        },
        {"branch": "main", "previous": B, "default_branch": "main", "on_default_branch": True},
    ),
    "circleci": (
        {
            "CIRCLECI": "true",
            "CIRCLE_SHA1": A,
            "CIRCLE_BRANCH": "topic",
            "CIRCLE_PULL_REQUEST": "https://github.com/o/r/pull/12",
            "CIRCLE_BUILD_NUM": "88",
            "CIRCLE_JOB": "tests",
            "CIRCLE_NODE_INDEX": "0",
            "CIRCLE_NODE_TOTAL": "4",
        },
        {"request": "12", "shard": "1/4", "run": "circleci-88-tests", "bases": (), "fork": False},
    ),
    "azure pull request": (
        {
            "TF_BUILD": "True",
            "BUILD_SOURCEVERSION": A,
            "BUILD_SOURCEBRANCH": "refs/pull/6/merge",
            "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/feature/x",
            "SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/main",
            "SYSTEM_PULLREQUEST_PULLREQUESTID": "6",
            "SYSTEM_PULLREQUEST_SOURCECOMMITID": C,
            "SYSTEM_PULLREQUEST_ISFORK": "False",
            "BUILD_BUILDID": "31",
            "SYSTEM_JOBATTEMPT": "2",
            "SYSTEM_JOBNAME": "tests",
            "SYSTEM_JOBPOSITIONINPHASE": "1",
            "SYSTEM_TOTALJOBSINPHASE": "1",
        },
        {
            "branch": "feature/x",
            "target": "main",
            "merged": True,
            "other_heads": (C,),
            "attempt": 2,
            "shard": "",
            "fork": False,
        },
    ),
    "azure branch": (
        {"TF_BUILD": "True", "BUILD_SOURCEBRANCH": "refs/heads/main", "BUILD_SOURCEVERSION": A},
        {"branch": "main", "merged": False, "bases": ()},
    ),
    "buildkite request, retried": (
        {
            "BUILDKITE": "true",
            "BUILDKITE_COMMIT": A,
            "BUILDKITE_BRANCH": "topic",
            "BUILDKITE_PULL_REQUEST": "8",
            "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "main",
            "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main",
            "BUILDKITE_BUILD_ID": "0190-aa",
            "BUILDKITE_RETRY_COUNT": "1",
            "BUILDKITE_LABEL": ":pytest: Tests",
            "BUILDKITE_PARALLEL_JOB": "3",
            "BUILDKITE_PARALLEL_JOB_COUNT": "4",
            "BUILDKITE_REPO": "git@x:o/r",
            "BUILDKITE_PULL_REQUEST_REPO": "git://x/s/r",
        },
        {
            "request": "8",
            "attempt": 2,
            "shard": "4/4",
            "fork": True,
            "run": "buildkite-0190-aa-pytest-Tests",
            "on_default_branch": False,
        },
    ),
    "buildkite by hand": (
        {
            "BUILDKITE": "true",
            "BUILDKITE_COMMIT": "HEAD",
            "BUILDKITE_BRANCH": "main",
            "BUILDKITE_PULL_REQUEST": "false",
            "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main",
        },
        {"commit": "", "request": "", "attempt": 1, "on_default_branch": True, "bases": ()},
    ),
    "gitlab tag named like the default branch": (
        {
            "GITLAB_CI": "true",
            "CI_COMMIT_TAG": "main",
            "CI_COMMIT_REF_NAME": "main",
            "CI_DEFAULT_BRANCH": "main",
        },
        {"branch": "", "default_branch": "main", "on_default_branch": False},
    ),
    "buildkite tag named like the default branch": (
        {
            "BUILDKITE": "true",
            "BUILDKITE_TAG": "main",
            "BUILDKITE_BRANCH": "main",
            "BUILDKITE_PULL_REQUEST": "false",
            "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main",
        },
        {"branch": "", "on_default_branch": False},
    ),
    "github tag": (
        {"GITHUB_ACTIONS": "true", "GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "tag"},
        {"branch": "", "on_default_branch": False},
    ),
    "bitbucket": (
        {
            "BITBUCKET_BUILD_NUMBER": "5",
            "BITBUCKET_COMMIT": A,
            "BITBUCKET_BRANCH": "topic",
            "BITBUCKET_PR_ID": "2",
            "BITBUCKET_PR_DESTINATION_BRANCH": "main",
            "BITBUCKET_PR_DESTINATION_COMMIT": "bbbbbbbbbbbb",
            "BITBUCKET_STEP_RUN_NUMBER": "3",
            "BITBUCKET_PARALLEL_STEP": "1",
            "BITBUCKET_PARALLEL_STEP_COUNT": "2",
        },
        {"bases": ("bbbbbbbbbbbb", "origin/main"), "attempt": 3, "shard": "2/2"},
    ),
    "buildbot": (
        {
            "BUILDBOT_BUILDNUMBER": "4",
            "BUILDBOT_BUILDERNAME": "shop",
            "BUILDBOT_GOT_REVISION": A,
            "BUILDBOT_REVISION": "",
            "BUILDBOT_BRANCH": "topic",
            "BUILDBOT_TARGET": "main",
        },
        {"run": "buildbot-4-shop", "commit": A, "bases": ("origin/main",)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_system_is_read(name: str) -> None:
    environment, wanted = CASES[name]
    found = detect(environment)
    assert found is not None
    assert {field: getattr(found, field) for field in wanted} == wanted
    assert found.system.split()[0].lower() == name.split()[0]
    assert found.deepen.endswith(".")


def _github(tmp_path: Path, name: str, event: object, **more: str) -> room.CiContext:
    file = tmp_path / "event.json"
    file.write_text(event if isinstance(event, str) else json.dumps(event))
    found = detect({**GITHUB, "GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(file), **more})
    assert found is not None
    return found


def test_github_pull_request(tmp_path: Path) -> None:
    event = {"pull_request": REQUEST, "repository": {"default_branch": "main"}}
    names = {"GITHUB_BASE_REF": "main", "GITHUB_HEAD_REF": "topic"}
    found = _github(tmp_path, "pull_request", event, **names)
    assert (found.commit, found.other_heads, found.merged) == (A, (C,), True)
    assert found.bases == (B, "origin/main")
    assert (found.request, found.branch, found.target, found.fork) == ("12", "topic", "main", True)
    assert (found.run, found.attempt) == ("github-4711-tests", 2)
    assert not found.on_default_branch


def test_github_target_run_does_not_take_the_target_for_the_request(tmp_path: Path) -> None:
    found = _github(tmp_path, "pull_request_target", {"pull_request": REQUEST})
    assert (found.commit, found.other_heads, found.merged) == (C, (), False)


def test_github_push_and_new_branch(tmp_path: Path) -> None:
    repository = {"default_branch": "main"}
    found = _github(tmp_path, "push", {"before": B, "repository": repository})
    assert (found.previous, found.on_default_branch, found.bases) == (B, True, ())
    assert _github(tmp_path, "push", {"before": NONE}).previous == ""


def test_github_merge_queue(tmp_path: Path) -> None:
    event = {"merge_group": {"base_sha": B, "base_ref": "refs/heads/main"}}
    found = _github(tmp_path, "merge_group", event)
    assert (found.bases, found.target, found.merged) == ((B,), "main", False)


@pytest.mark.parametrize(
    "event",
    ["", "{", "[]", "null", '{"pull_request": 3}', '{"pull_request": {"base": [], "head": null}}',
     '{"pull_request": {"number": "12; rm -rf", "base": {"sha": 7}}}', "[" * 100_000, "\x00\xff"],
)  # fmt: skip
def test_github_odd_events_leave_what_the_variables_say(tmp_path: Path, event: str) -> None:
    found = _github(tmp_path, "pull_request", event, GITHUB_BASE_REF="main")
    assert (found.commit, found.bases, found.request) == (A, ("origin/main",), "")


def test_github_without_an_event_file(tmp_path: Path) -> None:
    for path in ("", str(tmp_path), str(tmp_path / "gone"), "\0"):
        found = detect({**GITHUB, "GITHUB_EVENT_PATH": path, "GITHUB_EVENT_NAME": "push"})
        assert found is not None
        assert found.commit == A


def test_teamcity_reads_its_files(tmp_path: Path) -> None:
    more = tmp_path / "more.properties"
    more.write_text(
        "teamcity.pullRequest.number=21\nteamcity.pullRequest.target.branch=refs/heads/main\n"
        "teamcity.pullRequest.source.branch=t\\u00f6pic\nteamcity.build.branch=pull/21\n"
        "teamcity.build.branch.is_default=false\n"
    )
    build = tmp_path / "build.properties"
    path = str(more).replace("/", "\\/")
    build.write_text(
        f"#Mon\nteamcity.build.id=900\nteamcity.configuration.properties.file={path}\n"
        "teamcity.build.parallelTests.currentBatch=2\n"
        "teamcity.build.parallelTests.totalBatches=5\n"
    )
    found = detect(
        {
            "TEAMCITY_VERSION": "2025.07",
            "BUILD_VCS_NUMBER": A,
            "BUILD_NUMBER": "14",
            "TEAMCITY_BUILDCONF_NAME": "Tests",
            "TEAMCITY_BUILD_PROPERTIES_FILE": str(build),
        }
    )
    assert found is not None
    assert (found.run, found.commit, found.request) == ("teamcity-900-Tests", A, "21")
    assert (found.branch, found.bases, found.shard) == ("töpic", ("origin/main",), "2/5")


def test_teamcity_default_branch_and_no_files(tmp_path: Path) -> None:
    file = tmp_path / "p"
    file.write_text(
        "teamcity.build.branch=<default>\nvcsroot.branch : refs/heads/main\n"
        "teamcity.build.branch.is_default = true\n"
    )
    signs = {"TEAMCITY_VERSION": "1", "TEAMCITY_BUILD_PROPERTIES_FILE": str(file)}
    found = detect(signs)
    assert found is not None
    assert found.on_default_branch
    assert found.branch == "main"
    plain = detect({"TEAMCITY_VERSION": "1", "BUILD_NUMBER": "3"})
    assert plain is not None
    assert (plain.run, plain.branch) == ("teamcity-3", "")


def test_java_properties(tmp_path: Path) -> None:
    file = tmp_path / "p"
    file.write_text("# c\n! c\na=1\nb : two\\\n   parts\nc\\=d=e\\tf\\u0041\n\nempty=\n=\n\\\n")
    assert properties(str(file)) == {"a": "1", "b": "twoparts", "c=d": "e\tfA", "empty": ""}
    file.write_bytes(b"\xff\x00=\\uZZ\\")
    assert isinstance(properties(str(file)), dict)


def test_nothing_is_detected_elsewhere() -> None:
    assert detect({}) is None
    assert detect({"CI": "true", "BUILD_NUMBER": "3"}) is None
    assert all(detect({system.TABLE.sign: ""}) is None for system in SYSTEMS.values())
    assert detect({"GITHUB_ACTIONS": "false"}) is None


def test_each_system_knows_itself_alone() -> None:
    for system in SYSTEMS.values():
        environment = {system.TABLE.sign: "1"}
        found = [other for other in SYSTEMS.values() if other.detect(environment)]
        assert found == [system]


VARIABLES = sorted(
    {
        name
        for system in SYSTEMS.values()
        for name in re.findall(r'"([A-Z][A-Z0-9_]{3,})"', Path(system.__file__).read_text())
    }
)


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(max_size=30), max_size=12))
def test_whatever_stands_in_the_variables_is_survived(environment: dict[str, str]) -> None:
    found = detect(environment)
    if found is not None:
        assert found.attempt >= 1
        assert re.fullmatch(r"[\w.-]{0,120}", found.run, re.ASCII)
        assert re.fullmatch(r"(\d+/\d+)?", found.shard)
        assert all(base.strip() == base and base for base in found.bases)
