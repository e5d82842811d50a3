"""Select, order and observe in a real pytest, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from foretest.client import run_all
from foretest.records import Budget, Choice, Selection, Why

pytest_plugins = ["pytester"]

Selected = Callable[..., tuple[str, ...]]
Lines = Callable[[Path], list[dict[str, Any]]]
PLAIN = ("-p", "no:randomly")

FOUR = """
    def test_a(): pass
    def test_b(): pass
    def test_c(): pass
    def test_d(): pass
"""


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(*PLAIN, *options)


def ran(result: pytest.RunResult) -> list[str]:
    """Names of the tests in the order in which they ran (or were listed)."""
    verbs = ("PASSED", "FAILED", "ERROR", "SKIPPED")
    named = [line.split(" ")[0] for line in result.outlines if any(f" {v}" in line for v in verbs)]
    return [line.partition("::")[2] for line in named if "::" in line]


@pytest.fixture
def four(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(test_x=FOUR)
    return pytester


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], dict[str, Any]]:
    """Puts a hand-written engine in place of ours; gives what it was asked."""

    def put(answer: Any, stale: Any = frozenset()) -> dict[str, Any]:
        asked: dict[str, Any] = {}

        def select_or_all(root: Path, **given: Any) -> Selection:
            asked.update(given, root=root)
            assert isinstance(answer, Selection)
            return answer

        def stale_units(root: Path, base: str | None = None) -> frozenset[str]:
            if isinstance(stale, Exception):
                raise stale
            return frozenset(stale)

        fake = ModuleType("foretest.engine")
        fake.select_or_all = select_or_all  # type: ignore[attr-defined]
        fake.stale_units = stale_units  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "foretest.engine", fake)
        return asked

    return put


def test_select_leaves_out_the_rest_only(four: pytest.Pytester, selected: Selected) -> None:
    result = run(four, "-v", *selected(["test_x.py::test_c"], ["test_x.py::test_a"]))
    assert ran(result) == ["test_b", "test_c", "test_d"]  # b and d are unknown: they run
    result.assert_outcomes(passed=3, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "foretest: select, 1 of 2 tests (50.0 % of suite time), base 0123456789; *",
            "foretest: 3 of 4 tests in the run, about 1.0 s saved",
        ]
    )


def test_select_keeps_the_order_of_the_suite(four: pytest.Pytester, selected: Selected) -> None:
    chosen = [f"test_x.py::test_{x}" for x in "dba"]
    result = run(four, "-v", *selected(chosen, ["test_x.py::test_c"]))
    assert ran(result) == ["test_a", "test_b", "test_d"]


def test_order_runs_all_best_first(four: pytest.Pytester, selected: Selected) -> None:
    options = selected(["test_x.py::test_d"], ["test_x.py::test_b", "test_x.py::test_a"])
    result = run(four, "-v", *options, "--foretest=order")
    assert ran(result) == ["test_c", "test_d", "test_b", "test_a"]  # c is new: first
    assert result.ret == 0


def test_order_keeps_tests_of_a_shared_fixture_together(
    pytester: pytest.Pytester, selected: Selected
) -> None:
    pytester.makepyfile(
        test_m="""
        import pytest, unittest
        @pytest.fixture(scope="module")
        def database(): open("set_up", "a").write("once ")
        def test_1(database): pass
        def test_2(): pass
        def test_3(database): pass
        class TestU(unittest.TestCase):
            def test_4(self): pass
            def test_5(self): pass
        """
    )
    names = ("TestU::test_5", "test_3", "test_2", "TestU::test_4", "test_1")
    options = selected([f"test_m.py::{n}" for n in names], [])
    result = run(pytester, "-v", *options, "--foretest=order")
    assert [name.rpartition("::")[2] for name in ran(result)] == [
        "test_4",
        "test_5",
        "test_1",
        "test_3",
        "test_2",
    ]
    assert (pytester.path / "set_up").read_text() == "once "


def test_the_engine_is_asked_with_the_options(
    four: pytest.Pytester, engine: Any, make_selection: Any
) -> None:
    asked = engine(make_selection(["test_x.py::test_a"], ["test_x.py::test_b"]))
    result = run(
        four,
        "--foretest",
        "--foretest-time=5m",
        "--foretest-base=main",
        "--foretest-bin=2/3",
        "--foretest-confidence=95%",
    )
    result.assert_outcomes(passed=3, deselected=1)
    assert asked == {
        "root": four.path,
        "base": "main",
        "head": None,
        "budget": Budget(seconds=300.0),
        "bin": (2, 3),
        "confidence": 0.95,
        "adapt": None,
    }


def test_when_selection_fails_all_run_and_the_reason_is_said_twice(
    four: pytest.Pytester, engine: Any
) -> None:
    engine(run_all("The clone is shallow. Run `git fetch --unshallow`."))
    for options in (["--foretest"], ["--foretest=order"], ["--foretest=observe"]):
        result = run(four, *options)
        result.assert_outcomes(passed=4)
        assert result.ret == 0
        said = [line for line in result.outlines if "git fetch --unshallow" in line]
        assert len(said) == 2


def test_an_engine_that_cannot_be_loaded(
    four: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "foretest.engine", None)  # import raises ImportError
    result = run(four, "--foretest", "-q")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*engine cannot be loaded*pip install*"])


@pytest.mark.parametrize(
    "option", ["--foretest-target=much", "--foretest-time=x", "--foretest-bin=0/4"]
)
def test_a_senseless_value_runs_all_aloud(four: pytest.Pytester, option: str) -> None:
    result = run(four, "--foretest", option)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["foretest: select, all tests run", "foretest: '*; write *"])


def test_a_stale_name_in_the_selection_is_no_usage_error(
    four: pytest.Pytester, selected: Selected
) -> None:
    result = run(four, *selected(["gone.py::test_g"], ["test_x.py::gone", "test_x.py::test_a"]))
    result.assert_outcomes(passed=3, deselected=1)
    assert result.ret == 0


ALL = [f"test_x.py::test_{x}" for x in "abcd"]


def test_an_empty_selection_is_exit_0_by_our_choice_alone(
    four: pytest.Pytester, selected: Selected
) -> None:
    result = run(four, *selected([], ALL))
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*left out all 4 collected tests; nothing to run, exit 0"])
    assert run(four, *selected([], ALL), "-k", "test_a").ret == 0


@pytest.mark.parametrize(
    "filters", [("-k", "nothing"), ("-m", "nothing"), ("--deselect=test_x.py",)]
)
def test_a_run_emptied_by_others_keeps_exit_5(
    four: pytest.Pytester, selected: Selected, filters: tuple[str, ...]
) -> None:
    assert run(four, *selected([], ALL), *filters).ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_other_exit_codes_stay(pytester: pytest.Pytester, selected: Selected) -> None:
    pytester.makepyfile(test_x="def test_a(): assert 0\ndef test_b(): pass")
    options = selected(["test_x.py::test_a"], ["test_x.py::test_b"])
    assert run(pytester, *options).ret == pytest.ExitCode.TESTS_FAILED
    assert run(pytester, *options, "no_such_file.py").ret == pytest.ExitCode.USAGE_ERROR
    pytester.makepyfile(test_broken="import no_such_module")
    assert run(pytester, *options).ret == pytest.ExitCode.INTERRUPTED


def test_collect_only_lists_the_selection_and_writes_nothing(
    four: pytest.Pytester, selected: Selected
) -> None:
    (four.path / ".foretest").mkdir()
    options = selected(["test_x.py::test_a"], ALL[1:])
    result = run(four, *options, "--collect-only", "-q", "--foretest-report=r.jsonl")
    assert [line for line in result.outlines if line][:1] == ["test_x.py::test_a"]
    assert "foretest" not in result.stdout.str()
    assert list((four.path / ".foretest").iterdir()) == []
    assert not (four.path / "r.jsonl").exists()


def test_what_failed_last_always_runs(pytester: pytest.Pytester, selected: Selected) -> None:
    pytester.makepyfile(test_x=FOUR.replace("test_b(): pass", "test_b(): assert 0"))
    assert run(pytester).ret == 1
    for lf in ((), ("--lf",)):
        result = run(pytester, "-v", *selected([ALL[0]], ALL[1:]), *lf)
        assert "test_b" in ran(result)
        assert result.ret == 1
    bare = run(pytester, "-v", *selected([ALL[0]], ALL[1:]), "-p", "no:cacheprovider")
    assert ran(bare) == ["test_a"]


def test_filters_of_pytest_stay_in_force(four: pytest.Pytester, selected: Selected) -> None:
    result = run(four, "-v", *selected(ALL[:2], ALL[2:]), "-k", "b or c")
    assert ran(result) == ["test_b"]
    result.stdout.fnmatch_lines(["foretest: 1 of 2 tests in the run*"])


def test_quiet(four: pytest.Pytester, selected: Selected) -> None:
    options = selected(ALL[:1], ALL[1:])
    said = [line for line in run(four, "-q", *options).outlines if "foretest" in line]
    assert said == ["foretest: 1 of 4 tests in the run, about 3.0 s saved"]
    assert "foretest" not in run(four, "-qq", *options).stdout.str()


def test_without_a_terminal(four: pytest.Pytester, selected: Selected, lines: Lines) -> None:
    options = selected(ALL[:1], ALL[1:])
    result = run(four, "-p", "no:terminal", *options, "--foretest-report=r.jsonl")
    assert result.ret == 0
    assert len(lines(four.path / "r.jsonl")) == 3


def test_odd_ids(pytester: pytest.Pytester, selected: Selected, lines: Lines) -> None:
    pytester.makepyfile(
        test_x="""
        import pytest, unittest
        ODD = ["a::b", "[c]", "d e", "ü", "", "x/../y.py::z", "@g"]
        @pytest.mark.parametrize("x", ODD)
        def test_p(x): pass
        @pytest.mark.parametrize("x", ODD)
        def test_rest(x): pass
        class TestOuter:
            class TestInner:
                def test_n(self): pass
                def test_rest(self): pass
        class Case(unittest.TestCase):
            def test_sub(self):
                for i in range(3):
                    with self.subTest(i=i): self.assertLess(i, 2)
            def test_rest(self): pass
        def documented():
            '''
            >>> 1 + 1
            2
            '''
        """,
        conftest="""
        import pytest
        class Yaml(pytest.File):
            def collect(self):
                for name in ("case [1]: a::b", "rest", "same", "same"):
                    yield Item.from_parent(self, name=name)
        class Item(pytest.Item):
            def runtest(self): pass
        def pytest_collect_file(file_path, parent):
            if file_path.suffix == ".yaml":
                return Yaml.from_parent(parent, path=file_path)
        """,
    )
    (pytester.path / "cases.yaml").write_text("")
    rest = ["test_x.py::test_rest", "test_x.py::TestOuter::TestInner::test_rest"]
    rest += ["test_x.py::Case::test_rest", "cases.yaml::rest", "test_x.py::test_x.documented"]
    options = (*selected([], rest), "--doctest-modules", "--foretest-report=r.jsonl")
    result = run(pytester, *options)
    result.assert_outcomes(passed=12, failed=1, deselected=11)
    rows = {row["id"]: row for row in lines(pytester.path / "r.jsonl")[1:-1]}
    assert "test_x.py::test_p[a::b]" in rows
    assert "cases.yaml::case [1]: a::b" in rows
    assert rows["test_x.py::Case::test_sub"]["outcome"] == "failed"
    assert rows["test_x.py::TestOuter::TestInner::test_n"]["outcome"] == "passed"
    ids = [row["id"] for row in lines(pytester.path / "r.jsonl")[1:-1]]
    assert ids.count("cases.yaml::same") == 2
    assert {row["attempt"] for row in rows.values()} == {1}


def test_units_are_relative_to_the_repository(
    pytester: pytest.Pytester,
    selected: Selected,
    commit_all: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    lines: Lines,
) -> None:
    deep = pytester.path / "pkg" / "sub"
    deep.mkdir(parents=True)
    (deep / "test_x.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
    (deep / "pytest.ini").write_text("[pytest]\n")
    head = commit_all()
    options = selected(["pkg/sub/test_x.py::test_a"], ["pkg/sub/test_x.py::test_b"])
    monkeypatch.chdir(deep)
    result = run(pytester, *options, "--foretest-report=r.jsonl", "--import-mode=importlib")
    result.assert_outcomes(passed=1, deselected=1)
    header, row, footer = lines(deep / "r.jsonl")
    assert row["id"] == "pkg/sub/test_x.py::test_a"
    assert header["commit"] == head
    assert header["decision_id"] == "d-1"
    assert (footer["exit"], footer["collected"], footer["deselected"]) == (0, 1, 1)


def test_an_edited_tree_has_no_commit(
    four: pytest.Pytester, commit_all: Callable[[], str], lines: Lines
) -> None:
    head = commit_all()
    (four.path / "untracked").write_text("")
    run(four, "--foretest-report=r.jsonl")
    assert lines(four.path / "r.jsonl")[0]["commit"] == head
    (four.path / "test_x.py").write_text("def test_a(): pass")
    run(four, "--foretest-report=r.jsonl")
    assert lines(four.path / "r.jsonl")[0]["commit"] is None


def test_observe_says_whether_it_was_safe(
    pytester: pytest.Pytester, selected: Selected, lines: Lines
) -> None:
    pytester.makepyfile(test_x=FOUR.replace("test_b(): pass", "test_b(): assert 0"))
    result = run(pytester, *selected([ALL[0]], ALL[1:]), "--foretest=observe")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            "foretest: select would have left out 3 of 4 tests*",
            "foretest: NOT SAFE, 1 of 1 failed tests*the run would have been green:",
            "foretest:   test_x.py::test_b",
        ]
    )
    (seen,) = lines(pytester.path / ".foretest" / "observations.jsonl")
    assert (seen["safe"], seen["caught"], seen["missed"]) == (False, False, ["test_x.py::test_b"])
    assert (seen["decision_id"], seen["units"], seen["rested"]) == ("d-1", 4, 3)
    quiet = run(pytester, "-qq", *selected([ALL[0]], ALL[1:]), "--foretest=observe")
    assert quiet.ret == 1  # b failed last time: it would have run


def test_observe_broken_off_is_unknown(
    pytester: pytest.Pytester, selected: Selected, lines: Lines
) -> None:
    pytester.makepyfile(test_x=FOUR.replace("test_a(): pass", "test_a(): assert 0"))
    run(pytester, "-x", *selected([ALL[0]], ALL[1:]), "--foretest=observe")
    (seen,) = lines(pytester.path / ".foretest" / "observations.jsonl")
    assert (seen["complete"], seen["safe"], seen["caught"]) == (False, None, True)


def test_a_report_carries_probabilities_in_select_alone(
    four: pytest.Pytester, selected: Selected, lines: Lines
) -> None:
    drawn = Choice(ALL[1], Why.EXPLORED, 0.0, 1.0, 0.25)
    for mode, expected in (("select", [1.0, 0.25]), ("observe", [1.0] * 4)):
        options = (*selected([ALL[0], drawn], ALL[2:]), f"--foretest={mode}")
        run(four, *options, "--foretest-report=r.jsonl")
        assert [row["inclusion"] for row in lines(four.path / "r.jsonl")[1:-1]] == expected


def test_the_spool_is_used_where_the_project_has_one(
    four: pytest.Pytester, selected: Selected, lines: Lines
) -> None:
    run(four, *selected(ALL, []))
    assert not (four.path / ".foretest").exists()
    (four.path / ".foretest").mkdir()
    run(four, *selected(ALL, []))
    (report,) = (four.path / ".foretest" / "spool").iterdir()
    assert len(lines(report)) == 6


def test_the_first_run_of_ci_keeps_its_results_and_any_other_says_that_it_does_not(
    four: pytest.Pytester,
    commit_all: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    lines: Lines,
) -> None:
    head = commit_all()
    elsewhere = run(four, "--foretest=observe")
    elsewhere.stdout.fnmatch_lines(["foretest: The results are not kept*no .foretest here yet*"])
    assert not (four.path / ".foretest").exists()
    assert "not kept" not in run(four, "--foretest", "--foretest-report=r.jsonl").stdout.str()
    assert not (four.path / ".foretest").exists()
    monkeypatch.setenv("BITBUCKET_BUILD_NUMBER", "7")
    monkeypatch.setenv("BITBUCKET_COMMIT", head)
    assert "not kept" not in run(four, "--foretest=observe", "--collect-only").stdout.str()
    assert not (four.path / ".foretest").exists()
    assert "not kept" not in run(four, "--foretest=observe").stdout.str()
    (report,) = (four.path / ".foretest/spool").iterdir()
    assert len(lines(report)) == 6
    assert (four.path / ".foretest/.gitignore").read_text() == "*\n"


OUTCOMES = """
    import pytest
    @pytest.fixture
    def broken(): raise RuntimeError
    @pytest.fixture
    def leaves_badly(): yield; raise RuntimeError
    def test_setup(broken): pass
    def test_teardown(leaves_badly): pass
    def test_skip(): pytest.skip()
    @pytest.mark.xfail
    def test_xfail(): assert 0
    @pytest.mark.xfail
    def test_xpass(): pass
    @pytest.mark.xfail(strict=True)
    def test_strict(): pass
    def test_fail(): assert 0
    def test_subtests(subtests):
        with subtests.test(): pytest.skip("one of two")
        with subtests.test(): pass
