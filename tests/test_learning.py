"""Learning from suites that misbehave: what can be learnt is, what cannot is said; no harm done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from foretest import learning
from foretest.bundle import read
from small_project import Done, Project, clean_environment, make

SETTINGS = """
[tool.pytest.ini_options]
addopts = "-p no:randomly"

[tool.foretest]
timeout = 20
"""


@pytest.fixture
def suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Project]:
    """Makes a repository of these files."""

    def of(**files: str) -> Project:
        named = {f"{name}.py": text for name, text in files.items()}
        project = make(tmp_path / "app", tmp_path / "home", {"pyproject.toml": SETTINGS, **named})
        project.capture = capsys
        for name, value in clean_environment(project.home).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(project.root)
        return project

    return of


def learnt(project: Project, *statuses: int) -> Done:
    """`foretest learn`, the user's tree and `.git` untouched, no copy left behind."""
    before = project.snapshot()
    done = project.foretest("learn").check(*statuses)
    assert project.snapshot() == before
    assert list((project.home / "cache" / "foretest").glob("*/workers/*")) == []
    assert [f.name for f in (project.home / "tmp").iterdir() if f.name.startswith("ft-")] == []
    assert project.crashes() == []
    return done


GOOD = """
        from app import f


        def test_good():
            assert f() == 1
        """
APP = """
        def f():
            return 1
        """


def test_a_suite_that_fails_before_any_change(suite: Callable[..., Project]) -> None:
    project = suite(app=APP, test_app=GOOD, test_bad="def test_bad(): assert 0\n")
    done = learnt(project)
    assert "1 test fails before any change" in done.err
    assert "Learned 2 tests" in done.out
    bundle = read(project.bundle)
    assert bundle.lineage["failing"] == ["test_bad.py::test_bad"]


def test_a_suite_that_only_fails(suite: Callable[..., Project]) -> None:
    project = suite(app=APP, test_bad="def test_bad(): assert 0\n")
    done = learnt(project, 2)
    assert "  -> " in done.err
    assert not project.bundle.exists()


def test_no_tests_at_all(suite: Callable[..., Project]) -> None:
    done = learnt(suite(app=APP), 2)
    assert "  -> " in done.err


def test_collection_errors(suite: Callable[..., Project]) -> None:
    project = suite(
        app=APP, test_app=GOOD, test_broken="import nowhere_at_all\n", test_syntax="def test_x(:\n"
    )
    done = learnt(project)
    assert "2 files of tests cannot be collected" in done.err
    assert "Learned 1 test " in done.out


