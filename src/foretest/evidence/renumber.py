"""The same evidence in another numbering of tests or symbols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretest.evidence.graph import SymbolGraph
from foretest.evidence.rows import Bools, SparseRows
from foretest.evidence.store import UNKNOWN, Doubles, EvidenceStore
from foretest.records import MODULE_LEVEL


def on_tests(store: EvidenceStore, units: tuple[str, ...]) -> EvidenceStore:
    """The same evidence for other tests.

    A new test knows what belongs to its file (imports, co-change) where a neighbour knows it, and
    nothing else.
    """
    if units == store.tests:
        return store
    place = np.array([store.test_index.get(u, -1) for u in units], np.int64)
    beside = {file_of(test): i for i, test in enumerate(store.tests)}
    of_file = np.array(
        [p if p >= 0 else beside.get(file_of(u), -1) for u, p in zip(units, place, strict=True)],
        np.int64,
    )
    known = place >= 0
    digests = [store.test_symbols_digest[p] if p >= 0 else "" for p in place]
    impacts = store.text.impacts.transpose()
    return replace(
        store,
        tests=units,
        coverage=_rows(store.coverage, place),
        coverage_commit=_pick(store.coverage_commit, place, known, UNKNOWN).astype(np.int32),
        text=replace(store.text, impacts=_rows(impacts, place).transpose()),
        imports=_rows(store.imports, of_file),
        cochange=_rows(store.cochange, of_file),
        test_symbols_digest=tuple(digests),
        runs=_pick(store.runs, place, known, 0.0),
        failures=_pick(store.failures, place, known, 0.0),
        last_failed_at=_pick(store.last_failed_at, place, known, np.nan),
        seconds=_pick(store.seconds, place, known, np.nan),
        seconds_high=_pick(store.seconds_high, place, known, np.nan),
        past=_pick(store.past, place, known, np.nan),
    )


def _rows(rows: SparseRows, place: NDArray[Any]) -> SparseRows:
    """Rows by place; -1 gives an empty row."""
    weighted = rows.weights is not None
    wide = rows.stack(SparseRows.empty(1, rows.n_columns, weighted))
    return wide.select(np.where(place < 0, rows.n_rows, place))


def _pick(values: NDArray[Any], place: NDArray[Any], known: Bools, otherwise: float) -> Doubles:
    picked = np.full(len(place), otherwise, np.float64)
    picked[known] = values[place[known]]
    return picked


def on_symbols(store: EvidenceStore, symbols: tuple[str, ...], graph: SymbolGraph) -> EvidenceStore:
    """The same coverage in another numbering of symbols; symbols that are gone are dropped."""
    index = {symbol: i for i, symbol in enumerate(symbols)}
    to = np.array([index.get(s, -1) for s in store.symbols], np.int64)
    import_time = np.array([s.endswith(f"::{MODULE_LEVEL}") for s in symbols], bool)
    import_time[to[store.import_time & (to >= 0)]] = True
    coverage = store.coverage.rename_columns(to, len(symbols))
    return replace(store, symbols=symbols, coverage=coverage, import_time=import_time, graph=graph)


def moved_graph(graph: SymbolGraph, old: Sequence[str], new: Sequence[str]) -> SymbolGraph:
    index = {symbol: i for i, symbol in enumerate(new)}
    to = np.array([index[s] for s in old], np.int64)
    readers = graph.readers.rename_columns(to, len(new))
    sets = graph.sets.transpose().rename_columns(to, len(new)).transpose()
    return SymbolGraph(graph.names, sets, readers)


def file_of(unit: str) -> str:
    """The test file of a unit."""
    return unit.partition("::")[0]
