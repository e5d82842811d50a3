"""The tracer sees exactly the functions that each unit enters."""

from __future__ import annotations

import gzip
import importlib
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.errors import BadReport
from foretest.evidence.traced import SHARED, with_shared
from foretest.evidence.tracer import (
    SourceTree,
    TracedRun,
    TracerUnavailable,
    fold,
    read_traced,
    start_tracer,
    write_traced,
)

LIBRARY = """
    import functools

    TABLE = {}

    def register(function):
        TABLE[function.__name__] = function
        return function

    @register
    def plain(x):
        return helper(x)

    def helper(x): return x + 1

    def nested(x):
        def inner(y):
            return helper(y)
        return [inner(v) for v in x]

    class Shape:
        sides = 4
        key = staticmethod(lambda x: x)

        def area(
            self,
            factor=2,
        ):
            class Local:
                def deep(self):
                    return factor
            return Local().deep()

        @property
        def name(self):
            return "shape"

        class Inner:
            def method(self):
                return 1

    async def later():
        return 1

    def numbers():
        yield 1

    def untouched():
        return 0
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    if sys.gettrace() is not None and sys.version_info < (3, 12):
        pytest.skip("another tool traces this process")
    (tmp_path / "tracedlib.py").write_text(textwrap.dedent(LIBRARY))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    for name in ("tracedlib", "lazylib"):
        sys.modules.pop(name, None)


def load() -> ModuleType:
    return importlib.import_module("tracedlib")


def test_while_it_pauses_nothing_is_kept(project: Path) -> None:
    tracer = start_tracer(project)
    lib = load()
    tracer.switch("t.py::a")
    lib.plain(1)
    tracer.pause()
    lib.plain(1)
    lib.Shape().area()
    tracer.pause()
    tracer.switch("t.py::a")
    lib.Shape().area()
    tracer.pause()
    list(lib.numbers())
    seen = tracer.stop()
    plain = {"tracedlib.py::plain", "tracedlib.py::helper"}
    assert seen.names("t.py::a") == plain | {"tracedlib.py::Shape.area"}
    assert set(seen.units) == {None, "t.py::a"}
    assert "tracedlib.py::numbers" not in seen.names(None)


def test_each_unit_has_the_functions_it_entered(project: Path) -> None:
    tracer = start_tracer(project)
    lib = load()
    tracer.switch("t.py::a")
    lib.plain(1)
    tracer.switch("t.py::b")
    lib.nested([1, 2])
    lib.Shape().area()
    tracer.switch("t.py::c")
    _ = lib.Shape().name
    lib.Shape.Inner().method()
    list(lib.numbers())
    with pytest.raises(StopIteration):
        lib.later().send(None)
    tracer.switch("t.py::d")
    lib.Shape.key(1)
    tracer.switch(None)
    seen = tracer.stop()

    assert seen.names("t.py::a") == {"tracedlib.py::plain", "tracedlib.py::helper"}
    assert seen.names("t.py::b") == {
        "tracedlib.py::nested",
        "tracedlib.py::helper",
        "tracedlib.py::Shape.area",
    }
    assert seen.names("t.py::c") == {
        "tracedlib.py::Shape.name",
        "tracedlib.py::Shape.Inner.method",
        "tracedlib.py::numbers",
        "tracedlib.py::later",
    }
    assert seen.names("t.py::d") == {"tracedlib.py::<module>"}
    assert seen.names(None) == {"tracedlib.py::<module>", "tracedlib.py::register"}


def test_parameters_and_phases_are_merged(project: Path) -> None:
    tracer = start_tracer(project)
    lib = load()
    tracer.switch("t.py::a")
    lib.helper(1)
    tracer.switch("t.py::a")
    lib.plain(1)
    tracer.switch(None)
    tracer.switch("t.py::b")
    lib.helper(1)
    tracer.switch(None)
    lib.Shape().area()
    tracer.switch("t.py::a")
    lib.Shape().area()
    seen = tracer.stop()

    names = {"plain", "helper", "Shape.area"}
    assert seen.names("t.py::a") == {f"tracedlib.py::{n}" for n in names}
    assert seen.names("t.py::b") == {"tracedlib.py::helper"}


def test_import_during_a_test_belongs_to_the_test(project: Path) -> None:
    (project / "lazylib.py").write_text("def used():\n    pass\n\nvalue = used()\n")
    tracer = start_tracer(project)
    tracer.switch("t.py::first")
    importlib.import_module("lazylib").used()
    tracer.switch("t.py::second")
    importlib.import_module("lazylib").used()
    seen = tracer.stop()

    assert seen.names("t.py::first") == {"lazylib.py::used", "lazylib.py::<module>"}
    assert seen.names("t.py::second") == {"lazylib.py::used"}


def test_code_imported_before_the_start_is_seen(project: Path) -> None:
    lib = load()
    tracer = start_tracer(project)
    tracer.switch("t.py::a")
    lib.plain(1)
    assert tracer.stop().names("t.py::a") == {"tracedlib.py::plain", "tracedlib.py::helper"}


def test_threads_count(project: Path) -> None:
    tracer = start_tracer(project)
    lib = load()
    tracer.switch("t.py::a")
    thread = threading.Thread(target=lib.helper, args=(1,))
    thread.start()
    thread.join()
    assert tracer.stop().names("t.py::a") == {"tracedlib.py::helper"}


def test_omitted_and_foreign_files_are_left_out(project: Path) -> None:
    tracer = start_tracer(project, omit=["traced*"])
    lib = load()
    tracer.switch("t.py::a")
    lib.plain(1)
    textwrap.dedent("x")
    seen = tracer.stop()
    assert not seen.names("t.py::a")
    assert seen.files == ()


def test_nothing_stays_behind_after_stop(project: Path) -> None:
    before = sys.gettrace()
    for _ in range(8):  # more often than there are tool identities
        tracer = start_tracer(project)
        tracer.switch("t.py::a")
        load().helper(1)
        assert tracer.stop().names("t.py::a") >= {"tracedlib.py::helper"}
    assert sys.gettrace() is before
    assert sorted(p.name for p in project.iterdir() if p.name != "__pycache__") == ["tracedlib.py"]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="3.12 and later have tools side by side")
def test_a_foreign_tracer_is_said(project: Path) -> None:
    sys.settrace(lambda *_: None)
    try:
        with pytest.raises(TracerUnavailable, match="already traces"):
            start_tracer(project)
    finally:
        sys.settrace(None)


def test_missing_coverage_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.version_info >= (3, 12):
        pytest.skip("3.12 and later do not need it")
    monkeypatch.setitem(sys.modules, "coverage", None)
    with pytest.raises(TracerUnavailable, match="pip install coverage"):
        start_tracer(project)


def test_module_needs_the_standard_library_alone() -> None:
    code = (
        "import sys; import foretest.evidence.tracer; "
        "print(*{'numpy', 'coverage', 'polars', 'pytest', 'click'}.intersection(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("qualname", "symbol"),
    [
        ("f", "f"),
        ("A.f", "A.f"),
        ("A.B.f", "A.B.f"),
        ("A.f.<locals>.g", "A.f"),
        ("f.<locals>.<lambda>", "f"),
        ("f.<locals>.A.g", "f"),
        ("<lambda>", "<module>"),
        ("A.<lambda>", "<module>"),
        ("<genexpr>", "<module>"),
        ("<lambda>.<locals>.g", "<module>"),
        ("<generic parameters of f>", "<module>"),
        ("A.__annotate__", "<module>"),
    ],
)
def test_fold(qualname: str, symbol: str) -> None:
    assert fold(qualname) == symbol


def test_source_tree_resolves_links_and_skips_environments(tmp_path: Path) -> None:
    real = tmp_path / "real"
    (real / ".venv" / "lib").mkdir(parents=True)
    (real / "a.py").touch()
    (tmp_path / "link").symlink_to(real)
    tree = SourceTree(tmp_path / "link", omit=["skip/*"])
    assert tree.name(str(tmp_path / "link" / "a.py")) == "a.py"
    assert tree.name(str(real / "a.py")) == "a.py"
    assert tree.name(str(real / ".venv" / "lib" / "b.py")) is None
    assert tree.name(str(real / "x" / "site-packages" / "b.py")) is None
    assert tree.name(str(real / "skip" / "b.py")) is None
    assert tree.name(str(tmp_path / "other.py")) is None
    assert tree.name("<string>") is None


# --- the file ---

SEEN = TracedRun(
    files=("src/a.py", "tests/test_a.py"),
    symbols=((0, "<module>"), (0, "A.f"), (1, "test_ü")),
    units={None: [0], "tests/test_a.py::test_ü": [1, 2], "tests/test_a.py::empty": []},
    python="3.12.1",
    partial=frozenset({"tests/test_a.py::empty"}),
)

GOLD = (
    '{"format":"foretest-coverage","version":1,"commit":"c0ffee","python":"3.12.1",'
    '"files":["src/a.py","tests/test_a.py"],'
    '"symbols":[[0,"<module>"],[0,"A.f"],[1,"test_\\u00fc"]],"partial":["tests/test_a.py::empty"]}\n'
    "[null,[0]]\n"
    '["tests/test_a.py::test_\\u00fc",[1,2]]\n'
    '["tests/test_a.py::empty",[]]\n'
)


def test_file_format(tmp_path: Path) -> None:
    write_traced(tmp_path / "out" / "coverage.jsonl", SEEN, "c0ffee")
    assert (tmp_path / "out" / "coverage.jsonl").read_text() == GOLD
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["coverage.jsonl"]


def test_compressed_file_is_the_same(tmp_path: Path) -> None:
    write_traced(tmp_path / "coverage.jsonl.gz", SEEN, "c0ffee")
    assert gzip.decompress((tmp_path / "coverage.jsonl.gz").read_bytes()).decode() == GOLD


@given(
    units=st.dictionaries(
        st.none() | st.text(), st.sets(st.integers(0, 4)).map(sorted), max_size=6
    ),
    commit=st.none() | st.text(max_size=5),
    compressed=st.booleans(),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    units: dict[str | None, list[int]],
    commit: str | None,
    compressed: bool,
) -> None:
    path = tmp_path_factory.mktemp("trip") / ("c.jsonl.gz" if compressed else "c.jsonl")
    symbols = tuple((i % 2, f"f{i}") for i in range(5))
    seen = TracedRun(("a", "b"), symbols, units, commit, "3.13.0")
    write_traced(path, seen, commit)
    back = read_traced(path)
    assert back.symbols == symbols
    assert back.partial == frozenset()
    assert back.commit == commit
    assert {u: list(s) for u, s in back.units.items()} == units


@pytest.mark.parametrize("keep", [1, 5, 30])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_cut_off_keeps_whole_lines(tmp_path: Path, keep: int, suffix: str) -> None:
    path = tmp_path / f"c.jsonl{suffix}"
    write_traced(path, SEEN, None)
    path.write_bytes(path.read_bytes()[:-keep])
    if suffix and keep == 30:  # the header itself may be lost
        return
    back = read_traced(path)
    for unit, symbols in back.units.items():
        assert list(symbols) == list(SEEN.units[unit])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\xfe",
        b"[]\n",
        b"{}\n",
        b'{"format":"foretest-coverage"}\n',
        b'{"format":"foretest-coverage","version":99}\n',
        GOLD.replace("[1,2]", "[1,7]").encode(),
        GOLD.replace("[1,2]", "[-1]").encode(),
        GOLD.replace("[1,2]", '["x"]').encode(),
        GOLD.replace('[0,"A.f"]', '[9,"A.f"]').encode(),
        GOLD.replace("[null,[0]]", "[[],[0]]").encode(),
        GOLD.replace("[null,[0]]", "nonsense").encode(),
    ],
)
@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz"])
def test_hostile_files_are_refused(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") and content else content)
    with pytest.raises(BadReport, match=r"c\.jsonl"):
        read_traced(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadReport):
        read_traced(tmp_path / "none.jsonl")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    write_traced(path, SEEN, "old")
    broken = TracedRun(("a",), (), {"u": [object()]})  # type: ignore[list-item]
    with pytest.raises(TypeError):
        write_traced(path, broken, "new")
    assert json.loads(path.read_text().splitlines()[0])["commit"] == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_shared_goes_to_its_users() -> None:
    made, unused = f"{SHARED}1", f"{SHARED}2"
    units: dict[str | None, list[int]] = {None: [0], "a": [2], "b": [], made: [1, 2], unused: [0]}
    run = TracedRun(("f",), ((0, "x"), (0, "y"), (0, "z")), units)
    given = with_shared(run, {"a": {made}, "b": {made}})
    assert {unit: list(seen) for unit, seen in given.units.items()} == {
        None: [0],
        "a": [1, 2],
        "b": [1, 2],
    }
