"""From stream to lake: each run once, in order of receipt; what cannot be read is set aside."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from foretest.errors import BadStore, Busy, StateNotFound
from foretest.history.erasure import erase
from foretest.history.lake import Lake
from foretest.history.state import State
from foretest.ingest.consumer import Consumer, Totals, bring_on, snapshot
from foretest.ingest.poison import PoisonFolder
from foretest.ingest.reading import DeliveryReader
from foretest.ingest.spool import Spool
from foretest.ingest.stream import Level, Meta, decode, encode, identity
from foretest.records import Configuration
from foretest.remembering import brought_on
from foretest.results.read import Origin

Report = Callable[..., bytes]
Make = Callable[..., Meta]
JUNIT = b"""<testsuites><testsuite name="pytest" timestamp="2025-03-01T12:00:00">
<testcase classname="tests.test_a" name="test_x" time="0.5"/></testsuite></testsuites>"""


class Desk:
    """A spool, a consumer and a lake in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = Spool(folder / "stream")
        self.lake = Lake(folder / "lake")
        self.poison = PoisonFolder(folder / "poison")
        self.said: list[str] = []

    def drain(self, level: Level = Level.PROCESS) -> Totals:
        consumer = Consumer(self.lake, self.poison, DeliveryReader(), level, self.said.append)
        totals = Totals()
        with self.spool.reader() as reader:
            consumer.drain(reader, totals)
        return totals


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_runs_arrive_once_and_in_order(desk: Desk, make_report: Report, make_meta: Make) -> None:
    for name in ("b", "a", "b", "c"):
        desk.spool.append(make_report(name), make_meta())
    totals = desk.drain()
    assert (totals.runs, totals.results, totals.known, totals.poison) == (3, 9, 1, 0)
    assert [run.run_id for run in desk.lake.events("h/o/n")] == ["b", "a", "c"]
    desk.spool.append(make_report("a"), make_meta())
    assert (desk.drain().known, desk.spool.status().waiting) == (1, 0)


def test_the_key_has_four_parts(desk: Desk, make_report: Report, make_meta: Make) -> None:
    for more in ({}, {"attempt": 2}, {"shard": "1"}, {"repository": "h/o/m"}):
        desk.spool.append(make_report("a", **more), make_meta())
    assert desk.drain().runs == 4


def test_other_results_under_one_key_are_set_aside(
    desk: Desk, make_report: Report, make_meta: Make
) -> None:
    desk.spool.append(make_report("a", 3), make_meta())
    desk.spool.append(make_report("a", 4), make_meta())
    assert desk.drain().poison == 1
    desk.spool.append(make_report("a", 5), make_meta())
    assert desk.drain().poison == 1
    assert [len(run.results) for run in desk.lake.events("h/o/n")] == [3]
    assert all("recorded already" in poison.reason for poison in desk.poison.list())


def test_reports_of_any_kind(desk: Desk, make_report: Report, make_meta: Make) -> None:
    desk.spool.append(JUNIT, make_meta("junit.xml", repository="h/o/n", run_id="j", head="c"))
    desk.spool.append(make_report("p"), make_meta())
    desk.spool.append(make_report("cut")[:-70], make_meta())
    totals = desk.drain()
    assert (totals.runs, totals.poison) == (3, 0)
    runs = {run.run_id: run for run in desk.lake.events("h/o/n")}
    assert runs["j"].commit == "c"
    assert not runs["cut"].complete
    assert any("cut short" in line for line in desk.said)


