"""The catalogue: idempotent, shared by processes, brought forward and never back."""

import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from foretest.errors import BadConfiguration, BadStore, ExtraMissing
from foretest.history import catalogue as module
from foretest.history import database
from foretest.history.catalogue import BundleEntry, Catalogue, pack, unpack
from foretest.history.tables import Table
from foretest.records import (
    Budget,
    Choice,
    Configuration,
    Outcome,
    Selection,
    Source,
    TestId,
    TestResult,
    TestRun,
    Why,
)

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state é" / "catalogue.db"


@pytest.fixture
def catalogue(path: Path) -> Iterator[Catalogue]:
    with Catalogue(path) as opened:
        yield opened


def run(name: str, **more: object) -> TestRun:
    outcomes = (Outcome.FAILED, Outcome.PASSED, Outcome.SKIPPED)
    results = tuple(
        TestResult(TestId("t.py", (), f"test_{i}"), outcome, 0.5)
        for i, outcome in enumerate(outcomes)
    )
    where = Configuration("linux", "3.11", ("a", "b/c"))
    return replace(TestRun(name, "h/o/n", "c", where, NOON, NOON, results), **more)


def selection(name: str = "d1") -> Selection:
    chosen = (Choice("t.py::é", Why.CHANGED, 0.9, 1.5, 1.0, "Its own body changed."),)
    rest = tuple(Choice(f"t.py::r{i}", Why.OVER_BUDGET, 0.1, 0.5, 0.01) for i in range(50))
    return Selection(
        *(name, "h/o/n", "base", None, chosen, rest),
        notices=("Widened: é.",),
        budget=Budget(share=0.1),
        bundle="sha256:1",
    )


def test_runs_are_recorded_once_and_found(catalogue: Catalogue) -> None:
    later = run("b", received_at=NOON + timedelta(hours=1), decision_id="d1", commit=None)
    assert [catalogue.record_run(r) for r in (run("a"), run("a"), later)] == [True, False, True]
    assert [r.run_id for r in catalogue.runs()] == ["b", "a"]
    assert [r.run_id for r in catalogue.runs("h/o/n", limit=1)] == ["b"]
    assert [r.run_id for r in catalogue.runs(since=NOON + timedelta(minutes=1))] == ["b"]
    assert [r.run_id for r in catalogue.runs(commit="c")] == ["a"]
    assert [r.run_id for r in catalogue.runs(decision_id="d1")] == ["b"]
    assert catalogue.runs("other") == []
    found = catalogue.runs(commit="c")[0]
    assert (found.tests, found.failed, found.seconds) == (3, 1, 1.5)
    assert (found.configuration, found.source) == (run("a").configuration, Source.RECORDED)
    assert (found.occurred_at, found.shard, found.commit) == (NOON, None, "c")


def test_attempts_and_shards_are_runs_of_their_own(catalogue: Catalogue) -> None:
    for other in (run("a"), run("a", attempt=2), run("a", shard="1"), run("a", repository="o")):
        assert catalogue.record_run(other)
    assert catalogue.stats()["runs"] == 4
    assert catalogue.stats("o") == {"runs": 1, "tests": 3, "decisions": 0, "bundles": 0}


def test_a_decision_comes_back_as_it_was(catalogue: Catalogue) -> None:
    assert catalogue.record_decision(selection())
    assert not catalogue.record_decision(replace(selection(), base="other"))
    assert catalogue.decision("d1") == selection()
    assert catalogue.decision("none") is None
    catalogue.record_decision(selection("d2"), NOON)
    assert catalogue.decisions("h/o/n") == ["d1", "d2"]


def test_inclusion_probabilities_are_small_and_damage_is_said() -> None:
    choices = selection().rest * 200
    packed = pack(choices)
    assert unpack(packed) == choices
    assert len(packed) < 2 * len(choices)
    for damaged in (b"", packed[:50], b"x"):
        with pytest.raises(BadStore):
            unpack(damaged)


def test_bundles(catalogue: Catalogue) -> None:
    entry = BundleEntry("sha256:1", "c", NOON, 7, {"faults": 3})
    assert catalogue.record_bundle("h/o/n", entry)
    assert not catalogue.record_bundle("h/o/n", entry)
    assert catalogue.bundles("h/o/n") == [entry]


