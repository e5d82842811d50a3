"""Which functions each test enters: the tracer inside the tested process, stdlib only.

Python 3.12 and later use `sys.monitoring` with function starts only; 3.11 uses Coverage.py. Both
give the same answer: the outermost functions and methods entered while a unit ran, and `<module>`
for module-level code and class bodies.

Not seen: subprocesses that a test starts, code that is installed outside the root (a wheel in
site-packages), and code compiled from strings. A fixture that several units share runs once: the
caller switches to a unit of its own for it, and gives it to its users with `traced.with_shared`.
"""

from __future__ import annotations

import gc
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Protocol

from foretest.errors import TracerUnavailable
from foretest.evidence.traced import TracedRun, read_traced, write_traced
from foretest.records import MODULE_LEVEL

__all__ = [
    "SourceTree",
    "TracedRun",
    "Tracer",
    "TracerUnavailable",
    "fold",
    "read_traced",
    "start_tracer",
    "write_traced",
]

NEVER_SOURCE = frozenset(
    {"site-packages", "dist-packages", "node_modules", ".git", ".foretest", ".tox", ".nox", ".venv"}
)

_NOBODY = "\0"
"""Stands for the unit while the tracer pauses."""

_CO_OPTIMIZED = 0x1  # functions have fast locals; modules and class bodies do not


class Tracer(Protocol):
    """One traced process. Not re-entrant: at most one at a time."""

    def switch(self, unit: str | None) -> None:
        """From here on, what runs belongs to `unit`; None outside every test."""

    def pause(self) -> None:
        """From here to the next switch, what runs is nobody's: it costs less, and is not kept."""

    def stop(self) -> TracedRun:
        """End tracing and give what was seen."""


def start_tracer(root: Path, omit: Sequence[str] = ()) -> Tracer:
    """Begin to trace code under `root`, files that match a glob of `omit` left out.

    Raises TracerUnavailable where another tool holds the interpreter's tracer.
    """
    tree = SourceTree(root, omit)
    if sys.version_info >= (3, 12):
        return MonitoringTracer(tree)
    from foretest.evidence.linetracer import CoverageTracer  # only 3.11 needs Coverage.py

    return CoverageTracer(tree)


def fold(qualname: str) -> str:
    """The outermost function or method that holds this code; `<module>` where none does."""
    outer = qualname.partition(".<locals>")[0]
    last = outer.rpartition(".")[2]
    # "<lambda>", "<genexpr>" or "<generic parameters of f>" outside functions; lazy annotations.
    if "<" in outer or last.startswith("__annotate"):
        return MODULE_LEVEL
    return outer


class SourceTree:
    """Which files count as the project's own, and by what name."""

    def __init__(self, root: Path, omit: Sequence[str] = ()) -> None:
        self.root = root.resolve()
        self.omit = tuple(omit)
        self._names: dict[str, str | None] = {}

    def name(self, filename: str) -> str | None:
        """Path relative to the root with forward slashes; None for code that is not ours."""
        try:
            return self._names[filename]
        except KeyError:
            found = self._names[filename] = self._find(filename)
            return found

    def _find(self, filename: str) -> str | None:
        if filename.startswith("<"):
            return None
        path = Path(filename).resolve()
        if not path.is_relative_to(self.root):
            return None
        inside = path.relative_to(self.root)
        if not NEVER_SOURCE.isdisjoint(inside.parts) or self._in_environment(path):
            return None
        name = inside.as_posix()
        return None if any(fnmatchcase(name, pattern) for pattern in self.omit) else name

    def _in_environment(self, path: Path) -> bool:
        prefix = Path(sys.prefix).resolve()
        return (
            prefix != self.root and prefix.is_relative_to(self.root) and path.is_relative_to(prefix)
        )


