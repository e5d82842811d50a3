"""Static imports: which source files each test file reaches, and over how many steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from foretest.changes.outlines import Import, Outline

FARTHEST = 4
"""Steps after which a file counts as not reached."""
MOST_FILES = 100
"""Files kept for one test file, nearest first: in a large package everything imports everything."""

PACKAGE = "__init__.py"


def import_weights(
    outlines: Mapping[str, Outline], test_files: Iterable[str]
) -> dict[str, dict[str, float]]:
    """For each test file the source files that it reaches, weight 1 / steps; itself weighs 1.

    Each import is a step, and so is a conftest.py that pytest loads for the file. What a package's
    `__init__` imports costs a step more, since it is imported for everyone; a name that it only
    re-exports leads directly to the file that defines it.
    """
    graph = ImportGraph(outlines)
    return {
        file: {reached: 1.0 / max(steps, 1) for reached, steps in graph.steps(file).items()}
        for file in sorted(set(test_files))
        if file in outlines
    }


class ImportGraph:
    """Files of a repository and what they import of each other."""

    def __init__(self, outlines: Mapping[str, Outline]) -> None:
        self._outlines = outlines
        self._modules = _modules(outlines)
        self._edges: dict[str, frozenset[str]] = {}

    def steps(self, file: str) -> dict[str, int]:
        """Files reached from `file` with the least steps, the nearest MOST_FILES of them."""
        found: dict[str, int] = {}
        frontier: dict[int, set[str]] = {0: {file}, 1: set(self._conftests(file))}
        for depth in range(FARTHEST + 1):
            for each in sorted(frontier.pop(depth, ())):
                if each in found:
                    continue
                found[each] = depth
                if len(found) > MOST_FILES:
                    return found
                further = depth + (2 if each.endswith(PACKAGE) else 1)
                frontier.setdefault(further, set()).update(self.imported(each))
        return found

    def imported(self, file: str) -> frozenset[str]:
        """Files that `file` imports itself."""
        if file not in self._edges:
            outline = self._outlines[file]
            found = {f for each in outline.imports for f in self._targets(file, each, outline)}
            self._edges[file] = frozenset(found - {file})
        return self._edges[file]

    def _targets(self, file: str, each: Import, outline: Outline) -> Iterator[str]:
        module = _absolute(file, each)
        holder = self._resolve(module, file)
        if holder is not None:
            yield holder
        names: Iterable[str] = each.names
        if holder is not None and not each.names and holder.endswith(PACKAGE):
            # `import package` and then `package.name`: the names read tell what is meant.
            names = frozenset().union(*outline.reads.values())
        for name in names:
            inner = self._resolve(f"{module}.{name}" if module else name, file)
            if inner is not None and (each.names or inner != file):
                yield inner
            elif holder is not None:
                yield from self._definers(holder, name)

    def _definers(self, package: str, name: str) -> Iterator[str]:
        """Where a package's `__init__` takes `name` from, through further packages too."""
        seen = {package}
        pending = [package] if package.endswith(PACKAGE) else []
        while pending:
            at = pending.pop()
            for each in self._outlines[at].imports:
                if name not in each.names and "*" not in each.names:
                    continue
                source = self._resolve(_absolute(at, each), at)
                if source is None or source in seen:
                    continue
                seen.add(source)
                if name not in each.names and not _binds(self._outlines[source], name):
                    continue
                yield source
                if source.endswith(PACKAGE):
                    pending.append(source)

    def _resolve(self, module: str, importer: str) -> str | None:
        """The file that a dotted name means here: of several, the one nearest to the importer."""
        candidates = self._modules.get(module, ())
        return max(candidates, key=lambda c: (_shared(c, importer), c), default=None)

    def _conftests(self, file: str) -> Iterator[str]:
        for folder in PurePosixPath(file).parents:
            name = (folder / "conftest.py").as_posix()
            if name in self._outlines:
                yield name


def _modules(outlines: Iterable[str]) -> dict[str, list[str]]:
    """Dotted names to files: as packages have it, and as seen from the root and from src."""
    known = set(outlines)
    modules: dict[str, list[str]] = defaultdict(list)
    for file in sorted(known):
        path = PurePosixPath(file)
        if path.suffix not in (".py", ".pyi"):
            continue
        parts = path.parts[:-1] if path.name == PACKAGE else (*path.parts[:-1], path.stem)
        top = len(path.parts) - 1
        while top > 0 and "/".join((*path.parts[:top], PACKAGE)) in known:
            top -= 1
        starts = {0, top}
        starts.update(i + 1 for i, part in enumerate(path.parts[:-1]) if part in ("src", "lib"))
        for start in starts:
            if name := ".".join(parts[start:]):
                modules[name].append(file)
    return modules


def _absolute(file: str, each: Import) -> str:
    """The dotted name that an import means, relative ones counted from the repository's root."""
    if not each.level:
        return each.module
    folders = PurePosixPath(file).parts[:-1]
    kept = folders[: len(folders) - (each.level - 1)] if each.level <= len(folders) + 1 else ()
    return ".".join((*kept, *([each.module] if each.module else [])))


def _binds(outline: Outline, name: str) -> bool:
    imported = any(name in each.names for each in outline.imports)
    return imported or any(binding.name == name for binding in outline.bindings)


def _shared(a: str, b: str) -> int:
    """How many leading folders two paths share."""
    count = 0
    for left, right in zip(a.split("/")[:-1], b.split("/")[:-1], strict=False):
        if left != right:
            break
        count += 1
    return count
