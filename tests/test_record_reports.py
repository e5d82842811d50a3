"""`foretest record` with other runners' reports: folders, the selection that ran, the join rate."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from foretest import decisions
from foretest.changes.git import Repository
from foretest.cli.main import main
from foretest.config import Config, load_config
from foretest.history.lake import Lake
from foretest.records import Choice, Selection, Why
from foretest.remembering import record, stats


@pytest.fixture
def config(tmp_path: Path) -> Config:
    root = tmp_path / "project"
    root.mkdir()
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        person = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
        subprocess.run(["git", *person, *words], cwd=root, check=True)
    config = load_config(root, {})
    config.state.mkdir()
    return config


def decide(config: Config, *units: str) -> str:
    chosen = tuple(Choice(unit, Why.SCORE, 0.5, 1.0, 1.0) for unit in units)
    selection = Selection("20250301T120000-0000", "r", "a", None, chosen, ())
    decisions.save(config.state, selection)
    return selection.decision_id


def surefire(folder: Path, *classes: str, cut: bool = False) -> Path:
    folder.mkdir()
    for name in classes:
        case = f'<testcase classname="org.{name}" name="works" time="1"/>'
        text = f'<testsuite name="org.{name}">{case}{"" if cut else "</testsuite>"}'
        (folder / f"TEST-org.{name}.xml").write_text(text)
    return folder


def test_a_folder_is_one_run_and_all_came_back(config: Config, tmp_path: Path) -> None:
    decide(config, "org.A::works", "org.B::works")
    reports = surefire(tmp_path / "reports", "A", "B")
    recorded = record(config, [reports], decision="last")
    assert (recorded.runs, recorded.results, recorded.joined) == (1, 2, 1.0)
    assert recorded.mismatch is None
    assert record(config, [reports]).known_already == 1


def test_too_few_that_came_back_fail_loudly_and_are_kept(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = decide(config, "src/org.A::works", "src/org.B::works")
    reports = surefire(tmp_path / "reports", "A", "B")
    words = ["record", str(reports), "--decision", name, "-C", str(config.root)]
    assert main(words) == 2
    told = capsys.readouterr()
    assert "Recorded 1 run: 2 results" in told.out
    assert "0 of 2 selected tests came back (0%)" in told.err
    assert "src/org.A::works" in told.err
    assert "not selected: org.A::works" in told.err
    assert "another folder" in told.err
    again = record(config, [reports])
    assert again.known_already == 1
    assert "If this is another run, name it: --run-id." in again.sentence()


def test_what_is_sent_is_held_to_the_selection_too(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["-C", str(config.root)]
    sent = ["ingest", "append", str(surefire(tmp_path / "reports", "A", "B")), *place]
    assert main([*sent, "--decision", "last"]) == 2  # there is none yet
    name = decide(config, "src/org.A::works", "src/org.B::works")
    assert main([*sent, "--decision", "last", "--run-id", "R"]) == 2
    told = capsys.readouterr()
    assert "kept as 1" in told.out
    assert "0 of 2 selected tests came back (0%)" in told.err
    assert main(["ingest", "run", "--drain", *place]) == 0
    (run,) = Lake(config.state / "lake").events(Repository.open(config.root).key())
    assert (run.run_id, run.decision_id, len(run.results)) == ("R", name, 2)
    decide(config, "org.A::works", "org.B::works")
    assert main([*sent, "--decision", "last", "--run-id", "S"]) == 0


def test_the_threshold_is_a_setting(config: Config, tmp_path: Path) -> None:
    decide(config, "org.A::works", "org.B::works")
    (config.root / "foretest.toml").write_text("join_threshold = 0.5\n")
    reports = surefire(tmp_path / "reports", "A")
    assert record(load_config(config.root, {}), [reports], decision="last").mismatch is None
    (config.root / "foretest.toml").write_text("join_threshold = 0.6\n")
    assert record(load_config(config.root, {}), [reports], decision="last").mismatch is not None


def test_a_run_that_was_cut_short_is_excused_aloud(config: Config, tmp_path: Path) -> None:
    decide(config, "org.A::works", "org.B::works")
    recorded = record(config, [surefire(tmp_path / "reports", "A", cut=True)], decision="last")
    assert recorded.mismatch is None
    assert any("cut short" in notice for notice in recorded.notices)


def test_an_unknown_decision_is_an_error(config: Config, tmp_path: Path) -> None:
    reports = surefire(tmp_path / "reports", "A")
    assert main(["record", str(reports), "--decision", "x", "-C", str(config.root)]) == 2


def test_stats_of_what_is_unknown_and_of_what_was_ingested(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["-C", str(config.root)]
    assert main(["stats", *place]) == 0
    assert "Nothing is known yet" in capsys.readouterr().out
    reports = surefire(tmp_path / "reports", "A", "B")
    assert main(["ingest", "append", str(reports), *place]) == 0
    assert main(["stats", *place]) == 0
    assert main(["ingest", "run", "--drain", *place]) == 0
    capsys.readouterr()
    assert main(["stats", "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out) == {"recorded runs": 1}
    assert record(config, [surefire(tmp_path / "other", "C")]).runs == 1
    assert stats(config)["recorded runs"] == 2


def test_a_commit_that_is_none_is_refused(config: Config, tmp_path: Path) -> None:
    reports = surefire(tmp_path / "reports", "A")
    words = ["record", str(reports), "-C", str(config.root), "--commit"]
    for odd in ("zz;--", "nosuchcommit", "abc123", "-1", ""):
        assert main([*words, odd]) == 2
    assert stats(config) == {}
    elsewhere = "AB12" * 10
    for named in ("HEAD", elsewhere):
        assert main([*words, named]) == 0
    head = Repository.open(config.root).head()
    key = Repository.open(config.root).key()
    runs = Lake(config.state / "lake").events(key)
    assert [run.commit for run in runs] == [head, elsewhere.lower()]
