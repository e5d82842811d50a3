"""The page: one file, complete without network or scripts, safe against hostile names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from foretest.errors import BadStore
from foretest.report import page
from foretest.report.contents import CaseRow, ReplayReport

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


class Elements(HTMLParser):
    """Counts elements, keeps attributes, checks that all are closed."""

    VOID = frozenset(("meta", "link", "img", "br", "hr", "input"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _parse(text: str) -> Elements:
    elements = Elements()
    elements.feed(text)
    assert elements.open == []
    return elements


@pytest.fixture(scope="module")
def scripts() -> str:
    """The real scripts once: bundling them takes seconds."""
    return page.charts.scripts()


@pytest.fixture(autouse=True)
def bundled_once(scripts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.charts, "scripts", lambda: scripts)


def test_page_holds_title_tables_charts_cases_and_commands(report: ReplayReport) -> None:
    text = page.render(report)
    elements = _parse(text)
    for wanted in (report.title, *report.notices, *report.commands, "84–96", "did not touch (43)"):
        assert wanted in text
    assert elements.tags.count("details") == 40 + 4
    assert elements.tags.count("figure") == 2
    assert text.index(">missed<") < text.index("9.75%"), "the worst case stands first"


def test_page_asks_nothing_of_the_network(report: ReplayReport) -> None:
    elements = _parse(page.render(report))
    addressed = {
        name for tag, name, _ in elements.attributes if tag in ("script", "link", "img", "iframe")
    }
    assert not addressed & {"src", "href"}
    assert "@import" not in page.render(report).split("</style>")[0]


def test_page_stays_small_enough_to_attach(report: ReplayReport) -> None:
    assert len(page.render(report).encode()) < 2_000_000


def test_live_charts_carry_readable_data(report: ReplayReport) -> None:
    found = re.findall(
        r'<script type="application/json"[^>]*>(.*?)</script>', page.render(report), re.S
    )
    assert [json.loads(text)["layer"][0]["mark"]["type"] for text in found] == ["rule", "tick"]


def test_hostile_names_stay_text(report: ReplayReport) -> None:
    case = CaseRow(HOSTILE, HOSTILE, (HOSTILE,), (HOSTILE,), 0.5, 3, HOSTILE)
    firsts = tuple(replace(row, case_id=HOSTILE) for row in report.first_failures)
    rows = tuple(replace(r, strategy=HOSTILE) if r.strategy == "BM25" else r for r in report.rows)
    hostile = replace(
        report,
        title=HOSTILE,
        repository=HOSTILE,
        notices=(HOSTILE,),
        commands=(HOSTILE,),
        cases=(case,),
        rows=rows,
        first_failures=firsts,
        facts=((HOSTILE, HOSTILE),),
    )
    plain, attacked = _parse(page.render(report)), _parse(page.render(hostile))
    assert "img" not in attacked.tags
    assert attacked.tags.count("script") == plain.tags.count("script")
    assert not [name for _, name, _ in attacked.attributes if name.startswith("on")]


def test_empty_report_says_so_and_needs_no_scripts(report: ReplayReport) -> None:
    empty = replace(
        report,
        rows=(),
        first_failures=(),
        cases=(),
        notices=(),
        commands=(),
        slices=(),
        facts=(),
        summary="",
    )
    elements = _parse(page.render(empty))
    assert "No faulty change was judged." in page.render(empty)
    assert "script" not in elements.tags


def test_cases_beyond_the_limit_are_counted(
    report: ReplayReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "CASES_SHOWN", 10)
    text = page.render(report)
    assert "The 30 found soonest are left out here" in text
    assert _parse(text).tags.count("details") == 10 + 4


def test_bundled_scripts_cannot_close_their_element(scripts: str) -> None:
    inside = page._inside_script(f"{scripts};'</script><!--'")
    assert "</script" not in inside
    assert "<!--" not in inside


def test_write_page_writes_one_file(report: ReplayReport, tmp_path: Path) -> None:
    place = page.write_page(report, tmp_path / "new" / "replay.html")
    assert place.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [file.name for file in place.parent.iterdir()] == ["replay.html"]


def test_write_page_to_a_place_that_cannot_be_says_so(report: ReplayReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadStore):
        page.write_page(report, tmp_path / "file" / "replay.html")
