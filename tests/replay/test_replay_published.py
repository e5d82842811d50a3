"""The published recipes: rows worked out by hand, and nothing known of what came later."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from foretest.errors import ExtraMissing
from foretest.evidence.graph import SymbolGraph
from foretest.evidence.renumber import on_symbols, on_tests
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import empty
from foretest.evidence.text import TextIndex
from foretest.features.query import FileFacts, Query
from foretest.replay.judge import ALL, FAULTS, Setting, Trial, judge
from foretest.replay.published import bugbug, rankers
from foretest.replay.published.ledger import ledger_of, usable
from foretest.replay.published.rankers import (
    BUGBUG,
    META,
    RECIPES,
    Lesson,
    across,
    fit,
    own_past,
    own_past_verdicts,
    published,
)
from foretest.replay.strategies import OURS, STRATEGIES, ours

DAY = 86_400.0


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(rankers, "ROUNDS", 20)


FILES = ("src/one/a.py", "src/one/b.py", "src/two/c.py", "src/two/data.txt")
TESTS = (*(f"tests/one/test_a.py::test_{i}" for i in range(3)), "tests/two/test_c.py::test_c")


def evidence():
    store = on_symbols(on_tests(empty("r"), TESTS), (), SymbolGraph.build(0, [], []))
    known = np.full(4, -1, dtype=np.int32)
    imports = SparseRows.from_pairs([0, 0, 3], [0, 1, 2], [0.5, 1.0, 0.25], (4, 4))
    cochange = SparseRows.from_pairs([0, 3], [0, 2], [0.8, 0.4], (4, 4))
    return replace(
        store, commit="c0", files=FILES, coverage_commit=known, imports=imports, cochange=cochange,
        coverage=SparseRows.empty(4, 0), text=TextIndex.build([{"test": 1.0}] * 4),
        seconds=np.ones(4),
    )  # fmt: skip


def trial(name, *failed, files=("src/one/a.py",), days=0.0, **more):
    query = Query(tuple(FileFacts(file) for file in files))
    units = frozenset(TESTS[i] for i in failed)
    broken = "" if failed else "none-failed"
    fields = {"broken": broken, **more}
    return Trial(name, "r", name, days * DAY + 1.0, query, units, **fields)


PAST = (
    trial("p1", 0, days=0),
    trial("p2", 0, 3, files=("src/two/c.py",), days=50),
    trial("p3", days=99, files=("src/one/b.py", "src/two/data.txt")),
)


def described(recipe, query=PAST[0].query, days=100.0):
    store = evidence()
    known = ledger_of(usable(PAST), store).before(days * DAY + 1.0)
    rows = recipe.describe(query, store, known, days * DAY + 1.0)
    assert rows.shape == (4, len(recipe.names))
    return {name: rows[:, at].tolist() for at, name in enumerate(recipe.names)}


def test_bugbug_s_rows_by_hand():
    got = described(BUGBUG)
    assert got["failures_in_all"] == got["failures_last_25"] == [2, 0, 0, 1]
    assert got["failures_in_types_in_all"] == [2, 0, 0, 1]
    assert got["failures_in_files_in_all"] == [1, 0, 0, 0]  # p1 alone touched a.py
    assert got["failures_in_directories_in_all"] == [1, 0, 0, 0]
    assert got["together_files"] == pytest.approx([0.8, 0, 0, 0])
    assert got["together_directories"] == pytest.approx([0.8, 0, 0, 0])
    assert got["path_distance"] == [4, 4, 4, 4]  # up tests/one, down src/one
    assert got["common_components"] == [1, 1, 1, 0]
    assert np.isnan(got["common_parent"]).all()


def test_windows_end():
    many = [trial(f"x{i:03}", 1, days=i) for i in range(30)]
    known = ledger_of(usable(many), evidence())
    rows = bugbug.describe(PAST[0].query, evidence(), known, 0.0)
    got = dict(zip(bugbug.NAMES, rows[1], strict=True))
    assert (got["failures_in_all"], got["failures_last_25"]) == (30, 25)


def test_meta_s_rows_by_hand():
    got = described(META, Query((FileFacts("src/one/b.py"), FileFacts("src/two/data.txt"))))
    assert got["changed_3d"] == [1] * 4  # p3, a day ago
    assert got["changed_56d"] == [1] * 4
    assert got["files"] == [2] * 4
    assert got["targets"] == [1] * 4  # test_0 alone imports b.py
    assert got["types"] == [2] * 4
    assert got["python_share"] == [0.5] * 4
    assert got["failure_rate_7d"] == [0] * 4
    assert got["failure_rate_56d"] == [0.5, 0, 0, 0.5]
    assert got["tests_in_file"] == [3, 3, 3, 1]
    assert got["least_distance"][0] == 1
    assert np.isnan(got["least_distance"][1:]).all()
    assert got["common_tokens"] == [2, 2, 2, 1]  # "one" and "py", or "two"


def test_a_moment_before_everything_knows_nothing():
    got = described(META, days=-1.0)
    assert np.isnan(got["failure_rate_56d"]).all()
    assert got["changed_56d"] == [0] * 4
    assert described(BUGBUG, days=-1.0)["failures_in_all"] == [0] * 4
    known = ledger_of(usable(PAST), evidence())
    assert known.before(float("nan")).touched == ()
    assert len(known.before(50 * DAY + 1.0).touched) == 1  # not what is of the same second


def test_a_change_without_files_is_described():
    for recipe in RECIPES:
        described(recipe, Query())


def history(n=60, repository="r"):
    """Changes of a.py break test 0, those of c.py the last one, every third breaks nothing."""
    places = [("src/one/a.py", 0), ("src/two/c.py", 3)]
    made = []
    for i in range(n):
        file, test = places[i % 2]
        failed = () if i % 3 == 2 else (test,)
        case = trial(f"h{i:03}", *failed, files=(file,), days=float(i))
        made.append(replace(case, repository=repository))
    return tuple(made)


def orders(rankers, trials):
    """The order of each strategy on each trial, by the judge."""
    seen = {}

    def watched(name, ranker):
        def rank(moment):
            ranking = ranker(moment)
            seen[name, moment.now] = ranking.order.tolist()
            return ranking

        return rank

    watching = {name: watched(name, ranker) for name, ranker in rankers.items()}
    setting = Setting(strategies={OURS: ours, **watching}, draws=1)
    return seen, judge(trials, evidence(), setting)


def test_both_kinds_learn_what_breaks_what():
    pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
    lesson = Lesson("r", history(), evidence())
    other = Lesson("other", history(repository="other"), evidence())
    found = published(lesson, [lesson, other])
    assert set(found) == {
        f"{r.name}, {of}" for r in RECIPES for of in ("other projects", "own past")
    }
    seen, judgement = orders(found, lesson.trials)
    late = [t for t in lesson.usable if t.failed and t.time > 50 * DAY + 1.0]
    assert late
    for case in late:
        (unit,) = case.failed
        for name in found:
            assert TESTS[seen[name, case.time][0]] == unit, name
    assert {v.strategy for v in judgement.verdicts} > set(found)
    assert "Meta, other projects" not in published(lesson, [lesson])


def test_no_outcome_later_than_the_change_is_known():
    pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
    trials = history()
    cut = trials[55].time

    def turned(case):
        """Later outcomes, the change's own among them, the other way round."""
        if case.time < cut:
            return case
        units = frozenset(TESTS[1:3])
        return replace(case, failed=units, broken="")

    other = Lesson("other", history(repository="other"), evidence())
    found = []
    for some in (trials, tuple(map(turned, trials))):
        known = published(Lesson("r", some, evidence()), [other])
        seen, _ = orders(known, some)
        found.append({key: order for key, order in seen.items() if key[1] <= cut})
    both = found[0].keys() & found[1].keys()
    assert sum(moment == cut for _, moment in both) == len(known)
    assert len(both) >= 35 * len(known)
    assert all(found[0][key] == found[1][key] for key in both)


