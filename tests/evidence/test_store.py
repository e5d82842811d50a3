"""The store as a whole: what goes into a file comes back, and damage is refused."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from foretest.errors import BadBundle
from foretest.evidence.graph import SymbolGraph
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import UNKNOWN, EvidenceStore, empty
from foretest.evidence.text import TextIndex


@pytest.fixture
def store() -> EvidenceStore:
    symbols = ("a.py::<module>", "a.py::f", "b.py::B.g", "test_a.py::test_f")
    return EvidenceStore(
        repository="example.org/owner/name",
        commit="c0ffee",
        created_at=1_700_000_000.5,
        tests=("test_a.py::test_f", "test_a.py::test_ü"),
        symbols=symbols,
        coverage=SparseRows.from_lists([[1, 3], []], 4),
        import_time=np.array([True, False, False, False]),
        coverage_commit=np.array([0, UNKNOWN], np.int32),
        coverage_commits=("c0ffee",),
        text=TextIndex.build([{"f": 1.0}, {"ü": 2.0}]),
        imports=SparseRows.from_pairs([0, 1], [0, 0], [1.0, 0.5], (2, 2)),
        files=("a.py", "b.py"),
        cochange=SparseRows.from_pairs([0], [1], [0.25], (2, 2)),
        graph=SymbolGraph.build(4, [(0, "TABLE")], [(1, "TABLE"), (2, "nothing sets this")]),
        test_symbols_digest=("d1", ""),
        runs=np.array([3.0, 0.0]),
        failures=np.array([1.0, 0.0]),
        last_failed_at=np.array([1e9, np.nan]),
        seconds=np.array([0.5, np.nan]),
    )


def test_arrays_round_trip(store: EvidenceStore) -> None:
    arrays = store.to_arrays()
    for value in arrays.values():
        if isinstance(value, list):
            assert all(isinstance(text, str) for text in value)
        else:
            assert value.dtype != object
    back = EvidenceStore.from_arrays(arrays)
    again = back.to_arrays()
    assert again.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)
    assert back.tests == store.tests
    assert back.created_at == store.created_at


def test_an_empty_store_round_trips() -> None:
    nothing = empty("r")
    nothing.check()
    back = EvidenceStore.from_arrays(nothing.to_arrays())
    assert back.repository == "r"
    assert back.tests == ()
    assert not back.has_coverage.any()


def test_every_part_is_needed(store: EvidenceStore) -> None:
    arrays = store.to_arrays()
    optional = {name for name in arrays if name.endswith(".weights")} | {"seconds_high", "past"}
    for name in arrays.keys() - optional:
        rest = {k: v for k, v in arrays.items() if k != name}
        with pytest.raises(BadBundle, match="foretest learn"):
            EvidenceStore.from_arrays(rest)


def test_what_older_bundles_lack_is_unknown(store: EvidenceStore) -> None:
    later = ("seconds_high", "past")
    arrays = {name: part for name, part in store.to_arrays().items() if name not in later}
    back = EvidenceStore.from_arrays(arrays)
    assert np.isnan([back.seconds_high, back.past]).all()
    assert len(back.past) == len(store.tests)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coverage", SparseRows.empty(1, 4)),
        ("coverage", SparseRows.empty(2, 9)),
        ("imports", SparseRows.empty(2, 1)),
        ("text", TextIndex.empty(5)),
        ("graph", SymbolGraph.empty()),
        ("seconds", np.zeros(1)),
        ("import_time", np.zeros(1, bool)),
        ("test_symbols_digest", ("",)),
        ("coverage_commit", np.array([5, UNKNOWN], np.int32)),
        ("coverage_commit", np.array([0, -2], np.int32)),
    ],
)
def test_parts_that_do_not_fit_are_refused(store: EvidenceStore, name: str, value: object) -> None:
    assert name in {f.name for f in fields(store)}
    damaged = replace(store, **{name: value})
    with pytest.raises(BadBundle):
        EvidenceStore.from_arrays(damaged.to_arrays())


def test_views(store: EvidenceStore) -> None:
    assert store.test_index["test_a.py::test_ü"] == 1
    assert store.symbols_of_file("a.py").tolist() == [0, 1]
    assert store.symbols_of_file("none.py").tolist() == []
    assert store.entered.tolist() == [0, 1, 0, 1]
    assert store.covering.row(1).tolist() == [0]
    assert store.has_coverage.tolist() == [True, False]
    assert store.graph.names == ("TABLE",)
