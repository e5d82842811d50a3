"""The form of the modules: a line that says what each is, a length one can read, plain names."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

LINES = 400

LONG: dict[str, str] = {}
"""Modules that may be longer, and why."""

VAGUE = {"utils", "util", "common", "misc", "helpers", "helper", "manager"}

UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|Not" + "ImplementedError")

PLACES = tuple("/" + place for place in ("work/", "root/", "tmp/w/", "home/"))
"""Where somebody's checkout may lie: no file of the project may lean on such a place."""


def test_every_module_opens_with_a_line_that_says_what_it_is(
    modules: dict[str, Path], tree_script: ModuleType
) -> None:
    silent = [name for name, file in modules.items() if not tree_script.first_line(file)]
    assert silent == []


def test_first_lines_end_as_sentences_do(modules: dict[str, Path], tree_script: ModuleType) -> None:
    lines = {name: tree_script.first_line(file) for name, file in modules.items()}
    assert {name: line for name, line in lines.items() if not line.endswith((".", "?"))} == {}


def test_modules_are_short_or_say_why_not(modules: dict[str, Path]) -> None:
    lengths = {name: len(file.read_text("utf-8").splitlines()) for name, file in modules.items()}
    long = {name: length for name, length in lengths.items() if length > LINES}
    assert long.keys() == LONG.keys() & lengths.keys(), long


def test_names_are_nouns_of_the_field(modules: dict[str, Path]) -> None:
    vague = [name for name in modules if VAGUE & set(name.split("."))]
    assert vague == []


def test_test_files_have_names_of_their_own(root: Path) -> None:
    names = [file.name for file in (root / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
    assert list((root / "tests").rglob("__init__.py")) == []


def test_nothing_is_left_unfinished(texts: dict[str, str]) -> None:
    code = {name: text for name, text in texts.items() if name.endswith((".py", ".sh", ".html"))}
    assert [name for name, text in code.items() if UNFINISHED.search(text)] == []


def test_no_file_leans_on_one_machine(texts: dict[str, str]) -> None:
    found = {name: place for name, text in texts.items() for place in PLACES if place in text}
    assert found == {}


def test_only_the_configuration_reads_settings_from_the_environment(
    modules: dict[str, Path],
) -> None:
    reading = {}
    for name, file in modules.items():
        text = file.read_text("utf-8")
        keys = re.findall(r"(?:environ(?:\.get)?|getenv)[\[(]\s*f?[\"'](FORETEST_\w*)", text)
        if keys and name != "foretest.config":
            reading[name] = keys
    assert reading == {}


def test_no_module_works_when_it_is_imported(modules: dict[str, Path]) -> None:
    """At module level only names are bound: no loop and no bare call stands there."""
    working = {}
    for name, file in modules.items():
        body = ast.parse(file.read_text("utf-8")).body
        calls = [n for n in body if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)]
        loops = [n for n in body if isinstance(n, ast.For | ast.While | ast.With)]
        if calls or loops:
            working[name] = [node.lineno for node in (*calls, *loops)]
    assert working == {}
