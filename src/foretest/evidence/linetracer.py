"""The tracer of Python 3.11: Coverage.py's lines and contexts, folded to functions."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foretest.errors import TracerUnavailable
from foretest.evidence.traced import TracedRun
from foretest.evidence.tracer import NEVER_SOURCE, SourceTree, Symbols
from foretest.records import MODULE_LEVEL

# What Coverage.py may say here concerns its own reports, which nobody asked for.
QUIET = ["no-data-collected", "module-not-imported", "module-not-measured", "already-imported"]


class CoverageTracer:
    """Coverage.py with its data in memory: nothing is written to the user's tree."""

    def __init__(self, tree: SourceTree) -> None:
        if sys.gettrace() is not None:
            raise TracerUnavailable(
                "Another tool already traces this process (pytest-cov, a debugger).",
                "Run once without it, for example with `-p no:cov`, or use Python 3.12 or later.",
            )
        try:
            import coverage
        except ImportError as error:
            raise TracerUnavailable(
                "On Python 3.11 per-test coverage needs the package 'coverage'.",
                "Install it into the environment of the tests: pip install coverage.",
            ) from error
        self._tree = tree
        self._unit: str | None = None
        self._paused = False
        skipped = [f"*/{name}/*" for name in sorted(NEVER_SOURCE)]
        self._coverage: Any = coverage.Coverage(
            data_file=None,
            config_file=False,
            include=[f"{tree.root}/*"],
            omit=skipped,
            messages=False,
        )
        self._coverage.set_option("run:disable_warnings", QUIET)
        self._coverage.start()

    def switch(self, unit: str | None) -> None:
        if self._paused:
            self._paused = False
            self._coverage.start()
        if unit != self._unit:
            self._unit = unit
            self._coverage.switch_context(unit or "")

    def pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._coverage.stop()

    def stop(self) -> TracedRun:
        self._coverage.stop()
        data = self._coverage.get_data()
        symbols = Symbols()
        for filename in sorted(data.measured_files()):
            file = self._tree.name(filename)
            if file is not None:
                self._fold(symbols, file, data.contexts_by_lineno(filename), Path(filename))
        return symbols.traced()

    def _fold(
        self, symbols: Symbols, file: str, contexts: dict[int, list[str]], path: Path
    ) -> None:
        try:
            holders = function_lines(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            holders = {}
        entered: dict[str | None, set[int]] = {}
        for line, units in contexts.items():
            qualname, shared = holders.get(line, (MODULE_LEVEL, False))
            number = symbols.number(file, qualname)
            for unit in units:
                # `def f(): return 1` runs its line at import without entering f.
                if unit or not shared:
                    entered.setdefault(unit or None, set()).add(number)
                else:
                    module = symbols.number(file, MODULE_LEVEL)
                    entered.setdefault(None, set()).add(module)
        for context, found in entered.items():
            symbols.entered(context, found)


def function_lines(source: bytes) -> dict[int, tuple[str, bool]]:
    """For each line of a body: its outermost function, and whether `def` shares the line."""
    lines: dict[int, tuple[str, bool]] = {}
    for name, function in _outermost(ast.parse(source), ()):
        first, last = function.body[0].lineno, function.end_lineno or function.lineno
        signature = _last_line_of_signature(function)
        for line in range(first, last + 1):
            lines[line] = (name, line <= signature)
    return lines


def _outermost(
    node: ast.AST, classes: tuple[str, ...]
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions and methods that no other function holds, wherever they are defined."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield ".".join((*classes, child.name)), child
        elif isinstance(child, ast.ClassDef):
            yield from _outermost(child, (*classes, child.name))
        else:
            yield from _outermost(child, classes)


def _last_line_of_signature(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    parts = [*ast.walk(function.args)]
    if function.returns is not None:
        parts.append(function.returns)
    ends = (end for part in parts if (end := getattr(part, "end_lineno", None)))
    return max(function.lineno, max(ends, default=0))
