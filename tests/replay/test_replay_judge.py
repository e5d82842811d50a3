"""Cases judged on a small suite whose right answers are known by hand."""

from dataclasses import replace

import numpy as np
import pytest

from foretest.evidence.collect import with_results
from foretest.evidence.graph import SymbolGraph
from foretest.evidence.renumber import on_symbols, on_tests
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import empty
from foretest.evidence.text import TextIndex
from foretest.features.query import FileFacts, Query
from foretest.records import Symbol
from foretest.replay import judge as judging
from foretest.replay.judge import Setting, Trial, judge
from foretest.replay.strategies import ORACLE, OURS, RANDOM, STRATEGIES
from foretest.replay.table import as_text, tabulate

TESTS = tuple(f"tests/test_a.py::test_{i}" for i in range(8))
SYMBOLS = ("src/a.py::<module>", "src/a.py::alpha", "src/a.py::beta", "src/a.py::gamma")
ENTERED = {0: [1, 2, 3], 1: [1, 2], 5: [1], 6: [2]}


def evidence(seconds=1.0):
    store = on_symbols(on_tests(empty("r"), TESTS), SYMBOLS, SymbolGraph.build(4, [], []))
    words = [{f"word{i}": 1.0, "test": 1.0} for i in range(8)]
    known = np.array([0 if i != 7 else -1 for i in range(8)], dtype=np.int32)
    store = replace(
        store,
        commit="c0",
        files=("src/a.py",),
        coverage=SparseRows.from_lists([ENTERED.get(i, []) for i in range(8)], 4),
        coverage_commit=known,
        coverage_commits=("c0",),
        text=TextIndex.build(words),
        imports=SparseRows.empty(8, 1, weighted=True),
        cochange=SparseRows.empty(8, 1, weighted=True),
    )
    store.check()
    return with_results(store, seconds=dict.fromkeys(TESTS, seconds))


def trial(name, *failed, touched=("beta",), words=None, time=1000.0, commit=None, **more):
    symbols = tuple(Symbol("src/a.py", each) for each in touched)
    query = Query((FileFacts("src/a.py", touched=symbols),), removed=words or {})
    units = frozenset(TESTS[i] for i in failed)
    return Trial(name, "r", commit or name, time, query, units, **more)


def firsts(judgement, slice=judging.ALL):
    return {v.strategy: v.score.first * 8 for v in judgement.verdicts if v.slice == slice}


def test_every_strategy_is_judged_by_what_it_knows():
    got = firsts(judge([trial("x", 6, words={"word6": 1.0})], evidence()))
    assert got.keys() == {*STRATEGIES, ORACLE, RANDOM}
    assert got[ORACLE] == pytest.approx(1)
    assert got[OURS] == pytest.approx(1)
    assert got["BM25"] == pytest.approx(1)
    assert got["coverage ranked"] == pytest.approx(3)  # 0, 1 and 6 enter beta
    assert got["coverage selection"] == pytest.approx(3)
    assert got["run-all order"] == pytest.approx(7)
    assert got[RANDOM] == pytest.approx(4.5, abs=1)


def test_a_test_selection_leaves_out_counts_as_missed_at_any_budget():
    judgement = judge([trial("x", 3)], evidence())
    found = {v.strategy: v.score for v in judgement.verdicts}["coverage selection"]
    assert not found.selected
    assert found.caught == (0.0,) * 5


def test_a_test_without_coverage_is_always_selected_and_module_code_selects_its_file():
    for case in (trial("x", 7), trial("y", 5, touched=("<module>",))):
        judgement = judge([case], evidence())
        assert {v.strategy: v.score for v in judgement.verdicts}["coverage selection"].selected


def test_history_comes_from_earlier_commits_alone():
    cases = [
        trial("a1", 4, commit="a", time=1.0),
        trial("a2", 4, commit="a", time=1.0),
        trial("b1", 4, commit="b", time=2.0),
    ]
    for order in (cases, cases[::-1]):
        judgement = judge(order, evidence())
        first = {(v.case_id, v.strategy): v.score.first * 8 for v in judgement.verdicts}
        assert first["a1", "--ff"] == first["a2", "--ff"] == pytest.approx(5)
        assert first["a2", "recent failures"] == pytest.approx(5)
        assert first["b1", "--ff"] == first["b1", "recent failures"] == pytest.approx(1)


