"""Past results travel with the state: a bare agent counts on from what others recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foretest import bundle as bundles
from foretest.history import state as states
from foretest.recollection import SNAPSHOT, remembered
from small_project import Project

TAX = "tests/test_prices.py::test_tax"


def agent(project: Project, name: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A fresh clone of the same commit on a machine of its own; the working directory."""
    root = project.home / name
    project.git("clone", "-q", str(project.root), str(root))
    monkeypatch.chdir(root)
    return replace(project, root=root)


def counts(project: Project) -> tuple[int, int]:
    """Runs and failures of one test, by the history that lies there."""
    state = states.read(project.state / SNAPSHOT)
    assert state is not None
    at = state.units.index(TAX)
    return int(state.columns["runs"][at]), int(state.columns["failures"][at])


def record_failing_and_passing(project: Project) -> None:
    project.break_tax()
    assert "failed" in project.pytest("--foretest=order").out
    assert "failed" in project.foretest("record").check().out
    project.git("checkout", "-q", "--", "src")
    project.pytest("--foretest=order").check()
    assert "Recorded" in project.foretest("record").check().out


def test_a_bare_agent_knows_what_another_recorded(
    unlearnt: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = str(tmp_path / "target")
    unlearnt.state.mkdir()  # else the first run leaves no report
    record_failing_and_passing(unlearnt)
    unlearnt.foretest("state", "push", target).check()
    other = agent(unlearnt, "other", monkeypatch)
    other.foretest("state", "pull", target).check()
    assert counts(other) == (2, 1)
    store = remembered(other.state).store
    at = list(store.tests).index(TAX)
    assert (store.runs[at], store.failures[at]) == (2, 1)
    assert np.isfinite(store.seconds[at])
    assert TAX in other.foretest("select", "--format", "raw").check().out


def test_agents_count_on_and_nothing_twice(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = str(tmp_path / "target")
    record_failing_and_passing(project)
    project.foretest("state", "push", target).check()
    other = agent(project, "other", monkeypatch)
    other.foretest("state", "pull", target).check()
    other.pytest("--foretest=order").check()
    other.foretest("record").check()
    assert counts(other) == (3, 1)
    store = bundles.read(other.bundle).store
    at = list(store.tests).index(TAX)
    assert (store.runs[at], store.failures[at]) == (3, 1)
    other.foretest("state", "push", target).check()
    monkeypatch.chdir(project.root)
    project.foretest("state", "pull", target).check()  # its own runs come back to it
    project.pytest("--foretest=order").check()
    project.foretest("record").check()
    assert counts(project) == (4, 1)
