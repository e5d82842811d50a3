"""A change and the evidence in, one row of features a test out; as of a moment, read-only."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from foretest.changes.words import words
from foretest.evidence.propagate import propagate
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import EvidenceStore
from foretest.features.catalogue import FEATURES
from foretest.features.frame import Column, FeatureFrame
from foretest.features.paths import path_similarity
from foretest.features.query import Query, code_of, query_of
from foretest.records import MODULE_LEVEL, Change

DAY = 86_400.0
HALF_LIFE_DAYS = 30.0
CHUNK = 64
"""Changed files looked at together: bounds the memory that a huge change asks for."""

Rows = NDArray[np.int64]


def build(
    change: Change | Query,
    store: EvidenceStore,
    now: float,
    *,
    ages: Sequence[float] | None = None,
    stale_after: float = math.inf,
    only: Collection[str] | None = None,
) -> FeatureFrame:
    """Features of every test of the store with respect to the change, known at `now`.

    `now` is in seconds since 1970: failures after it are not seen. `ages` gives, for each of the
    store's coverage commits, its distance from the change in commits (NaN = unknown). Coverage
    older than `stale_after` still says what a test enters, but no longer what it does not: its
    zeros become NaN. `only` names the features wanted; the others are not computed.
    """
    query = query_of(change) if isinstance(change, Change) else change
    wanted = FEATURES.keys() if only is None else set(only)
    columns: dict[str, Column] = {}
    columns.update(_change(query, store))
    columns.update(_coverage(query, store, _ages(store, ages), stale_after))
    columns.update(_text(query, store, wanted))
    columns.update(_links(query, store))
    columns.update(_history(store, now))
    if "breadth" in wanted:
        share = store.coverage.row_counts() / max(len(store.symbols), 1)
        columns["breadth"] = np.where(store.has_coverage, share, np.nan).astype(np.float32)
    if "test_words" in wanted:
        columns["test_words"] = store.text.impacts.column_counts().astype(np.float32)
    return FeatureFrame(
        len(store.tests), {name: columns[name] for name in FEATURES if name in wanted}
    )


def rarity(holders: NDArray[np.integer], tests: int) -> Column:
    """How little is entered by many: 1 for what no test enters, near 0 for what all enter.

    log((1 + tests) / (1 + holders)) / log(1 + tests), which compares across repositories.
    """
    if tests == 0:
        return np.ones(len(holders), np.float32)
    common: Column = (np.log1p(holders) / math.log1p(tests)).astype(np.float32)
    return np.clip(1 - common, 0, 1)


def seen_symbols(query: Query, store: EvidenceStore) -> Rows:
    """Indices of the changed symbols that coverage can speak of.

    Module level runs once, for whichever test imports it first: coverage of it means nothing.
    """
    found = [store.symbol_index.get(str(s), -1) for s in code_of(query, store)]
    return np.array(
        [i for i in found if i >= 0 and not store.symbols[i].endswith(MODULE_LEVEL)], np.int64
    )


def entries(rows: SparseRows, columns: NDArray[np.bool_]) -> tuple[Rows, Rows]:
    """(row, column) of each entry in the marked columns, by row: one pass, no transpose."""
    if not columns.any():
        return np.empty(0, np.int64), np.empty(0, np.int64)
    hits = np.flatnonzero(columns[rows.indices])
    row = np.searchsorted(rows.indptr, hits, side="right") - 1
    return row.astype(np.int64, copy=False), rows.indices[hits].astype(np.int64)


def _coverage(
    query: Query, store: EvidenceStore, age: Column, stale_after: float
) -> dict[str, Column]:
    n, known = len(store.tests), store.has_coverage
    tests = int(known.sum())
    touched = _marked(seen_symbols(query, store), len(store.symbols))
    reached, weights = propagate(store, query.touched, query.names_set)
    beyond = _marked(reached, len(store.symbols))
    in_files = [store.symbols_of_file(path) for path in dict.fromkeys(query.sources)]
    all_files = _marked(np.concatenate((*in_files, np.empty(0, np.int64))), len(store.symbols))
    row, symbol = entries(store.coverage, touched | beyond | all_files)

    direct = touched[symbol]
    columns = _shares(row[direct], symbol[direct], store, tests)
    strength = np.zeros(len(store.symbols), np.float32)
    strength[reached] = weights
    onward = beyond[symbol]
    columns["propagated_share"] = _propagated(row[onward], symbol[onward], strength, store, tests)
    columns["file_coverage_share"] = _file_share(row, symbol, in_files, store, tests)

    for name, column in columns.items():
        # An old zero may be a new one: only what was entered is still worth something.
        doubtful = ~known | ((age > stale_after) & (column == 0))
        columns[name] = np.where(doubtful, np.float32(np.nan), column)
    columns["coverage_age"] = age
    named = [s for s in code_of(query, store) if s.qualname != MODULE_LEVEL]
    seen = len(np.unique(symbol[direct]))
    unseen = 1 - seen / len(named) if named else math.nan
    columns["change_unseen"] = np.full(n, unseen, np.float32)
    return columns


def _shares(row: Rows, symbol: Rows, store: EvidenceStore, tests: int) -> dict[str, Column]:
    """Share, rarity and focus of the entered symbols; all NaN where no test enters any."""
    n = len(store.tests)
    names = ("coverage_share", "coverage_rarity", "coverage_focus")
    if not len(row):
        return {name: np.full(n, np.nan, np.float32) for name in names}
    _, place, holders = np.unique(symbol, return_inverse=True, return_counts=True)
    rare = rarity(holders, tests)
    # What every test enters still counts a little: with nothing else changed, it is all there is.
    weight = np.maximum(rare, np.float32(1e-3))
    share = np.bincount(row, weights=weight[place], minlength=n) / weight.sum(dtype=np.float64)
    focus = np.bincount(row, weights=(1.0 / holders)[place], minlength=n)
    rarest = np.zeros(n, np.float32)
    starts = np.flatnonzero(np.diff(row, prepend=-1))  # entries come by row
    rarest[row[starts]] = np.maximum.reduceat(rare[place], starts)
    columns = (np.minimum(share, 1), rarest, np.minimum(focus, 1))
    return {name: c.astype(np.float32) for name, c in zip(names, columns, strict=True)}


def _propagated(
    row: Rows, symbol: Rows, strength: Column, store: EvidenceStore, tests: int
) -> Column:
    """Sum over the reached symbols entered of strength x rarity, at most 1; NaN where none is."""
    if not len(row):
        return np.full(len(store.tests), np.nan, np.float32)
    distinct, place, holders = np.unique(symbol, return_inverse=True, return_counts=True)
    weight = strength[distinct] * rarity(holders, tests)
    total = np.bincount(row, weights=weight[place], minlength=len(store.tests))
    return np.minimum(total, 1.0).astype(np.float32)


def _file_share(
    row: Rows, symbol: Rows, in_files: list[Rows], store: EvidenceStore, tests: int
) -> Column:
    """Share of the changed files that each test enters, weighed by rarity; NaN where none is."""
    n = len(store.tests)
    total = np.zeros(n, np.float64)
    weights = 0.0
    for start in range(0, len(in_files), CHUNK):
        chunk = in_files[start : start + CHUNK]
        file_of = np.full(len(store.symbols), -1, np.int64)
        for place, symbols in enumerate(chunk):
            file_of[symbols] = place
        file = file_of[symbol]
        entered = np.zeros((len(chunk), n), bool)
        entered[file[file >= 0], row[file >= 0]] = True
        holders = entered.sum(axis=1)
        weight = np.where(holders > 0, np.maximum(rarity(holders, tests), 1e-3), 0.0)
        total += weight @ entered
        weights += float(weight.sum())
    share = total / weights if weights else np.full(n, np.nan)
    return np.minimum(share, 1.0).astype(np.float32)


def _text(query: Query, store: EvidenceStore, wanted: Collection[str]) -> dict[str, Column]:
    n = len(store.tests)
    columns = {}
    for name, asked in (("bm25", text_query(query)), ("bm25_name", name_query(query))):
        if name in wanted:
            found = store.text.normalised(asked) if asked else np.full(n, np.nan, np.float32)
            columns[name] = found
    if "path_similarity" in wanted:
        columns["path_similarity"] = path_similarity(store.tests, query.sources)
    return columns


def text_query(query: Query) -> dict[str, float]:
    """The change's words and their weights: repetition counts as its logarithm."""
    counts: dict[str, float] = dict(query.removed)
    for word, count in query.added.items():
        counts[word] = max(counts.get(word, 0.0), count)
    weights = {word: 1.0 + math.log(count) for word, count in counts.items() if count >= 1}
    for word, weight in name_query(query).items():
        weights.setdefault(word, weight)
    return weights


