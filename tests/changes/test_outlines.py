"""Outlines: which lines are whose, what each symbol sets and reads, and what a change touches."""

from __future__ import annotations

import difflib
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.changes.outlines import count_lines, partition
from foretest.changes.symbols import Import, outline, test_digests, touched
from foretest.records import Hunk

SOURCE = dedent(
    '''\
    """About."""
    import os.path as p
    from .tables import (
        NAMES as names,
    )

    TABLE = {
        "a": 1,
    }


    def plain(a=1):
        return a


    class Outer(Base):
        """Doc."""

        field = 1

        @decorate(
            TABLE,
        )
        def method(
            self,
        ):
            # why
            def inner():
                return lambda: 2
            return inner

        class Inner:
            async def deep(self): return 1

    if p:
        def conditional():
            pass
    else:
        def conditional():
            pass
    tail = lambda: 3
    '''
)


def owners(path: str, source: str) -> list[str]:
    """The owner of each line."""
    spans = outline(path, source).symbols
    return [s.symbol.qualname for s in spans for _ in range(s.first, s.last + 1)]


def hunks(old: str, new: str) -> list[Hunk]:
    a, b = old.split("\n"), new.split("\n")
    codes = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return [
        Hunk(i + (i < j), j - i, k + (k < m), m - k, tuple(a[i:j]), tuple(b[k:m]))
        for tag, i, j, k, m in codes
        if tag != "equal"
    ]


def changes(old: str, new: str) -> tuple[set[str], set[str]]:
    old, new = dedent(old), dedent(new)
    symbols, names = touched(outline("a.py", old), outline("a.py", new), hunks(old, new))
    return {symbol.qualname for symbol in symbols}, set(names)


def test_every_line_has_its_owner() -> None:
    found = list(zip(owners("a.py", SOURCE), SOURCE.splitlines(), strict=True))
    assert [line for owner, line in found if owner == "plain"] == [
        "def plain(a=1):",
        "    return a",
    ]
    method = [line.strip() for owner, line in found if owner == "Outer.method"]
    assert (method[0], method[-1]) == ("@decorate(", "return inner")
    assert sum(owner == "conditional" for owner, _ in found) == 4
    assert {owner for owner, _ in found} == {
        "<module>", "plain", "Outer.method", "Outer.Inner.deep", "conditional",
    }  # fmt: skip


def test_reads_sets_and_imports() -> None:
    found = outline(
        "a.py",
        dedent(
            """\
            import os.path, sys as system
            from .tables import NAMES as names
            from . import *
            CACHE, (a.deep.attr, *rest) = {}, []
            CACHE["x"] += 1
            registry.add(1)
            class C:
                level: int = 1
                def f(self, given, *args):
                    global TOTAL
                    TOTAL = given.size
                    local = names[TOTAL]
                    local.append(1)
                    self.seen[local] = helper(args)
                    CACHE.setdefault(1, 2)
                    del self.gone
                    from deep.down import treasure
            with open("x") as handle, lock:
                inside = 1
            for index in rest: pass
            if handle:
                chosen = 1
            """
        ),
    )
    assert found.imports == (
        Import("os.path", (), 0),
        Import("sys", (), 0),
        Import("tables", ("NAMES",), 1),
        Import("", ("*",), 1),
        Import("deep.down", ("treasure",), 0),
    )
    assert found.sets["C.f"] == {"TOTAL", "seen", "CACHE", "gone"}
    assert found.reads["C.f"] >= {"names", "NAMES", "size", "helper", "CACHE", "TOTAL", "treasure"}
    assert found.reads["C.f"].isdisjoint({"given", "local", "args", "self"})
    assert found.sets["<module>"] == {
        "os", "system", "names", "*", "CACHE", "a", "attr", "rest", "registry", "C", "level", "f",
        "handle", "inside", "index", "chosen",
    }  # fmt: skip
    assert found.reads["<module>"] >= {"registry", "lock", "rest"}


