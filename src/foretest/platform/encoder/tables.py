"""Tables and charts of what was measured; measured and predicted are drawn apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import altair as alt

from foretest.durable import atomic_write, write_text
from foretest.errors import BadConfiguration
from foretest.platform.encoder.checkpoints import Progress
from foretest.report.charts import DASHES, PALETTE

Found = dict[str, Any]
POINTS = 400
"""Of a curve."""
MARGIN = 30
"""Around a chart: whoever shows it may have wider letters than those that it was laid out with."""
NAMES = {"one": "one worker", "ddp": "DDP", "fsdp": "FSDP"}


def keep(found: Found, out: Path) -> None:
    """Write what was measured as JSON."""
    write_text(out, json.dumps(found, indent=1) + "\n")


def kept(path: Path) -> Found:
    """What `keep` wrote; raises BadConfiguration for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadConfiguration(
            f"{path} cannot be read as JSON.", "Name a file that an --out wrote."
        ) from error
    return dict(found) if isinstance(found, dict) else {}


def strategies_table(found: Found) -> Iterator[str]:
    """Lines of Markdown, a row a strategy."""
    low, middle, high = found["load"]
    yield (
        f"{found['size']}, {found['parameters']:,} parameters, {found['device']}; {found['rounds']}"
        f" rounds of {found['steps']} steps of {found['batch']} pairs; load {low} to {high},"
        f" median {middle}."
    )
    yield ""
    yield "| strategy | peak memory, MiB | step, s | loss | tokens/s | parameters learning |"
    yield "|---|---:|---:|---:|---:|---:|"
    for row in found["rows"]:
        if "seconds" not in row:
            yield f"| {row['strategy']} | {row['not_measured']} | | | | |"
            continue
        each = " a worker" if row["workers"] > 1 else ""
        yield (
            f"| {row['strategy']} | {_range(row, 'memory', '.0f')}{each} |"
            f" {_range(row, 'seconds', '.3f')} | {row['loss']:.3f} |"
            f" {row['tokens_per_second']:,.0f}{_used(row)} | {row['learning']:,} |"
        )


def _used(row: Found) -> str:
    used = row["utilisation"]
    return "" if used is None else f" (utilisation {used:.0%})"


def _range(row: Found, name: str, form: str) -> str:
    low, high = row[f"{name}_range"]
    return f"{row[name]:{form}} ({low:{form}} to {high:{form}})"


def scaling_table(found: Found) -> Iterator[str]:
    """Lines of Markdown: measured, back-tested, predicted."""
    load = ", ".join(f"{each:.1f}" for each in found["load"])
    yield (
        f"Measured: {found['size']}, {found['parameters']:,} parameters, {found['device']};"
        f" {found['batch']} pairs a step, to a loss of {found['goal']}; load after each round"
        f" {load}."
    )
    yield ""
    yield "| workers | way | steps to the loss | seconds to the loss, a run each | step, s |"
    yield "|---:|---|---:|---|---|"
    for row in found["measured"]:
        runs = row["runs"]
        steps = "/".join(sorted({str(run["steps"] or "not reached") for run in runs}))
        seconds = ", ".join(f"{run['seconds']:.1f}" if run["steps"] else "-" for run in runs)
        each = ", ".join(f"{run['step']:.3f}" for run in runs)
        yield f"| {row['workers']} | {NAMES[row['way']]} | {steps} | {seconds} | {each} |"
    yield ""
    c = found["constants"]
    yield (
        f"Constants measured here: link {c['bandwidth'] / 1e9:.2f} GB/s,"
        f" {c['latency'] * 1e6:.0f} µs a round; computation {c['shared']:.3f} s a step"
        f" shared, {c['each']:.3f} s by each."
    )
    yield ""
    yield "| two workers | step predicted, s | step measured, s | off by |"
    yield "|---|---:|---:|---:|"
    for row in found["back_test"]:
        yield (
            f"| {NAMES[row['way']]} | {row['predicted']:.3f} | {row['measured']:.3f} |"
            f" {row['off']:+.0%} |"
        )
    yield ""
    yield "Predicted, not measured (low and high utilisation in brackets):"
    yield ""
    yield "| node | way | GPUs | hours |"
    yield "|---|---|---:|---:|"
    for row in found["predicted"]:
        low, high = row["hours_range"]
        yield (
            f"| {row['node']} | {NAMES[row['way']]} | {row['gpus']} |"
            f" {row['hours']:.2f} ({low:.2f} to {high:.2f}) |"
        )


