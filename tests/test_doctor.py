"""The doctor: each thing that can be wrong with a set-up is found, with what mends it."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from foretest.doctor import Finding, examine
from small_project import Project


def found(findings: list[Finding], grade: str, words: str) -> Finding:
    match = [f for f in findings if f.grade == grade and words in f.what]
    assert match, findings
    return match[0]


def test_a_sound_set_up(project: Project) -> None:
    findings = examine(project.root)
    assert not [f for f in findings if f.grade == "bad"]
    found(findings, "ok", "The bundle knows 11 tests and the coverage of 11")
    done = project.foretest("doctor").check()
    assert "BAD" not in done.out


def test_from_a_folder_inside(project: Project) -> None:
    assert not [f for f in examine(project.root / "tests") if f.grade == "bad"]


def test_no_bundle(unlearnt: Project) -> None:
    finding = found(examine(unlearnt.root), "bad", "There is no bundle")
    assert "foretest learn" in finding.remedy
    assert not unlearnt.state.exists()


def test_an_interpreter_that_does_not_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for python in ("/nowhere/python", "/bin/false", "/bin/true", str(project.root), ""):
        monkeypatch.setenv("FORETEST_PYTHON", python)
        assert found(examine(project.root), "bad", "does not run").remedy
        project.foretest("doctor").check(1)


def test_an_interpreter_without_pytest(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    python = project.home / "python"
    python.write_text("#!/bin/sh\necho 3.11.0 foretest\n")
    python.chmod(0o755)
    monkeypatch.setenv("FORETEST_PYTHON", str(python))
    assert "pip install pytest" in found(examine(project.root), "bad", "has no pytest").remedy
    python.write_text("#!/bin/sh\necho 3.11.0 pytest\n")
    assert "pip install coverage" in found(examine(project.root), "bad", "no coverage").remedy
    python.write_text("#!/bin/sh\necho nonsense\n")
    found(examine(project.root), "bad", "does not run")


def test_little_disk(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    assert found(examine(project.root), "bad", "1 MB of disk are free").remedy


def test_a_bundle_of_another_branch(project: Project) -> None:
    project.git("checkout", "-q", "--orphan", "other")
    project.git("commit", "-q", "-m", "All anew")
    assert found(examine(project.root), "note", "another history").remedy == "foretest learn"


def test_an_old_bundle(project: Project) -> None:
    project.write("foretest.toml", "max_coverage_age = 1\n", "Settings")
    project.write("README.md", "Words\n", "Words")
    assert found(examine(project.root), "note", "2 commits old").remedy == "foretest learn"


def test_what_is_no_repository(tmp_path: Path) -> None:
    (finding,) = examine(tmp_path)
    assert finding.grade == "bad"
    assert "git init" in finding.remedy