def test_a_body_touches_its_function_alone() -> None:
    assert changes("def f():\n    return 1\n", "def f():\n    return 2\n") == ({"f"}, set())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def f(a=1):\n    pass\n", "def f(a=2):\n    pass\n"),
        ("@d\ndef f(a):\n    pass\n", "@e\ndef f(a):\n    pass\n"),
        ("def f(\n    a,\n):\n    pass\n", "def f(\n    b,\n):\n    pass\n"),
        ("def f(a): return 1\n", "def f(a): return 2\n"),
    ],
)
def test_a_header_touches_module_level_too(old: str, new: str) -> None:
    symbols, names = changes(old, new)
    assert "f" in symbols
    # A body that shares the header's line runs when called: module level itself is the same.
    if "return" not in old:
        assert (symbols, names) == ({"f", "<module>"}, {"f"})


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ('T = {\n    "a": 1,\n}\n', 'T = {\n    "a": 2,\n}\n', {"T"}),
        ("T = 1\n", "", {"T"}),
        ("T.update(a=1)\n", "T.update(a=2)\n", {"T"}),
        ("class C:\n    x = 1\n", "class C:\n    x = 2\n", {"C", "x"}),
        ("class C(A):\n    x = 1\n", "class C(B):\n    x = 1\n", {"C"}),
        ("if a:\n    X = 1\n", "if b:\n    X = 1\n", {"X"}),
        ("from a import b as c\n", "from d import b as c\n", {"c"}),
        ("C.x = 1\n", "C.x = 2\n", {"C", "x"}),
        ("f(1)\n", "f(2)\n", set()),
    ],
)
def test_module_level_says_which_names_it_rebinds(old: str, new: str, names: set[str]) -> None:
    assert changes(old, new) == ({"<module>"}, names)


@pytest.mark.parametrize(
    "new",
    [
        SOURCE.replace("# why", "# because"),
        SOURCE.replace("\n\n\n", "\n"),
        SOURCE.replace('"a": 1,', '"a"   : 1  # one'),
        SOURCE.replace("def plain(a=1):", "def plain(\n    a = 1,\n) :"),
        "# first\n" + SOURCE,
    ],
)
def test_comments_and_layout_touch_nothing(new: str) -> None:
    assert new != SOURCE
    assert changes(SOURCE, new) == (set(), set())


def test_a_docstring_touches_its_owner() -> None:
    assert changes(SOURCE, SOURCE.replace("Doc.", "Docs."))[0] == {"<module>"}
    old = 'def f():\n    """One.\n\n    Two."""\n    return 1\n'
    assert changes(old, old.replace("Two", "2")) == ({"f"}, set())


def test_added_and_deleted_files_touch_all_they_hold() -> None:
    whole = outline("a.py", SOURCE)
    lines = count_lines(SOURCE)
    everything = set(whole.qualnames)
    added, names = touched(None, whole, [Hunk(0, 0, 1, lines, (), ())])
    deleted, same_names = touched(whole, None, [Hunk(1, lines, 0, 0, (), ())])
    assert {s.qualname for s in added} == {s.qualname for s in deleted} == everything
    assert set(names) == set(same_names) == whole.sets["<module>"]


def test_moved_functions_are_the_same_functions() -> None:
    f, g = "def f():\n    return 1\n", "def g():\n    return 2\n"
    assert changes(f + g, g + f)[0] <= {"<module>"}


def test_where_one_side_does_not_parse() -> None:
    good, bad = "def f():\n    return 1\n", "def f(:\n    return 1\n"
    symbols, _ = changes(good, bad)
    assert symbols == {"f", "<module>"}
    assert changes(bad, good)[0] == {"f", "<module>"}


@pytest.mark.parametrize(
    "source",
    [
        "def f(:\n",
        "x = 1\0\n",
        "print 'python 2'\n",
        "(" * 5000,
        "x = " + "-" * 20000 + "1\n",
        "x = 1\ry = 2\r",
        b"# coding: nonsense\nx = 1\n\xff",
        b"\xff\xfe\x00",
        "\ud800 = 1\n",
    ],
)
def test_what_does_not_parse_is_module_level(source: str | bytes) -> None:
    found = outline("a.py", source)
    assert {span.symbol.qualname for span in found.symbols} == {"<module>"}
    assert not found.digests
    assert test_digests("a.py", source) == {}


def test_deeply_nested_code_is_read() -> None:
    chain = "x = 1\n" + "if a: pass\n" + "elif a: pass\n" * 300 + "y = " + " + ".join(["x"] * 900)
    assert outline("a.py", chain + "\n").digests
    assert outline("a.py", "def f():\n    return " + ".a()".join(["b"] + [""] * 150)).digests


