"""Builds the evidence about a repository, and brings coverage up to date after a run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from foretest.changes.git import Repository
from foretest.changes.outlines import Outline
from foretest.changes.symbols import is_source, outline
from foretest.changes.words import words
from foretest.evidence.cochange import cochange_weights
from foretest.evidence.graph import SymbolGraph
from foretest.evidence.imports import import_weights
from foretest.evidence.renumber import file_of, moved_graph, on_symbols, on_tests
from foretest.evidence.rows import Longs, SparseRows
from foretest.evidence.store import Doubles, EvidenceStore, empty
from foretest.evidence.text import TextIndex, document
from foretest.evidence.traced import TracedRun, read_traced
from foretest.records import Change

LIGHT = 0.5
"""Weight of words that a test shares with its neighbours: its class's, its file's."""


def build_store(
    repo: Repository,
    commit: str,
    traced_files: Sequence[Path] = (),
    *,
    collected: Sequence[str] | None = None,
    durations: Mapping[str, float] | None = None,
    previous: EvidenceStore | None = None,
) -> EvidenceStore:
    """Everything known about `commit`.

    Tests that these files did not trace keep the coverage of `previous`, with the older commit it
    was taken at. `collected` is a complete collection: without it, no test of `previous` goes.
    Raises BadReport for a damaged coverage file.
    """
    old = previous or empty(repo.key())
    runs = [read_traced(path) for path in traced_files]
    units = _units(old.tests, runs, collected)
    sources = repo.read_many(commit, [f for f in repo.files(commit) if is_source(f)])
    outlines = {path: outline(path, source) for path, source in sources.items()}
    symbols = _symbols(outlines, _traced_symbols(runs))
    files = tuple(sorted(outlines))
    test_files = {file_of(unit) for unit in units}
    bodies = [find_body(unit, outlines.get(file_of(unit))) for unit in units]
    static = replace(
        on_tests(old, units),
        repository=repo.key(),
        commit=commit,
        created_at=time.time(),
        files=files,
        text=TextIndex.build([_words(u, b, sources) for u, b in zip(units, bodies, strict=True)]),
        imports=_byfile_of(units, files, import_weights(outlines, test_files)),
        cochange=_byfile_of(units, files, cochange_weights(repo, commit, test_files, files)),
        test_symbols_digest=tuple(body.digest for body in bodies),
    )
    store = on_symbols(static, symbols, _graph(outlines, symbols))
    return with_results(_with_coverage(store, runs), seconds=durations or {})


def refresh(
    store: EvidenceStore,
    traced: Sequence[TracedRun | Path],
    commit: str | None = None,
    *,
    repo: Repository | None = None,
    collected: Sequence[str] | None = None,
) -> EvidenceStore:
    """Replace the coverage of the tests that were traced; all other tests keep theirs.

    What a test entered without passing, or in a work tree that no commit describes, adds to its
    old coverage, whose commit stays unless all of that was entered again: coverage never reads as
    younger than it is. `commit` stands in for runs that do not name their own. With `repo`, words
    and digests of the traced tests are read again too. What describes the whole repository stays
    at `store.commit`.
    """
    runs = [t if isinstance(t, TracedRun) else read_traced(t) for t in traced]
    runs = [r if r.commit else replace(r, commit=commit) for r in runs]
    units = _units(store.tests, runs, collected)
    fresh = on_tests(store, units)
    new = [s for s in _traced_symbols(runs) if s not in store.symbol_index]
    if new:
        symbols = tuple(sorted({*store.symbols, *new}))
        fresh = on_symbols(fresh, symbols, moved_graph(store.graph, store.symbols, symbols))
    if repo is not None:
        seen = [u for u in units if any(u in run.units for run in runs)]
        fresh = _reread(fresh, repo, commit, seen)
    return _with_coverage(fresh, runs)


def stale_tests(
    store: EvidenceStore, change: Change, collected: Iterable[str] | None = None
) -> frozenset[str]:
    """Tests whose coverage a run on this change must take again.

    New tests (of `collected`, where given), those without coverage, those that the change touches,
    and those that enter any function of a changed file.
    """
    paths = change.paths
    columns = np.zeros(len(store.symbols), bool)
    for path in paths:
        columns[store.symbols_of_file(path)] = True
    stale = store.coverage.any(columns) | ~store.has_coverage
    stale |= np.array([file_of(test) in paths for test in store.tests], bool)
    found = {store.tests[i] for i in np.flatnonzero(stale)}
    if collected is None:
        return frozenset(found)
    now = frozenset(collected)
    return frozenset((found & now) | (now - store.test_index.keys()))


def with_results(
    store: EvidenceStore,
    *,
    runs: Mapping[str, float] | None = None,
    failures: Mapping[str, float] | None = None,
    last_failed_at: Mapping[str, float] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> EvidenceStore:
    """Put in what history knows of each unit; a unit that a mapping leaves out keeps its value."""
    return replace(
        store,
        runs=_put(store, store.runs, runs),
        failures=_put(store, store.failures, failures),
        last_failed_at=_put(store, store.last_failed_at, last_failed_at),
        seconds=_put(store, store.seconds, seconds),
    )


@dataclass(frozen=True, slots=True)
class Body:
    """Where a test's own code stands: lines (1-based, both included) and its digest."""

    file: str
    spans: tuple[tuple[int, int], ...] = ()
    digest: str = ""


