"""The command line as a user meets it on a good day: what each verb prints and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from foretest.cli.main import VERBS, cli
from small_project import UNITS, Project

HEAVY = ("polars", "deltalake", "sqlalchemy", "altair", "tqdm", "tree_sitter", "coverage", "jinja2")


def test_learn_select_explain_record_stats(project: Project) -> None:
    before = project.snapshot()
    project.break_tax()
    changed = project.snapshot()
    assert before != changed
    selected = project.foretest("select", "--target", "50%").check()
    assert {"tests/test_prices.py::test_tax", "tests/test_prices.py::test_gross"} <= {
        *selected.units
    }
    assert len(selected.units) < UNITS
    assert f"of {UNITS} tests" in selected.err
    told = project.foretest("explain", "test_tax").check()
    assert "tests/test_prices.py::test_tax runs, place" in told.out
    assert project.foretest("summary").check().out.startswith("#")
    ran = project.pytest("--foretest", "--foretest-target=50%").check(1)
    assert "test_tax" in ran.out
    recorded = project.foretest("record").check()
    assert "Recorded 1 run" in recorded.out
    stats = json.loads(project.foretest("stats", "--json").check().out)
    assert stats["recorded runs"] == 1
    assert stats["tests"] == UNITS
    project.foretest("doctor").check()
    assert project.snapshot() == changed


def test_without_arguments_help_is_shown(project: Project) -> None:
    done = project.foretest()
    text = done.out + done.err
    assert all(verb in text for verb in VERBS)
    assert done.check(2)


def test_all_verbs_are_listed_where_no_engine_is_installed(project: Project) -> None:
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({(*HEAVY, 'numpy')!r}))\n"
        "from foretest.__main__ import main\n"
        "sys.exit(main())\n"
    )
    done = project.process(sys.executable, "-c", code, "--help").check()
    assert all(verb in done.out for verb in VERBS)
    done = project.process(sys.executable, "-c", code, "select").check()
    assert done.units == ["tests"]
    assert "pip install 'foretest[engine]'" in done.err
    done = project.process(sys.executable, "-c", code, "learn").check(2)
    assert "pip install 'foretest[engine]'" in done.err


def _paths() -> list[tuple[str, ...]]:
    state = [("state", "push"), ("state", "pull")]
    return [(verb,) for verb in VERBS] + state


@pytest.mark.parametrize("path", _paths(), ids=" ".join)
def test_help_shows_an_example(project: Project, path: tuple[str, ...]) -> None:
    done = project.foretest(*path, "--help").check()
    assert "Usage: foretest" in done.out
    assert f"  foretest {' '.join(path)}" in done.out.partition("Options:")[2]
    assert done.err == ""


def test_the_group_and_its_verbs_agree() -> None:
    assert [command for command in VERBS if cli.get_command(None, command) is None] == []  # type: ignore[arg-type]


def test_unknown_verb_and_wrong_values_are_refused(project: Project) -> None:
    refused: tuple[tuple[tuple[str, ...], str], ...] = (
        (("selct",), "No such command 'selct'"),
        (("select", "--target", "lots"), "is not a share"),
        (("select", "--time", "soon"), "is not a length of time"),
        (("select", "--bin", "5/4"), "is not a shard"),
        (("select", "--format", "rspec"), "'rspec' is not one of"),
        (("select", "--target", "10%", "--time", "5m"), "not both"),
        (("select", "--frobnicate"), "No such option"),
        (("learn", "--undo", "-1"), "-1"),
        (("select", "-C", "nowhere"), "does not exist"),
        (("record", "nowhere.xml"), "No such file"),
        (("state", "push"), "Missing argument"),
    )
    for args, said in refused:
        done = project.foretest(*args).check(2)
        assert said in done.err
        assert done.out == ""


def test_output_is_free_of_colour_in_a_pipe_and_on_request(project: Project) -> None:
    loud = {"FORCE_COLOR": "1", "PY_COLORS": "1", "CLICOLOR_FORCE": "1"}
    project.foretest("stats").check()
    project.foretest("--help").check()
    project.foretest("select").check()
    project.process(*project.command("doctor"), environment=loud | {"NO_COLOR": "1"}).check()


def test_no_colour_is_heeded_on_a_terminal(project: Project) -> None:
    pty = pytest.importorskip("pty")
    seen = {}
    for name, environment in (("plain", {"NO_COLOR": "1"}), ("colour", {})):
        reader, writer = pty.openpty()
        done = subprocess.run(
            project.command("doctor"),
            cwd=project.root,
            env=project.environment | {"TERM": "xterm"} | environment,
            stdin=writer,
            stdout=writer,
            stderr=writer,
            timeout=60,
            check=False,
        )
        os.close(writer)
        text = b""
        while True:
            try:
                data = os.read(reader, 1 << 16)
            except OSError:  # how Linux says that the other end is closed
                break
            if not data:
                break
            text += data
        os.close(reader)
        assert done.returncode == 0
        seen[name] = text
    assert b"\x1b[3" not in seen["plain"]
    assert b"\x1b[32m" in seen["colour"]


def test_a_reader_that_goes_away_is_no_error(project: Project) -> None:
    project.break_tax()
    command = " ".join(project.command("select", "--all", "--format", "json"))
    done = project.process("bash", "-c", f"set -o pipefail; {command} | head -c 10").check()
    assert done.out == '{\n  "decis'
    # A reader that never reads at all.
    done = project.process("bash", "-c", f"{command} 2>err | true; echo ${{PIPESTATUS[0]}}").check()
    assert done.out == "0\n"
    assert "BrokenPipe" not in (project.root / "err").read_text()


def test_names_that_a_terminal_cannot_spell_are_no_error(project: Project) -> None:
    project.write("tests/test_größe.py", "def test_maß(): pass\n")
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = project.process(
        *project.command("select"), environment=ascii_only, text=True, encoding="utf-8"
    ).check()
    assert "tests/test_größe.py::test_maß" in done.units
    project.process(*project.command("explain"), environment=ascii_only, encoding="utf-8").check()


def test_selecting_starts_light(project: Project) -> None:
    project.break_tax()
    code = (
        "import sys\n"
        "sys.argv = ['foretest', 'select']\n"
        "from foretest.__main__ import main\n"
        "status = main()\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    done = project.process(sys.executable, "-c", code).check()
    assert done.units
    assert done.err.splitlines()[-1] == "[]"