def name_query(query: Query) -> dict[str, float]:
    """Words of the changed symbols' names; of a file's path where only its module level changed."""
    weights: dict[str, float] = {}
    for symbol in query.touched:
        module_level = symbol.qualname == MODULE_LEVEL
        text = symbol.file.rpartition("/")[2] if module_level else symbol.qualname
        for word in words(text.removesuffix(".py")):
            weights[word] = 1.0
    for name in query.names_set:
        for word in words(name):
            weights[word] = 1.0
    return weights


def _links(query: Query, store: EvidenceStore) -> dict[str, Column]:
    changed = [store.file_index[path] for path in query.sources if path in store.file_index]
    marked = np.zeros(len(store.files), np.float32)
    marked[changed] = 1.0
    columns = {}
    for name, rows in (("import_depth", store.imports), ("cochange", store.cochange)):
        heaviest = np.zeros(len(store.tests), np.float32)
        row, place = _weighted_entries(rows, marked > 0)
        np.maximum.at(heaviest, row, place)
        # A file that no test is linked to says nothing about any of them.
        columns[name] = heaviest if len(row) else np.full_like(heaviest, np.nan)
    return columns


def _weighted_entries(rows: SparseRows, columns: NDArray[np.bool_]) -> tuple[Rows, Column]:
    hits = np.flatnonzero(columns[rows.indices]) if columns.any() else np.empty(0, np.int64)
    row = np.searchsorted(rows.indptr, hits, side="right") - 1
    return row, rows.values()[hits]


