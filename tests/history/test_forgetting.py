"""Deletion for good: rows, files, bytes and names are gone, everyone else's are not."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from foretest import forgetting
from foretest.history import erasure
from foretest.history.catalogue import Catalogue
from foretest.history.erasure import as_of, erase, hashed, losses, tombstones
from foretest.history.lake import Lake
from foretest.history.shelf import FOLDER, Shelf
from foretest.records import (
    Change,
    Choice,
    Configuration,
    Outcome,
    Selection,
    TestId,
    TestResult,
    TestRun,
    Why,
)
from small_project import Project

SECRET, OTHER = "host/acme é/se'cret", "host/acme/other"
NOON = datetime(2025, 3, 1, tzinfo=UTC)


def run(repository: str, name: str) -> TestRun:
    word = "Zanzibar" if repository == SECRET else "plain"
    test = TestId(f"tests/test_{word}.py", (), f"test_{word}_{name}")
    result = TestResult(test, Outcome.FAILED, 0.5)
    place = Configuration("linux", "3.11")
    return TestRun(name, repository, f"{word}{name}", place, NOON, NOON, (result,))


def filled(folder: Path) -> Lake:
    lake = Lake(folder)
    lake.append([run(OTHER, "0")])
    for name in "123":
        lake.append([run(SECRET, name), run(OTHER, name)])
    lake.compact()
    lake.append([run(OTHER, "9")])
    return lake


def traces(folder: Path, *needles: bytes) -> list[str]:
    """Files that hold one of the needles in their name, bytes or parquet values."""
    found = []
    for path in sorted(folder.rglob("*")):
        whole = os.fsencode(path)
        if path.is_file():
            whole += path.read_bytes()
            if path.suffix == ".parquet":
                whole += str(pl.read_parquet(path).rows()).encode()
        if any(needle in whole for needle in needles):
            found.append(str(path.relative_to(folder)))
    return found


def test_what_is_forgotten_is_off_the_disk(tmp_path: Path) -> None:
    lake = filled(tmp_path / "lake")
    needles = (b"Zanzibar", b"cret", b"acme%20", b"acme \xc3")
    assert traces(tmp_path, *needles)  # the check can fail
    others = list(lake.events(OTHER))
    before = lake.version
    stone = erase(tmp_path / "lake", SECRET)
    erase(tmp_path / "lake" / "_runs", SECRET)
    assert stone is not None
    assert (stone.rows, stone.last) == (3, before)
    assert traces(tmp_path, *needles) == []
    assert list(lake.events(SECRET)) == []
    assert list(lake.events(OTHER)) == others
    assert lake.runs().collect()["repository"].unique().to_list() == [OTHER]
    assert lake.append([run(OTHER, "0"), run(OTHER, "new")]) == 1
    assert erase(tmp_path / "lake", SECRET) is None


def test_versions_that_lost_rows_say_so(tmp_path: Path) -> None:
    lake = filled(tmp_path / "lake")
    place = tmp_path / "lake"
    since = lake.scan(SECRET).select(pl.col("sequence").min()).collect().item()
    last = lake.version
    erase(place, SECRET)
    (stone,) = tombstones(place)
    assert stone.repository == hashed(SECRET)
    assert SECRET not in str(stone)
    assert losses(place, since - 1) == ()
    assert "deleted for good" in losses(place, since)[0]
    assert losses(place, last)
    assert losses(place, lake.version) == ()
    older = as_of(lake.scan(), since).collect()
    assert set(older["run_id"]) == {"0", "1"}
    assert set(older["repository"]) == {OTHER}
    assert losses(tmp_path / "none", 3) == ()


def test_stats_say_what_the_bundles_results_have_lost(project: Project) -> None:
    lake = Lake(project.state / "lake")
    lake.append([run(OTHER, "1")])
    project.pytest("--foretest").check()
    project.foretest("record").check()
    assert "loss" not in project.foretest("stats").check().out
    assert project.foretest("forget", OTHER, "--yes").check().out.startswith("1 results deleted")
    assert "were deleted for good" in project.foretest("stats").check().out


def test_a_tombstone_is_left_where_nothing_was_held(tmp_path: Path) -> None:
    lake = filled(tmp_path / "lake")
    before = datetime.now(UTC)
    for _ in range(2):
        assert erase(tmp_path / "lake", "never/held", always=True) is not None
    (stone,) = tombstones(tmp_path / "lake")
    assert before < stone.moment < datetime.now(UTC)
    assert losses(tmp_path / "lake", 1) == ()
    assert lake.append([run(OTHER, "another")]) == 1
    whole = replace(stone, at="2025-03-01T12:00:00+00:00")
    assert whole.moment == datetime(2025, 3, 1, 12, 0, 1, tzinfo=UTC)


def test_a_deletion_that_was_killed_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "lake")
    with monkeypatch.context() as patch:
        patch.setattr(erasure, "_purge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            erase(tmp_path / "lake", SECRET)
    assert traces(tmp_path / "lake", b"Zanzibar")
    erase(tmp_path / "lake", SECRET)
    erase(tmp_path / "lake" / "_runs", SECRET)
    assert traces(tmp_path / "lake", b"Zanzibar") == []
    assert len(tombstones(tmp_path / "lake")) == 1


def selection(repository: str) -> Selection:
    choice = Choice("tests/test_Zanzibar.py::t", Why.SCORE, 1.0, 1.0, 1.0)
    change = Change(repository, "a", "b", ())
    return Selection("d1", repository, change.base, change.head, (choice,), ())


def test_the_catalogue_forgets_as_well(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.db"
    with Catalogue(file) as catalogue:
        catalogue.record_run(run(SECRET, "1"))
        catalogue.record_run(run(OTHER, "1"))
        catalogue.record_decision(selection(SECRET))
        assert catalogue.forget(SECRET) == 6
        assert catalogue.forget(SECRET) == 0
        assert catalogue.stats(SECRET) == {"runs": 0, "tests": 0, "decisions": 0, "bundles": 0}
        assert catalogue.stats(OTHER)["runs"] == 1
        assert traces(tmp_path, b"Zanzibar", b"cret") == []


def test_postgresql_forgets_too(postgres: str) -> None:
    with Catalogue(postgres) as catalogue:
        catalogue.record_run(run(SECRET, "1"))
        catalogue.record_decision(replace(selection(SECRET), decision_id="d2"))
        assert catalogue.forget(SECRET) == 6
        assert catalogue.stats(SECRET)["runs"] == 0


def test_the_command_deletes_a_repositorys_own_state(project: Project) -> None:
    project.foretest("select").check()
    project.pytest("--foretest").check()
    project.foretest("record").check()
    state = project.root / ".foretest"
    key = Catalogue(state / "catalogue.db").runs()[0].repository
    shelf = Shelf(state / FOLDER)
    shelf.add("counts", pl.DataFrame({"repository": [key, OTHER], "n": [1, 2]}), "e", 1)
    assert "Name the repository" in project.foretest("forget").check(2).err
    told = project.foretest("forget", key, "--yes").check()
    assert "results deleted from lake versions" in told.out
    assert "Removed bundle.ftb." in told.out
    kept = shelf.read("counts", {"repository": pl.String(), "n": pl.Int64()}, "e").collect()
    assert kept["repository"].to_list() == [OTHER]
    left = traces(state, b"test_prices", key.encode())
    assert [name for name in left if not name.endswith(".lock")] == []
    assert "versions" in project.foretest("forget", "--list").check().out
    assert (state / forgetting.LAKE).is_dir()
