"""Columns against the readers of every report: the same rows, or none of its business."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from foretest.history.rows import as_rows
from foretest.ingest.columns import Columns
from foretest.results.read import Origin, read_report

HEADER = {
    "format": "foretest-report",
    "version": 1,
    "run_id": "r",
    "attempt": 2,
    "shard": "1/2",
    "decision_id": None,
    "repository": "",
    "commit": None,
    "configuration": {"os": "linux", "python": "3.11", "flags": ["x"]},
    "started_at": "2025-03-01T12:00:00",
}
ORIGIN = Origin("h/o/n", "c", "head", decision_id="d")

ids = st.sampled_from(
    [
        "t.py::a",
        "t.py::a[x",
        "t.py::a[x]",
        "t.py::T::é[/var/folders/q-1/x]",
        "t.py::T::é[/var/folders/q-2/x]",
        "t.py::b[0x7f00deadbeef]",
        "\ud800",
        "",
    ]
)
odd: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.floats(), st.just("1.5"), st.just(10**400)
)
good = st.fixed_dictionaries(
    {
        "id": ids,
        "outcome": st.sampled_from(["passed", "failed", "skipped", "error"]),
        "seconds": st.one_of(st.none(), st.floats(0, 9), st.integers(0, 3)),
        "attempt": st.integers(1, 3),
        "fingerprint": st.one_of(st.none(), st.just("f")),
        "inclusion": st.one_of(st.just(1.0), st.just(1), st.floats(0.01, 1)),
    }
)
strange = st.fixed_dictionaries(
    {"id": st.one_of(ids, odd), "outcome": st.sampled_from(["passed", "lost", ""])},
    optional={"seconds": odd, "attempt": odd, "fingerprint": odd, "inclusion": odd},
)
footers = st.one_of(
    st.just({"finished_at": "x", "exit": 0}),
    st.just({"finished_at": "x", "stopped": True}),
    good,
    st.just([]),
)
breaks = st.sampled_from(["\n", "\n", "\n", "\n", "\r\n", "\n\n", " \n", ",\n", "\r"])


def both(data: bytes) -> tuple[Any, Any]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "report")
        path.write_bytes(data)
        slow = as_rows(read_report(path, (), ORIGIN).run)
    return Columns().read(data, ORIGIN), slow


def alike(fast: Any, slow: Any) -> None:
    moment = slow.run.received_at
    assert replace(fast.run, received_at=moment) == replace(slow.run, results=())
    columns = {name: list(values) for name, values in fast.columns.items()}
    assert repr(columns) == repr({name: list(v) for name, v in slow.columns.items()})


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(good, st.just("\n")), min_size=1, max_size=6))
def test_a_report_in_good_order(lines: list[tuple[dict[str, Any], str]]) -> None:
    texts = [json.dumps(HEADER), *(json.dumps(line) for line, _ in lines), '{"finished_at":"x"}']
    data = ("\n".join(texts) + "\n").encode()
    fast, slow = both(data)
    if fast is not None:
        alike(fast, slow)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.one_of(good, strange), breaks), max_size=5), footers, breaks)
def test_any_other_report(lines: list[tuple[dict[str, Any], str]], footer: Any, last: str) -> None:
    body = "".join(json.dumps(line) + end for line, end in lines)
    fast, slow = both((json.dumps(HEADER) + "\n" + body + json.dumps(footer) + last).encode())
    if fast is not None:
        alike(fast, slow)


def test_plain_reports_are_read_by_column() -> None:
    lines = [
        {
            "id": f"t.py::test_{i}[/var/folders/abc-{i}/x]",
            "outcome": "failed",
            "seconds": 1,
            "attempt": attempt,
            "fingerprint": "f",
            "inclusion": 0.5,
        }
        for attempt in (1, 2)
        for i in range(3)
    ]
    texts = [json.dumps(line) for line in (HEADER, *lines, {"finished_at": "x"})]
    fast, slow = both(("\n".join(texts) + "\n").encode())
    assert fast is not None
    alike(fast, slow)
    assert fast.columns["unit"][:2] == ["t.py::test_0", "t.py::test_1"]


def test_suites_are_forgotten_in_time() -> None:
    reader = Columns()
    for i in range(200):
        line = {**dict.fromkeys(("fingerprint", "seconds")), "id": f"t.py::x{i}", "attempt": 1}
        line |= {"outcome": "passed", "inclusion": 1.0}
        texts = [json.dumps(part) for part in (HEADER, line, {"finished_at": "x"})]
        assert reader.read(("\n".join(texts) + "\n").encode(), ORIGIN) is not None
    assert len(reader._suites) == 64
