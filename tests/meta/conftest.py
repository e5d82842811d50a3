"""The project looked at as files: what its own tests of form go by."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "foretest"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def modules() -> dict[str, Path]:
    """Every module of the package: dotted name -> file."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    """Every text file that belongs to the project: path -> content."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: which files belong to the project is unknown")
    found = {}
    for name in listed.stdout.decode().split("\0"):
        file = ROOT / name
        if name and file.is_file():
            data = file.read_bytes()
            if b"\0" not in data:
                found[name] = data.decode("utf-8")
    return found


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"scripts_{name}", ROOT / "scripts" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tree_script() -> ModuleType:
    return _script("tree")


@pytest.fixture(scope="session")
def cli_script() -> ModuleType:
    return _script("cli_reference")
