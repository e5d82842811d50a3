"""Whose own code a change touches: bodies that tests have, inherit or quote as doctests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from foretest.evidence.store import EvidenceStore
from foretest.features.build import entries
from foretest.features.paths import files_of
from foretest.features.query import FileFacts, Query, unit_of
from foretest.records import MODULE_LEVEL, Symbol
from foretest.selection.widening import has_symbols

Mask = NDArray[np.bool_]


def changed_bodies(query: Query, store: EvidenceStore) -> Mask:
    """Tests whose own body changed."""
    bodies = [(s, unit) for file in query.files for s in file.touched if (unit := unit_of(s))]
    changed = np.zeros(len(store.tests), bool)
    changed[[store.test_index[unit] for _, unit in bodies if unit in store.test_index]] = True
    changed[_heirs([symbol for symbol, _ in bodies], store)] = True
    changed[_doctests(query.files, store)] = True
    return changed


def _heirs(bodies: Sequence[Symbol], store: EvidenceStore) -> list[int]:
    """Tests that enter the body of a test of their own name: a base class holds it."""
    wanted = np.zeros(len(store.symbols), bool)
    wanted[[store.symbol_index[s] for s in map(str, bodies) if s in store.symbol_index]] = True
    found = zip(*(column.tolist() for column in entries(store.coverage, wanted)), strict=True)
    return [
        test
        for test, symbol in found
        if _name(store.tests[test]) == store.symbols[symbol].rpartition("::")[2].split(".")[-1]
    ]


def _doctests(files: Iterable[FileFacts], store: EvidenceStore) -> list[int]:
    """Doctests of the touched docstrings, and all tests of a changed file of prose."""
    changed = {file.path: file for file in files}
    paths, of_test = files_of(store.tests)
    held = [place for place, path in enumerate(paths) if path in changed]
    rows = np.flatnonzero(np.isin(of_test, held)).tolist() if held else []
    return [row for row in rows if _quotes(store.tests[row], changed)]


def _quotes(test: str, changed: dict[str, FileFacts]) -> bool:
    path = test.partition("::")[0]
    if not has_symbols(path):
        return True
    name = _name(test)
    return path.endswith(".py") and any(
        _is_of_module(name, path)
        if symbol.qualname == MODULE_LEVEL
        else name.endswith(f".{symbol.qualname}")
        for symbol in changed[path].touched
    )


def _is_of_module(name: str, path: str) -> bool:
    """Whether a doctest stands in the module's own docstring or in its `__test__`."""
    dotted = path.rpartition(".")[0].removesuffix("/__init__").replace("/", ".")
    return f".{dotted}".endswith(f".{name.partition('.__test__.')[0]}")


def _name(test: str) -> str:
    return test.partition("[")[0].rpartition("::")[2]