def learning_chart(done: Mapping[str, Progress]) -> alt.Chart:
    """The loss of each stage by step; of a long training, some hundred steps of it."""
    values = [
        {"stage": stage, "step": step.number, "loss": step.loss}
        for stage, progress in done.items()
        for step in progress.curve[:: max(1, progress.steps // POINTS)]
    ]
    return (
        alt.Chart(alt.InlineData(values=values))
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("step:Q"),
            y=alt.Y("loss:Q", title="loss, nats"),
            color=alt.Color("stage:N", title=None, scale=alt.Scale(range=list(PALETTE[:2]))),
        )
        .properties(width=360, height=240)
    )


def scaling_chart(found: Found) -> alt.HConcatChart:
    """Left, measured here (solid, filled) beside its back-test (hollow); right, predicted alone."""
    both = alt.hconcat(_here(found), _there(found), spacing=40, padding=MARGIN)
    whole = both.resolve_scale(color="independent").configure_view(stroke=None)
    return whole.configure_title(anchor="start", fontSize=12)


def _here(found: Found) -> alt.LayerChart | alt.FacetChart:
    alone = next(row for row in found["measured"] if row["way"] == "one")["runs"]
    runs = [
        {"workers": row["workers"], "way": NAMES[way], "seconds": run["seconds"]}
        for row in found["measured"]
        for way in (("ddp", "fsdp") if row["way"] == "one" else (row["way"],))
        for run in row["runs"]
        if run["seconds"]
    ]
    steps = found["back_test_steps"] or 0
    start = [run["step"] for run in alone]
    middle = sorted(start)[len(start) // 2]
    predicted = [
        {"workers": workers, "way": NAMES[row["way"]], "seconds": step * steps}
        for row in found["back_test"]
        for workers, step in ((1, middle), (2, row["predicted"]))
    ]
    x = alt.X("workers:O", title="workers, one thread each", axis=alt.Axis(labelAngle=0))
    y = alt.Y("seconds:Q", title="seconds to the loss", scale=alt.Scale(zero=True))
    colour = alt.Color(
        "way:N",
        title=None,
        scale=alt.Scale(domain=["DDP", "FSDP"], range=list(PALETTE[:2])),
        legend=alt.Legend(orient="top"),
    )
    measured = alt.Chart(alt.InlineData(values=runs)).encode(x=x, y=y, color=colour)
    model = alt.Chart(alt.InlineData(values=predicted)).encode(x=x, y=y, color=colour)
    return alt.layer(
        measured.mark_line(strokeWidth=2).encode(y=alt.Y("median(seconds):Q")),
        measured.mark_point(filled=True, size=70, opacity=0.9),
        model.mark_line(strokeDash=[4, 4], opacity=0.7),
        model.mark_point(filled=False, size=130, strokeWidth=2),
    ).properties(
        width=230, height=260, title=["Measured here (filled),", "cost model (hollow)"]
    )  # fmt: skip


def _there(found: Found) -> alt.LayerChart | alt.FacetChart:
    rows = [
        {
            "gpus": row["gpus"],
            "hours": row["hours"],
            "line": f"{row['node']}, {NAMES[row['way']]}",
        }
        for row in found["predicted"]
    ]
    names = list(dict.fromkeys(row["line"] for row in rows))
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("gpus:O", title="GPUs", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("hours:Q", title="hours", scale=alt.Scale(type="log", nice=False)),
        color=alt.Color("line:N", title=None, scale=alt.Scale(domain=names, range=list(PALETTE)),
                        legend=alt.Legend(labelLimit=260)),
    )  # fmt: skip
    dashes = alt.StrokeDash(
        "line:N", legend=None, scale=alt.Scale(domain=names, range=list(DASHES[1:7]))
    )
    return alt.layer(
        base.mark_line(strokeWidth=1.5).encode(strokeDash=dashes),
        base.mark_point(filled=False, size=90, strokeWidth=2),
    ).properties(width=300, height=260, title="Predicted for Chameleon, not measured")


def draw(found: Found, out: Path) -> None:
    """Write the chart as SVG, PNG by the name of `out`."""
    import vl_convert

    spec = scaling_chart(found).to_json()
    if out.suffix == ".png":
        atomic_write(out, vl_convert.vegalite_to_png(spec, scale=2))
    else:
        write_text(out, vl_convert.vegalite_to_svg(spec))