def test_tests_remember_first_and_last_sight(catalogue: Catalogue, path: Path) -> None:
    for days in (0, 5, -5):
        catalogue.record_run(run(str(days), occurred_at=NOON + timedelta(days=days)))
    with sqlite3.connect(path) as plain:
        rows = plain.execute("select distinct first_seen, last_seen from tests").fetchall()
    plain.close()
    assert [(first[:10], last[:10]) for first, last in rows] == [("2025-02-24", "2025-03-06")]


def test_opening_again_keeps_everything(path: Path) -> None:
    with Catalogue(path) as first:
        first.record_run(run("a"))
    with Catalogue(f"sqlite:///{path}") as second:
        assert not second.record_run(run("a"))


def execute(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as plain:
        plain.execute(statement)
    plain.close()


def test_a_newer_schema_is_refused_and_untouched(path: Path) -> None:
    Catalogue(path).close()
    execute(path, "insert into schema_version values (99, '2030-01-01')")
    before = path.read_bytes()
    with pytest.raises(BadStore, match=r"schema 99.*Update foretest"):
        Catalogue(path)
    assert path.read_bytes() == before


def test_an_older_schema_is_brought_forward_and_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Catalogue(path) as old:
        old.record_run(run("a"))

    def step(connection: sa.Connection) -> None:
        connection.exec_driver_sql("alter table runs add column note text")

    monkeypatch.setattr(database, "SCHEMA_VERSION", database.SCHEMA_VERSION + 1)
    monkeypatch.setattr(database, "MIGRATIONS", {database.SCHEMA_VERSION: step})
    for _ in range(2):  # applied once
        with Catalogue(path) as new:
            assert [r.run_id for r in new.runs()] == ["a"]
    execute(path, "select note from runs")


def test_a_migration_that_fails_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Catalogue(path).close()

    def step(connection: sa.Connection) -> None:
        connection.exec_driver_sql("alter table runs add column note text")
        connection.exec_driver_sql("nonsense")

    with monkeypatch.context() as patch:
        patch.setattr(database, "SCHEMA_VERSION", database.SCHEMA_VERSION + 1)
        patch.setattr(database, "MIGRATIONS", {database.SCHEMA_VERSION: step})
        with pytest.raises(BadStore):
            Catalogue(path)
    with Catalogue(path) as same:
        assert same.record_run(run("a"))
    with pytest.raises(sqlite3.OperationalError):
        execute(path, "select note from runs")


@pytest.mark.parametrize("content", [b"nonsense" * 500, b"SQLite format 3\0" + b"x" * 4000])
def test_a_damaged_file_is_said(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(BadStore) as caught:
        Catalogue(path)
    assert caught.value.remedy
    assert path.read_bytes() == content


@pytest.mark.parametrize("url", ["nonsense", "://", "unknown+driver://host/name"])
def test_an_address_that_is_none_is_said(url: str) -> None:
    with pytest.raises((BadConfiguration, BadStore)) as caught:
        Catalogue(url)
    assert caught.value.remedy


def test_a_missing_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ExtraMissing, match="driver"):
        Catalogue("postgresql+psycopg://me:secret@localhost/none")


def test_passwords_are_never_shown() -> None:
    assert "secret" not in database._shown("postgresql://me:secret@host/name")


WRITE = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_catalogue import run
    from foretest.history.catalogue import Catalogue
    with Catalogue(Path(sys.argv[2])) as catalogue:
        print(sum(catalogue.record_run(run(str(i))) for i in range(15)))
"""


def test_processes_at_once_wait_for_each_other(path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WRITE), str(Path(__file__).parent), str(path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    new = [int(process.communicate(timeout=600)[0]) for process in processes]
    assert sum(new) == 15
    with Catalogue(path) as catalogue:
        assert catalogue.stats()["runs"] == 15


def test_every_table_says_what_it_holds() -> None:
    assert all(table.comment for table in Table.metadata.tables.values())


def test_the_schema_fits_postgresql() -> None:
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateTable

    for table in Table.metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))


def test_postgresql(postgres: str) -> None:
    with Catalogue(postgres) as catalogue:
        assert [catalogue.record_run(run("a")), catalogue.record_run(run("a"))] == [True, False]
        assert catalogue.record_decision(selection())
        assert catalogue.decision("d1") == selection()
        assert catalogue.runs()[0].occurred_at == NOON
    assert module.FILE
