"""Loading the plugin costs nothing, and off it does nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

LOADED = """
import json, sys
import pytest
before = set(sys.modules)
import foretest.pytest_plugin
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_import_adds_two_modules() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == ["foretest", "foretest.pytest_plugin"]


def test_on_without_an_engine_it_stays_with_the_standard_library(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_modules():
            heavy = {"numpy", "polars", "click", "sqlalchemy", "deltalake", "altair"}
            assert not heavy & sys.modules.keys()
        """
    )
    (pytester.path / "selection.json").write_text("{}")
    options = ("-p", "no:randomly", "-p", "no:hypothesispytest")
    done = pytester.runpytest_subprocess(
        *options, "--foretest-selection=selection.json", "--foretest-report=r.jsonl"
    )
    done.assert_outcomes(passed=1)
    assert (pytester.path / "r.jsonl").exists()


def test_off_puts_in_no_hooks(pytester: pytest.Pytester) -> None:
    manager = pytester.parseconfigure().pluginmanager
    assert manager.has_plugin("foretest")
    assert not [name for name, _ in manager.list_name_plugin() if name.startswith("foretest-")]


def test_off_says_and_writes_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(): pass")
    (pytester.path / ".foretest").mkdir()
    done = pytester.runpytest_inprocess()
    done.assert_outcomes(passed=1)
    # pytest itself names the plugins that are installed
    assert [line for line in done.outlines if "foretest" in line and "plugins:" not in line] == []
    assert list((pytester.path / ".foretest").iterdir()) == []


def test_every_option_has_help(pytester: pytest.Pytester) -> None:
    text = pytester.runpytest_inprocess("--help").stdout.str()
    for option in ("", "=order", "=observe", "-target", "-time", "-base", "-bin", "-selection"):
        assert f"--foretest{option}" in text
    assert "e.g. 10%\n" in text


def test_a_path_behind_the_bare_option_is_a_path(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_a="def test_a(): pass", test_b="def test_b(): pass")
    (pytester.path / "selection.json").write_text("{}")
    done = pytester.runpytest_inprocess(
        "--foretest-selection=selection.json", "--foretest", "test_b.py"
    )
    done.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--foretest-confidence=90%",), "--foretest-confidence does nothing"),
        (("--foretest-time=5m", "-qq"), "--foretest-time does nothing"),
        (("--foretest-target=1%", "--foretest-bin=1/2"), "-target and --foretest-bin do nothing"),
        (("--foretest-base=main", "--foretest-report=r.jsonl"), "--foretest-base does nothing"),
    ],
)
def test_a_limit_without_a_selection_is_not_ignored_in_silence(
    pytester: pytest.Pytester, given: tuple[str, ...], told: str
) -> None:
    pytester.makepyfile("def test_a(): pass")
    done = pytester.runpytest_inprocess(*given)
    assert done.ret == 0
    (line,) = (line for line in done.outlines if "without --foretest" in line)
    assert told in line
    assert line.endswith("nothing was left out.")


def test_a_limit_with_a_selection_is_not_said_to_be_idle(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(): pass")
    done = pytester.runpytest_inprocess("--foretest", "--foretest-confidence=90%")
    assert not [line for line in done.outlines if "without --foretest" in line]
