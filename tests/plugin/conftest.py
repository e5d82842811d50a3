"""A project in a temporary directory, and selections for it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from foretest.changes.git import Repository
from foretest.records import Choice, Selection, Why
from foretest.selection.formats import selection_to_json


def choice(unit: str, *, seconds: float = 1.0, inclusion: float = 1.0) -> Choice:
    return Choice(unit, Why.SCORE, 0.5, seconds, inclusion)


def selection(
    chosen: Sequence[str | Choice], rest: Sequence[str | Choice], **fields: Any
) -> Selection:
    def choices(units: Sequence[str | Choice]) -> tuple[Choice, ...]:
        return tuple(choice(u) if isinstance(u, str) else u for u in units)

    given = {"decision_id": "d-1", "repository": "r", "base": "0123456789abcdef", "head": None}
    return Selection(**(given | fields), chosen=choices(chosen), rest=choices(rest))


@pytest.fixture
def make_selection() -> Callable[..., Selection]:
    return selection


@pytest.fixture
def selected(pytester: pytest.Pytester) -> Callable[..., tuple[str, ...]]:
    """Writes a selection file and gives the options that use it."""

    def write(
        chosen: Sequence[str | Choice], rest: Sequence[str | Choice], **fields: Any
    ) -> tuple[str, ...]:
        path = pytester.path / "selection.json"
        if (pytester.path / ".git").exists():
            fields.setdefault("state", Repository(pytester.path).state(None))
        path.write_text(json.dumps(selection_to_json(selection(chosen, rest, **fields))))
        return ("--foretest", f"--foretest-selection={path}")

    return write


@pytest.fixture
def lines() -> Callable[[Path], list[dict[str, Any]]]:
    """The objects of a file of JSON lines."""
    return lambda path: [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def commit_all(pytester: pytest.Pytester) -> Callable[[], str]:
    """Makes the project a git repository with one commit, and gives the commit."""

    def run(*args: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(
            ["git", *identity, *args], cwd=pytester.path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit() -> str:
        run("init", "-q")
        run("add", "-A")
        run("commit", "-q", "-m", "all")
        return run("rev-parse", "HEAD")

    return commit
