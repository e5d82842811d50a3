"""Changes reach the readers of names, and the readers of what import-time code sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.evidence.graph import SymbolGraph
from foretest.evidence.propagate import DECAY, LEAST, MOST_READERS, propagate
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import EvidenceStore, empty
from foretest.records import Symbol


def make(
    symbols: list[str],
    sets: dict[str, list[str]] | None = None,
    reads: dict[str, list[str]] | None = None,
    at_import: tuple[str, ...] = (),
    uncovered: tuple[str, ...] = (),
) -> EvidenceStore:
    place = {symbol: i for i, symbol in enumerate(symbols)}
    graph = SymbolGraph.build(
        len(symbols),
        [(place[s], name) for s, names in (sets or {}).items() for name in names],
        [(place[s], name) for s, names in (reads or {}).items() for name in names],
    )
    seen = [i for s, i in place.items() if s not in uncovered]
    return replace(
        empty("r"),
        tests=("t.py::test",),
        symbols=tuple(symbols),
        coverage=SparseRows.from_lists([seen], len(symbols)),
        import_time=np.array([s in at_import for s in symbols], bool),
        graph=graph,
    )


def reached(
    store: EvidenceStore, touched: list[str], names: tuple[str, ...] = ()
) -> dict[str, float]:
    found, weights = propagate(store, [Symbol.parse(s) for s in touched], names)
    assert found.dtype == np.int32
    assert weights.dtype == np.float32
    assert ((weights > 0) & (weights <= 1)).all()
    return {store.symbols[i]: float(w) for i, w in zip(found, weights, strict=True)}


def test_readers_of_a_changed_table() -> None:
    store = make(
        ["m.py::<module>", "m.py::one", "m.py::two", "m.py::other"],
        sets={"m.py::<module>": ["TABLE", "ELSE"]},
        reads={"m.py::one": ["TABLE"], "m.py::two": ["TABLE"], "m.py::other": ["ELSE"]},
        at_import=("m.py::<module>",),
    )
    assert reached(store, ["m.py::<module>"], ("TABLE",)) == {"m.py::one": 0.5, "m.py::two": 0.5}


def test_a_module_whose_lines_set_nothing_reaches_readers_of_all_it_sets() -> None:
    store = make(
        ["m.py::<module>", "m.py::one"],
        sets={"m.py::<module>": ["TABLE"]},
        reads={"m.py::one": ["TABLE"]},
        at_import=("m.py::<module>",),
    )
    assert reached(store, ["m.py::<module>"]) == {"m.py::one": DECAY}


def test_code_that_runs_at_import_reaches_readers_of_what_it_sets() -> None:
    store = make(
        ["m.py::register", "m.py::lookup", "m.py::idle"],
        sets={"m.py::register": ["registry"], "m.py::idle": ["cache"]},
        reads={"m.py::lookup": ["registry", "cache"]},
        at_import=("m.py::register",),
    )
    assert reached(store, ["m.py::register"]) == {"m.py::lookup": DECAY}
    assert reached(store, ["m.py::idle"]) == {}


def test_a_second_step_through_import_time_code_fades() -> None:
    store = make(
        ["m.py::<module>", "m.py::build", "m.py::use"],
        sets={"m.py::<module>": ["SPEC"], "m.py::build": ["compiled"]},
        reads={"m.py::build": ["SPEC"], "m.py::use": ["compiled"]},
        at_import=("m.py::build",),
    )
    assert reached(store, [], ("SPEC",)) == {"m.py::build": 1.0, "m.py::use": DECAY}


def test_names_that_everyone_reads_are_cut() -> None:
    symbols = ["m.py::<module>", *(f"m.py::f{i}" for i in range(LEAST + 2))]
    few, many = symbols[1 : LEAST + 1], symbols[1:]
    sets = {"m.py::<module>": ["few", "many"]}
    store = make(symbols, sets, {s: ["few"] for s in few} | {many[-1]: ["many"]})
    assert reached(store, [], ("few",)).keys() == set(few)
    store = make(symbols, sets, {s: ["many"] for s in many})
    assert reached(store, [], ("many",)) == {}


def test_even_in_large_projects_the_number_of_readers_is_limited() -> None:
    symbols = [f"m.py::f{i}" for i in range(30 * MOST_READERS)]
    reads = {s: ["name"] for s in symbols[1 : MOST_READERS + 2]}
    assert reached(make(symbols, {symbols[0]: ["name"]}, reads), [], ("name",)) == {}


def test_a_new_function_reaches_readers_of_its_name_and_its_class() -> None:
    store = make(
        ["m.py::A.f", "m.py::A.g", "m.py::B.f", "n.py::caller"],
        sets={"m.py::B.f": ["fresh"]},
        reads={"n.py::caller": ["fresh"]},
    )
    assert reached(store, ["m.py::A.fresh"]) == {
        "n.py::caller": 1.0,
        "m.py::A.f": DECAY / 2,
        "m.py::A.g": DECAY / 2,
    }


def test_a_new_class_stands_where_its_file_stands() -> None:
    store = make(["m.py::f", "m.py::g", "n.py::h"])
    assert reached(store, ["m.py::New.method"]).keys() == {"m.py::f", "m.py::g"}


def test_a_function_that_no_test_enters_counts_as_unknown() -> None:
    store = make(["m.py::f", "m.py::g"], uncovered=("m.py::f",))
    assert reached(store, ["m.py::f"]) == {"m.py::g": pytest.approx(DECAY / 2)}


def test_nothing_known_reaches_nothing() -> None:
    assert reached(empty("r"), ["x.py::f", "x.py::<module>"], ("anything",)) == {}
    assert reached(make(["m.py::f"]), []) == {}


@given(st.data())
def test_touched_symbols_are_never_among_the_reached(data: st.DataObject) -> None:
    symbols = [f"{file}.py::{name}" for file in "ab" for name in ("<module>", "f", "A.g", "A.h")]
    names = st.lists(st.sampled_from(["x", "y", "g", "h"]), max_size=3)
    table = st.dictionaries(st.sampled_from(symbols), names)
    store = make(
        symbols,
        data.draw(table),
        data.draw(table),
        tuple(data.draw(st.sets(st.sampled_from(symbols)))),
        tuple(data.draw(st.sets(st.sampled_from(symbols)))),
    )
    touched = data.draw(st.lists(st.sampled_from([*symbols, "b.py::new"]), max_size=4))
    found = reached(store, touched, tuple(data.draw(names)))
    assert found.keys().isdisjoint(touched)
