"""The HTML page of a replay: one file with its styles, charts and scripts inside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from foretest.durable import write_text
from foretest.report import charts, tables
from foretest.report.contents import CaseRow, ReplayReport

CASES_SHOWN = 500
"""More would make the page slow to open on a phone; the page says how many it leaves out."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart on the page: a still picture that a script replaces by the live one."""

    key: str
    title: str
    note: str
    picture: Markup
    specification: Markup


def write_page(report: ReplayReport, path: Path) -> Path:
    """Write the page to `path` as one file and return its place. Raises BadStore if it cannot."""
    write_text(path, render(report))
    return path.resolve()


def render(report: ReplayReport) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("foretest.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = tables.percent
    cases = sorted(report.cases, key=lambda case: -case.share)
    return environment.get_template("replay.html").render(
        report=report,
        in_short=tables.in_short(report.rows, report.ours),
        table=tables.budget_table(report.rows, report.ours),
        slices=[
            (tables.percent(budget), tables.slice_table(report.slices, budget, report.ours))
            for budget in sorted(tables.budgets_of(report.slices), key=tables.from_usual)
        ],
        peers=tables.peer_table(report.peers, report.ours),
        beside_peers=tables.budget_table(report.beside_peers, report.ours),
        figures=list(_figures(report)),
        cases=cases[:CASES_SHOWN],
        left_out=max(len(cases) - CASES_SHOWN, 0),
        missed=sum(_missed(case) for case in cases),
        scripts=Markup(_inside_script(charts.scripts())),
    )


def _figures(report: ReplayReport) -> Iterator[Figure]:
    if report.rows:
        yield _figure(
            "caught",
            "What each strategy catches",
            "A line a strategy; the bars are 95% intervals. Time runs on a logarithmic axis.",
            charts.caught_curve(report.rows, report.ours),
        )
    if report.first_failures:
        yield _figure(
            "first",
            "How soon the first failure shows",
            "A mark a faulty change; the bar holds the middle half, the diamond is the median. "
            "Further left is better.",
            charts.time_to_first_failure(report.first_failures, report.ours),
        )


def _figure(key: str, title: str, note: str, chart: charts.Chart) -> Figure:
    text = json.dumps(charts.specification(chart), ensure_ascii=False).replace("<", "\\u003c")
    # The picture is drawn by vl-convert, which escapes the text it is given.
    return Figure(key, title, note, Markup(charts.svg(chart)), Markup(text))


def _inside_script(source: str) -> str:
    """Keep a script from closing its own element: `<\\/` means `</` inside JavaScript's strings."""
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _missed(case: CaseRow) -> bool:
    return case.rank is None
