"""The plugin beside xdist, pytest-cov, randomly and rerunfailures, and when killed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foretest.evidence.traced import read_traced
from foretest.records import Selection
from foretest.results.report import parse

pytest_plugins = ["pytester"]

Selected = Callable[..., tuple[str, ...]]
Lines = Callable[[Path], list[dict[str, Any]]]

LIBRARY = """
    def one(): return 1
    def two(): return 2
    def at_import():
        return 0
    at_import()
"""
TESTS = """
    import pytest, library
    @pytest.mark.parametrize("x", "ab")
    def test_one(x): library.one()
    def test_two(): library.two()
    @pytest.mark.xdist_group("shared")
    def test_rest(): library.two()
"""
UNITS = [f"test_x.py::test_{name}" for name in ("one", "two", "rest")]


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(library=LIBRARY, test_x=TESTS)
    pytester.makeini("[pytest]\naddopts = -p no:randomly")
    return pytester


def test_xdist(project: pytest.Pytester, selected: Selected, lines: Lines) -> None:
    options = (*selected(UNITS[:2], UNITS[2:]), "--foretest-report=r.jsonl")
    result = project.runpytest_subprocess("-n2", *options, "--foretest-coverage=c.jsonl")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["foretest: 3 of 4 tests in the run*"])
    rows = lines(project.path / "r.jsonl")
    assert sorted(row["id"] for row in rows[1:-1]) == [
        "test_x.py::test_one[a]",
        "test_x.py::test_one[b]",
        "test_x.py::test_two",
    ]
    assert (rows[-1]["collected"], rows[-1]["deselected"], rows[-1]["stopped"]) == (3, 1, False)
    files = sorted(path.name for path in project.path.glob("c*.jsonl"))
    assert files == ["c.gw0.jsonl", "c.gw1.jsonl"]
    seen = [read_traced(project.path / name) for name in files]
    assert {unit for run in seen for unit in run.units} - {None} == set(UNITS[:2])
    assert "library.py::one" in seen[0].names(UNITS[0]) | seen[1].names(UNITS[0])


@pytest.mark.parametrize("dist", ["loadscope", "loadgroup"])
def test_xdist_emptied(project: pytest.Pytester, selected: Selected, dist: str) -> None:
    result = project.runpytest_subprocess("-n1", f"--dist={dist}", *selected([], UNITS))
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*left out all 4 collected tests; nothing to run, exit 0"])


def test_xdist_worker_dies(project: pytest.Pytester, lines: Lines) -> None:
    project.makepyfile(test_x="import os\ndef test_dies(): os._exit(3)\ndef test_lives(): pass")
    result = project.runpytest_subprocess("-n1", "--foretest-report=r.jsonl")
    assert result.ret == 1
    rows = {row["id"]: row for row in lines(project.path / "r.jsonl")[1:-1]}
    assert rows["test_x.py::test_dies"]["outcome"] == "error"
    assert rows["test_x.py::test_lives"]["outcome"] == "passed"


def test_reruns_are_attempts(project: pytest.Pytester, lines: Lines) -> None:
    project.makepyfile(
        test_x="""
        import pytest
        tries = []
        def test_flaky():
            tries.append(1)
            assert len(tries) == 3
        def test_red(): assert 0
        @pytest.fixture
        def fragile():
            tries.append(1)
            if len(tries) < 5: raise OSError
        def test_set_up(fragile): pass
        """
    )
    options = ("--foretest-report=r.jsonl", "-p", "no:cacheprovider", "--reruns=2")
    project.runpytest_inprocess(*options).assert_outcomes(passed=2, failed=1)
    told: dict[str, list[tuple[int, str]]] = {}
    for row in lines(project.path / "r.jsonl")[1:-1]:
        attempts = told.setdefault(row["id"].partition("::test_")[2], [])
        attempts.append((row["attempt"], row["outcome"]))
    assert told == {
        "flaky": [(1, "failed"), (2, "failed"), (3, "passed")],
        "red": [(1, "failed"), (2, "failed"), (3, "failed")],
        "set_up": [(1, "error"), (2, "passed")],
    }


def test_a_flaky_test_is_not_a_miss(
    project: pytest.Pytester, selected: Selected, lines: Lines
) -> None:
    project.makepyfile(test_x="tries = []\ndef test_one(): tries.append(1); assert len(tries) == 2")
    options = (*selected([], UNITS), "--foretest=observe", "--reruns=1")
    project.runpytest_inprocess(*options).assert_outcomes(passed=1)
    (seen,) = lines(project.path / ".foretest" / "observations.jsonl")
    assert (seen["failed"], seen["safe"]) == ([], True)


def test_coverage_beside_pytest_cov(project: pytest.Pytester) -> None:
    options = ("--cov=library", "--foretest-coverage=c.jsonl")
    result = project.runpytest_subprocess(*options)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["library.py * 100%"])
    if sys.version_info < (3, 12):
        result.stdout.fnmatch_lines(["foretest: Coverage*not taken: *pytest-cov*"])
        assert not (project.path / "c.jsonl").exists()
    else:
        assert read_traced(project.path / "c.jsonl").names(UNITS[1]) >= {"library.py::two"}


def test_part_of_the_suite_under_a_coverage_limit(
    project: pytest.Pytester, selected: Selected
) -> None:
    options = ("--cov=library", "--cov-fail-under=10", *selected(UNITS[:2], UNITS[2:]))
    result = project.runpytest_subprocess(*options)
    result.stdout.fnmatch_lines(["foretest: --cov-fail-under judges the selected part*"])


def test_coverage_of_every_test(project: pytest.Pytester, commit_all: Callable[[], str]) -> None:
    head = commit_all()
    project.runpytest_subprocess("--foretest-coverage=c.jsonl.gz").assert_outcomes(passed=4)
    seen = read_traced(project.path / "c.jsonl.gz")
    assert seen.names(UNITS[0]) == {"test_x.py::test_one", "library.py::one"}
    assert seen.names(UNITS[1]) == {"test_x.py::test_two", "library.py::two"}
    assert "library.py::at_import" in seen.names(None)
    assert seen.commit == head


def test_stale_and_new_tests_are_traced_in_a_normal_run(
    project: pytest.Pytester, selected: Selected
) -> None:
    (project.path / ".foretest").mkdir()
    # An engine of the test's own: `two` is stale, `rest` is unknown to the selection.
    project.makepyfile(
        fake_engine="""
        import sys, types
        fake = types.ModuleType("foretest.engine")
        fake.stale_units = lambda root, base=None: frozenset({"test_x.py::test_two"})
        sys.modules["foretest.engine"] = fake
        """
    )
    options = ("-p", "fake_engine", *selected(UNITS[:2], []))
    result = project.runpytest_subprocess(*options, "--foretest=observe")
    result.assert_outcomes(passed=4)
    (path,) = (project.path / ".foretest" / "spool").glob("coverage-*.jsonl.gz")
    seen = read_traced(path)
    assert set(seen.units) - {None} == {UNITS[1], UNITS[2]}
    assert seen.names(UNITS[1]) == {"test_x.py::test_two", "library.py::two"}
    assert "library.py::one" not in seen.names(None)


SHARED = """
    import pytest, library
    def setup_module(): library.for_module()
    def teardown_module(): library.after_module()
    @pytest.fixture(scope="session")
    def deep(): return library.for_session()
    @pytest.fixture(scope="module")
    def wide(deep):
        yield library.for_wide()
        library.after_wide()
    @pytest.fixture(scope="module")
    def asking(request): return request.getfixturevalue("lazily")
    @pytest.fixture(scope="module")
    def lazily(): return library.lazily()
    @pytest.fixture
    def narrow(wide): return library.narrow()
    def test_first(wide, asking): pass
    def test_second(wide, asking): pass
    def test_third(narrow): pass
    def test_none(): pass
    def test_asks(request): request.getfixturevalue("wide")
    class TestClass:
        @classmethod
        def setup_class(cls): library.for_class()
        def test_a(self): pass
        def test_b(self): pass
