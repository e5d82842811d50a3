"""The charts of a replay, as Vega-Lite specifications that carry their data and need no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import vl_convert

from foretest.report.contents import OURS, FirstFailure, StrategyRow
from foretest.report.tables import budgets_of, quartiles, strategies_of

INK = "currentColor"
"""Text and axes take the page's own colour, so that one chart serves light and dark pages."""

EMPHASIS = "#d55e00"
NEUTRAL = {"oracle": INK, "random": "#8a8a8a"}
"""Bounds rather than rivals: what nobody can beat and what everybody must."""

PALETTE = ("#0072b2", "#009e73", "#aa4499", "#8c6d1f", "#3f8fbf", "#7a5cc0")
"""After Okabe and Ito; darkened or lightened to keep 3:1 contrast on white and on near-black."""

SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
    "M0,-1L.59,.81L-.95,-.31L.95,-.31L-.59,.81Z",  # a star
)
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 2], [10, 4], [1, 3], [5, 2, 1, 2, 1, 2], [3, 6])

Chart = alt.LayerChart


def caught_curve(rows: Sequence[StrategyRow], ours: str = OURS) -> Chart:
    """Share of faulty changes caught against share of suite time: a line a strategy, 95% intervals.

    Time is on a logarithmic axis, since the small budgets are the interesting ones. Strategies
    stand a hair apart within a budget, so that their intervals do not cover one another.
    """
    rows = [row for row in rows if row.budget > 0]
    names = strategies_of(rows, ours)
    base = alt.Chart(_data(_apart(rows, names))).encode(
        x=alt.X(
            "place:Q",
            title="share of suite time",
            scale=alt.Scale(type="log", nice=False, padding=12),
            axis=alt.Axis(format="~%", values=budgets_of(rows), labelOverlap=True),
        ),
        color=_colour(names, ours),
    )
    tooltip = [
        alt.Tooltip("strategy:N"),
        alt.Tooltip("budget:Q", format="~%", title="suite time"),
        alt.Tooltip("caught:Q", format=".0%"),
        alt.Tooltip("low:Q", format=".0%", title="95% from"),
        alt.Tooltip("high:Q", format=".0%", title="95% to"),
        alt.Tooltip("n:Q", title="changes"),
    ]
    up = alt.Y(
        "caught:Q",
        title="faulty changes caught",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%"),
    )
    weight = alt.condition(alt.datum.strategy == ours, alt.value(3.5), alt.value(1.5))
    intervals = base.mark_rule(opacity=0.45).encode(
        y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), strokeWidth=weight
    )
    lines = base.mark_line().encode(
        y=up, strokeWidth=weight, strokeDash=_scaled("strokeDash", names, ours)
    )
    points = base.mark_point(filled=True, opacity=1).encode(
        y=up,
        shape=_scaled("shape", names, ours),
        size=alt.condition(alt.datum.strategy == ours, alt.value(90), alt.value(40)),
        tooltip=tooltip,
    )
    return _dressed(alt.LayerChart(layer=[intervals, lines, points]), height=320)


def time_to_first_failure(rows: Sequence[FirstFailure], ours: str = OURS) -> Chart:
    """Share of suite time until the first failing test: a mark a case, half of them in the bar."""
    names = strategies_of(rows, ours)
    shares = {name: [row.share for row in rows if row.strategy == name] for name in names}
    order = sorted(names, key=lambda name: quartiles(shares[name])[1])
    down = alt.Y("strategy:N", title=None, sort=order, axis=alt.Axis(labelLimit=140))
    colour = _colour(names, ours, legend=None)
    cases = (
        alt.Chart(
            _data({"strategy": r.strategy, "share": r.share, "case": r.case_id} for r in rows)
        )
        .mark_tick(thickness=1, opacity=0.45, bandSize=16)
        .encode(
            x=_across("share"),
            y=down,
            color=colour,
            tooltip=["strategy:N", "case:N", _percent("share")],
        )
    )
    middle = alt.Chart(_data(_quartile_rows(shares)))
    tooltip = ["strategy:N", _percent("q1"), _percent("median"), _percent("q3"), "cases:Q"]
    half = middle.mark_bar(height=7, opacity=0.55).encode(
        x=_across("q1"),
        x2="q3:Q",
        y=down,
        color=colour,
        tooltip=tooltip,
    )
    median = middle.mark_point(filled=True, size=70, opacity=1, shape="diamond").encode(
        x=_across("share"), y=down, color=colour, tooltip=tooltip
    )
    return _dressed(alt.LayerChart(layer=[cases, half, median]), height=30 * max(len(names), 1))


