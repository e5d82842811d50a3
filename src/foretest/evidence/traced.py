"""What one traced process saw, and the file that carries it; stdlib only."""

from __future__ import annotations

import gzip
import json
import platform
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from foretest.durable import writing
from foretest.errors import BadReport

FORMAT = "foretest-coverage"
VERSION = 1

SHARED = "\0fixture:"
"""How the name begins under which a fixture of several tests is traced; never in a file."""

REMEDY = "Delete the file and run the tests with --foretest again."


@dataclass(frozen=True, slots=True)
class TracedRun:
    """Functions entered per unit; unit None holds what ran at import or outside tests."""

    files: tuple[str, ...]
    """Paths relative to the root, with forward slashes."""
    symbols: tuple[tuple[int, str], ...]
    """(index into files, qualified name)."""
    units: Mapping[str | None, Sequence[int]]
    """Sorted indices into symbols."""
    commit: str | None = None
    """State of the code that ran; None where the work tree was not clean or is unknown."""
    python: str = field(default_factory=platform.python_version)
    partial: frozenset[str] = frozenset()
    """Units that did not pass: they may enter more where they do."""

    def names(self, unit: str | None) -> frozenset[str]:
        """`file::qualname` of everything that the unit entered."""
        found = (self.symbols[i] for i in self.units.get(unit, ()))
        return frozenset(f"{self.files[file]}::{qualname}" for file, qualname in found)


def write_traced(path: Path, traced: TracedRun, commit: str | None) -> None:
    """Write JSON lines (gzip where the name ends in .gz): a header, then a line a unit. Atomic."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "commit": commit,
        "python": traced.python,
        "files": traced.files,
        "symbols": traced.symbols,
        "partial": sorted(traced.partial),
    }
    with writing(path) as raw, _packed(path, raw) as stream:
        stream.write(_line(header))
        for unit, symbols in traced.units.items():
            stream.write(_line([unit, list(symbols)]))


def read_traced(path: Path) -> TracedRun:
    """Read a file of `write_traced`; a file cut off in its last line keeps the whole lines before.

    Raises BadReport where the file is missing, no such report, or of a newer version.
    """
    try:
        with _opened(path) as stream:
            header = json.loads(next(stream, b"null"))
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise BadReport(f"{path.name} is not a coverage report.", REMEDY)
            if header["version"] != VERSION:
                raise BadReport(
                    f"{path.name} has version {header['version']}.", "Use a newer foretest."
                )
            files = tuple(str(f) for f in header["files"])
            symbols = tuple((int(f), str(q)) for f, q in header["symbols"])
            if any(not 0 <= f < len(files) for f, _ in symbols):
                raise ValueError("a symbol names no file")
            units = dict(_units(stream, len(symbols)))
            commit, partial = header["commit"], frozenset(map(str, header.get("partial", ())))
            if not (commit is None or isinstance(commit, str)):
                raise ValueError("the commit is not a string")
            return TracedRun(files, symbols, units, commit, header["python"], partial)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise BadReport(f"{path.name} cannot be read: {error}.", REMEDY) from error


def with_shared(run: TracedRun, shared: Mapping[str, Set[str]]) -> TracedRun:
    """What each test entered together with what the shared fixtures that it uses entered.

    `shared` names these per unit; they stand among the units of `run`, and of the result no more.
    """
    units: dict[str | None, Sequence[int]] = {}
    for unit, own in run.units.items():
        if unit is None or not unit.startswith(SHARED):
            units[unit] = own
    for unit, used in shared.items():
        found = set(units.get(unit, ())).union(*(run.units.get(each, ()) for each in used))
        if found:
            units[unit] = array("i", sorted(found))
    return replace(run, units=units)


def _units(stream: IO[bytes], n_symbols: int) -> Iterator[tuple[str | None, array[int]]]:
    with suppress(EOFError):  # a compressed file whose writer was killed
        for line in stream:
            if not line.endswith(b"\n"):
                return
            unit, symbols = json.loads(line)
            if not (unit is None or isinstance(unit, str)):
                raise ValueError("a unit is not a string")
            if symbols and not 0 <= min(symbols) <= max(symbols) < n_symbols:
                raise ValueError("a unit names no symbol")
            yield unit, array("i", symbols)


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


@contextmanager
def _packed(path: Path, raw: IO[bytes]) -> Iterator[Any]:
    """`raw`, compressed where the name of the file says so; equal content gives equal bytes."""
    if path.suffix != ".gz":
        yield raw
        return
    with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=3, mtime=0) as stream:
        yield stream


def is_traced(path: Path) -> bool:
    """Whether a file begins as a coverage file does; False for one that cannot be read."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            return f'"{FORMAT}"'.encode() in file.read(200)
    except (OSError, EOFError, zlib.error):
        return False