"""


def test_outcomes(pytester: pytest.Pytester, lines: Lines) -> None:
    pytester.makepyfile(test_x=OUTCOMES)
    run(pytester, "--foretest-report=r.jsonl")
    rows = lines(pytester.path / "r.jsonl")[1:-1]
    told = {row["id"].partition("::test_")[2]: (row["outcome"], row["phase"]) for row in rows}
    assert told == {
        "setup": ("error", "setup"),
        "teardown": ("error", "teardown"),
        "skip": ("skipped", "call"),
        "xfail": ("xfailed", "call"),
        "xpass": ("xpassed", "call"),
        "strict": ("failed", "call"),
        "fail": ("failed", "call"),
        "subtests": ("passed", "call"),
    }
    marked = {row["id"] for row in rows if row["fingerprint"]}
    assert marked == {row["id"] for row in rows if row["outcome"] in ("failed", "error")}


def test_a_report_that_cannot_be_written_is_said(four: pytest.Pytester) -> None:
    (four.path / "taken").write_text("")
    result = run(four, "--foretest-report=taken/r.jsonl")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["foretest: The report *taken/r.jsonl could not be written*"])


def test_trouble_with_stale_coverage_does_not_end_the_run(
    four: pytest.Pytester, engine: Any, make_selection: Any
) -> None:
    (four.path / ".foretest").mkdir()
    engine(make_selection([ALL[0]], ALL[1:]), stale=RuntimeError("odd store"))
    result = run(four, "--foretest")
    result.assert_outcomes(passed=1, deselected=3)
    result.stdout.fnmatch_lines(["foretest: Coverage*not taken: RuntimeError: odd store"])
