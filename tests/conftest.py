"""A small repository's evidence, the same for every room that reads evidence."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import settings

from foretest.evidence.graph import SymbolGraph
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import EvidenceStore
from foretest.evidence.text import TextIndex
from small_project import project, template, unlearnt

__all__ = ["now", "project", "store", "template", "unlearnt"]

# A busy machine is no failure. Threads that wait for one another at every step, and a core that is
# somebody else's just then, make minutes of seconds; read when torch and LightGBM are loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("foretest", deadline=None)
settings.load_profile("foretest")

NOW = 1_700_000_000.0
DAY = 86_400.0

FILES = ("src/app/parser.py", "src/app/table.py", "src/app/draw.py", "ext/fast.c")
SYMBOLS = (
    "src/app/parser.py::<module>",
    "src/app/parser.py::Parser.parse",
    "src/app/parser.py::shared",
    "src/app/table.py::<module>",
    "src/app/table.py::lookup",
    "src/app/draw.py::draw",
    "tests/support.py::make",
)
# test -> (symbols entered or None where unknown, words, imports, seconds)
TESTS: Mapping[str, tuple[Sequence[int] | None, str, Mapping[int, float], float]] = {
    "tests/test_parser.py::test_parse": ((1, 2), "parse left_join query", {0: 1.0}, 0.1),
    "tests/test_parser.py::TestDeep::test_nested": ((1, 2, 6), "parse nested", {0: 1.0}, 0.1),
    "tests/test_table.py::test_lookup": ((2, 4), "lookup key schema", {1: 1.0}, 0.1),
    "tests/test_draw.py::test_draw": ((2, 5), "draw circle", {2: 1.0}, 5.0),
    "tests/test_draw.py::test_slow": ((2, 5), "draw square", {2: 1.0}, 20.0),
    "tests/test_new.py::test_unmeasured": (None, "query plan", {0: 0.5}, math.nan),
    "other/test_far.py::test_far": ((2,), "weather", {}, 0.3),
}


@pytest.fixture
def store() -> EvidenceStore:
    rows = list(TESTS.values())
    n, files, symbols = len(rows), len(FILES), len(SYMBOLS)
    imports = [(t, f, w) for t, (_, _, held, _) in enumerate(rows) for f, w in held.items()]
    t, f, w = zip(*imports, strict=True)
    graph = SymbolGraph.build(
        symbols, sets=[(3, "KEYWORDS"), (0, "GRAMMAR")], reads=[(4, "KEYWORDS"), (1, "GRAMMAR")]
    )
    failed = np.full(n, math.nan)
    failed[3] = NOW - 100 * DAY
    return EvidenceStore(
        repository="example.org/acme/app",
        commit="c" * 40,
        created_at=NOW - DAY,
        tests=tuple(TESTS),
        symbols=SYMBOLS,
        coverage=SparseRows.from_lists([held or () for held, _, _, _ in rows], symbols),
        import_time=np.array([s.endswith("<module>") for s in SYMBOLS]),
        coverage_commit=np.array([-1 if held is None else 0 for held, _, _, _ in rows], np.int32),
        coverage_commits=("c" * 40,),
        text=TextIndex.build([dict.fromkeys(text.split(), 1.0) for _, text, _, _ in rows]),
        imports=SparseRows.from_pairs(t, f, w, (n, files)),
        files=FILES,
        cochange=SparseRows.from_pairs([4], [3], [0.5], (n, files)),
        graph=graph,
        test_symbols_digest=("d",) * n,
        runs=np.full(n, 10.0),
        failures=np.array([0.0, 0, 0, 5, 0, 0, 0]),
        last_failed_at=failed,
        seconds=np.array([seconds for _, _, _, seconds in rows]),
    )


@pytest.fixture
def now() -> float:
    """The moment of every selection, 100 days after the only failure."""
    return NOW