"""


@pytest.mark.parametrize("options", [(), ("-n1",)])
def test_each_user_of_a_shared_fixture_has_what_it_runs(
    pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    names = "for_module after_module for_session for_wide after_wide lazily narrow for_class"
    library = "".join(f"def {name}(): return 1\n" for name in names.split())
    pytester.makepyfile(library=library, test_s=SHARED)
    command = ("-p", "no:randomly", *options, "--foretest-coverage=c.jsonl")
    pytester.runpytest_subprocess(*command).assert_outcomes(passed=7)
    (path,) = pytester.path.glob("c*.jsonl")
    seen = read_traced(path)
    assert set(seen.units) - {None} == {
        *(f"test_s.py::test_{name}" for name in ("first", "second", "third", "none", "asks")),
        *(f"test_s.py::TestClass::test_{name}" for name in "ab"),
    }

    def of(name: str) -> set[str]:
        found = seen.names(f"test_s.py::{name}")
        return {one.partition("::")[2] for one in found if one.startswith("library.py")}

    module = {"for_module", "after_module"}
    wide = module | {"for_session", "for_wide", "after_wide"}
    assert of("test_none") == module
    assert of("test_first") == of("test_second") == wide | {"lazily"}
    assert of("test_third") == wide | {"narrow"}
    assert of("test_asks") == wide
    assert of("TestClass::test_a") == of("TestClass::test_b") == module | {"for_class"}


def test_a_fixture_made_for_a_test_that_is_not_due_is_traced(
    pytester: pytest.Pytester, selected: Selected
) -> None:
    (pytester.path / ".foretest").mkdir()
    pytester.makepyfile(
        library="def make(): return 1",
        test_s="""
        import pytest, library
        @pytest.fixture(scope="module")
        def made(): return library.make()
        def test_old(made): pass
        def test_due(made): pass
        """,
        fake_engine="""
        import sys, types
        fake = types.ModuleType("foretest.engine")
        fake.stale_units = lambda root, base=None: frozenset({"test_s.py::test_due"})
        sys.modules["foretest.engine"] = fake
        """,
    )
    given = selected(["test_s.py::test_old", "test_s.py::test_due"], [])
    options = ("-p", "no:randomly", "-p", "fake_engine", *given, "--foretest=observe")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=2)
    (path,) = (pytester.path / ".foretest" / "spool").glob("coverage-*.jsonl.gz")
    seen = read_traced(path)
    assert set(seen.units) - {None} == {"test_s.py::test_due"}
    assert "library.py::make" in seen.names("test_s.py::test_due")


def test_coverage_says_which_tests_did_not_pass(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_p="""
        import pytest
        def test_good(): pass
        def test_bad(): assert 0
        @pytest.mark.parametrize("x", [0, 1])
        def test_half(x): assert x
        def test_skipped(): pytest.skip()
        @pytest.mark.xfail
        def test_expected(): assert 0
        @pytest.fixture
        def broken():
            yield
            assert 0
        def test_end(broken): pass
        """
    )
    pytester.runpytest_subprocess("-p", "no:randomly", "--foretest-coverage=c.jsonl")
    names = ("bad", "half", "skipped", "end")
    expected = {f"test_p.py::test_{name}" for name in names}
    assert read_traced(pytester.path / "c.jsonl").partial == expected


def test_order_beside_randomly(pytester: pytest.Pytester, selected: Selected) -> None:
    names = [f"test_x.py::test_{i}" for i in range(9)]
    pytester.makepyfile(test_x="\n".join(f"def test_{i}(): pass" for i in range(9)))
    result = pytester.runpytest_inprocess("-v", *selected(names[::-1], []), "--foretest=order")
    seen = [line.split(" ")[0] for line in result.outlines if " PASSED" in line]
    assert seen == names[::-1]
    result.stdout.fnmatch_lines(["foretest: The order is foretest's; pytest-randomly*"])


def test_a_killed_run_leaves_what_it_had(project: pytest.Pytester, lines: Lines) -> None:
    project.makepyfile(
        test_x="import os\ndef test_a(): pass\ndef test_b(): os._exit(7)\ndef test_c(): pass"
    )
    assert project.runpytest_subprocess("--foretest-report=r.jsonl").ret == 7
    rows = lines(project.path / "r.jsonl")
    assert [row["id"] for row in rows[1:]] == ["test_x.py::test_a"]
    assert not parse(project.path / "r.jsonl").run.complete


@pytest.mark.parametrize("option", ["", "-x"])
def test_a_run_that_is_stopped_says_so(project: pytest.Pytester, option: str, lines: Lines) -> None:
    ends = "assert 0" if option else "raise KeyboardInterrupt"
    project.makepyfile(test_x=f"def test_a(): pass\ndef test_b(): {ends}\ndef test_c(): pass")
    result = project.runpytest_subprocess("--foretest-report=r.jsonl", *option.split())
    code = 1 if option else 2
    assert result.ret == code
    rows = lines(project.path / "r.jsonl")
    assert rows[1]["id"] == "test_x.py::test_a"
    assert len(rows) == (4 if option else 3)
    assert (rows[-1]["exit"], rows[-1]["stopped"]) == (code, True)
    assert not parse(project.path / "r.jsonl").run.complete


def test_collection_errors_leave_an_incomplete_report(project: pytest.Pytester) -> None:
    project.makepyfile(test_broken="import no_such_module")
    assert project.runpytest_inprocess("--foretest-report=r.jsonl").ret == 2
    assert not parse(project.path / "r.jsonl").run.complete


def test_a_real_engine_without_a_bundle_runs_all(
    project: pytest.Pytester, commit_all: Callable[[], str]
) -> None:
    commit_all()
    result = project.runpytest_subprocess("--foretest")
    result.assert_outcomes(passed=4)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["foretest: all tests ran, nothing was left out", "foretest: ?*"])


def test_the_selection_reaches_the_report(
    project: pytest.Pytester, selected: Selected, make_selection: Callable[..., Selection]
) -> None:
    options = selected(UNITS, [], decision_id="d-42")
    project.runpytest_inprocess(*options, "--foretest-report=r.jsonl")
    assert parse(project.path / "r.jsonl").run.decision_id == "d-42"
