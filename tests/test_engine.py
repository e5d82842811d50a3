"""The main flow in process: what is chosen, what fails open, and how everything is spelt."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from foretest import bundle as bundles
from foretest import decisions, engine
from foretest.client import run_all
from foretest.config import load_config
from foretest.records import Budget, Choice, Selection, Why
from foretest.selection.formats import EVERYTHING, FORMATS, render
from foretest.selection.suite import whole_suite
from small_project import UNITS, Project
from small_ranker import ranker

TAX = "tests/test_prices.py::test_tax"


def selected(project: Project, **given: object) -> Selection:
    return engine.select_or_all(project.root, **given)  # type: ignore[arg-type]


def names(selection: Selection) -> list[str]:
    return [choice.test for choice in selection.chosen]


def test_the_best_test_comes_first(project: Project) -> None:
    project.break_tax()
    selection = selected(project, base="HEAD", budget=Budget(share=0.3))
    assert names(selection)[0].startswith("tests/test_prices.py::")
    assert {TAX, "tests/test_prices.py::test_reduced_tax"} & {*names(selection)}
    assert not selection.run_all
    assert len(selection.chosen) + len(selection.rest) == UNITS
    assert all(choice.reason for choice in selection.chosen)
    kept = json.loads((project.state / "decisions" / f"{selection.decision_id}.json").read_text())
    assert [c["test"] for c in kept["chosen"]] == names(selection)


def test_new_changed_and_vanished_tests(project: Project) -> None:
    project.edit("tests/test_prices.py", "def test_gross_of_nothing", "def test_nothing_gross")
    project.edit("tests/test_prices.py", "tax(100) == 20", "tax(200) == 40")
    project.write("tests/test_new.py", "def test_new(): pass\n")
    selection = selected(project, base="HEAD", budget=Budget(seconds=0.0))
    why = {choice.test: choice.why for choice in selection.chosen}
    assert why["tests/test_new.py::test_new"] is Why.NEW
    assert why["tests/test_prices.py::test_nothing_gross"] is Why.NEW
    assert why[TAX] is Why.CHANGED
    everything = {*names(selection), *(choice.test for choice in selection.rest)}
    assert "tests/test_prices.py::test_gross_of_nothing" not in everything


def test_a_budget_may_follow_the_risk(project: Project) -> None:
    project.break_tax()
    flat = selected(project, base="HEAD", budget=Budget(share=0.3))
    assert flat.budget.share == 0.3
    adapted = selected(project, base="HEAD", budget=Budget(share=0.3), adapt=True)
    assert adapted.budget.share is not None
    assert 0.3 * 0.25 <= adapted.budget.share <= 1.0
    assert adapted.budget.share != 0.3
    (said,) = (n for n in adapted.notices if n.startswith("This change is riskier than"))
    assert f"the budget is {adapted.budget.share:.1%} of suite time instead of 30.0%." in said
    project.write("foretest.toml", "adapt = true\n")
    again = selected(project, base="HEAD", budget=Budget(seconds=0.5))
    assert any("instead of 0.5 s" in notice for notice in again.notices)
    off = selected(project, base="HEAD", budget=Budget(seconds=0.5), adapt=False)
    assert off.budget == Budget(seconds=0.5)


def test_nothing_limited_is_adapted(project: Project) -> None:
    project.break_tax()
    assert selected(project, base="HEAD", budget=Budget(share=1.0), adapt=True).run_all
    unchanged = selected(project, base="HEAD", head="HEAD", budget=Budget(share=0.3), adapt=True)
    assert unchanged.budget.share == 0.3


def test_a_data_file_widens(project: Project) -> None:
    project.write("data/rates.json", '{"standard": 21, "reduced": 5}\n')
    selection = selected(project, base="HEAD")
    assert selection.notices
    assert len(selection.chosen) > 1


def test_shards_are_disjoint_and_hold_everything(project: Project) -> None:
    parts = [selected(project, budget=Budget(1.0), bin=(i, 3)) for i in (1, 2, 3)]
    whole = names(selected(project, budget=Budget(1.0)))
    assert sorted(test for part in parts for test in names(part)) == sorted(whole)


def test_another_head_is_judged_without_the_work_tree(project: Project) -> None:
    project.write("tests/test_new.py", "def test_new(): pass\n")
    head = project.git("rev-parse", "HEAD")
    selection = selected(project, base="HEAD~1", head="HEAD")
    assert selection.head == head
    assert "tests/test_new.py::test_new" not in names(selection)


@pytest.mark.parametrize(
    "error",
    [ValueError("odd"), MemoryError(), RecursionError(), OSError(5, "I/O error"), AssertionError()],
    ids=lambda error: type(error).__name__,
)
def test_whatever_breaks_all_tests_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    for name in ("compose", "query_of", "read_change", "read_bundle", "freshness", "units_now"):
        with monkeypatch.context() as patch:
            patch.setattr(engine, name, broken)
            selection = selected(project)
        assert selection.run_all, name
        assert selection.chosen == selection.rest == ()
        assert type(error).__name__ in selection.notices[0]


def test_ctrl_c_is_no_reason_to_run_everything(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "compose", interrupted)
    with pytest.raises(KeyboardInterrupt):
        selected(project)
    done = project.foretest("select").check(130)
    assert done.out == ""
    assert done.err.strip() == "foretest: interrupted; what was finished is kept."


def test_the_last_decision_is_the_last_one_made(project: Project) -> None:
    for _ in range(5):
        last = selected(project)
        assert decisions.load(project.state).decision_id == last.decision_id


def test_explaining_names_reasons_for_and_against(project: Project) -> None:
    project.break_tax()
    selected(project, base="HEAD", budget=Budget(share=0.3))
    config = load_config(project.root)
    runs = engine.explain(config, TAX)
    assert "runs, place" in runs[0]
    assert re.match(
        r"    likelihood [\d.]+ % if .* \(score .*\): \+ it shares words with the change \(x",
        runs[-1],
    )
    out = engine.explain(config, "TestTake::test_too_many")
    assert "is left out" in out[0]
    assert re.match(r"    (it runs from a budget of|nothing less than the whole)", out[-2])
    assert out[-2].endswith("; this one was 30 %")
    assert out[-1].startswith("    likelihood ")
    assert "No test matches" in engine.explain(config, "nowhere")[0]


def test_a_learned_model_decides_and_explains(project: Project) -> None:
    path = project.state / "bundle.ftb"
    bundles.write(path, replace(bundles.read(path), model=ranker()))
    project.break_tax()
    selection = selected(project, base="HEAD", budget=Budget(share=0.3))
    assert not selection.run_all
    assert TAX in names(selection)
    done = project.foretest("explain", TAX).check().out
    assert re.search(
        r"^    likelihood [\d.]+ % if .* \(.* % where nothing speaks .*\): \+ it ", done, re.M
    )
    left = project.foretest("explain", selection.rest[-1].test).check().out
    assert re.search(r"^    likelihood .*- its? (shares|enters|imports)", left, re.M)


# How everything is spelt: empty output means that nothing is to run, in every format.


def nothing() -> Selection:
    return Selection("d", "r", "b", None, (), (Choice("a::b", Why.OVER_BUDGET, 0, 1, 0),))


@pytest.mark.parametrize("name", FORMATS)
def test_empty_output_means_nothing_to_run(name: str) -> None:
    assert render(nothing(), name) == ""
    assert render(run_all("why"), name).strip()


def test_every_runner_has_a_word_for_everything() -> None:
    assert {*EVERYTHING, "pytest"} == {*FORMATS}
    assert render(run_all("why"), "go") == "./...\n"
    assert render(run_all("why"), "bazel") == "//...\n"
    assert render(run_all("why"), "pytest", ("tests", "docs")) == "tests\ndocs\n"
    data = json.loads(render(run_all("why"), "json"))
    assert data["run_all"] is True
    assert data["chosen"] == []


def test_the_command_says_it_in_the_runners_words(unlearnt: Project) -> None:
    for form, said in (("pytest", "tests\n"), ("go", "./...\n"), ("gradle", "--tests '*'\n")):
        assert unlearnt.foretest("select", "--format", form).check().out == said
    listed = unlearnt.home / "now.txt"
    listed.write_text(unlearnt.foretest("select", "--bin", "2/3").check().out)
    assert "15 passed" in unlearnt.pytest(f"@{listed}").check().out
    rest = unlearnt.home / "rest.txt"
    unlearnt.foretest("select", "--rest", str(rest)).check()
    assert rest.read_text() == ""


def test_settings_name_the_whole_suite(unlearnt: Project) -> None:
    unlearnt.write("foretest.toml", 'tests = ["tests/test_stock.py"]\n')
    assert unlearnt.foretest("select").check().out == "tests/test_stock.py\n"


Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def file(name: str, text: str) -> Path:
        (tmp_path / "tests").mkdir(exist_ok=True)
        (tmp_path / "more" / "tests").mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        return tmp_path

    return file


@pytest.mark.parametrize(
    ("name", "text", "places"),
    [
        ("pytest.ini", "[pytest]\ntestpaths = tests\n  more/tests\n", ("tests", "more/tests")),
        ("tox.ini", "[pytest]\ntestpaths = */tests\n", ("more/tests",)),
        ("setup.cfg", "[tool:pytest]\ntestpaths = tests\n", ("tests",)),
        ("setup.cfg", "[metadata]\nname = x\n", (".",)),
        ("pyproject.toml", '[tool.pytest.ini_options]\ntestpaths = "tests"\n', ("tests",)),
        ("pyproject.toml", '[tool.pytest]\ntestpaths = ["tests"]\n', ("tests",)),
        ("pyproject.toml", "[tool.pytest.ini_options]\ntestpaths = ['gone']\n", (".",)),
        ("pyproject.toml", "[tool.pytest\n", (".",)),
        ("pyproject.toml", "tool = 3\n", (".",)),
        ("pytest.ini", "\x00", (".",)),
        ("pytest.ini", "[pytest]\ntestpaths = ../x gone/**\n", (".",)),
        ("README", "", (".",)),
    ],
)
def test_where_pytest_looks(write: Write, name: str, text: str, places: tuple[str, ...]) -> None:
    assert whole_suite(write(name, text)) == places


def test_an_empty_settings_file_of_pytests_own_wins(write: Write) -> None:
    root = write("pytest.ini", "")
    write("setup.cfg", "[tool:pytest]\ntestpaths = tests\n")
    assert whole_suite(root) == (".",)
    assert whole_suite(root, ["here"]) == ("here",)


def test_durations_are_known(project: Project) -> None:
    selection = selected(project, budget=Budget(1.0))
    assert all(math.isfinite(choice.seconds) for choice in selection.chosen)
