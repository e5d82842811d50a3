"""The charts: what the specifications hold, and that they can be drawn without a network."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from foretest.report import charts
from foretest.report.contents import FirstFailure, ReplayReport


def _scales(spec: Any) -> dict[str, dict[str, Any]]:
    """Each channel's scale, wherever in the layers it stands."""
    found: dict[str, dict[str, Any]] = {}
    for layer in spec["layer"]:
        for channel, encoding in layer["encoding"].items():
            if isinstance(encoding, dict) and encoding.get("scale"):
                found[channel] = encoding["scale"]
    return found


def test_caught_curve_draws_a_line_a_strategy_and_its_interval(report: ReplayReport) -> None:
    spec = charts.specification(charts.caught_curve(report.rows))
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["rule", "line", "point"]
    domain = _scales(spec)["color"]["domain"]
    assert domain[:2] == ["oracle", "foretest"]
    assert set(domain) == {row.strategy for row in report.rows}


def test_strategies_differ_by_more_than_colour(report: ReplayReport) -> None:
    scales = _scales(charts.specification(charts.caught_curve(report.rows)))
    shapes, dashes = scales["shape"]["range"], scales["strokeDash"]["range"]
    assert len(set(shapes)) == len(shapes) == 9
    assert dashes[1] == [1, 0]
    assert scales["color"]["range"][1] == charts.EMPHASIS


def test_a_strategy_keeps_its_colour_from_chart_to_chart(report: ReplayReport) -> None:
    first = _scales(charts.specification(charts.caught_curve(report.rows)))["color"]
    second = _scales(charts.specification(charts.time_to_first_failure(report.first_failures)))[
        "color"
    ]
    assert (first["domain"], first["range"]) == (second["domain"], second["range"])


def test_first_failure_sorts_strategies_by_their_median(report: ReplayReport) -> None:
    rows = [
        FirstFailure("slow", 0.9, "a"),
        FirstFailure("fast", 0.1, "a"),
        FirstFailure("mid", 0.5, "a"),
    ]
    spec = charts.specification(charts.time_to_first_failure(rows))
    assert spec["layer"][0]["encoding"]["y"]["sort"] == ["fast", "mid", "slow"]


def test_thousands_of_cases_are_drawn() -> None:
    rows = [FirstFailure("foretest", n / 6000, f"c{n}") for n in range(6000)]
    spec = charts.specification(charts.time_to_first_failure(rows))
    assert len(spec["layer"][0]["data"]["values"]) == 6000


def test_twenty_strategies_are_drawn(report: ReplayReport) -> None:
    rows = [FirstFailure(f"s{n}", 0.5, "a") for n in range(20)]
    assert "s19" in charts.svg(charts.time_to_first_failure(rows))


def test_still_picture_is_svg_and_bitmap_is_png(report: ReplayReport) -> None:
    chart = charts.caught_curve(report.rows)
    assert ET.fromstring(charts.svg(chart)).tag.endswith("svg")
    assert charts.png(chart, width=200, scale=1).startswith(b"\x89PNG")
