"""The corpus: a repository mined and gone on with, what a broken one does, account and lake."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from foretest.cli.main import main
from foretest.durable import write_text
from foretest.errors import BadConfiguration, BadStore
from foretest.history.shelf import Shelf
from foretest.lab.labels import Candidate, sample_tests
from foretest.platform.cluster import connect
from foretest.platform.corpus.account import account, as_lines, closing_lines, until
from foretest.platform.corpus.facts import (
    FRESH,
    lessons_of,
    names_in,
    read_evidence,
    read_facts,
)
from foretest.platform.corpus.fleet import Standing, by_need, estimate, mine_all, rows_of, spelled
from foretest.platform.corpus.mining import FAILURE, Order, Row
from foretest.platform.corpus.place import EVERY, mixed, sometimes_all
from foretest.platform.corpus.publishing import fetch, publish
from foretest.platform.corpus.recipes import Recipe, read_recipes
from foretest.platform.featuring import build_features, edition_of, read_features
from foretest.platform.tracking.lineage import digest_of
from foretest.records import Change, Source
from foretest.replay.judge import Setting
from foretest.training.examples import examples_of

SOURCE = "def low(a, b):\n    return a if a < b else b\n\n\ndef double(a):\n    return a * 2\n"
TESTS = """\
from small import double, low


def test_low():
    assert low(1, 2) == 1 and low(2, 1) == 1