def test_a_suite_that_hangs(suite: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORETEST_TIMEOUT", "3")
    project = suite(test_hang="import time\ndef test_hang(): time.sleep(300)\n")
    done = learnt(project, 2)
    assert "The unchanged suite hangs" in done.err
    assert "raise `timeout`" in done.err


def test_a_suite_that_ends_its_process(suite: Callable[..., Project]) -> None:
    project = suite(test_kill="import os\ndef test_kill(): os.kill(os.getpid(), 9)\n")
    done = learnt(project, 2)
    assert "ends its process in test_kill.py::test_kill (signal 9)" in done.err


def test_a_suite_that_exits(suite: Callable[..., Project]) -> None:
    project = suite(test_exit="import os\ndef test_exit(): os._exit(0)\n")
    assert "ends its process in test_exit.py::test_exit" in learnt(project, 2).err


def test_an_interpreter_that_is_not_there(
    suite: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORETEST_PYTHON", "/nowhere/python")
    done = learnt(suite(app=APP, test_app=GOOD), 2)
    assert "/nowhere/python" in done.err
    assert "`python`" in done.err


NOISY = """
        import os
        import sys


        def test_noise(capfd):
            with capfd.disabled():
                for _ in range(40):
                    os.write(1, b"x" * 100_000)
                    os.write(2, b"y" * 100_000 + b"\\n")


        def test_more_noise():
            print("z" * 3_000_000)
            sys.stderr.write("\\x1b[31m" * 100_000)
        """

ODD = """
        import pytest


        @pytest.mark.parametrize("x", ["a b", "grün", "a::b", "[1]", "", "\\n", "x" * 300, "\\x00"])
        def test_odd(x):
            assert isinstance(x, str)


        @pytest.mark.parametrize("x", [1, 1, 1], ids=["same", "same", "same"])
        def test_same(x):
            pass


        class TestA:
            def test_x(self):
                pass

            def test_x(self):  # noqa: F811
                pass


        def generated(n):
            def test(x=n):
                pass

            return test


        test_first = test_again = generated(1)
        """

UNRULY = """
        import os
        import pathlib
        import stat


        def test_litter(tmp_path):
            pathlib.Path("litter.txt").write_text("left behind")
            pathlib.Path("app.py").write_text("broken(")
            folder = pathlib.Path("locked")
            folder.mkdir()
            (folder / "file").write_text("x")
            folder.chmod(stat.S_IRUSR)


        def test_move(monkeypatch):
            os.chdir("/")
            os.environ["PATH"] = ""


        def test_children():
            import subprocess
            import sys

            code = "import time; time.sleep(600)"
            subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        """


def test_noise_odd_names_and_litter(suite: Callable[..., Project]) -> None:
    project = suite(app=APP, test_app=GOOD, test_noisy=NOISY, test_odd=ODD, test_unruly=UNRULY)
    done = learnt(project)
    assert len(done.err) < 5_000
    store = read(project.bundle).store
    assert {"test_odd.py::test_odd", "test_odd.py::test_same", "test_odd.py::TestA::test_x"} <= {
        *store.tests
    }
    assert len(set(store.tests)) == len(store.tests)
    assert not any("[" in test for test in store.tests)
    project.edit("app.py", "return 1", "return 2")
    selected = project.foretest("select", "--base", "HEAD", "--target", "99%").check()
    assert "test_app.py::test_good" in selected.units
    ran = project.pytest("--foretest", "--foretest-base=HEAD", "test_odd.py", "test_app.py")
    assert "test_good" in ran.check(1).out
    # Status 2 where what was selected lies in the files that this run left out.
    assert "Recorded 1 run" in project.foretest("record").check(0, 2).out


def test_of_a_slow_suite_the_best_linked_tests_run_within_a_tenth_of_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tests = tuple(f"a.py::test_{number}" for number in range(1000))
    store = SimpleNamespace(tests=tests, seconds=np.full(1000, 0.5))
    scores = np.linspace(0.0, 1.0, 1000)  # nearly all are linked to the change
    monkeypatch.setattr(learning, "query_of", lambda change: change)
    monkeypatch.setattr(learning, "build", lambda *_, **__: None)
    monkeypatch.setattr(learning, "predict", lambda *_: scores)
    chosen = learning.suggested(store)(None, SimpleNamespace(case_id="one"))
    certain = {test for test, chance in chosen.items() if chance == 1.0}
    assert certain == set(tests[-101:])
    assert set(chosen.values()) == {1.0, learning.SAMPLED}
    store.seconds[-1] = 10_000.0  # one that takes longer than its share runs all the same
    chosen = learning.suggested(store)(None, SimpleNamespace(case_id="one"))
    assert chosen[tests[-1]] == 1.0


def test_what_was_tried_is_kept_and_never_tried_again(project: Project) -> None:
    before = project.snapshot()
    first = project.foretest("learn", "--undo", "1", "--faults", "3").check()
    cases = project.state / "lab" / "cases.jsonl"
    held = cases.read_text().splitlines()
    assert len({json.loads(line)["case_id"] for line in held}) == len(held) > 0
    assert "changes tried" in first.out
    # A kill left half a line: it is cut off, and its case counts as never tried.
    cases.write_text("\n".join([*held, held[0][:100]]))
    project.foretest("learn", "--undo", "1", "--faults", "3", "--workers", "1").check()
    assert cases.read_text().splitlines() == held
    assert project.snapshot() == before


def test_changes_are_tried_at_a_commit_of_one_s_choice(project: Project) -> None:
    """Its own change comes first; coverage stays that of HEAD, and so does what replay judges."""
    past = project.git("rev-parse", "HEAD~1")
    done = project.foretest("learn", "--at", "HEAD~1", "--undo", "1").check()
    (line,) = (project.state / "lab" / "cases.jsonl").read_text().splitlines()
    case = json.loads(line)
    assert case["commit"] == case["undone_commit"] == past
    assert "1 change tried" in done.out
    assert read(project.bundle).store.commit == project.git("rev-parse", "HEAD")
    assert "'nowhere' names no commit" in project.foretest("learn", "--at", "nowhere").check(2).err


def test_damaged_tries_are_passed_over_and_told(project: Project) -> None:
    cases = project.state / "lab" / "cases.jsonl"
    cases.parent.mkdir()
    cases.write_text('{"case_id": "from-the-future"}\n')
    assert "1 line of tried changes cannot be read" in project.foretest("learn").check().err
    done = project.foretest("replay").check(2)
    assert "nothing to judge by" in done.err


def test_what_was_tried_before_a_later_learn_is_tried_again(project: Project) -> None:
    project.foretest("learn", "--faults", "2").check()
    project.write("notes.txt", "later", commit="Later")
    project.foretest("learn", "--faults", "2").check()
    lines = (project.state / "lab" / "cases.jsonl").read_text().splitlines()
    assert len({json.loads(line)["commit"] for line in lines}) == 2
    # Which faults are drawn depends on the commits' ids, and so on the clock: those of either
    # commit may break no test.
    replayed = project.foretest("replay", "--slices").check(0, 2)
    groups = ("injected faults:", "changes tried at another commit:")
    judged = any(group in replayed.out for group in groups)
    assert judged or "nothing to judge by" in replayed.err
    assert "all faulty changes" not in replayed.out
