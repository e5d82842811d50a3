"""Plain cases lifted in bulk come to the same as every case parsed one by one."""

from __future__ import annotations

import io
from datetime import datetime
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretest.records import TestResult
from foretest.results import lifting
from foretest.results.joining import Units
from foretest.results.junit import Reading, batches
from foretest.results.ledger import Ledger
from foretest.results.xmlstream import DamagedError

NAMES = st.one_of(
    st.from_regex(r"test_[a-d](\[[a-c0-9-]{0,3}\])?", fullmatch=True),
    st.sampled_from(
        ["parses()", "isSmall(int)[2]", "a > b", "at 0x7f3a2b4c5d60", "x\ty", "é[ü]", ""]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6),
)
CLASSES = st.sampled_from(["tests.test_a", "tests.test_a.TestB", "org.acme.C$D", "A&B", "", "x\ny"])
TIMES = st.sampled_from(["0.5", "1", "", "-1", "nan", "1,234.5", "1e400", "soon"])
INSIDE = st.sampled_from(
    [
        "/>",
        " />",
        ">\n  </testcase>",
        '><skipped type="pytest.skip" message="no">t.py:3: no</skipped></testcase>',
        '><skipped type="pytest.xfail" message="" /></testcase>',
        "><skipped/></testcase>",
        '><failure message="a &lt; b" type="E">x &amp; <![CDATA[<testcase name="no"/>]]></failure>'
        "</testcase>",
        '><error message="&#10;x">trace</error><system-out>log</system-out></testcase>',
        "><system-out><![CDATA[ <b> ]]></system-out></testcase>",
        '><!-- <testcase name="none"/> --></testcase>',
        '><flakyFailure message="m"/><system-err>x</system-err></testcase>',
    ]
)
CASES = st.builds(
    lambda n, c, t, inside: (
        (f"<testcase classname={quoteattr(c)} name={quoteattr(n)} time={quoteattr(t)}{inside}")
        .replace("='", '="')
        .replace("' ", '" ')
    ),
    NAMES.filter(lambda n: '"' not in n and "'" not in n),
    CLASSES,
    TIMES,
    INSIDE,
)
BETWEEN = st.sampled_from(
    [
        "",
        "\n  ",
        "<!-- x -->",
        '</testsuite>\n<testsuite name="pytest">',
        '</testsuite><testsuite name="s" tests="1" timestamp="2025-03-01T12:00:00">\n',
        '</testsuite><testsuite name="s" tests="2" timestamp="2024-03-01T12:00:00.5+02:00">',
        '</testsuite><testsuite name="A&amp;B" tests="2" timestamp="soon">',
        '</testsuite><testsuite name="tests.test_a"><properties><property/></properties>',
        '</testsuite><testsuite name="org.acme.C$D" tests="0"/><testsuite name="a">',
        '</testsuite></testsuites><testsuites name="x"><testsuite name="y">',
        "</testsuite><testsuite>",
        "</testsuite></testsuite><testsuite name='s'>",
        '<testsuite name="within">',
        "</testsuite>",
    ]
)
ROOTS = st.sampled_from(["", ' name="pytest tests"', ' name="vitest tests"', ' name="jest tests"'])


Told = tuple[tuple[TestResult, ...], int, bool, datetime | None]


def read(data: bytes, known: tuple[str, ...]) -> Told:
    ledger, reading, damaged = Ledger(), Reading(), False
    try:
        for batch in batches(io.BytesIO(data), Units(known), reading):
            ledger.take(batch)
    except DamagedError:
        damaged = True
    return ledger.results(), ledger.unmatched, damaged, reading.began


def both(data: bytes, known: tuple[str, ...] = ()) -> list[Told]:
    told = []
    for least in (0, 1 << 40):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lifting, "LEAST", least)
            told.append(read(data, known))
    return told


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(CASES, BETWEEN), min_size=1, max_size=12),
    st.integers(0, 40),
    st.booleans(),
    ROOTS,
)
def test_lifting_changes_nothing(
    cases: list[tuple[str, str]], cut: int, known: bool, root: str
) -> None:
    body = "".join(case + between for case, between in cases)
    suites = f'<testsuite name="s">{body}</testsuite>'
    data = f'<?xml version="1.0"?><testsuites{root}>{suites}</testsuites>'
    units = ("tests/test_a.py::test_a", "pkg/tests/test_a.py::TestB::test_b") if known else ()
    lifted, parsed = both(data.encode()[: len(data.encode()) - cut], units)
    assert lifted == parsed


def test_pieces_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a piece of the file ends."""
    case = '<testcase classname="t.test_a" name="test_{}" time="1"{}'
    insides = [
        "/>",
        "><failure>f</failure></testcase>",
        "><system-out><![CDATA[<x>]]></system-out></testcase>",
    ]
    body = "\n".join(case.format(i, insides[i % 3]) for i in range(40))
    data = f"<testsuite>{body}<!-- <testcase name='no'/> --></testsuite>".encode()
    (whole, *_), _ = both(data)
    assert len(whole) == 40
    for size in (64, 101, 333, 1024):
        monkeypatch.setattr(lifting, "SIZE", size)
        assert [told[0] for told in both(data)] == [whole, whole]


def test_what_stands_in_sections_is_no_test() -> None:
    inner = '<testcase classname="t" name="no" time="1"/>'
    plain = '<testcase classname="t.test_a" name="test_{}" time="1"/>'
    body = "".join(plain.format(i) for i in range(3))
    logs = f"<system-out><![CDATA[{inner}]]></system-out><!-- {inner} -->"
    lifted, parsed = both(f"<testsuite>{body}{logs}{body}</testsuite>".encode())
    assert lifted == parsed
    assert {result.test.name for result in lifted[0]} == {"test_0", "test_1", "test_2"}


def test_a_title_of_blanks_is_none() -> None:
    case = '<testcase classname="a.test.ts" name="\xa0" time="1"/>'
    lifted, parsed = both(
        f'<testsuites name="vitest tests"><testsuite>{case}</testsuite></testsuites>'.encode()
    )
    assert lifted == parsed
    assert lifted[0][0].test.unit == "a.test.ts"


def test_a_case_within_a_case_is_none() -> None:
    plain = '<testcase classname="t" name="a" time="1"/>'
    lifted, parsed = both(
        f'<testsuite>{plain}<testcase name="o">{plain}</testcase></testsuite>'.encode()
    )
    assert {r.test.unit for r in parsed[0]} == {"t::a", "o"}
    assert {r.test.unit for r in lifted[0]} <= {"t::a", "o"}


def test_a_log_is_read_where_a_failure_says_nothing_itself() -> None:
    """CTest says of a failure only what the test printed."""
    log = "<system-out><![CDATA[E: {} &amp; <x>]]></system-out>"
    case = '<testcase classname="t" name="{}" time="1">{}</testcase>'
    insides = [
        log.format(1),
        log.format(1) + '<failure message=""/>',
        '<failure message=""/>' + log.format(2),
        '<failure message="m"/>' + log.format(3),
        log.format(1).replace("out", "err"),
    ]
    body = "".join(case.format(f"n{i}", inside) for i, inside in enumerate(insides))
    lifted, parsed = both(f"<testsuite>{body}</testsuite>".encode())
    assert lifted == parsed
    marks = [result.fingerprint for result in lifted[0]]
    assert len(set(marks)) == 4