def specification(chart: Chart | alt.HConcatChart) -> dict[str, Any]:
    """The chart as a Vega-Lite specification, its data inside."""
    spec = chart.to_dict()
    assert isinstance(spec, dict)
    return spec


def svg(chart: Chart, width: int = 640) -> str:
    """The chart as a still picture, for readers without scripts."""
    return vl_convert.vegalite_to_svg(specification(chart.properties(width=width)))


def png(chart: Chart | alt.HConcatChart, width: int = 640, scale: float = 2.0) -> bytes:
    """The chart as a bitmap on white, for documents; charts side by side keep their own widths."""
    sized = chart if isinstance(chart, alt.HConcatChart) else chart.properties(width=width)
    spec = specification(sized.properties(background="white"))
    return vl_convert.vegalite_to_png(spec, scale=scale)


def scripts() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that sets `vegaEmbed` on the window."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _apart(rows: Iterable[StrategyRow], names: list[str]) -> Iterable[dict[str, Any]]:
    middle = (len(names) - 1) / 2
    for row in rows:
        place = row.budget * 1.025 ** (names.index(row.strategy) - middle)
        yield {
            "strategy": row.strategy,
            "budget": row.budget,
            "place": place,
            "caught": row.caught,
            "low": row.low,
            "high": row.high,
            "n": row.n,
        }


def _across(field: str) -> alt.X:
    return alt.X(
        field,
        type="quantitative",
        title="share of suite time until the first failing test",
        # A root spreads the small shares without sending 0 to minus infinity as a logarithm would.
        scale=alt.Scale(type="pow", exponent=0.4, domain=[0, 1]),
        axis=alt.Axis(format="~%", values=[0, 0.01, 0.05, 0.1, 0.2, 0.5, 1]),
    )


def _quartile_rows(shares: dict[str, list[float]]) -> Iterable[dict[str, Any]]:
    for name, values in shares.items():
        q1, median, q3 = quartiles(values)
        counts = {"share": median, "median": median, "cases": len(values)}
        yield {"strategy": name, "q1": q1, "q3": q3, **counts}


def _data(values: Iterable[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=list(values))  # type: ignore[no-untyped-call]


def _percent(field: str) -> alt.Tooltip:
    return alt.Tooltip(field, type="quantitative", format=".1%")


def _colours(names: list[str], ours: str) -> list[str]:
    rivals = iter(PALETTE * (len(names) // len(PALETTE) + 1))
    return [EMPHASIS if n == ours else NEUTRAL.get(n) or next(rivals) for n in names]


def _legend() -> alt.Legend:
    return alt.Legend(title=None, orient="top", symbolStrokeWidth=0, labelLimit=160)


def _colour(names: list[str], ours: str, legend: Any = alt.Undefined) -> alt.Color:
    shown = _legend() if legend is alt.Undefined else legend
    scale = alt.Scale(domain=names, range=_colours(names, ours))
    return alt.Color("strategy:N", scale=scale, legend=shown)


def _scaled(channel: str, names: list[str], ours: str) -> Any:
    """A second sign beside colour: a shape or a dash a strategy, plain for ours."""
    signs: Sequence[Any] = SHAPES if channel == "shape" else DASHES
    rest = iter(list(signs[1:]) * (len(names) // (len(signs) - 1) + 1))
    used = [signs[0] if name == ours else next(rest) for name in names]
    scale = alt.Scale(domain=names, range=used)
    if channel == "shape":
        return alt.Shape("strategy:N", scale=scale, legend=_legend())
    return alt.StrokeDash("strategy:N", scale=scale, legend=None)


def _dressed(chart: Chart, height: int) -> Chart:
    dressed: Chart = (
        chart.properties(width="container", height=height, background="transparent")
        .configure(font="system-ui, sans-serif")  # first: it replaces what the others set
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK,
            titleColor=INK,
            domainColor=INK,
            tickColor=INK,
            gridColor=INK,
            gridOpacity=0.12,
            domainOpacity=0.4,
            tickOpacity=0.4,
            titleFontWeight="normal",
            labelFontSize=12,
            titleFontSize=12,
        )
        .configure_legend(
            labelColor=INK, labelFontSize=12, symbolSize=90, symbolOpacity=1, columns=4
        )
    )
    return dressed
