"""What a change is compared with in CI, what a run is called, and what says so aloud."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from foretest.history.lake import Lake
from small_project import Project


def _job(project: Project, monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in {"GITHUB_ACTIONS": "true", **variables}.items():
        monkeypatch.setenv(name, value)
        project.environment[name] = value


def _request(project: Project, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str]:
    """A merge of a request, checked out as GitHub does; old base, target's tip and request."""
    old = project.git("rev-parse", "main")
    project.git("switch", "-q", "-c", "topic")
    project.edit("src/shop/prices.py", "/ 100", "/ 10", "The request")
    topic = project.git("rev-parse", "HEAD")
    project.git("switch", "-q", "main")
    project.edit("src/shop/stock.py", "set(wanted)", "set(wanted or ())", "Another's, merged since")
    tip = project.git("rev-parse", "HEAD")
    project.git("switch", "-q", "--detach", "main")
    project.git("merge", "-q", "--no-ff", "-m", "Merge", "topic")
    merge = project.git("rev-parse", "HEAD")
    event = project.home / "event.json"
    event.write_text(
        json.dumps(
            {"pull_request": {"number": 12, "base": {"sha": old}, "head": {"sha": topic}}},
        )
    )
    _job(
        project,
        monkeypatch,
        GITHUB_EVENT_NAME="pull_request",
        GITHUB_EVENT_PATH=str(event),
        GITHUB_SHA=merge,
        GITHUB_BASE_REF="main",
        GITHUB_RUN_ID="4711",
        GITHUB_RUN_ATTEMPT="2",
        GITHUB_JOB="tests",
    )
    return old, tip, topic


def test_a_merge_is_compared_with_the_tip_it_was_merged_into(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, tip, topic = _request(project, monkeypatch)
    done = project.foretest("select", "--target", "50%", "--format", "json").check()
    assert json.loads(done.out)["base"] == tip
    told = f"Compared with {tip[:10]}, the base that GitHub Actions names (request 12 to main)."
    assert told in done.err
    # The request's own head checked out: HEAD^1 would be its last commit alone.
    project.git("switch", "-q", "--detach", topic)
    done = project.foretest("select", "--format", "json").check()
    assert json.loads(done.out)["base"] == old
    # What is asked for wins, in silence.
    done = project.foretest("select", "--base", f"{old}~1", "--format", "json").check()
    assert json.loads(done.out)["base"] == project.git("rev-parse", f"{old}~1")
    assert "GitHub" not in done.err


def test_the_plugin_compares_alike_and_the_run_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tip, _ = _request(project, monkeypatch)
    monkeypatch.setenv("FORETEST_FLAGS", "postgres")
    project.environment["FORETEST_FLAGS"] = "postgres"
    done = project.pytest(
        "-v", "--foretest", "--foretest-target=50%", "--junitxml=report.xml"
    ).check(1)
    assert f"Compared with {tip[:10]}" in done.out
    assert "test_tax" in done.out
    project.foretest("record").check()
    project.foretest("record", "report.xml").check()
    assert "Nothing new" in project.foretest("record", "report.xml").check().out
    runs = sorted(
        Lake(project.state / "lake").scan().collect().unique("run_id").to_dicts(), key=str
    )
    assert len(runs) == 2
    for run in runs:
        assert run["run_id"].startswith("github-4711-tests-")
        assert run["attempt"] == 2
        assert json.loads(run["configuration"])[2:] == ["postgres"]


def test_a_missing_base_runs_all_and_says_what_mends_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _request(project, monkeypatch)
    shallow = tmp_path / "shallow"
    project.git("tag", "merge")
    clone = ["git", "clone", "-q", "--depth=1", "--branch=merge", project.root.as_uri(), shallow]
    subprocess.run([*map(str, clone)], check=True, capture_output=True)
    address = ["remote", "set-url", "origin", "https://example.org/o/shop.git"]
    subprocess.run(["git", "-C", str(shallow), *address], check=True)
    (shallow / ".foretest").mkdir()
    (shallow / ".foretest" / "bundle.ftb").write_bytes(project.bundle.read_bytes())
    monkeypatch.chdir(shallow)
    done = project.foretest("select").check()
    assert done.units == ["tests"]
    assert "fetch-depth: 0" in done.err
    assert "fetch-depth: 0" in project.foretest("doctor").check(1).out
    shown = project.foretest("ci", "show").check().out
    assert "fetch-depth: 0" in shown


def test_a_job_that_tests_another_repository_is_not_heeded(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    _job(project, monkeypatch, GITHUB_SHA="d" * 40, GITHUB_BASE_REF="main", GITHUB_RUN_ID="1")
    project.break_tax()
    done = project.foretest("select", "--target", "50%").check()
    assert "GitHub" not in done.err
    assert len(done.units) > 1
    assert "CI is not heeded" in project.foretest("ci", "show").check().out


def test_a_push_is_compared_with_the_tip_before_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project.git("rev-parse", "HEAD~2")
    event = project.home / "event.json"
    event.write_text(json.dumps({"before": before, "repository": {"default_branch": "main"}}))
    head = project.git("rev-parse", "HEAD")
    _job(
        project,
        monkeypatch,
        GITHUB_EVENT_NAME="push",
        GITHUB_EVENT_PATH=str(event),
        GITHUB_SHA=head,
        GITHUB_REF_NAME="main",
    )
    done = project.foretest("select", "--format", "json").check()
    assert json.loads(done.out)["base"] == before
    assert "the tip before this push" in done.err


def test_show_outside_and_inside(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No CI system is detected" in project.foretest("ci", "show").check().out
    _, tip, _ = _request(project, monkeypatch)
    shown = json.loads(project.foretest("ci", "show", "--json").check().out)
    assert (shown["system"], shown["base"], shown["request"]) == ("GitHub Actions", tip, "12")
    assert "GitHub Actions" in project.foretest("doctor").check().out


def test_init_writes_once(project: Project) -> None:
    done = project.foretest("ci", "init", "github").check()
    assert ".github/workflows/tests.yml" in done.out
    written = project.root / ".github/workflows/tests.yml"
    assert written.read_text() == project.foretest("ci", "print", "github").check().out
    written.write_text("mine")
    done = project.foretest("ci", "init", "github").check(2)
    assert "stays as it is" in done.err
    assert written.read_text() == "mine"
    (project.root / ".circleci").write_text("a file")
    assert "cannot be written" in project.foretest("ci", "init", "circleci").check(2).err
