"""The lake: what was appended once is there once, in order, whatever happens in between."""

import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from foretest.errors import BadStore
from foretest.history.lake import Lake
from foretest.records import Configuration, Outcome, Source, TestId, TestResult, TestRun

NOON = datetime(2025, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def run(name: str, tests: int = 2, **more: object) -> TestRun:
    results = tuple(
        TestResult(
            TestId("tests/é.py", ("T",), f"test_{i}", "a::b [c]"), Outcome.FAILED, 0.5, 2, "f", 0.25
        )
        for i in range(tests)
    )
    plain = TestRun(
        name, "h/o/n é", "c", Configuration("linux", "3.11", ("x/y",)), NOON, NOON, results
    )
    return replace(plain, **more)


def test_what_goes_in_comes_out_in_order_of_receipt(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    late = run("late", occurred_at=NOON - timedelta(days=9), complete=False, source=Source.FAULT)
    bare = run("bare", commit=None, shard="1/2", decision_id="d", attempt=3)
    unknown = replace(
        run("u"), results=(TestResult(TestId("t.py", (), "t"), Outcome.SKIPPED, None),)
    )
    assert lake.append([run("z"), late]) == 2
    assert lake.append([bare]) == 1
    assert lake.append([unknown]) == 1
    assert list(lake.events("h/o/n é")) == [run("z"), late, bare, unknown]
    assert list(lake.events("another")) == []


def test_runs_are_stored_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    assert lake.append([run("a"), run("a"), run("b")]) == 2
    assert lake.append([run("b"), run("c")]) == 1
    assert lake.append([run("a", attempt=2), run("a", shard="1"), run("a", repository="o")]) == 3
    version = lake.version
    assert lake.append([run("a"), run("empty", tests=0)]) == 0
    assert lake.version == version
    assert [r.run_id for r in lake.events("h/o/n é")] == ["a", "b", "c", "a", "a"]


def test_an_empty_lake(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    assert (lake.version, lake.compact(), lake.append([])) == (-1, 0, 0)
    assert list(lake.events("r")) == list(lake.unit_runs("r")) == []
    assert lake.scan("r").collect().height == 0
    assert not (tmp_path / "lake").exists() or lake.version == 0


def test_compaction_changes_no_event(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    for i in range(4):
        lake.append([run(f"r{i}"), run(f"s{i}")])
    before, version = list(lake.events("h/o/n é")), lake.version
    half = [r.run_id for r in lake.events("h/o/n é", after=version - 2)]
    assert half == ["r2", "s2", "r3", "s3"]
    assert lake.compact() == 1
    assert list(lake.events("h/o/n é")) == before
    assert [r.run_id for r in lake.events("h/o/n é", after=version - 2)] == half
    assert lake.append([run("r1")]) == 0
    lake.append([run("new")])
    assert [r.run_id for r in lake.events("h/o/n é", after=version)] == ["new"]


def test_appends_compact_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foretest.history.lake._COMPACT_EVERY", 4)
    lake = Lake(tmp_path / "lake")
    for i in range(9):
        lake.append([run(f"r{i}")])
    assert [r.run_id for r in lake.events("h/o/n é")] == [f"r{i}" for i in range(9)]
    assert lake.compact() == 1


WRITE = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_lake import run
    from foretest.history.lake import Lake
    lake = Lake(Path(sys.argv[2]))
    for i in range(6):
        lake.append([run(f"{sys.argv[3]}-{i}"), run(f"shared-{i}")])
"""


def test_writers_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    code, here = textwrap.dedent(WRITE), str(Path(__file__).parent)
    processes = [
        subprocess.Popen([sys.executable, "-c", code, here, str(tmp_path / "lake"), name])
        for name in ("a", "b")
    ]
    assert [p.wait(timeout=600) for p in processes] == [0, 0]
    lake = Lake(tmp_path / "lake")
    names = sorted(r.run_id for r in lake.events("h/o/n é"))
    assert names == sorted(f"{who}-{i}" for who in ("a", "b", "shared") for i in range(6))
    versions = lake.scan().group_by("sequence").agg(pl.col("received_at").len()).collect()
    assert versions["sequence"].max() == lake.version


def test_a_writer_that_is_overtaken_sees_the_other_first(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    lake.append([run("first")])
    honest, calls = lake._known, []

    def overtaken(*args: object) -> object:
        known = honest(*args)  # type: ignore[arg-type]
        if not calls:
            calls.append(1)
            Lake(tmp_path / "lake").append([run("same")])
        return known

    lake._known = overtaken  # type: ignore[method-assign, assignment]
    assert lake.append([run("same"), run("mine")]) == 1
    assert [r.run_id for r in lake.events("h/o/n é")] == ["first", "same", "mine"]


@pytest.mark.parametrize("damage", ["log", "file", "gone"])
def test_a_damaged_table_is_said(tmp_path: Path, damage: str) -> None:
    lake = Lake(tmp_path / "lake")
    lake.append([run("a")])
    if damage == "log":
        next((tmp_path / "lake/_delta_log").glob("*1.json")).write_text("{nonsense")
    for file in (tmp_path / "lake").rglob("*.parquet"):
        if damage == "file":
            file.write_bytes(b"nonsense" * 100)
        elif damage == "gone":
            file.unlink()
    with pytest.raises(BadStore) as caught:
        list(lake.events("h/o/n é"))
    assert caught.value.remedy
    with pytest.raises(BadStore):
        lake.append([run("a")])


def test_another_foretests_table_is_left_alone(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "lake"), pl.DataFrame({"other": [1]}))
    with pytest.raises(BadStore, match="columns of another"):
        Lake(tmp_path / "lake").append([run("a")])


def test_a_table_of_a_newer_protocol_is_refused(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    lake.append([run("a")])
    log = tmp_path / "lake/_delta_log" / f"{lake.version + 1:020d}.json"
    log.write_text('{"protocol":{"minReaderVersion":99,"minWriterVersion":99}}\n')
    with pytest.raises(BadStore):
        list(lake.events("h/o/n é"))


def test_a_place_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("")
    with pytest.raises(BadStore):
        Lake(tmp_path / "lake").append([run("a")])


FOREVER = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_lake import run
    from foretest.history.lake import Lake
    lake = Lake(Path(sys.argv[2]))
    for i in range(100_000):
        lake.append([run(f"r{i}", tests=500)])
        print(i, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_table(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(FOREVER)]
    command += [str(Path(__file__).parent), str(tmp_path / "lake")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(3):
        told = int(process.stdout.readline())
    process.kill()
    process.communicate()
    lake = Lake(tmp_path / "lake")
    events = list(lake.events("h/o/n é"))
    assert len(events) > told
    assert {len(event.results) for event in events} == {500}
    assert lake.append([run(f"r{i}", tests=500) for i in range(len(events) + 1)]) == 1
