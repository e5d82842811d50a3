"""Which files of a project are sources, and where its packages lie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from foretest.changes.layout import TEST_FOLDERS, is_test_file

_APART = frozenset(
    ("asv_bench", "bench", "benchmark", "benchmarks", "build", "ci", "demo", "doc", "docs")
) | frozenset(("examples", "example", "dist", "scripts", "tools", "release", "samples"))
_NOT_PACKAGES = frozenset(("setup", "conftest", "noxfile", "tasks", "fabfile", "runtests", "bin"))


def is_python_source(path: str) -> bool:
    """True for a Python file whose change can break a test: no test, document or build script."""
    parts = path.split("/")
    if not path.endswith(".py") or is_test_file(path) or _APART.intersection(parts[:-1]):
        return False
    if any(part.startswith(".") for part in parts):
        return False
    return len(parts) > 1 or parts[0].removesuffix(".py") not in _NOT_PACKAGES


def import_roots(files: Iterable[str]) -> tuple[str, ...]:
    """Folders from which the project's packages are imported, `src` before the top ("")."""
    files = list(files)
    packages = {str(PurePosixPath(f).parent) for f in files if f.endswith("/__init__.py")}
    roots = set()
    for package in packages:
        root = PurePosixPath(package)
        while str(root) in packages:
            root = root.parent
        name = "" if str(root) == "." else str(root)
        parts = name.split("/")
        if not (TEST_FOLDERS | _APART).intersection(parts) and len(parts) <= 2:
            roots.add(name)
    if any(f.startswith("src/") and f.endswith(".py") for f in files):
        roots.add("src")
    roots.discard("")
    return (*sorted(roots, key=lambda r: (r != "src", r)), "")


def import_names(files: Iterable[str]) -> tuple[str, ...]:
    """Names of the project's own top-level modules and packages."""
    files = [f for f in files if is_python_source(f)]
    names = set()
    # Beside a folder of packages (`src`), what lies at the top is tooling.
    for root in [root for root in import_roots(files) if root] or [""]:
        prefix = f"{root}/" if root else ""
        for file in files:
            if not file.startswith(prefix):
                continue
            first, deeper, _ = file.removeprefix(prefix).partition("/")
            names.add(first if deeper else first.removesuffix(".py"))
    return tuple(sorted(names - _NOT_PACKAGES - _APART - TEST_FOLDERS))
