"""The spool: what was acknowledged is read again in order, whatever happened to the files."""

import os
import resource
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.errors import BadStore, Busy
from foretest.ingest.belonging import about
from foretest.ingest.frames import TOP, Damage, Frame, mark_of, pack, scan, top
from foretest.ingest.spool import Spool
from foretest.ingest.stream import Level, Meta

Make = Callable[..., Meta]
Step = tuple[bytes, bytes]


def bodies(spool: Spool, acknowledge: bool = False) -> list[bytes]:
    with spool.reader() as reader:
        found = list(reader.read(10_000, 1 << 30, 0))
        if found and acknowledge:
            reader.acknowledge(found[-1].sequence)
    return [delivery.report for delivery in found]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=200)), max_size=8), st.data())
def test_frames_survive_any_cut(pieces: list[Step], data: st.DataObject) -> None:
    mark = mark_of(top())
    packed = [pack(mark, i, meta, body) for i, (meta, body) in enumerate(pieces)]
    whole = b"".join(packed)
    cut = data.draw(st.integers(0, len(whole)))
    found = list(scan(whole[:cut], mark))
    ends = [sum(map(len, packed[: i + 1])) for i in range(len(packed))]
    assert [f.end for f in found] == [end for end in ends if end <= cut]
    assert [(f.meta, f.report) for f in found if isinstance(f, Frame)] == pieces[: len(found)]


@given(st.data())
def test_a_flipped_bit_costs_its_own_frame_alone(data: st.DataObject) -> None:
    mark = mark_of(top())
    packed = [pack(mark, i, b"m", b"r" * 30) for i in range(4)]
    spoilt = data.draw(st.integers(0, 2))
    broken = bytearray(b"".join(packed))
    place = sum(map(len, packed[:spoilt])) + data.draw(st.integers(0, len(packed[spoilt]) - 1))
    broken[place] ^= 1 << data.draw(st.integers(0, 7))
    found = list(scan(bytes(broken), mark))
    whole = [piece.sequence for piece in found if isinstance(piece, Frame)]
    # A damaged length may reach beyond the end: what follows then waits for more, and is not lost.
    assert whole == [i for i in range(4) if i != spoilt] or whole == list(range(spoilt))


def test_no_report_can_pass_for_a_frame() -> None:
    mark, other = mark_of(top()), mark_of(top())
    inner = pack(other, 7, b"m", b"forged")
    outer = bytearray(pack(mark, 1, b"m", inner) + pack(mark, 2, b"m", b"true"))
    outer[10] ^= 1
    assert [type(piece) for piece in scan(bytes(outer), mark)] == [Damage, Frame]


def test_in_order_once_and_given_up(tmp_path: Path, make_meta: Make) -> None:
    spool = Spool(tmp_path / "s")
    receipts = [spool.append(b"%d" % i, make_meta()) for i in range(5)]
    assert [receipt.sequence for receipt in receipts] == [1, 2, 3, 4, 5]
    assert spool.status().waiting == 5
    with spool.reader() as reader:
        first = reader.read(2, 1 << 20, 0)
        assert [delivery.report for delivery in first] == [b"0", b"1"]
        reader.acknowledge(first[0].sequence)
    assert bodies(spool) == [b"1", b"2", b"3", b"4"]
    assert bodies(Spool(tmp_path / "s"), acknowledge=True) == [b"1", b"2", b"3", b"4"]
    assert bodies(spool) == []
    assert spool.append(b"later", make_meta()).sequence == 6
    assert bodies(Spool(tmp_path / "s")) == [b"later"]


def test_one_reader_at_a_time(tmp_path: Path, make_meta: Make) -> None:
    spool = Spool(tmp_path / "s")
    spool.append(b"x", make_meta())
    with spool.reader(), pytest.raises(Busy), Spool(tmp_path / "s").reader():
        pass