class Symbols:
    """Numbers for symbols, and the units that entered them, as they appear."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._symbols: dict[tuple[int, str], int] = {}
        self._units: dict[str | None, array[int]] = {}

    def number(self, file: str, qualname: str) -> int:
        key = (self._files.setdefault(file, len(self._files)), qualname)
        return self._symbols.setdefault(key, len(self._symbols))

    def entered(self, unit: str | None, symbols: Iterable[int]) -> None:
        # A unit comes back for each parameter and phase; an array costs 4 bytes a symbol, a set 60.
        known = self._units.get(unit)
        found = set(symbols) if known is None else set(symbols).union(known)
        self._units[unit] = array("i", sorted(found))

    def traced(self) -> TracedRun:
        units = {unit: seen for unit, seen in self._units.items() if unit != _NOBODY}
        return TracedRun(tuple(self._files), tuple(self._symbols), units)


class MonitoringTracer:
    """Function starts by `sys.monitoring`: each function costs one call-back a unit, then nothing.

    Only the project's own code objects carry events while tests run, so that pytest and the
    libraries run at full speed. They are found when they start (while modules are imported and
    tests collected, every first start is seen), and later where the import system returns a
    module's code. A call-back answers DISABLE; the next unit re-arms all of them at once.
    """

    def __init__(self, tree: SourceTree) -> None:
        self._monitoring: Any = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
        self._tree = tree
        self._symbols = Symbols()
        self._codes: dict[int, tuple[CodeType, int]] = {}  # by id(): hashing code reads all of it
        self._entered: list[CodeType] = []
        self._unit: str | None = None
        self._armed: str | None = None
        """The unit that every silenced function is recorded for; None where that is not known."""
        self._collecting = True
        self._tool = self._take_tool()
        self._listen()

    def switch(self, unit: str | None) -> None:
        if unit == self._unit:  # the next parameter of the same test: its union is still open
            return
        self._flush()
        self._unit = unit
        if unit is None or unit == self._armed:
            return
        if self._collecting:
            self._collecting = False
            self._monitoring.set_events(self._tool, 0)
        self._monitoring.restart_events()
        self._armed = unit

    def pause(self) -> None:
        self.switch(_NOBODY)

    def stop(self) -> TracedRun:
        self._flush()
        monitoring, events = self._monitoring, self._monitoring.events
        monitoring.set_events(self._tool, 0)
        for code, _ in self._codes.values():
            monitoring.set_local_events(self._tool, code, 0)
        monitoring.set_local_events(self._tool, _module_code(), 0)
        for event in (events.PY_START, events.PY_RETURN):
            monitoring.register_callback(self._tool, event, None)
        monitoring.free_tool_id(self._tool)
        return self._symbols.traced()

    def _take_tool(self) -> int:
        """An identity that no debugger, profiler or coverage tool has taken."""
        for tool in (4, 3, 2, 5, 1, 0):  # the nameless ones first
            if self._monitoring.get_tool(tool) is None:
                self._monitoring.use_tool_id(tool, "foretest")
                return tool
        raise TracerUnavailable(
            "Every tool identity of sys.monitoring is taken.",
            "Run without the other tracers, debuggers and profilers.",
        )

    def _listen(self) -> None:
        monitoring, events = self._monitoring, self._monitoring.events
        disable, enter, codes = monitoring.DISABLE, self._entered.append, self._codes

        def on_start(code: CodeType, _offset: int) -> object:
            if self._collecting and id(code) not in codes:
                self._adopt(code)
            enter(code)
            return disable

        def on_module_code(_code: CodeType, _offset: int, result: object) -> None:
            if isinstance(result, CodeType):
                self._adopt(result)

        monitoring.register_callback(self._tool, events.PY_START, on_start)
        monitoring.register_callback(self._tool, events.PY_RETURN, on_module_code)
        monitoring.set_local_events(self._tool, _module_code(), events.PY_RETURN)
        self._adopt_imported()
        monitoring.set_events(self._tool, events.PY_START)

    def _adopt_imported(self) -> None:
        """Listen to what was imported before us; of its import only the fact is known."""
        for known in gc.get_objects():
            if type(known) is FunctionType:
                self._adopt(known.__code__)
        for module in list(sys.modules.values()):
            file = self._tree.name(getattr(module, "__file__", None) or "<none>")
            if file is not None:
                self._symbols.entered(None, [self._symbols.number(file, MODULE_LEVEL)])

    def _adopt(self, code: CodeType) -> None:
        """Number this code object and all that it holds, and listen to them, if they are ours."""
        if id(code) in self._codes:
            return
        file = self._tree.name(code.co_filename)
        if file is None:
            return
        start = self._monitoring.events.PY_START
        for inner in _nested(code):
            if id(inner) not in self._codes:
                self._codes[id(inner)] = inner, self._symbols.number(file, symbol_of(inner))
                self._monitoring.set_local_events(self._tool, inner, start)

    def _flush(self) -> None:
        """Write what was entered since the last switch to the unit that ran."""
        count = len(self._entered)  # another thread may append meanwhile: take only these
        if not count:
            return
        batch, codes = self._entered[:count], self._codes
        del self._entered[:count]
        found = {codes[key][1] for key in map(id, batch) if key in codes}
        if found:
            self._symbols.entered(self._unit, found)
            if self._unit != self._armed:
                self._armed = None


def symbol_of(code: CodeType) -> str:
    """Qualified name of the symbol that this code object belongs to."""
    if not code.co_flags & _CO_OPTIMIZED and "<locals>" not in code.co_qualname:
        return MODULE_LEVEL
    return fold(code.co_qualname)


def _nested(code: CodeType) -> Iterator[CodeType]:
    pending = [code]
    while pending:
        code = pending.pop()
        yield code
        pending.extend(c for c in code.co_consts if isinstance(c, CodeType))


def _module_code() -> CodeType:
    """The function of the import system that returns the code of each Python source module."""
    from importlib.machinery import SourceFileLoader

    return SourceFileLoader.get_code.__code__