def test_own_past_falls_back_until_there_is_enough_of_it():
    pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
    lesson = Lesson("r", history(30), evidence())
    _, judgement = orders({"own": own_past(META, lesson)}, lesson.trials)
    firsts = {(v.case_id, v.strategy): v.score.first for v in judgement.verdicts if v.slice == ALL}
    setting = Setting(strategies={OURS: ours, "recent failures": STRATEGIES["recent failures"]})
    for verdict in judge(lesson.trials, evidence(), setting).verdicts:
        if verdict.strategy == "recent failures" and verdict.slice == ALL:
            assert firsts[verdict.case_id, "own"] == verdict.score.first


def test_verdicts_of_a_repository_s_own_past_alone():
    pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
    verdicts = own_past_verdicts(history(), evidence(), Setting(draws=1))
    assert {v.strategy for v in verdicts} == {"bugbug, own past", "Meta, own past"}
    assert len({v.case_id for v in verdicts}) == 40  # two of three break something


def test_a_fault_knows_no_history():
    pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
    fault = trial("f", 0, days=59.5, beside=FAULTS)
    lesson = Lesson("r", (*history(), fault), evidence())
    assert fault not in lesson.usable
    seen, _ = orders({"own": own_past(BUGBUG, lesson)}, lesson.trials)
    assert seen["own", fault.time] == [0, 1, 2, 3]  # collection order: nothing is known


def test_a_model_is_not_judged_where_it_learnt():
    pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
    lesson = Lesson("r", history(), evidence())
    with pytest.raises(ValueError, match="r itself"):
        across(fit(META, [lesson]), lesson)
    with pytest.raises(ValueError, match="no failure"):
        fit(META, [Lesson("s", (trial("n"),), evidence())])
    with pytest.raises(ValueError, match="no failure"):
        fit(BUGBUG, [])


def test_without_lightgbm_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ExtraMissing, match="pip install"):
        fit(META, [Lesson("r", history(), evidence())])