def test_segments_follow_one_another_and_go(
    tmp_path: Path, make_meta: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foretest.ingest.spool.SEGMENT", 300)
    spool = Spool(tmp_path / "s")
    sent = [b"%d" % i * 100 for i in range(9)]
    for body in sent:
        spool.append(body, make_meta())
    assert len(segments(tmp_path / "s")) > 2
    assert bodies(spool, acknowledge=True) == sent
    assert len(segments(tmp_path / "s")) == 1


@pytest.mark.parametrize("level", list(Level))
def test_producers_at_once(tmp_path: Path, make_meta: Make, level: Level) -> None:
    spools = [Spool(tmp_path / "s", level) for _ in range(2)]
    receipts: list[int] = []

    def produce(number: int) -> None:
        for i in range(20):
            receipt = spools[number % 2].append(b"%d-%d" % (number, i), make_meta())
            receipts.append(receipt.sequence)

    threads = [threading.Thread(target=produce, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(receipts) == list(range(1, 121))
    found = bodies(spools[0])
    assert len(set(found)) == 120
    for number in range(6):
        assert [b for b in found if b.startswith(b"%d-" % number)] == [
            b"%d-%d" % (number, i) for i in range(20)
        ]


def test_level_power_forces_to_disk_before_the_receipt(
    tmp_path: Path, make_meta: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[int] = []
    real = os.fsync

    def noted(handle: int) -> None:
        forced.append(os.fstat(handle).st_size)
        real(handle)

    monkeypatch.setattr("foretest.ingest.segments.os.fsync", noted)
    Spool(tmp_path / "p", Level.PROCESS).append(b"x" * 500, make_meta())
    assert forced == []
    Spool(tmp_path / "w", Level.POWER).append(b"x" * 500, make_meta())
    assert max(forced) > 500


def test_a_torn_end_is_cut_off_and_nothing_before_it_lost(tmp_path: Path, make_meta: Make) -> None:
    spool = Spool(tmp_path / "s")
    spool.append(b"one", make_meta())
    (segment,) = segments(tmp_path / "s")
    mark = mark_of(segment.read_bytes())
    with segment.open("ab") as file:  # a producer killed in the middle of its write
        file.write(pack(mark, 2, b"{}", b"never acknowledged")[:-5])
    assert bodies(spool) == [b"one"]
    assert Spool(tmp_path / "s").append(b"two", make_meta()).sequence == 2
    assert bodies(spool) == [b"one", b"two"]


def test_a_truncated_segment_is_told_and_stops_nothing(tmp_path: Path, make_meta: Make) -> None:
    spool = Spool(tmp_path / "s")
    for i in range(4):
        spool.append(b"report %d" % i, make_meta())
    (segment,) = segments(tmp_path / "s")
    with spool.reader() as reader:
        reader.acknowledge(reader.read(4, 1 << 20, 0)[-1].sequence)
    os.truncate(segment, segment.stat().st_size - 200)
    assert Spool(tmp_path / "s").append(b"after", make_meta()).sequence == 5
    assert bodies(spool) == [b"after"]


def test_missing_reports_are_told(
    tmp_path: Path, make_meta: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foretest.ingest.spool.SEGMENT", 100)
    spool = Spool(tmp_path / "s")
    for i in range(3):
        spool.append(b"report %d" % i, make_meta())
    segments(tmp_path / "s")[1].unlink()
    with spool.reader() as reader:
        assert [d.report for d in reader.read(9, 1 << 20, 0)] == [b"report 0", b"report 2"]
        assert "2 to 2" in reader.notices[0]


def test_damage_inside_is_handed_on_as_such(tmp_path: Path, make_meta: Make) -> None:
    spool = Spool(tmp_path / "s")
    for i in range(3):
        spool.append(b"report %d" % i, make_meta())
    (segment,) = segments(tmp_path / "s")
    data = bytearray(segment.read_bytes())
    data[data.index(b"report 1")] ^= 1
    segment.write_bytes(data)
    with spool.reader() as reader:
        found = reader.read(9, 1 << 20, 0)
    assert [bool(delivery.problem) for delivery in found] == [False, True, False]


def test_a_segment_without_a_beginning_lies_aside(tmp_path: Path, make_meta: Make) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / f"{1:020d}.seg").write_bytes(b"no segment at all, but long enough")
    spool = Spool(tmp_path / "s")
    spool.append(b"x", make_meta())
    assert bodies(spool) == [b"x"]
    assert "set aside" in spool.status().notices[0]


def test_a_full_spool_says_busy_and_drops_nothing(tmp_path: Path, make_meta: Make) -> None:
    spool = Spool(tmp_path / "s", limit=1000)
    kept = 3
    for _ in range(kept):
        spool.append(b"x" * 200, make_meta())
    with pytest.raises(Busy) as refused:
        spool.append(b"x" * 200, make_meta())
    assert refused.value.retry_after > 0
    assert "foretest ingest run" in str(refused.value)
    assert len(bodies(spool, acknowledge=True)) == kept
    spool.append(b"x" * 200, make_meta())


def test_one_report_larger_than_the_limit_passes_an_empty_spool(
    tmp_path: Path, make_meta: Make
) -> None:
    Spool(tmp_path / "s", limit=100).append(b"x" * 200, make_meta())


def test_a_full_disk_acknowledges_nothing(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from foretest.errors import BadStore
        from foretest.ingest.spool import Spool
        from foretest.ingest.stream import Meta
        from foretest.results.read import Origin

        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        spool, kept = Spool(Path(sys.argv[1])), 0
        try:
            while True:
                spool.append(b"x" * 900, Meta(Origin()))
                kept += 1
        except BadStore as error:
            print(kept, error)
        try:
            spool.append(b"x" * 900, Meta(Origin()))
        except BadStore:
            spool.append(b"small", Meta(Origin()))
            print("small kept")
    """)
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "s"], capture_output=True, text=True, check=True
    )
    kept = int(done.stdout.split()[0])
    assert kept > 2
    assert "cannot be written" in done.stdout
    assert [len(body) for body in bodies(Spool(tmp_path / "s"))] == [900] * kept + [5]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 5000


def test_a_cursor_that_is_damaged_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "cursor.json").write_text("{")
    with pytest.raises(BadStore, match="Delete it"):
        Spool(tmp_path).status()


def test_an_empty_segment_of_a_killed_producer_is_no_obstacle(
    tmp_path: Path, make_meta: Make
) -> None:
    (tmp_path / f"{1:020d}.seg").write_bytes(top()[: TOP - 3])
    spool = Spool(tmp_path)
    assert bodies(spool) == []
    assert spool.append(b"x", make_meta()).sequence == 1
    assert bodies(spool) == [b"x"]


def test_what_is_forgotten_is_off_the_disk_and_its_place_is_passed_over(
    tmp_path: Path, make_meta: Make
) -> None:
    spool = Spool(tmp_path / "s")
    for i in range(6):
        spool.append(b"Zanzibar" if i % 2 else b"kept %d" % i, make_meta(repository=f"h/o/{i % 2}"))
    with spool.reader() as reader:
        read = reader.read(2, 1 << 20, 0)
        reader.acknowledge(read[1].sequence)  # given up, and still in the segment
        assert reader.forget(about("h/o/1")) == 3
        assert reader.forget(about("h/o/1")) == 0
    assert not [p for p in (tmp_path / "s").iterdir() if b"Zanzibar" in p.read_bytes()]
    assert spool.status().waiting == 2
    assert spool.append(b"later", make_meta()).sequence == 7  # its segment was open all the while
    with spool.reader() as reader:
        found = reader.read(9, 1 << 20, 0)
        assert [d.report for d in found] == [b"kept 2", b"kept 4", b"later"]
        assert reader.notices == []
        reader.acknowledge(7)
    assert spool.status().waiting == 0


def test_damaged_bytes_that_name_it_are_forgotten_too(
    tmp_path: Path, make_meta: Make, make_report: Callable[..., bytes]
) -> None:
    spool = Spool(tmp_path / "s")
    for name in ("h/o/1", "h/o/2", "h/o/3"):
        spool.append(make_report("Zanzibar", repository=name), make_meta())
    (segment,) = (tmp_path / "s").glob("*.seg")
    data = bytearray(segment.read_bytes())
    for name in (b"h/o/1", b"h/o/2"):
        data[data.index(b'"passed"', data.index(name)) + 1] ^= 1
    segment.write_bytes(bytes(data))
    with spool.reader() as reader:
        assert reader.forget(about("h/o/1")) == 1
    left = b"".join(path.read_bytes() for path in (tmp_path / "s").glob("*.seg"))
    assert left.count(b"Zanzibar") == 1
    assert b"h/o/1" not in left


def test_level_power_forces_new_folders_and_travels(
    tmp_path: Path, make_meta: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: set[Path] = set()
    real = os.fsync

    def noted(handle: int) -> None:
        forced.add(Path(f"/proc/self/fd/{handle}").readlink())
        real(handle)

    monkeypatch.setattr("foretest.ingest.segments.os.fsync", noted)
    Spool(tmp_path / "a" / "b", Level.PROCESS).append(b"x", make_meta())
    Spool(tmp_path / "a" / "b", Level.POWER).append(b"y", make_meta())
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= forced
    with Spool(tmp_path / "a" / "b").reader() as reader:
        levels = [delivery.meta.level for delivery in reader.read(9, 1 << 20, 0)]
    assert levels == [Level.PROCESS, Level.POWER]


def test_an_acknowledged_end_that_somebody_cut_lies_aside_and_its_number_stays_its_own(
    tmp_path: Path, make_meta: Make
) -> None:
    spool = Spool(tmp_path / "s")
    for body in (b"one", b"two", b"three"):
        spool.append(body, make_meta())
    (segment,) = segments(tmp_path / "s")
    os.truncate(segment, segment.stat().st_size - 5)
    with spool.reader() as reader:
        assert len(reader.read(9, 1 << 20, 0)) == 2
        assert "3 to 3" in reader.notices[0]
        assert spool.append(b"four", make_meta()).sequence == 4
        assert [d.report for d in reader.read(9, 1 << 20, 0)] == [b"four"]
        assert len(reader.notices) == 1  # told once
    assert "set aside" in spool.status().notices[0]
    (aside,) = (tmp_path / "s").glob("*.damaged")
    assert b'"name":"report.jsonl"' in aside.read_bytes()


def test_segments_that_vanished_whole_are_told_and_no_number_given_twice(
    tmp_path: Path, make_meta: Make
) -> None:
    Spool(tmp_path / "s").append(b"one", make_meta())
    segments(tmp_path / "s")[0].unlink()
    spool = Spool(tmp_path / "s")
    assert spool.append(b"two", make_meta()).sequence == 2
    with spool.reader() as reader:
        assert len(reader.read(9, 1 << 20, 0)) == 1
        assert "1 to 1" in reader.notices[0]


def test_producers_do_not_need_the_readers_cursor(tmp_path: Path, make_meta: Make) -> None:
    spool = Spool(tmp_path / "s")
    spool.append(b"one", make_meta())
    assert bodies(spool, acknowledge=True) == [b"one"]
    cursor = tmp_path / "s" / "cursor.json"
    cursor.write_text("{")
    assert Spool(tmp_path / "s").append(b"two", make_meta()).sequence == 2
    cursor.unlink()  # as the error of whoever reads says
    assert bodies(spool) == [b"one", b"two"]