def _history(store: EvidenceStore, now: float) -> dict[str, Column]:
    days = (now - store.last_failed_at) / DAY
    days = np.where(days >= 0, days, np.nan)  # what happens after `now` is not known at `now`
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.minimum(store.failures / store.runs, 1.0) * 0.5 ** (days / HALF_LIFE_DAYS)
    rate = np.where(np.isnan(days), 0.0, rate)
    columns = {
        "fail_rate": np.where(store.runs > 0, rate, np.nan),
        "days_since_failure": days,
        "runs": store.runs,
        "past": store.past,
        "seconds": store.seconds,
    }
    return {name: column.astype(np.float32) for name, column in columns.items()}


def _change(query: Query, store: EvidenceStore) -> Mapping[str, Column]:
    n = len(store.tests)
    return {
        "change_files": np.full(n, len(query.files), np.float32),
        "change_symbols": np.full(n, len(query.touched), np.float32),
    }


def _ages(store: EvidenceStore, ages: Sequence[float] | None) -> Column:
    """Age of each test's coverage in commits, NaN where it is unknown."""
    table = np.full(len(store.coverage_commits) + 1, np.nan, np.float32)  # the last: unknown
    if ages is not None:
        table[:-1] = ages
    ages_of_tests: Column = table[store.coverage_commit]
    return ages_of_tests


def _marked(places: NDArray[np.integer], size: int) -> NDArray[np.bool_]:
    marked = np.zeros(size, bool)
    marked[places] = True
    return marked