def test_the_verdict_does_not_depend_on_a_case_s_own_or_later_outcome():
    early, late = trial("a", 2, time=1.0), trial("b", 2, time=9e6)
    alone = judge([early], evidence())
    both = judge([late, early], evidence())
    assert alone.verdicts == tuple(v for v in both.verdicts if v.case_id == "a")


def test_slices_count_only_their_own_failing_tests():
    case = trial("x", 1, 6, 3, modified=frozenset(TESTS[1:2]), added=frozenset(TESTS[6:7]))
    judgement = judge([case], evidence())
    oracle = {v.slice: v for v in judgement.verdicts if v.strategy == "run-all order"}
    assert oracle[judging.ALL].score.first * 8 == pytest.approx(2)
    assert oracle[judging.MODIFIED].score.first * 8 == pytest.approx(2)
    assert oracle[judging.UNTOUCHED].score.first * 8 == pytest.approx(4)
    assert oracle[judging.ADDED].score.first * 8 == pytest.approx(7)
    assert judging.SINGLE not in oracle


def test_slices_by_the_kind_of_change():
    store = evidence()
    assert judging.MODULE in judging.slices_of(trial("x", 1, touched=("<module>",)), store)
    assert judging.UNSEEN in judging.slices_of(trial("x", 1, touched=("<module>",)), store)
    assert judging.UNSEEN in judging.slices_of(trial("x", 1, touched=("unheard_of",)), store)
    assert judging.UNSEEN not in judging.slices_of(trial("x", 1), store)
    assert judging.SINGLE in judging.slices_of(trial("x", 1), store)


def test_what_cannot_be_judged_is_counted_apart_and_in_no_figure():
    cases = [
        trial("ok", 1),
        trial("import", 1, broken="import"),
        trial("none", broken="none-failed"),
        replace(trial("gone"), failed=frozenset({"tests/other.py::test_z"})),
    ]
    judgement = judge(cases, evidence())
    assert judgement.judged == 1
    assert judgement.apart == {"import": 1, "none-failed": 1, "unknown": 1}
    assert {v.case_id for v in judgement.verdicts} == {"ok"}
    assert judgement.apart.keys() <= judging.NOT_COUNTED.keys()


def test_nothing_to_judge_and_an_empty_store():
    assert judge([], evidence()).verdicts == ()
    assert judge([trial("x", 1)], empty("r")).apart == {"unknown": 1}
    assert as_text(tabulate([], OURS)) == ""


def test_collection_order_is_that_of_the_setting():
    setting = Setting(collected=TESTS[::-1])
    got = firsts(judge([trial("x", 6)], evidence(), setting))
    assert got["run-all order"] == pytest.approx(2)


def test_the_table_holds_every_strategy_and_paired_differences():
    cases = [trial(f"x{i}", 6, time=float(i), words={"word6": 1.0}) for i in range(4)]
    lines = tabulate(judge(cases, evidence()).verdicts, OURS)
    every = [line for line in lines if line.slice == judging.ALL]
    assert {line.strategy for line in every} == {*STRATEGIES, ORACLE, RANDOM}
    assert all(line.n == line.commits == 4 and line.repositories == 1 for line in every)
    by_name = {line.strategy: line for line in every}
    assert [d.mean for d in by_name[OURS].behind] == [0.0] * 5
    assert by_name["run-all order"].behind[3].mean == pytest.approx(1.0)
    text = as_text(lines, intervals=True)
    assert text.splitlines()[0] == "all faulty changes: 4 faulty changes of 4 commits"
    assert all(name in text for name in by_name)
    assert text.splitlines()[1].endswith("ours ahead at 5%")
    assert "ours ahead" not in as_text(lines)


def test_start_up_counts_in_wall_seconds():
    lines = tabulate(judge([trial("x", 0)], evidence(), Setting(start_up=5.0)).verdicts, OURS)
    line = next(each for each in lines if each.strategy == "run-all order")
    assert line.wall_median == pytest.approx(6.0)


def test_strategies_judged_on_different_cases_are_refused():
    verdicts = judge([trial("x", 0), trial("y", 1)], evidence()).verdicts
    with pytest.raises(ValueError, match="not judged on the cases"):
        tabulate(verdicts[:-1], OURS)
