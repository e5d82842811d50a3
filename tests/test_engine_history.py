"""Reports recorded and no bundle: everything runs, and what fails most comes first."""

import os
import subprocess
from pathlib import Path

import pytest

from foretest.config import load_config
from foretest.engine import explain, select_or_all
from foretest.errors import NoBundle
from foretest.records import Budget
from foretest.remembering import record

FAILURE = "<failure message='x'>x</failure>"


def git(root: Path, *command: str) -> None:
    roles = ("AUTHOR", "COMMITTER")
    who = {f"GIT_{role}_{part}": "a@b" for role in roles for part in ("NAME", "EMAIL")}
    subprocess.run(
        ["git", *command], cwd=root, check=True, capture_output=True, env={**os.environ, **who}
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.c").write_text("int f() { return 1; }\n")
    for number in range(2):
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "--allow-empty", "-m", str(number))
    (tmp_path / "code.c").write_text("int f() { return 2; }\n")
    return tmp_path


def recorded(root: Path, number: int, *, failing: str) -> None:
    said = {f"t{i}": FAILURE if f"t{i}" == failing else "" for i in range(20)}
    cases = "".join(
        f'<testcase classname="s.A" name="{name}" time="1">{how}</testcase>'
        for name, how in said.items()
    )
    path = root / f"report{number}.xml"
    path.write_text(
        f'<testsuite name="s" tests="20" timestamp="2025-01-0{number}T10:00:00">{cases}</testsuite>'
    )
    record(load_config(root, {}), [path])


def test_past_results_order_everything(root: Path) -> None:
    for number in range(1, 5):
        recorded(root, number, failing="t13" if number > 2 else "")
    found = select_or_all(root, budget=Budget(share=0.1))
    assert found.run_all
    assert not found.rest
    assert len(found.chosen) == 20
    assert found.chosen[0].test.endswith("t13")
    assert {round(choice.seconds, 6) for choice in found.chosen} == {1.0}
    assert any("past results" in notice for notice in found.notices)
    (line, *_) = explain(load_config(root, {}), "t13")
    assert "runs, place 1" in line


def test_shards_of_it_are_disjoint_and_complete(root: Path) -> None:
    recorded(root, 1, failing="t3")
    parts = [select_or_all(root, bin=(i, 3)) for i in (1, 2, 3)]
    tests = [choice.test for part in parts for choice in part.chosen]
    assert len(tests) == len(set(tests)) == 20
    assert [len(part.chosen) for part in parts] == [7, 7, 6]


def test_with_neither_bundle_nor_results_it_says_so(root: Path) -> None:
    found = select_or_all(root)
    assert found.run_all
    assert not found.chosen
    assert "foretest learn" in found.notices[0]
    with pytest.raises(NoBundle):
        explain(load_config(root, {}), "t13", base="HEAD~1")