@pytest.mark.parametrize("path", ["a.md", "Makefile", "a.rs", "a"])
def test_other_languages_are_module_level(path: str) -> None:
    assert owners(path, "a\nb\n") == ["<module>", "<module>"]
    assert outline(path, "").symbols == ()


def test_other_encodings() -> None:
    latin = "# coding: latin-1\ndef über():\n    return 'é'\n".encode("latin-1")
    assert "über" in outline("a.py", latin).digests
    assert "f" in outline("a.py", b"\xef\xbb\xbfdef f():\r\n    pass\r\n").digests


def test_digests_tell_new_and_changed_tests() -> None:
    source = dedent(
        '''\
        class TestA:
            @mark
            def test_b(self):
                """Doc."""
                def inner():
                    """Inner."""
                assert 0x10 == 16
        def test_c(): pass
        '''
    )
    before = test_digests("t/test_a.py", source)
    assert set(before) == {"t/test_a.py::TestA::test_b", "t/test_a.py::test_c"}
    same = source.replace("Doc.", "D.").replace("Inner.", "I.").replace("0x10", "16")
    assert test_digests("t/test_a.py", same) == before
    for change in ("mark", "inner", "0x10", "test_b"):
        after = test_digests("t/test_a.py", source.replace(change, "other"))
        assert set(before.items()) - set(after.items()) == {
            ("t/test_a.py::TestA::test_b", before["t/test_a.py::TestA::test_b"])
        }


def test_huge_literals_have_a_digest() -> None:
    assert outline("a.py", f"x = 0x{'f' * 9000}\n").digests


def test_a_name_defined_twice_has_one_digest_of_both() -> None:
    one = "if a:\n    def f(): return 1\nelse:\n    def f(): return 2\n"
    first, second = outline("a.py", one), outline("a.py", one.replace("2", "3"))
    assert first.digests["f"] != second.digests["f"]
    assert sum(span.symbol.qualname == "f" for span in first.symbols) == 2


# Properties.

BLOCKS = st.recursive(
    st.sampled_from(
        [["x = 1"], ["# c", ""], ["y = '''", "def no(): pass", "'''"], ["def f(): pass"]]
    ),
    lambda inner: st.tuples(
        st.sampled_from(["class A:", "def g(a=1):", "if x:", "@d\ndef h(\n    a,\n):", "try:"]),
        inner,
        inner,
    ).map(
        lambda made: [
            *made[0].split("\n"),
            "    pass",
            *(f"    {line}" for line in made[1]),
            *(["finally:", "    pass"] if made[0] == "try:" else []),
            *made[2],
        ]
    ),
    max_leaves=12,
)


@given(BLOCKS)
def test_spans_cover_every_line_exactly_once(block: list[str]) -> None:
    source = "\n".join(block)
    found = outline("a.py", source)
    assert found.digests
    covered = [line for span in found.symbols for line in range(span.first, span.last + 1)]
    assert covered == list(range(1, count_lines(source) + 1))
    assert {span.symbol.qualname for span in found.symbols} <= set(found.digests)


@given(
    st.lists(st.tuples(st.text("ab", min_size=1), st.integers(1, 30), st.integers(1, 30))),
    st.integers(0, 30),
)
def test_partition_covers_whatever_it_is_given(
    functions: list[tuple[str, int, int]], lines: int
) -> None:
    spans = partition("a", functions, lines)
    assert [n for s in spans for n in range(s.first, s.last + 1)] == list(range(1, lines + 1))


@given(BLOCKS, BLOCKS)
def test_a_change_taken_back_touches_the_same(a: list[str], b: list[str]) -> None:
    old, new = "\n".join(a), "\n".join(b)
    sides = outline("a.py", old), outline("a.py", new)
    there = hunks(old, new)
    back = [
        Hunk(h.new_start, h.new_lines, h.old_start, h.old_lines, h.added, h.removed) for h in there
    ]
    symbols, names = touched(*sides, there)
    same_symbols, same_names = touched(*reversed(sides), back)
    assert (set(symbols), names) == (set(same_symbols), same_names)
    assert touched(sides[0], sides[0], []) == ((), ())
