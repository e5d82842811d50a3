"""Runs of suites that behave badly, each in its own way."""

import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.errors import SuiteFailed
from foretest.lab import recorder
from foretest.lab.runner import Baseline, SuiteRunner
from foretest.lab.workspace import Workspace
from foretest.records import Outcome, TestId

SOURCE = "src/calc/__init__.py"


@pytest.fixture
def start():
    """Start a runner at HEAD; everything is closed at the end."""
    made = []

    def begin(project, *args, **options):
        workspace = Workspace.create(project.root, "HEAD", project.cache)
        made.append(workspace)
        runner = SuiteRunner(workspace, sys.executable, args, **({"timeout": 60.0} | options))
        made.append(runner)
        return runner

    yield begin
    for one in reversed(made):
        one.close()


def alive(marker):
    """Processes whose command line holds the marker."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_baseline_then_a_change(calculator, start, patch_to):
    runner = start(calculator)
    baseline = runner.baseline()
    assert set(baseline.units) == {
        "tests/test_calc.py::test_add",
        "tests/test_calc.py::test_clamp",
        "tests/test_calc.py::TestHigh::test_high",
    }
    assert baseline.failing == ("tests/test_calc.py::test_red",)
    assert not baseline.flaky
    assert Baseline.from_json(baseline.to_json()) == baseline
    right = (calculator.root / SOURCE).read_text()
    wrong = patch_to(SOURCE, right.replace("a + b", "a - b"), right)
    outcome = runner.run(wrong)
    assert outcome.bad - {"tests/test_calc.py::test_red"} == {"tests/test_calc.py::test_add"}
    assert outcome.broken == ""
    assert runner.run().bad == {"tests/test_calc.py::test_red"}
    assert runner.run(patch_to(SOURCE, "no\n", "yes\n")) is None
    only = runner.run(wrong, only={"tests/test_calc.py::test_clamp", "tests/gone.py::test_x"})
    assert set(only.results) == {"tests/test_calc.py::test_clamp"}
    assert set(runner.run(only=()).results) == set()


def test_edits_of_the_same_size_within_a_second_are_seen(calculator, start, patch_to):
    runner = start(calculator)
    runner.use(runner.baseline())
    right = (calculator.root / SOURCE).read_text()
    for sign in ("-", "*", "-", "%"):
        outcome = runner.run(patch_to(SOURCE, right.replace("a + b", f"a {sign} b"), right))
        assert outcome.results["tests/test_calc.py::test_add"] is Outcome.FAILED
        assert outcome.results["tests/test_calc.py::test_clamp"] is Outcome.PASSED


def test_broken_changes_are_told_apart(calculator, start, patch_to):
    calculator.commit({"tests/test_free.py": "def test_free(): pass\n"})
    runner = start(calculator)
    runner.baseline()
    right = (calculator.root / SOURCE).read_text()

    def with_(text):
        return runner.run(patch_to(SOURCE, text + right, right))

    assert with_("raise ImportError('no')\n").broken == "collection"
    hanging = "import time\ntime.sleep(1000)\n"
    runner._limits = (1.5, 60.0)
    assert with_(hanging).broken == "timeout"
    runner._limits = (60.0, 1.0)
    in_a_test = right.replace("return a + b", "import time; time.sleep(1000)")
    outcome = runner.run(patch_to(SOURCE, in_a_test, right))
    assert (outcome.broken, outcome.at) == ("timeout", "tests/test_calc.py::test_add")
    assert "tests/test_calc.py::test_add" in outcome.bad
    runner._limits = (60.0, 60.0)
    for end in ("os._exit(0)", "os.kill(os.getpid(), 11)"):
        crash = right.replace("return a + b", f"import os; {end}")
        outcome = runner.run(patch_to(SOURCE, crash, right))
        assert (outcome.broken, outcome.at) == ("crash", "tests/test_calc.py::test_add")
    assert runner.run().broken == ""


def test_nothing_left_alone_once_a_run_is_over(calculator, start, tmp_path):
    marker = f"left-{os.getpid()}-{time.monotonic_ns()}"
    spawn = f"[sys.executable, '-c', 'import time; time.sleep(1000)', {marker!r}]"
    test = (
        "import subprocess, sys\n"
        "def test_spawn():\n"
        f"    subprocess.Popen({spawn})\n"
        f"    subprocess.Popen({spawn}, start_new_session=True)\n"
    )
    calculator.commit({"tests/test_spawn.py": test})
    runner = start(calculator, "tests/test_spawn.py")
    assert runner.run().results == {"tests/test_spawn.py::test_spawn": Outcome.PASSED}
    assert alive(marker) == []


def test_a_hundred_megabytes_of_output_leave_the_ends(calculator, start):
    flood = (
        "import os\n"
        "def test_flood(capfd):\n"
        "    with capfd.disabled():\n"
        "        os.write(1, b'begin')\n"
        "        for _ in range(100): os.write(1, b'x' * (1 << 20))\n"
    )
    calculator.commit({"tests/test_flood.py": flood})
    outcome = start(calculator, "tests/test_flood.py").run()
    assert outcome.results == {"tests/test_flood.py::test_flood": Outcome.PASSED}
    assert len(outcome.output) < 100_000
    assert "begin" in outcome.output
    assert "bytes left out" in outcome.output


def test_odd_ids_are_merged_into_units(project, start):
    odd = (
        "import pytest\n"
        "@pytest.mark.parametrize('a', ['ä b', 'x::y', '[', ']', 'a[b]c', 'same', 'same'])\n"
        "def test_odd(a): assert a != 'x::y'\n"
        "def test_twice(): assert False\n"
        "def test_twice(): pass\n"
        "@pytest.mark.xfail\n"
        "def test_expected(): assert False\n"
        "@pytest.mark.skip\n"
        "def test_skipped(): pass\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError\n"
        "def test_error(broken): pass\n"
    )
    project.commit({"tests/test_odd.py": odd})
    results = start(project).run().results
    assert results == {
        "tests/test_odd.py::test_odd": Outcome.FAILED,
        "tests/test_odd.py::test_twice": Outcome.PASSED,
        "tests/test_odd.py::test_expected": Outcome.XFAILED,
        "tests/test_odd.py::test_skipped": Outcome.SKIPPED,
        "tests/test_odd.py::test_error": Outcome.ERROR,
    }


ADDOPTS = (
    "-x -n 2 --cov=calc --cov-report=term --strict-config --strict-markers -ra --maxfail 1 --ff"
)


def test_a_projects_options_are_kept_but_for_those_that_stop_or_spread_the_run(calculator, start):
    settings = f"[pytest]\naddopts = {ADDOPTS} -k 'not clamp'\nunknown_setting = 1\n"
    calculator.commit({"pytest.ini": settings, "tests/test_z.py": "def test_z(): pass\n"})
    outcome = start(calculator).run()
    assert set(outcome.results) == {
        "tests/test_calc.py::test_add",
        "tests/test_calc.py::TestHigh::test_high",
        "tests/test_calc.py::test_red",
        "tests/test_z.py::test_z",
    }


def test_files_that_never_could_be_collected_do_not_break_a_run(calculator, start):
    calculator.commit({"tests/test_missing.py": "import no_such_module\n"})
    runner = start(calculator)
    baseline = runner.baseline()
    assert baseline.errors == ("tests/test_missing.py",)
    assert len(baseline.units) == 3
    assert runner.run().broken == ""


def test_flaky_tests_are_set_apart(calculator, start, tmp_path):
    flag = tmp_path / "flag"
    flaky = (
        "import pathlib\n"
        "def test_flaky():\n"
        f"    flag = pathlib.Path({str(flag)!r})\n"
        "    there = flag.exists()\n"
        "    flag.touch()\n"
        "    assert there\n"
    )
    calculator.commit({"tests/test_flaky.py": flaky})
    assert start(calculator).baseline().flaky == ("tests/test_flaky.py::test_flaky",)


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("def test_a(): assert False", "No test passes"),
        ("import no_such_module", "No test passes"),
        ("x = 1", "No test passes"),
        ("import os\ndef test_a(): os._exit(3)", "exit code 3"),
        ("import time\ndef test_a(): time.sleep(1000)", "hangs in tests/test_a.py::test_a"),
    ],
)
def test_a_suite_of_no_use_is_refused_with_a_remedy(project, start, test, said):
    project.commit({"tests/test_a.py": test + "\n"})
    runner = start(project, timeout=2.0 if "hangs" in said else 60.0)
    with pytest.raises(SuiteFailed, match=said) as caught:
        runner.baseline()
    assert caught.value.remedy


def test_a_broken_conftest_and_a_wrong_interpreter_are_refused(project, start, tmp_path):
    project.commit({"conftest.py": "import no_such_module\n", "test_a.py": "def test_a(): pass\n"})
    with pytest.raises(SuiteFailed, match="No test passes"):
        start(project).baseline()
    workspace = Workspace.create(project.root, "HEAD", project.cache)
    try:
        for python in (str(tmp_path / "nothing"), "/bin/false"):
            with pytest.raises(SuiteFailed) as caught:
                SuiteRunner(workspace, python).run()
            assert caught.value.remedy
    finally:
        workspace.close()


def test_code_from_elsewhere_is_refused(calculator, start, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "calc").mkdir(parents=True)
    (elsewhere / "calc/__init__.py").write_text((calculator.root / SOURCE).read_text())
    calculator.commit({"conftest.py": f"import sys\nsys.path.insert(0, {str(elsewhere)!r})\n"})
    with pytest.raises(SuiteFailed, match="elsewhere") as caught:
        start(calculator).baseline()
    assert "Install" in caught.value.remedy


def test_a_zygote_that_dies_is_started_again(calculator, start):
    runner = start(calculator)
    assert runner.run().broken == ""
    os.kill(runner.worker._process.pid, 9)
    assert runner.run() is not None
    assert runner.run().broken == ""


IDS = st.text(alphabet="ab[]:: é-", max_size=20)


@given(st.sampled_from(["tests/test_a.py", "dir[x]/test_b.py", "a"]), IDS)
def test_the_child_reads_units_as_the_records_do(file, parameters):
    for node_id in (f"{file}::T::test[{parameters}]", f"{file}::test", file):
        assert recorder.unit_of(node_id) == TestId.parse(node_id).unit


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["-n", "4", "-v"], ["-v"]),
        (["-n4", "-nauto", "-q"], ["-q"]),
        (["--cov", "-q"], ["-q"]),
        (["--cov", "src", "tests"], ["tests"]),
        (["--cov-report", "term", "-k", "a b"], ["-k", "a b"]),
        (["--maxfail=1", "-x", "tests"], ["tests"]),
        (["-n"], []),
        ([], []),
    ],
)
def test_which_options_are_dropped(given, kept):
    assert recorder.without_dropped(given) == kept
