"""What a selection is bound to: its base, its state, its shards, its evidence's history."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from foretest import client, decisions, engine
from foretest.changes.git import Repository
from foretest.config import load_config
from foretest.doctor import examine
from foretest.records import Budget, Selection, Why
from foretest.selection.formats import selection_to_json
from small_project import Project

TAX = "tests/test_prices.py::test_tax"
SHARES = (0.4, 0.5, 0.6, 0.7, 0.8)


def selected(project: Project, **given: object) -> Selection:
    return engine.select_or_all(project.root, **given)  # type: ignore[arg-type]


def said(selection: Selection) -> str:
    return " ".join(selection.notices)


def test_shards_that_choose_apart_lose_no_test(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORETEST_EXPLORE", "0.5")
    project.break_tax()
    drawn = 0
    for share in SHARES:
        given = {"base": "HEAD", "budget": Budget(share)}
        whole = selected(project, **given)
        parts = [selected(project, **given, bin=(i, 3)) for i in (1, 2, 3)]
        drawn += sum(choice.why is Why.EXPLORED for choice in whole.chosen)
        united = [choice.test for part in parts for choice in part.chosen]
        assert sorted(united) == sorted(choice.test for choice in whole.chosen)
    assert drawn


def test_a_drawn_test_moves_no_other_to_another_shard(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORETEST_EXPLORE", "0.5")
    project.break_tax()
    whole = selected(project, base="HEAD", budget=Budget(0.7))
    kept = [c for c in whole.chosen if c.why is not Why.EXPLORED]
    assert len(kept) < len(whole.chosen)
    for i in (1, 2, 3):
        wanted = engine.Bin(i, 3)
        alone = engine.only_shard(engine.replace(whole, chosen=tuple(kept)), wanted).chosen
        together = engine.only_shard(whole, wanted).chosen
        assert [c for c in together if c.why is not Why.EXPLORED] == list(alone)


def test_the_day_ends_for_all_shards_alike() -> None:
    noon = 20_000 * 86_400 + 43_200.0
    assert engine.tomorrow(noon) == engine.tomorrow(noon + 600) >= noon + 600


@pytest.fixture
def written(project: Project) -> Path:
    """A selection of the work tree in a file of the work tree."""
    project.break_tax()
    path = project.root / "selection.json"
    selection = selected(project, base="HEAD", budget=Budget(0.5))
    path.write_text(json.dumps(selection_to_json(selection)))
    return path


def read(project: Project, path: Path) -> Selection:
    return client.read_selection(path, project.git("rev-parse", "HEAD"), project.root)


def test_a_selection_holds_for_the_state_it_was_made_for(project: Project, written: Path) -> None:
    (project.root / "report.xml").write_text("<testsuites/>")
    selection = read(project, written)
    assert not selection.run_all
    assert selection.state.startswith(project.git("rev-parse", "HEAD") + "+")
    project.edit("src/shop/stock.py", "sorted(", "list(")
    assert "before files of the work tree changed" in said(read(project, written))
    project.git("checkout", "-q", "src/shop/stock.py")
    assert not read(project, written).run_all
    project.write("tests/test_more.py", "def test_more(): pass\n")
    assert read(project, written).run_all
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "All")
    assert "was made for commit" in said(read(project, written))


def test_a_selection_without_a_state_is_not_trusted(project: Project, written: Path) -> None:
    data = json.loads(written.read_text())
    del data["state"]
    written.write_text(json.dumps(data))
    assert "does not say for which state" in said(read(project, written))
    assert not client.read_selection(written).run_all  # outside a repository


def test_pytest_runs_everything_with_an_outdated_selection(project: Project, written: Path) -> None:
    done = project.pytest("--foretest", f"--foretest-selection={written}", "-rs").check(0, 1)
    assert "15 passed" not in done.out
    project.git("checkout", "-q", "src/shop/prices.py")
    done = project.pytest("--foretest", f"--foretest-selection={written}").check()
    assert "15 passed" in done.out


def test_on_the_main_line_all_since_the_bundle_is_judged(project: Project) -> None:
    learnt = project.git("rev-parse", "HEAD")
    project.break_tax()
    project.git("commit", "-q", "-a", "-m", "Break")
    project.write("README.md", "Words\n", "Words")
    selection = selected(project, budget=Budget(0.5))
    assert selection.base == learnt
    assert f"Compared with {learnt[:10]}, the state of the bundle" in said(selection)
    assert selection.chosen[0].test.startswith("tests/test_prices.py")
    assert selected(project, head="HEAD~1").base == learnt


def test_uncommitted_work_on_the_main_line_is_judged_alone(project: Project) -> None:
    head = project.git("rev-parse", "HEAD")
    assert "the commit before: nothing changed" in said(selected(project))
    project.break_tax()
    assert selected(project).base == head


def test_a_bundle_of_another_branch_says_which_base_it_is(project: Project) -> None:
    project.git("reset", "-q", "--hard", "HEAD~1")
    project.write("README.md", "Words\n", "Words")
    selection = selected(project)
    assert selection.base == project.git("rev-parse", "HEAD~1")
    assert "since the bundle's is not in this one's past" in said(selection)
    assert "The budget is doubled" in said(selection)


def test_the_age_of_a_bundle_beside_is_counted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORETEST_MAX_COVERAGE_AGE", "2")
    project.git("reset", "-q", "--hard", "HEAD~1")
    project.write("README.md", "Words\n", "Words")
    assert not selected(project).run_all
    project.write("README.md", "More\n", "More")
    selection = selected(project)
    assert selection.run_all
    assert "3 commits old" in said(selection)


def test_a_bundle_of_another_history_runs_all(project: Project) -> None:
    project.git("checkout", "-q", "--orphan", "other")
    project.git("commit", "-q", "-m", "All anew")
    project.write("README.md", "Words\n", "Words")
    selection = selected(project, base="HEAD~1")
    assert selection.run_all
    assert "no history in common" in said(selection)
    assert "or of unknown age" in said(selection)


def test_explaining_does_not_mix_two_changes(project: Project) -> None:
    project.break_tax()
    selected(project, base="HEAD", budget=Budget(0.3))
    config = load_config(project.root)
    assert engine.MOVED_ON not in engine.explain(config, TAX)
    detail = len(engine.explain(config, TAX))
    project.git("checkout", "-q", "src/shop/prices.py")
    told = engine.explain(config, TAX)
    assert told[0] == engine.MOVED_ON
    assert len(told) == 2 < 1 + detail
    assert "place" in told[1]


def test_another_base_keeps_what_was_asked_for(project: Project) -> None:
    project.break_tax()
    config = load_config(project.root)
    last = selected(project, base="HEAD", budget=Budget(seconds=0.123), confidence=0.5)
    assert last.promise is not None
    told = engine.explain(config, None, base="HEAD~1")
    assert any(line.startswith(("Promise", "No promise")) for line in told), told
    anew, head = engine._decided_anew(Repository.open(project.root), config, "HEAD~1", None)
    assert anew.promise is not None
    assert (anew.promise.asked, anew.budget, head) == (0.5, last.budget, None)
    assert anew.base == project.git("rev-parse", "HEAD~1")
    assert decisions.load(config.state) == last


def test_without_a_confidence_another_base_promises_nothing(project: Project) -> None:
    project.write("foretest.toml", "confidence = 0.5\n", "Settings")
    project.break_tax()
    last = selected(project, base="HEAD", budget=Budget(share=0.2), confidence=0.0)
    assert last.promise is None
    told = engine.explain(load_config(project.root), last.rest[-1].test, base="HEAD")
    assert not any("promise" in line.lower() for line in told)
    assert any("this one was 20 %" in line for line in told)


def test_explain_takes_a_confidence(project: Project) -> None:
    project.break_tax()
    last = selected(project, base="HEAD", budget=Budget(share=0.2))
    assert "romise" not in project.foretest("explain").check().out
    told = project.foretest("explain", "--confidence", "50%").check().out
    assert re.search("^(No p|P)romise.*50 %", told, re.M), told
    assert decisions.load(project.state) == last
    assert "not a share" in project.foretest("explain", "--confidence", "much").check(2).err


def test_without_a_decision_another_base_is_explained_by_the_settings(project: Project) -> None:
    project.break_tax()
    assert "runs, place 1" in engine.explain(load_config(project.root), None, base="HEAD")[0]


def test_settings_of_a_folder_inside_are_not_ignored_in_silence(project: Project) -> None:
    project.write("part/deep/pyproject.toml", "[project]\nname = 'x'\n")
    project.write("part/pyproject.toml", "[tool.foretest]\ntarget = 0.5\n")
    project.write("part/foretest.toml", "nonsense")
    inside = project.root / "part" / "deep"
    notices = said(engine.select_or_all(inside))
    assert "settings of part/pyproject.toml are not read" in notices
    unread = [f.what for f in examine(inside) if "settings" in f.what]
    assert unread == ["The settings of part/pyproject.toml are not read."]
    assert "not read" not in said(selected(project))
