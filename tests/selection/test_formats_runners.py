"""Round trips with the runners themselves: what was selected is what comes back in the report."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from foretest.results.read import read_report
from foretest.selection.formats import render_units


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(command: str, folder: Path, output: Path | None = None, **more: str) -> None:
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    if output is not None:
        output.write_bytes(done.stdout)


def ran(report: Path) -> set[str]:
    return {r.test.unit for r in read_report(report).run.results if r.outcome != "skipped"}


def test_pytest_runs_what_was_selected(tmp_path: Path) -> None:
    body = "import pytest\n\n@pytest.mark.parametrize('x', [1, 2])\ndef test_b(x): pass\n"
    (tmp_path / "test_m.py").write_text(f"def test_a(): pass\ndef test_aa(): pass\n{body}")
    (tmp_path / "test_n.py").write_text("def test_c(): pass\n")
    selected = {"test_m.py::test_a", "test_m.py::test_b"}
    words = shlex.join(render_units(sorted(selected), "pytest").splitlines())
    plain = "-p no:foretest -p no:randomly -p no:cacheprovider"
    run(f"python -m pytest -q {plain} --junitxml=r.xml {words}", tmp_path)
    assert ran(tmp_path / "r.xml") == selected


@needs("ctest", "cmake", "make")
def test_ctest_runs_what_was_selected(tmp_path: Path) -> None:
    names = [
        "says a.b+c (x86)",
        "says a.b+c (x86)x",
        "says aXb+c (x86)",
        "List<int>[1]",
        "a::b",
        "b",
    ]
    listed = "".join(f'add_test(NAME "{name}" COMMAND true)\n' for name in names)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.19)\nproject(sample NONE)\nenable_testing()\n" + listed
    )
    run("cmake .", tmp_path)
    selected = {names[0], names[3], names[4]}
    (line,) = render_units(sorted(selected), "ctest").splitlines()
    run(f"ctest -R {shlex.quote(line)} --output-junit r.xml", tmp_path)
    assert ran(tmp_path / "r.xml") == selected


@needs("go")
def test_go_runs_what_was_selected(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module example.org/project\n\ngo 1.19\n")
    for package, tests in {"one": "TestA TestAB TestÉ", "two": "TestA"}.items():
        (tmp_path / package).mkdir()
        bodies = "".join(f"func {test}(t *testing.T) {{}}\n" for test in tests.split())
        text = f'package {package}\n\nimport "testing"\n\n{bodies}'
        (tmp_path / package / "a_test.go").write_text(text)
    selected = {"example.org/project/one::TestA", "example.org/project/one::TestÉ"}
    (line,) = render_units(sorted(selected), "go").splitlines()
    report = tmp_path / "r.jsonl"
    run(f"go test -json -vet=off {line}", tmp_path, report, GOFLAGS="-mod=mod", GOWORK="off")
    assert ran(report) == selected
