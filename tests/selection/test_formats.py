"""Runner formats against hand-written gold lines."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foretest.client import read_selection
from foretest.errors import BadConfiguration
from foretest.records import Basis, Budget, Choice, Promise, Selection, Why
from foretest.selection.formats import (
    FORMATS,
    LONGEST_EXPRESSION,
    render,
    render_units,
    selection_from_json,
    selection_to_json,
)

PYTHON = ["tests/test_a.py::TestX::test_y", "tests/test_b.py::test_z", "tests/test_new.py"]
JAVA = [
    "src/test/java/org/acme/ParserTest.java::ParserTest::parses",
    "app/src/test/kotlin/org/acme/ParserTest.kt::Nested::fails",
    "org.acme.TableTest::looks_up",
]
GO = [
    "pkg/parse/parse_test.go::TestParse",
    "pkg/parse/parse_test.go::TestDeep",
    "./draw::TestDraw",
    "example.org/project/cut::TestCut",
    "example.org/project/broken",
]
WEB = ["web/app.spec.ts::renders", "web/app.spec.ts::hides", "web/table.spec.ts::sorts"]

GOLD = [
    ("pytest", PYTHON, ["tests/test_a.py::TestX::test_y", "tests/test_b.py::test_z", PYTHON[2]]),
    ("raw", ["anything at all"], ["anything at all"]),
    ("files", PYTHON, ["tests/test_a.py", "tests/test_b.py", "tests/test_new.py"]),
    ("jest", WEB, ["--runTestsByPath", "web/app.spec.ts", "web/table.spec.ts"]),
    ("vitest", WEB, ["web/app.spec.ts", "web/table.spec.ts"]),
    ("mocha", WEB, ["web/app.spec.ts", "web/table.spec.ts"]),
    ("playwright", WEB, [r"(^|/)web/app\.spec\.ts$", r"(^|/)web/table\.spec\.ts$"]),
    (
        "maven",
        JAVA,
        [
            "-Dtest='org.acme.ParserTest#parses+parses[*],"
            "org.acme.ParserTest$Nested#fails+fails[*],org.acme.TableTest#looks_up+looks_up[*]'"
        ],
    ),
    (
        "surefire",
        JAVA,
        ["org/acme/ParserTest", "org/acme/TableTest"],
    ),
    (
        "gradle",
        JAVA,
        [
            "--tests org.acme.ParserTest.parses",
            "--tests 'org.acme.ParserTest.parses[*]'",
            "--tests 'org.acme.ParserTest$Nested.fails'",
            "--tests 'org.acme.ParserTest$Nested.fails[*]'",
            "--tests org.acme.TableTest.looks_up",
            "--tests 'org.acme.TableTest.looks_up[*]'",
        ],
    ),
    (
        "go",
        GO,
        [
            "./pkg/parse -run '^(TestParse|TestDeep)$'",
            "./draw -run '^(TestDraw)$'",
            "example.org/project/cut -run '^(TestCut)$'",
            "example.org/project/broken",
        ],
    ),
    ("ctest", ["parse[1]", "a.b+c", "Suite::all"], [r"^(parse\[1\]|a\.b\+c|Suite::all)$"]),
    (
        "gtest",
        ["Sum::Adds", "Digits/Each::IsSmall", "Whole"],
        ["--gtest_filter=Sum.Adds:Sum.Adds/*:Digits/Each.IsSmall:Digits/Each.IsSmall/*:Whole.*"],
    ),
    (
        "nextest",
        ["sample::tests::adds", "sample/it::adds", "sample/bin/tool"],
        [
            "(binary_id(=sample) & test(=tests::adds)) | (binary_id(=sample::it) & test(=adds))"
            " | binary_id(=sample::bin/tool)"
        ],
    ),
    (
        "bazel",
        ["pkg/foo_test", "//other:bar", "lib_test"],
        ["//pkg:foo_test", "//other:bar", "//:lib_test"],
    ),
]


@pytest.mark.parametrize(("name", "units", "lines"), GOLD, ids=[name for name, _, _ in GOLD])
def test_gold(name: str, units: list[str], lines: list[str]) -> None:
    assert render_units(units, name).splitlines() == lines


def test_every_format_has_a_gold_line() -> None:
    assert {name for name, _, _ in GOLD} == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_selection_is_empty(name: str) -> None:
    assert render_units([], name) == ""


def test_an_unknown_format_names_the_known() -> None:
    with pytest.raises(BadConfiguration, match="pytest, raw"):
        render_units(["a"], "rspec")


def test_long_expressions_are_cut_at_names() -> None:
    names = [f"case_{i:05}" for i in range(9_000)]
    lines = render_units(names, "ctest").splitlines()
    assert all(len(line) <= LONGEST_EXPRESSION for line in lines)
    assert [n for line in lines for n in line[2:-2].split("|")] == names


def test_ctest_expressions_find_their_own_names_only() -> None:
    name = "a.b(c)|d[1]*{x}\\e$"
    line = render_units([f"{name}x"], "ctest").strip()
    assert re.fullmatch(line, f"{name}x")
    assert not re.fullmatch(line, "aXb(c)|d[1]*{x}\\e$x")


def selection() -> Selection:
    chosen = (Choice("tests/test_a.py::test_é", Why.SCORE, 0.5, 0.25, 1.0, "covers f"),)
    rest = (Choice("tests/test_b.py::test_b", Why.OVER_BUDGET, 0.0, 1.0, 0.05),)
    return Selection("d1", "r", "a", None, chosen, rest, notices=("n",), budget=Budget(share=0.1))


def test_json_comes_back_as_it_was() -> None:
    text = render(selection(), "json")
    assert selection_from_json(json.loads(text)) == selection()
    assert json.loads(text)["seconds"] == 0.25
    assert json.loads(text)["seconds_high"] is None
    timed = replace(selection(), chosen=(replace(selection().chosen[0], seconds_high=0.5),))
    told = json.loads(render(timed, "json"))
    assert (selection_from_json(told), told["seconds_high"]) == (timed, 0.5)
    assert render(selection(), "pytest") == "tests/test_a.py::test_é\n"


def test_json_of_an_older_version_names_no_state() -> None:
    data = selection_to_json(selection())
    del data["state"]
    assert selection_from_json(data).state == ""


@pytest.mark.parametrize("key", ["decision_id", "chosen", "budget", "notices"])
def test_json_that_lacks_a_part_is_refused(key: str) -> None:
    data = selection_to_json(selection())
    del data[key]
    with pytest.raises(KeyError):
        selection_from_json(data)


def promised() -> dict[str, Any]:
    promise = Promise(0.9, 0.85, Basis.OWN, 30, threshold=0.2, cut=True)
    return selection_to_json(replace(selection(), promise=promise))


def test_json_of_an_older_version_names_no_likelihood() -> None:
    data = selection_to_json(selection())
    for choice in (*data["chosen"], *data["rest"]):
        del choice["likelihood"]
    assert selection_from_json(data) == selection()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 2.5, True, "1", [0.5]])
@pytest.mark.parametrize("name", ["asked", "made", "threshold", "groups"])
def test_a_promise_that_cannot_be_is_refused(name: str, value: object) -> None:
    data = promised()
    assert selection_from_json(data).promise == Promise(0.9, 0.85, Basis.OWN, 30, 0.2, cut=True)
    data["promise"][name] = value
    with pytest.raises((TypeError, ValueError)):
        selection_from_json(data)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, "1", None])
@pytest.mark.parametrize("name", ["score", "seconds", "inclusion"])
def test_a_choice_that_cannot_be_is_refused(name: str, value: object) -> None:
    data = selection_to_json(selection())
    data["rest"][0][name] = value
    with pytest.raises((TypeError, ValueError)):
        selection_from_json(data)


def test_a_file_with_such_a_promise_runs_everything(tmp_path: Path) -> None:
    for value in (math.nan, math.inf, 2.5, -1):
        data = promised()
        data["promise"]["made"] = value
        path = tmp_path / "s.json"
        path.write_text(json.dumps(data))
        found = read_selection(path)
        assert found.run_all
        assert "cannot be read" in found.notices[0]
