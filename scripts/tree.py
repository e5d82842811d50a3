"""Write the tree of docs/map.md and the rooms of the README; `--check`: are they current?"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- tree: begin (scripts/tree.py writes this) -->", "<!-- tree: end -->"


def main() -> int:
    package = ROOT / "src" / "foretest"
    stale = False
    for page, lines in (("README.md", rooms(package)), ("docs/map.md", tree(package))):
        old = (ROOT / page).read_text(encoding="utf-8")
        new = replaced(old, "\n".join(lines))
        stale |= new != old
        if "--check" not in sys.argv:
            (ROOT / page).write_text(new, encoding="utf-8")
    return int(stale and "--check" in sys.argv)


def first_line(module: Path) -> str:
    """The first line of a module's docstring; empty where there is none."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def tree(package: Path, depth: int = 0) -> Iterator[str]:
    """A line a module, folders after the files beside them, each with what it says of itself."""
    inside = [path for path in sorted(package.iterdir()) if path.name != "__init__.py"]
    yield _line(f"{package.name}/", first_line(package / "__init__.py"), depth)
    for module in inside:
        if module.suffix == ".py":
            yield _line(module.name, first_line(module), depth + 1)
    for folder in inside:
        if (folder / "__init__.py").exists():
            yield from tree(folder, depth + 1)


def rooms(package: Path) -> Iterator[str]:
    """A line a folder of the package, with what it says of itself."""
    for folder in sorted(package.iterdir()):
        if (folder / "__init__.py").exists():
            yield _line(f"{folder.name}/", first_line(folder / "__init__.py"), 0)


def replaced(text: str, lines: str) -> str:
    """`text` with `lines` between its markers. Raises ValueError where a marker is missing."""
    head, found, rest = text.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not (found and closed):
        raise ValueError(f"the markers {BEGIN} and {END} are not in the text")
    return f"{head}{BEGIN}\n```\n{lines}\n```\n{END}{tail}"


def _line(name: str, words: str, depth: int) -> str:
    return f"{'  ' * depth + name:<26} {words}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