def find_body(unit: str, found: Outline | None) -> Body:
    """The code of a unit. An inherited test is looked for in the other classes of its file."""
    file, *parts = unit.split("::")
    if found is None or not parts:
        return Body(file)
    qualname = ".".join(parts)
    names = {span.symbol.qualname for span in found.symbols}
    if qualname not in names:
        alike = [n for n in names if n.rpartition(".")[2] == parts[-1]]
        if len(alike) != 1:
            return Body(file)
        qualname = alike[0]
    spans = tuple((s.first, s.last) for s in found.symbols if s.symbol.qualname == qualname)
    return Body(file, spans, found.digests.get(qualname, ""))


# --- which tests and symbols there are ---


def _units(
    known: Sequence[str], runs: Sequence[TracedRun], collected: Sequence[str] | None
) -> tuple[str, ...]:
    """Every test once. Only a complete collection lets a test go."""
    if collected is not None:
        return tuple(dict.fromkeys(collected))
    traced = (unit for run in runs for unit in run.units if unit is not None)
    return tuple(dict.fromkeys([*known, *traced]))


def _symbols(outlines: Mapping[str, Outline], traced: Iterable[str]) -> tuple[str, ...]:
    """Every symbol of the sources, and those that were entered in files that are still there."""
    found = {f"{path}::{name}" for path, each in outlines.items() for name in each.qualnames}
    found.update(s for s in traced if s.partition("::")[0] in outlines)
    return tuple(sorted(found))


def _traced_symbols(runs: Iterable[TracedRun]) -> list[str]:
    found = {(run.files[file], name) for run in runs for file, name in run.symbols}
    return [f"{file}::{name}" for file, name in found]


# --- the parts ---


def _with_coverage(store: EvidenceStore, runs: Sequence[TracedRun]) -> EvidenceStore:
    """Rows of traced tests anew, from all runs together; import-time symbols added.

    A row that cannot stand alone (see `refresh`) is added to the old one where there is one.
    """
    pairs: list[tuple[Longs, Longs]] = []
    seen: set[int] = set()
    doubtful: dict[int, bool] = {}  # and whether the row is of no known commit
    commits = list(store.coverage_commits)
    commit_of = store.coverage_commit.copy()
    import_time = store.import_time.copy()
    for run in runs:
        index = np.array(
            [store.symbol_index.get(f"{run.files[f]}::{q}", -1) for f, q in run.symbols], np.int64
        )
        name = run.commit or ""
        if name not in commits:
            commits.append(name)
        for unit, entered in run.units.items():
            columns = index[np.array(entered, np.int64)]
            columns = columns[columns >= 0]
            test = store.test_index.get(unit) if unit is not None else None
            if unit is None:
                import_time[columns] = True
            elif test is not None:
                seen.add(test)
                pairs.append((np.full(len(columns), test, np.int64), columns))
                commit_of[test] = commits.index(name)
                if unit in run.partial or not run.commit:
                    doubtful[test] = doubtful.get(test, False) or not run.commit
    if not pairs:
        return replace(store, import_time=import_time)
    shape = (len(store.tests), len(store.symbols))
    fresh = _from_pairs(pairs, shape)
    for test, unnamed in doubtful.items():
        known = store.coverage.row(test).astype(np.int64)
        if not store.has_coverage[test]:
            continue
        pairs.append((np.full(len(known), test, np.int64), known))
        if unnamed or not np.isin(known, fresh.row(test)).all():
            commit_of[test] = store.coverage_commit[test]
    fresh = _from_pairs(pairs, shape) if doubtful else fresh
    traced = sorted(seen)
    return replace(
        store,
        coverage=store.coverage.replace(traced, fresh.select(traced)),
        import_time=import_time,
        coverage_commit=commit_of,
        coverage_commits=tuple(commits),
    )


