"""The pure parts: the plan, names of tests, orders over the wire, the sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.client import parse_duration, parse_share, read_selection, run_all
from foretest.plugin import wording
from foretest.plugin.observing import Observation, append, observe
from foretest.plugin.orders import Orders, resting
from foretest.plugin.place import Names, find_place, repository_root
from foretest.plugin.plan import Mode, Options, Origin, make_plan
from foretest.plugin.tracing import numbered
from foretest.records import Budget, Choice, Selection, Why
from foretest.selection.formats import selection_to_json

Maker = Callable[..., Selection]


@pytest.mark.parametrize(
    ("options", "mode", "origin"),
    [
        (Options(), Mode.OFF, Origin.NOWHERE),
        (Options(target="10%"), Mode.OFF, Origin.NOWHERE),
        (Options("select"), Mode.SELECT, Origin.ENGINE),
        (Options("order"), Mode.ORDER, Origin.ENGINE),
        (Options("observe", selection="s.json"), Mode.OBSERVE, Origin.FILE),
        (Options(selection="s.json"), Mode.SELECT, Origin.FILE),
        (Options("select", target="lots"), Mode.SELECT, Origin.NOWHERE),
        (Options("select", target="10%", time="5m"), Mode.SELECT, Origin.NOWHERE),
        (Options("select", bin="5/4"), Mode.SELECT, Origin.NOWHERE),
        (Options("select", confidence="95%"), Mode.SELECT, Origin.ENGINE),
        (Options("select", confidence="most"), Mode.SELECT, Origin.NOWHERE),
        (Options("select", selection="s.json", confidence="95%"), Mode.SELECT, Origin.NOWHERE),
        (Options("select", selection="s.json", bin="1/4"), Mode.SELECT, Origin.NOWHERE),
    ],
)
def test_plan(options: Options, mode: Mode, origin: Origin) -> None:
    plan = make_plan(options)
    assert (plan.mode, plan.origin) == (mode, origin)
    assert plan.why


def test_plan_carries_the_request() -> None:
    plan = make_plan(Options("order", time="1h30m", base="main", bin="2/4", confidence="90%"))
    assert (plan.request.budget, plan.request.confidence) == (Budget(seconds=5400.0), 0.9)
    assert (plan.request.base, plan.request.bin, plan.request.mode) == ("main", (2, 4), "order")


def test_a_selection_made_before_takes_no_second_budget() -> None:
    plan = make_plan(Options("select", selection="s", time="5m", base="x"))
    assert plan.why == (
        "--foretest-time and --foretest-base cannot change a selection that was made before."
    )


@pytest.mark.parametrize(
    ("text", "share"), [("10%", 0.1), ("10", 0.1), ("0.1", 0.1), ("1", 1.0), (" 100 % ", 1.0)]
)
def test_share(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1.5 h", 5400)]
)
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.text(max_size=12))
def test_odd_values_are_refused_with_a_hint(text: str) -> None:
    plans = [make_plan(Options("select", **{name: text})) for name in ("target", "time", "bin")]
    for plan in plans:
        if plan.origin is Origin.NOWHERE:
            assert "; write " in plan.why
    share, seconds, index = [p.request for p in plans]
    assert 0 <= (share.budget.share or 0) <= 1
    assert 0 <= (seconds.budget.seconds or 0) < math.inf
    assert index.bin is None or 1 <= index.bin[0] <= index.bin[1]


def test_names_move_to_the_top_of_the_repository(tmp_path: Path) -> None:
    sub = tmp_path / "pkg" / "sub"
    sub.mkdir(parents=True)
    names = Names(sub, tmp_path)
    assert names.node_id("tests/t.py::C::t[a::b/../c]") == "pkg/sub/tests/t.py::C::t[a::b/../c]"
    assert names.unit("tests/t.py::C::t[a::b]") == "pkg/sub/tests/t.py::C::t"
    assert names.unit("../t.py::t") == "pkg/t.py::t"
    assert names.unit("../../../elsewhere/t.py::t") == "../../../elsewhere/t.py::t"


def test_names_where_the_root_is_below_pytests(tmp_path: Path) -> None:
    names = Names(tmp_path, tmp_path / "repo")
    assert names.unit("repo/tests/t.py::t[x]") == "tests/t.py::t"


def test_names_without_xdists_groups(tmp_path: Path) -> None:
    names = Names(tmp_path, tmp_path, grouped=True)
    assert names.unit("t.py::t[a@b]@db") == "t.py::t"
    assert names.node_id("t.py::t[a@b]") == "t.py::t[a@b]"
    assert names.node_id("t.py::t@db_web") == "t.py::t"
    assert Names(tmp_path, tmp_path).node_id("t.py::t@x") == "t.py::t@x"


def test_a_directory_without_git_is_its_own_place(tmp_path: Path) -> None:
    assert repository_root(tmp_path) is None
    place = find_place(tmp_path)
    assert (place.root, place.head, place.commit) == (tmp_path, None, None)


units = st.text(max_size=20)


@given(
    st.sampled_from(Mode),
    st.frozensets(units),
    st.lists(units),
    st.none() | st.frozensets(units),
    st.none() | units,
)
def test_orders_survive_the_wire(
    mode: Mode,
    rest: frozenset[str],
    ranking: list[str],
    stale: frozenset[str] | None,
    commit: str | None,
) -> None:
    orders = Orders(mode, "/r", commit, rest, tuple(ranking), "c", stale, rest)
    wire = orders.to_wire()
    assert wire.isascii()
    assert Orders.from_wire(wire) == orders


@given(st.lists(units, unique=True), st.lists(units, unique=True), st.frozensets(units))
def test_only_what_the_selection_names_can_rest(
    chosen: list[str], rest: list[str], failed: frozenset[str]
) -> None:
    def choices(names: list[str]) -> tuple[Choice, ...]:
        return tuple(Choice(n, Why.SCORE, 0.0, 1.0, 1.0) for n in names)

    selection = Selection("d", "r", "b", None, choices(chosen), choices(rest))
    assert resting(selection, failed) == set(rest) - set(chosen) - failed
    assert resting(run_all("because"), failed) == frozenset()


def test_new_and_stale_units_are_traced() -> None:
    orders = Orders(stale=frozenset({"a"}), known=frozenset({"a", "b"}))
    assert [orders.traces(unit) for unit in "abc"] == [True, False, True]
    assert Orders(stale=None).traces("b")


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "{}", '{"chosen": 1}', "\xff", "[" * 100_000, '{"chosen":[{}]}']
)
def test_an_unreadable_selection_means_run_all(tmp_path: Path, content: str) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(content.encode("latin-1"))
    selection = read_selection(path)
    assert selection.run_all
    assert "cannot be read" in selection.notices[0]


def test_a_missing_selection_means_run_all(tmp_path: Path) -> None:
    assert read_selection(tmp_path / "none.json").run_all


def test_a_selection_of_another_commit_means_run_all(tmp_path: Path, make_selection: Maker) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps(selection_to_json(make_selection(["a"], ["b"], head="1" * 40))))
    assert not read_selection(path, "1" * 40).run_all
    assert not read_selection(path, None).run_all
    other = read_selection(path, "2" * 40)
    assert other.run_all
    assert "made for commit 1111111111, this is 2222222222" in other.notices[0]


def test_header(make_selection: Maker) -> None:
    selection = make_selection(["a"], ["b", "c", "d"])
    assert wording.header(Mode.SELECT, selection) == [
        "foretest: select, 1 of 4 tests (25.0 % of suite time), base 0123456789;"
        " `foretest explain TEST` says why"
    ]
    assert "would run 1 of 4" in wording.header(Mode.OBSERVE, selection)[0]
    assert "likeliest failures first" in wording.header(Mode.ORDER, selection)[0]
    assert wording.header(Mode.SELECT, run_all("Because.")) == [
        "foretest: select, all tests run",
        "foretest: Because.",
    ]


def test_unknown_durations_are_not_counted(make_selection: Maker) -> None:
    unknown = Choice("a", Why.NEW, 1.0, math.nan, 1.0)
    assert "%" not in wording.header(Mode.SELECT, make_selection([unknown], []))[0]
    assert "(0.0 % of" in wording.header(Mode.SELECT, make_selection([unknown], ["b"]))[0]


def test_notices_are_few_and_one_line_each() -> None:
    told = wording.notices([f"no.\n{i}" for i in range(9)])
    assert told[0] == "foretest: no. 0"
    assert len(told) == wording.MOST_NOTICES + 1
    assert told[-1] == "foretest: and 4 more notices"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (99, "99 s"), (100, "2 min"), (7200, "2.0 h")],
)
def test_span(seconds: float, text: str) -> None:
    assert wording.span(seconds) == text


def watched(selection: Selection, failed: set[str], *, complete: bool = True) -> Observation:
    seconds = {"a": 1.0, "b": 3.0, "c": 0.0}
    return observe(
        selection,
        frozenset({"b", "gone"}),
        seconds,
        failed,
        run_id="i",
        commit=None,
        observed_at="now",
        complete=complete,
    )


@pytest.mark.parametrize(
    ("failed", "complete", "safe", "caught", "said"),
    [
        (set(), True, True, None, "safe, no test failed"),
        ({"a"}, True, True, True, "safe, all 1 failed tests would have run"),
        ({"a"}, False, None, True, "is unknown"),
        ({"b"}, True, False, False, "the run would have been green"),
        ({"a", "b"}, False, False, True, "the run would have been red all the same"),
    ],
)
def test_observation(
    make_selection: Maker,
    failed: set[str],
    complete: bool,
    safe: bool | None,
    caught: bool | None,
    said: str,
) -> None:
    seen = watched(make_selection(["a"], ["b", "gone"]), failed, complete=complete)
    assert (seen.safe, seen.caught) == (safe, caught)
    assert (seen.units, seen.rested, seen.seconds, seen.rested_seconds) == (3, 1, 4.0, 3.0)
    assert said in "\n".join(wording.observed(seen))


def test_observations_are_appended(tmp_path: Path, make_selection: Maker) -> None:
    seen = watched(make_selection(["a"], ["b"]), {"b"})
    append(tmp_path / ".foretest", seen)
    append(tmp_path / ".foretest", seen)
    rows = (tmp_path / ".foretest" / "observations.jsonl").read_text().splitlines()
    assert len(rows) == 2
    assert json.loads(rows[1])["missed"] == ["b"]
    assert (tmp_path / ".foretest" / ".gitignore").read_text() == "*\n"


def test_each_worker_has_its_own_file() -> None:
    assert numbered(Path("d/coverage.jsonl.gz"), "gw0") == Path("d/coverage.gw0.jsonl.gz")
    assert numbered(Path("d/plain"), "gw0") == Path("d/plain.gw0")
    assert numbered(Path("d/c.jsonl"), "") == Path("d/c.jsonl")
