"""A small project under git, for the lab to work on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from foretest.config import Config


class Project:
    """A repository in a temporary folder, with a cache for the lab beside it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.root.mkdir()
        self.cache = folder / "cache"
        self.clock = 1_700_000_000
        self.git("init", "-q", "-b", "main")

    def git(self, *args: str) -> str:
        stamp = f"{self.clock} +0000"
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *who, *args],
            cwd=self.root,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.root.parent)}
            | {"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for path, content in files.items():
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            data = content if isinstance(content, bytes) else content.encode()
            target.write_bytes(data)

    def commit(self, files: Mapping[str, str | bytes], message: str = "a change") -> str:
        self.write(files)
        self.clock += 3600
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def config(self, **settings: object) -> Config:
        facts = {"python": sys.executable, "cache": str(self.cache), "timeout": 60.0}
        return Config(root=self.root, **(facts | settings))  # type: ignore[arg-type]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(autouse=True)
def _few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the lab's processes without the many plugins of this environment: it is quicker."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


CALC = """\
LIMITS = {"low": 1, "high": 9}


def add(a, b):
    return a + b


def clamp(value):
    if value < LIMITS["low"]:
        return LIMITS["low"]
    return min(value, LIMITS["high"])
"""

TESTS = """\
import pytest
from calc import add, clamp


@pytest.mark.parametrize("a", [1, 2])
def test_add(a):
    assert add(a, 1) == a + 1


def test_clamp():
    assert clamp(0) == 1


class TestHigh:
    def test_high(self):
        assert clamp(100) == 9


def test_red():
    assert False
"""


@pytest.fixture
def calculator(project: Project) -> Project:
    """A package in `src`, five units of which one is red; the last commit corrected `add`."""
    wrong = CALC.replace("a + b", "a - b")
    project.commit({"src/calc/__init__.py": wrong, "tests/test_calc.py": TESTS}, "start")
    project.commit({"src/calc/__init__.py": CALC}, "add adds")
    return project


@pytest.fixture
def patch_to() -> Callable[[str, str, str], bytes]:
    """The patch from a wrong text to the right one: taken back, it makes the file wrong."""
    from foretest.lab.faults import mending_patch

    return lambda path, wrong, right: mending_patch(path, wrong.encode(), right.encode())
