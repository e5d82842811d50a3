"""Real repositories for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from git_sandbox import Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path / "work")


@pytest.fixture
def new_sandbox(tmp_path: Path) -> Callable[[str], Sandbox]:
    return lambda name: Sandbox(tmp_path / name)