@pytest.mark.parametrize(
    "body",
    [b"", b"\0" * 50, b"{}\n", b"<html/>", b"plain text", b"\xff\xfe\xff", b"<a>" * 5000],
)
def test_poison_is_set_aside_and_stops_nothing(
    desk: Desk, make_report: Report, make_meta: Make, body: bytes
) -> None:
    desk.spool.append(body, make_meta("bad.xml", repository="h/o/n"))
    desk.spool.append(make_report("good"), make_meta())
    totals = desk.drain()
    assert (totals.runs, totals.poison, desk.spool.status().waiting) == (1, 1, 0)
    (poison,) = desk.poison.list()
    assert poison.reason
    assert "/" not in poison.reason.partition(". ")[0]
    assert desk.poison.show(poison.name)[1] == body
    assert any("bad.xml" in line for line in desk.said)


def test_a_failure_in_reading_is_poison_too(
    desk: Desk, make_report: Report, make_meta: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr("foretest.ingest.reading.read_report", broken)
    desk.spool.append(JUNIT, make_meta("junit.xml", repository="h/o/n"))
    desk.spool.append(make_report("good"), make_meta())
    assert desk.drain().poison == 1
    assert "RecursionError" in desk.poison.list()[0].reason
    monkeypatch.undo()
    name = desk.poison.list()[0].name
    desk.poison.retry(name, desk.spool)
    assert desk.drain().runs == 1
    assert desk.poison.list() == []
    with pytest.raises(StateNotFound, match="poison list"):
        desk.poison.show(name)


def test_a_report_of_no_repository_is_poison(desk: Desk, make_meta: Make) -> None:
    desk.spool.append(JUNIT, make_meta("junit.xml"))
    assert desk.drain().poison == 1
    assert "--repository-key" in desk.poison.list()[0].reason


def test_late_reports_keep_both_moments_and_fold_in_order_of_receipt(
    desk: Desk, make_report: Report, make_meta: Make, tmp_path: Path
) -> None:
    received = datetime(2025, 3, 9, 8, tzinfo=UTC)
    for name, began in (("new", "2025-03-08T12:00:00"), ("late", "2025-01-01T12:00:00")):
        meta = replace(make_meta(), received_at=received)
        desk.spool.append(make_report(name, started_at=began), meta)
        received += timedelta(hours=1)
    totals = desk.drain()
    new, late = desk.lake.events("h/o/n")
    assert (late.occurred_at.month, late.received_at) == (1, datetime(2025, 3, 9, 9, tzinfo=UTC))
    assert new.occurred_at > late.occurred_at
    bring_on(desk.lake, totals.repositories, tmp_path / "states")
    state = brought_on(desk.lake, "h/o/n", snapshot(tmp_path / "states", "h/o/n"))
    assert state.columns["runs"].tolist() == [2, 2, 2]
    assert state.columns["last_seen"][0] == new.occurred_at.timestamp()
    assert state.version == desk.lake.version
    assert isinstance(state, State)


def test_a_clock_ahead_cannot_put_a_run_after_its_receipt(
    desk: Desk, make_report: Report, make_meta: Make
) -> None:
    received = datetime(2025, 3, 1, tzinfo=UTC)
    report = make_report("r", started_at="2031-01-01T00:00:00")
    desk.spool.append(report, replace(make_meta(), received_at=received))
    desk.drain()
    (run,) = desk.lake.events("h/o/n")
    assert run.occurred_at == run.received_at == received


def test_a_lake_that_refuses_loses_nothing(
    desk: Desk, make_report: Report, make_meta: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.spool.append(make_report("a"), make_meta())

    def refuse(*_: object) -> None:
        raise BadStore("The disk is full.", "Free some space.")

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "append_new", refuse)
        with pytest.raises(BadStore):
            desk.drain()
    assert desk.spool.status().waiting == 1
    assert desk.drain().runs == 1


def test_what_a_lake_refused_for_a_while_comes_before_what_follows(
    desk: Desk, make_report: Report, make_meta: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.spool.append(make_report("a"), make_meta())
    consumer, kept = Consumer(desk.lake, desk.poison, DeliveryReader()), Lake.append_new

    def once(lake: Lake, runs: object) -> object:
        monkeypatch.setattr(Lake, "append_new", kept)
        desk.spool.append(make_report("b"), make_meta())
        raise Busy("Others write.", "Try again.")

    monkeypatch.setattr(Lake, "append_new", once)
    with desk.spool.reader() as reader:
        with pytest.raises(Busy):
            consumer.step(reader, Totals(), 0)
        consumer.drain(reader, Totals())
    assert [run.run_id for run in desk.lake.events("h/o/n")] == ["a", "b"]


@pytest.mark.parametrize(
    "said",
    [
        {"attempt": 1 << 40},
        {"attempt": float("inf")},
        {"repository": "h/" + "o" * 300},
        {"run_id": "r" * 5000},
        {"shard": "s" * 5000},
        {"started_at": "0001-01-01T00:00:00+14:00"},
    ],
)
def test_one_report_out_of_bounds_stops_nothing(
    desk: Desk, make_report: Report, make_meta: Make, said: dict[str, object]
) -> None:
    for name, more in (("a", {}), ("odd", said), ("b", {})):
        desk.spool.append(make_report(**{"run_id": name, **more}), make_meta())
    totals = desk.drain()
    assert (totals.runs, totals.poison, desk.spool.status().waiting) == (2, 1, 0)


def test_bounds_hold_for_what_is_said_beside_the_report(desk: Desk, make_meta: Make) -> None:
    for origin in ({"repository": "h/" + "o" * 300}, {"attempt": 1 << 40}, {"shard": 5}):
        desk.spool.append(JUNIT, make_meta("j.xml", **{"repository": "h/o/n", **origin}))
    assert desk.drain().poison == 3


def test_a_result_out_of_bounds_costs_itself(
    desk: Desk, make_report: Report, make_meta: Make
) -> None:
    report = make_report("r").replace(b'"attempt": 1, "fingerprint": "abcd"', b'"attempt": 1e12')
    desk.spool.append(report, make_meta())
    desk.drain()
    assert [len(run.results) for run in desk.lake.events("h/o/n")] == [2]


def test_runs_that_no_lake_can_hold_are_found_and_set_aside(
    desk: Desk, make_report: Report, make_meta: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foretest.results.report.ATTEMPTS", 1 << 60)
    for i in range(9):
        more = {"attempt": 1 << 40} if i in (2, 7) else {}
        desk.spool.append(make_report(f"r{i}", **more), make_meta())
    totals = desk.drain()
    assert (totals.runs, totals.poison) == (7, 2)
    assert all("No lake can hold it" in poison.reason for poison in desk.poison.list())


def test_a_lake_that_fails_sets_nothing_aside(
    desk: Desk, make_report: Report, make_meta: Make
) -> None:
    desk.spool.append(make_report("a"), make_meta())
    (desk.folder / "lake").write_text("no folder")
    with pytest.raises(BadStore):
        desk.drain()
    assert (desk.poison.list(), desk.spool.status().waiting) == ([], 1)


def test_killed_between_commit_and_giving_up(
    desk: Desk, make_report: Report, make_meta: Make
) -> None:
    for i in range(3):
        desk.spool.append(make_report(f"r{i}"), make_meta())
    consumer = Consumer(desk.lake, desk.poison, DeliveryReader())
    with desk.spool.reader() as reader:
        reader.acknowledge = lambda _: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            consumer.step(reader, Totals(), 0)
    totals = desk.drain()
    assert (totals.runs, totals.known) == (0, 3)
    assert [run.run_id for run in desk.lake.events("h/o/n")] == ["r0", "r1", "r2"]


def test_level_power_forces_the_lake_before_giving_up(
    desk: Desk, make_report: Report, make_meta: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    forced: set[str] = set()
    real = os.fsync

    def noted(handle: int) -> None:
        forced.add(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real(handle)

    monkeypatch.setattr("os.fsync", noted)
    desk.spool.append(make_report("a"), make_meta())
    desk.drain(Level.POWER)
    files = {str(path) for path in (desk.folder / "lake").rglob("*") if path.is_file()}
    assert {f for f in files if f.endswith(".parquet")} <= forced
    assert any(name.endswith("_delta_log") for name in forced)


class Killed(Lake):
    """A lake whose process dies after the commit, before anything is forced to disk."""

    def sync(self) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("late", [0, 8])
def test_what_a_killed_consumer_committed_is_forced_by_the_next(
    desk: Desk, make_report: Report, make_meta: Make, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    """`late` commits of others come in between: more than one would look back by guess."""
    producer = Spool(desk.folder / "stream", Level.POWER)
    producer.append(make_report("a"), make_meta())
    desk.drain()
    producer.append(make_report("b"), make_meta())
    consumer = Consumer(Killed(desk.folder / "lake"), desk.poison, DeliveryReader())
    with desk.spool.reader() as reader, pytest.raises(KeyboardInterrupt):
        consumer.step(reader, Totals(), 0)
    files = set((desk.folder / "lake").rglob("*.parquet"))
    for i in range(late):
        desk.lake.append([replace(next(desk.lake.events("h/o/n")), run_id=f"other-{i}")])
    forced: set[Path] = set()
    monkeypatch.setattr(
        "foretest.history.forcing.os.fsync",
        lambda handle: forced.add(Path(f"/proc/self/fd/{handle}").readlink()),
    )
    assert desk.drain().known == 1
    assert len(files & forced) == 2  # of b: its results, and its entry in the log of runs
    forced.clear()
    producer.append(make_report("b"), make_meta())
    desk.drain()
    assert not {path for path in forced if path.suffix == ".parquet"}  # nothing is new


def test_a_consumer_obeys_the_level_that_a_report_was_promised(
    desk: Desk, make_report: Report, make_meta: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[None] = []
    monkeypatch.setattr(Lake, "sync", lambda _: forced.append(None))
    desk.spool.append(make_report("a"), make_meta())
    desk.drain(Level.PROCESS)
    assert not forced
    Spool(desk.folder / "stream", Level.POWER).append(make_report("b"), make_meta())
    desk.spool.append(make_report("c"), make_meta())
    desk.drain(Level.PROCESS)
    assert forced


def test_reports_of_a_repository_deleted_since_never_come_back(
    desk: Desk, make_report: Report, make_meta: Make
) -> None:
    desk.lake.append([])
    early = replace(make_meta(repository="h/o/gone"), received_at=datetime.now(UTC))
    erase(desk.folder / "lake", "h/o/gone", always=True)
    for name, body, meta in (
        ("before", make_report("before", repository="h/o/gone"), early),
        ("before too", JUNIT, early),
        ("unreadable", b"junk", early),
        ("after", make_report("after", repository="h/o/gone"), make_meta()),
        ("other", make_report("other"), replace(make_meta(), received_at=early.received_at)),
    ):
        desk.spool.append(body, replace(meta, name=name))
    totals = desk.drain()
    assert (totals.runs, totals.poison, totals.deleted) == (2, 0, 3)
    assert "3 of a repository that was deleted" in totals.sentence()
    runs = desk.lake.runs().collect()
    assert sorted(runs["run_id"]) == ["after", "other"]


def test_meta_travels() -> None:
    place = Configuration("linux", "3.11", ("db",))
    meta = Meta(
        Origin("h/o/n", "c", "h", place, "r", attempt=2, shard="1", decision_id="d"),
        "é.xml",
        datetime(2025, 3, 1, tzinfo=UTC),
        Level.POWER,
    )
    assert decode(encode(meta)) == meta
    assert identity(b"x", meta) == identity(
        b"x", replace(meta, name="n", received_at=None, level=Level.PROCESS)
    )
    assert identity(b"x", meta) != identity(b"y", meta)
    assert identity(b"x", meta) != identity(b"x", replace(meta, origin=Origin()))
