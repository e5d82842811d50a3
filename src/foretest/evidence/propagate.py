"""What a change reaches beyond the functions it touches: readers of names, and of what import sets.

Two steps that function coverage cannot see. A table, constant or class at module level runs once,
at import: no test is ever seen to enter it, but the functions that read its name are. And a
function that runs at import leaves its mark in the names it sets, which others read later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from foretest.evidence.rows import Floats, Ints, Longs
from foretest.records import MODULE_LEVEL, Symbol

if TYPE_CHECKING:
    from foretest.evidence.store import EvidenceStore

MOST_READERS = 200
"""A name that more symbols read says nothing about any of them."""
LARGEST_SHARE = 0.05
"""Nor does a name that a larger share of all symbols reads (in small projects, at least LEAST)."""
LEAST = 10
DECAY = 0.5
"""Weight that is left after each further step."""


def propagate(
    store: EvidenceStore, touched: Sequence[Symbol], names_set: Iterable[str]
) -> tuple[Ints, Floats]:
    """Symbols that the change reaches through names, the touched ones themselves left out.

    Gives (symbol indices int32[], ascending; weights float32[], 0 < w <= 1). One reader of a
    changed name weighs 1, of n readers each 1 / n; what import-time code passes on is halved.
    """
    index, graph = store.symbol_index, store.graph
    known = np.array([index[str(s)] for s in touched if str(s) in index], np.int64)
    seen = (store.entered > 0) | store.import_time
    unknown = [s for s in touched if str(s) not in index or not seen[index[str(s)]]]

    names = np.zeros(len(graph.names), np.float32)
    _raise(names, _places(store, names_set), 1.0)
    _raise(names, _places(store, (_last(s) for s in unknown)), 1.0)
    # Code that runs at import acts through what it leaves behind. What a whole module sets is only
    # asked for where the changed lines themselves set nothing.
    initial = known[store.import_time[known]] if len(known) else known
    if names.any():
        initial = initial[[not store.symbols[i].endswith(MODULE_LEVEL) for i in initial]]
    _raise(names, _set_by(store, initial), DECAY)

    reached = _readers(store, names)
    _raise_to(reached, _neighbours(store, unknown))
    passing = np.flatnonzero((reached > 0) & store.import_time)
    further = np.zeros(len(graph.names), np.float32)
    for symbol in passing.tolist():
        _raise(further, graph.sets.row(symbol), float(reached[symbol]) * DECAY)
    _raise_to(reached, _readers(store, further))

    reached[known] = 0
    found = np.flatnonzero(reached)
    return found.astype(np.int32), reached[found]


def _readers(store: EvidenceStore, names: Floats) -> Floats:
    """For each symbol its largest name weight / readers of that name; common names cut."""
    readers = store.graph.readers
    counts = readers.row_counts()
    limit = min(MOST_READERS, max(LEAST, LARGEST_SHARE * len(store.symbols)))
    asked = np.flatnonzero((names > 0) & (counts > 0) & (counts <= limit))
    found = readers.select(asked)
    reached = np.zeros(len(store.symbols), np.float32)
    weights = np.repeat(names[asked] / counts[asked], counts[asked]).astype(np.float32)
    np.maximum.at(reached, found.indices, weights)
    return reached


def _neighbours(store: EvidenceStore, unknown: Sequence[Symbol]) -> Floats:
    """A symbol that no test was seen to enter stands where its class, else its file, stands."""
    near = np.zeros(len(store.symbols), np.float32)
    for symbol in unknown:
        beside = store.symbols_of_file(symbol.file)
        owner, _, _ = symbol.qualname.rpartition(".")
        if owner:
            prefix = f"{symbol.file}::{owner}."
            kin = [i for i in beside.tolist() if store.symbols[i].startswith(prefix)]
            beside = np.array(kin, np.int64) if kin else beside
        if len(beside):
            _raise(near, beside, DECAY / len(beside))
    return near


def _places(store: EvidenceStore, names: Iterable[str]) -> Longs:
    index = store.graph.name_index
    return np.array(sorted({index[n] for n in names if n in index}), np.int64)


def _set_by(store: EvidenceStore, symbols: Longs) -> Longs:
    return np.unique(store.graph.sets.select(symbols).indices).astype(np.int64)


def _last(symbol: Symbol) -> str:
    return symbol.qualname.rpartition(".")[2]


def _raise(weights: Floats, places: Longs | Ints, to: float) -> None:
    weights[places] = np.maximum(weights[places], np.float32(to))


def _raise_to(weights: Floats, others: Floats) -> None:
    np.maximum(weights, others, out=weights)