def _from_pairs(pairs: Sequence[tuple[Longs, Longs]], shape: tuple[int, int]) -> SparseRows:
    rows, columns = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return SparseRows.from_pairs(rows, columns, None, shape)


def _graph(outlines: Mapping[str, Outline], symbols: Sequence[str]) -> SymbolGraph:
    index = {symbol: i for i, symbol in enumerate(symbols)}
    tables: dict[str, list[tuple[int, str]]] = {"sets": [], "reads": []}
    for path, each in outlines.items():
        for kind, pairs in tables.items():
            for qualname, names in getattr(each, kind).items():
                place = index.get(f"{path}::{qualname}")
                if place is not None:
                    pairs.extend((place, name) for name in names)
    return SymbolGraph.build(len(symbols), tables["sets"], tables["reads"])


def _byfile_of(
    units: Sequence[str], files: Sequence[str], weights: Mapping[str, Mapping[str, float]]
) -> SparseRows:
    """tests x files from what is known of each test's file."""
    place = {file: i for i, file in enumerate(files)}
    test_files = list(dict.fromkeys(file_of(unit) for unit in units))
    rows, columns, values = [], [], []
    for i, test_file in enumerate(test_files):
        for file, weight in weights.get(test_file, {}).items():
            if file in place:
                rows.append(i)
                columns.append(place[file])
                values.append(weight)
    by_file = SparseRows.from_pairs(rows, columns, values, (len(test_files), len(files)))
    row = {file: i for i, file in enumerate(test_files)}
    return by_file.select([row[file_of(unit)] for unit in units])


def _words(unit: str, body: Body, sources: Mapping[str, bytes]) -> dict[str, float]:
    """The words of a test: its own code and name in full, its classes and path lightly."""
    file, *parts = unit.split("::")
    lines = sources.get(body.file, b"").decode("utf-8", "replace").split("\n") if body.spans else []
    code = "\n".join(line for first, last in body.spans for line in lines[first - 1 : last])
    around = " ".join([*parts[:-1], *PurePosixPath(file).with_suffix("").parts])
    return document(
        (words(code), 1.0), (words(parts[-1] if parts else ""), 1.0), (words(around), LIGHT)
    )


def _reread(
    store: EvidenceStore, repo: Repository, commit: str | None, units: Sequence[str]
) -> EvidenceStore:
    """Words and digests of these tests as they are at `commit` (None: in the work tree)."""
    if not units:
        return store
    files = sorted({file_of(unit) for unit in units})
    sources = repo.read_many(commit, [f for f in files if is_source(f)])
    outlines = {path: outline(path, source) for path, source in sources.items()}
    bodies = [find_body(unit, outlines.get(file_of(unit))) for unit in units]
    places = [store.test_index[unit] for unit in units]
    digests = list(store.test_symbols_digest)
    for place, body in zip(places, bodies, strict=True):
        digests[place] = body.digest
    documents = [_words(u, b, sources) for u, b in zip(units, bodies, strict=True)]
    text = store.text.replace(places, documents)
    return replace(store, text=text, test_symbols_digest=tuple(digests))


def _put(store: EvidenceStore, values: Doubles, new: Mapping[str, float] | None) -> Doubles:
    if not new:
        return values
    values = values.copy()
    for unit, value in new.items():
        place = store.test_index.get(unit)
        if place is not None:
            values[place] = value
    return values