def test_double():
    assert double(3) == 6
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three commits, of which the last two each mended a function."""
    root = tmp_path_factory.mktemp("origin") / "small"
    root.mkdir()

    def git(*args: str) -> None:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        when = {f"GIT_{role}_DATE": "1700000000 +0000" for role in ("AUTHOR", "COMMITTER")}
        subprocess.run(
            ["git", "-C", str(root), *who, *args],
            check=True,
            capture_output=True,
            env=os.environ | when,
        )

    git("init", "-q", "-b", "main")
    double_wrong = SOURCE.replace("a * 2", "a + 2")
    for source in (double_wrong.replace("a < b", "a > b"), double_wrong, SOURCE):
        write_text(root / "small.py", source)
        write_text(root / "test_small.py", TESTS)
        git("add", "-A")
        git("commit", "-q", "-m", "a change")
    return root


@pytest.fixture(scope="module")
def recipe(origin: Path) -> Recipe:
    return Recipe("small", str(origin), "HEAD", "MIT", lag=1)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Order]:
    """A scratch directory whose environments are this one: nothing is installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # quicker
    scratch = tmp_path / "scratch"

    def order(name: str) -> Order:
        python = scratch / name / "venv" / "bin" / "python"
        write_text(python, f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        write_text(scratch / name / "installed", "pytest\ncoverage>=7.6")
        return Order(scratch, minutes=60.0, faults=2)  # it ends where nothing is left to try

    return order


def test_mining_goes_on_where_it_was_left_and_a_broken_repository_stops_nothing(
    recipe: Recipe, prepared: Callable[[str], Order], tmp_path: Path
) -> None:
    order, facts = prepared("small"), tmp_path / "facts"
    broken = replace(recipe, name="broken", url=str(tmp_path / "nothing"))
    seen: list[Standing] = []
    rows = mine_all([broken, recipe], order, facts, seen.append, here=True)
    assert [(row.name, bool(row.error)) for row in rows] == [("broken", True), ("small", False)]
    assert "clone" in rows[0].error
    assert (order.scratch / "broken" / FAILURE).read_text("utf-8").startswith("Traceback")

    cases = list(read_facts(facts, "small"))
    real = {case.failed for case in cases if case.source is Source.UNDONE}
    assert real == {("test_small.py::test_low",), ("test_small.py::test_double",)}
    assert sum(case.source is Source.FAULT for case in cases) == 2
    for kind in ("fresh coverage", "lagged coverage"):
        held = read_evidence(facts, "small", kind)
        assert held is not None
        assert set(held[0].tests) == {"test_small.py::test_low", "test_small.py::test_double"}

    version = digest_of(facts)
    (again,) = mine_all([recipe], order, facts, seen.append, here=True)
    assert (again.tried, again.error, digest_of(facts)) == (0, "", version)
    assert rows_of(order.scratch)["small"] == again
    assert seen[-1].seconds_left == 0.0

    # On a machine that has nothing but the facts, what they hold is not tried again either.
    shutil.rmtree(order.scratch)
    (elsewhere,) = mine_all([recipe], prepared("small"), facts, seen.append, here=True)
    assert (elsewhere.tried, elsewhere.error) == (0, "")
    assert list(read_facts(facts, "small")) == cases
    mine_all([broken], order, facts, seen.append, here=True)

    found = account(facts, order.scratch)
    assert (found.total.undone, found.total.faulty, found.total.faults) == (2, 2, 2)
    assert [row.name for row in found.failures] == ["broken"]
    said = "\n".join(as_lines(found))
    assert f"facts:{digest_of(facts)}" in said
    assert "failed: broken:" in said
    assert "1 of 2 failed." in list(closing_lines(rows))[-1]


@pytest.mark.filterwarnings("ignore")  # Ray's own code, and its sockets that are closed late
def test_as_tasks_of_a_cluster_it_is_the_same(
    recipe: Recipe, prepared: Callable[[str], Order], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'foretest[platform]'")
    order, facts = prepared("small"), tmp_path / "facts"
    broken = replace(recipe, name="broken", url=str(tmp_path / "nothing"))
    seen: list[Standing] = []
    with connect(cpus=2):
        rows = mine_all([broken, recipe], order, facts, seen.append, here=False)
    failed = {row.name: bool(row.error) for row in rows}
    assert failed == {"broken": True, "small": False}, rows
    assert account(facts).total.faulty == 2
    assert any("small" in standing.sentence() for standing in seen)


def test_of_a_slow_suite_samples_run_with_their_probabilities(
    recipe: Recipe,
    prepared: Callable[[str], Order],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("foretest.platform.corpus.place.SLOW", -1.0)
    order = replace(prepared("slow"), faults=0)
    (row,) = mine_all(
        [replace(recipe, name="slow", lag=0)], order, tmp_path, lambda _: None, here=True
    )
    assert row.error == ""
    cases = list(read_facts(tmp_path, "slow"))
    sampled = [case.ran for case in cases if case.ran is not None]
    assert sampled, "the draw goes by the cases' names, which are always the same"
    assert all(0 < chance <= 1 for ran in sampled for chance in ran.values())
    assert all(case.ran is None or set(case.failed) <= case.ran.keys() for case in cases)
    assert read_evidence(tmp_path, "slow", "lagged coverage") is None


def test_commits_that_touched_other_paths_alone_are_not_undone(
    recipe: Recipe, prepared: Callable[[str], Order], tmp_path: Path
) -> None:
    order = replace(prepared("part"), faults=0)
    part = replace(recipe, name="part", lag=0, sources=("test_small.py",))
    (row,) = mine_all([part], order, tmp_path, lambda _: None, here=True)
    assert (row.error, row.tried) == ("", 0)
    (row,) = mine_all(
        [replace(part, sources=("small.py",))], order, tmp_path, lambda _: None, here=True
    )
    assert (row.error, row.tried) == ("", 2)


def test_after_the_end_nothing_is_begun(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    order = Order(tmp_path / "scratch", until=1.0)
    (row,) = mine_all([recipe], order, tmp_path / "facts", lambda _: None, here=True)
    assert (row.stage, row.error) == ("not begun", "")
    assert list((tmp_path / "scratch").iterdir()) == [tmp_path / "scratch" / "rows.jsonl"]


def test_the_lake_gives_back_every_byte(tmp_path: Path) -> None:
    facts = Path(__file__).parents[2] / "proof" / "cases"
    if not facts.exists():
        pytest.skip("the kept facts are not here")
    few = tmp_path / "few"
    few.mkdir()
    for path in (*facts.glob("glom.*"), *facts.glob("h11.*")):
        (few / path.name).write_bytes(path.read_bytes())
    shelf = Shelf(tmp_path / "shelf")
    first, second = publish(few, shelf), publish(few, shelf)
    assert (first.repositories, first.new, second.new) == (2, 2, 0)
    assert fetch(shelf, first.version, tmp_path / "back") == ["glom", "h11"]
    assert digest_of(tmp_path / "back") == digest_of(few) == first.version
    with pytest.raises(BadStore, match="does not hold all of version 0000"):
        fetch(shelf, "0000", tmp_path / "other")


def test_stored_features_keep_the_probabilities_of_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Path(__file__).parents[2] / "proof" / "cases"
    if not kept.exists():
        pytest.skip("the kept facts are not here")
    monkeypatch.setattr("foretest.platform.featuring.code_version", lambda: "now")
    facts, tests = tmp_path / "facts", read_evidence(kept, "h11", FRESH)[0].tests  # type: ignore[index]
    facts.mkdir()
    (facts / "h11.fresh.ftb").write_bytes((kept / "h11.fresh.ftb").read_bytes())
    lines = [
        replace(case, ran=sample_tests(case.failed, tests, 0.25, case.case_id)).to_line()
        for case in read_facts(kept, "h11")
    ]
    (facts / "h11.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode()))
    build_features(facts, tmp_path / "out", cluster=False)
    found = list(read_features(tmp_path / "out", edition_of(facts), "h11", FRESH))
    ((lesson, age),) = lessons_of(facts, ["h11"], FRESH)
    wanted = list(examples_of(lesson.trials, lesson.store, Setting(freshness=age), "h11"))
    assert len(found) == len(wanted) > 10
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.rows is not None
        assert theirs.rows is not None
        assert ours.rows.tolist() == theirs.rows.tolist()
        assert len(ours.rows) < len(tests)
        assert ours.stands_for == pytest.approx(theirs.stands_for)
        assert ours.failed.tolist() == theirs.failed.tolist()


def _candidate(name: str) -> Candidate:
    return Candidate(name, Source.UNDONE, "c" * 40, b"")


def test_faults_are_one_try_in_four_while_there_are_any() -> None:
    undone = [_candidate(f"u{i}") for i in range(9)]
    faults = [_candidate(f"f{i}") for i in range(2)]
    names = [candidate.case_id for candidate in mixed(undone, faults)]
    assert sorted(names) == sorted(candidate.case_id for candidate in (*undone, *faults))
    assert [i + 1 for i, name in enumerate(names) if name[0] == "f"] == [EVERY, 2 * EVERY]
    assert [c.case_id for c in mixed([], faults)] == ["f0", "f1"]


def test_a_tenth_of_a_slow_suites_cases_run_in_full_and_always_the_same() -> None:
    def few(change: Change, candidate: Candidate) -> Mapping[str, float]:
        return {"t": 0.5}

    choose = sometimes_all(few)
    change = Change(files=(), base="", head="") if False else None
    drawn = [choose(change, _candidate(f"u{i}")) is None for i in range(2000)]  # type: ignore[arg-type]
    assert 0.08 < sum(drawn) / len(drawn) < 0.12
    assert drawn == [choose(change, _candidate(f"u{i}")) is None for i in range(2000)]  # type: ignore[arg-type]


def test_what_is_left_goes_by_what_was_needed() -> None:
    order = Order(Path(), minutes=2.0)
    assert estimate([], [], 3, order, 1) == 360.0
    assert estimate([10.0, 30.0], [Row("a", seconds=5.0)], 5, order, 2) == (2 * 20 + 15) / 2
    assert [spelled(s) for s in (5, 600, 12_000)] == ["5 s", "10 min", "3 h 20 min"]


def test_a_moment_is_the_next_of_its_kind() -> None:
    noon = until("2025-07-01T12:00")
    assert until("12:30", noon) == noon + 1800
    assert until("11:00", noon) == noon + 23 * 3600
    with pytest.raises(ValueError, match="noon"):
        until("noon")


def test_who_has_least_comes_first(recipe: Recipe) -> None:
    facts = Path(__file__).parents[2] / "proof" / "cases"
    if not facts.exists():
        pytest.skip("the kept facts are not here")
    rich = replace(recipe, name="boltons")
    assert by_need([rich, recipe], facts) == [recipe, rich]


def test_the_kept_facts_stay_small() -> None:
    proof = Path(__file__).parents[2] / "proof"
    folders = [proof / name for name in ("cases", "later", "grown")]
    if not all(folder.exists() for folder in folders):
        pytest.skip("the kept facts are not here")
    accounts = [account(folder) for folder in folders]
    assert sum(each.size for each in accounts) <= 20e6
    # No repository stands in two folders: what one judges, no other is fitted on.
    names = [name for folder in folders for name in names_in(folder)]
    assert sorted(set(names)) == sorted(names)


def test_recipes_are_sound() -> None:
    recipes = read_recipes()
    assert len({recipe.url for recipe in recipes}) == len(recipes)
    assert all(recipe.licence and len(recipe.commit) >= 7 for recipe in recipes)
    with pytest.raises(BadConfiguration, match="no-such"):
        read_recipes(names=["no-such"])


@pytest.mark.parametrize(
    "text",
    [b"\xff\xfe", b"one = 1", b"[one]\nlag = 2", b"[one]\nurl = 'u'\ncolour = 1", b"["],
)
def test_a_file_of_anything_else_is_no_crash(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "recipes.toml"
    path.write_bytes(text)
    with pytest.raises(BadConfiguration, match="holds no recipes"):
        read_recipes(path)


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"{}\n" * 99)[:-12], b"plain", gzip.compress(b'{"a":1}\n'), gzip.compress(b"[")],
    ids=["cut off", "not gzip", "no case", "no JSON"],
)
def test_damaged_facts_are_named(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.jsonl.gz").write_bytes(content)
    assert main(["platform", "corpus", "status", "--facts", str(tmp_path)]) == 2
    assert "one.jsonl.gz cannot be read as facts" in capsys.readouterr().err


def test_damaged_evidence_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.fresh.ftb").write_bytes(b"half of a bundle")
    with pytest.raises(BadStore, match=r"one\.fresh\.ftb cannot be read as facts"):
        read_evidence(tmp_path, "one", FRESH)


def test_the_verb_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["platform", "corpus", "--until", "noon", "--names", "click"]) == 2
    assert "neither HH:MM" in capsys.readouterr().err
    assert main(["platform", "corpus", "--names", "no-such"]) == 2
    assert "No recipe for no-such." in capsys.readouterr().err
