"""`foretest platform scaling`: time to a fixed loss by workers; what GPUs would take."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.platform.tracking import tracker_at, tracking_option


@click.command(
    "scaling",
    short_help="Time to a fixed loss by workers; predicted for GPUs",
    epilog="""\b
Examples:
  foretest platform scaling
  foretest platform scaling --size base --batch 512 --rounds 5      on two GPUs
  foretest platform scaling --measured scaling.json --plot scaling.svg
""",
)
@click.option("--size", type=click.Choice(["tiny", "small", "base", "large"]), default="tiny",
              show_default=True, help="About 2 M, 9 M, 55 M or 340 M parameters.")  # fmt: skip
@click.option("--goal", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="Loss to reach, a mean over five steps, in nats.")  # fmt: skip
@click.option("--steps", type=click.IntRange(10), default=24, show_default=True,
              help="Steps after which a training ends in any case.")  # fmt: skip
@click.option("--batch", type=click.IntRange(8), default=8, show_default=True,
              help="Pairs a step, over all workers.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True,
              help="Times that each way is run, in turns.")  # fmt: skip
@click.option("--measured", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="Measure nothing: predict anew from what an earlier --out kept.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Keep it as JSON.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False),
              help="Draw it: a name that ends in .svg or .png.")  # fmt: skip
@tracking_option
def command(
    size: str,
    goal: float,
    steps: int,
    batch: int,
    rounds: int,
    measured: Path | None,
    out: Path | None,
    plot: Path | None,
    tracking: str | None,
) -> None:
    """Train by one worker, and by two with DDP and with FSDP, on the same batches to one loss.

    A worker is a process with one CPU thread, or a GPU. A model of computation and communication,
    whose constants are measured on one worker and on bare exchanges, is held against the two
    workers' time; by published figures it then predicts 1 to 8 GPUs on Chameleon's nodes.
    """
    from foretest.platform.encoder.scaling import measure, predicted
    from foretest.platform.encoder.settings import Settings
    from foretest.platform.encoder.tables import draw, keep, kept, scaling_chart, scaling_table
    from foretest.platform.tracking.lineage import Lineage, code_version

    settings = Settings(steps, batch, warm_up=max(1, steps // 10))
    if measured is None:
        asked = f"--size {size} --goal {goal} --steps {steps} --batch {batch} --rounds {rounds}"
        found = {
            "command": f"foretest platform scaling {asked}",
            **measure(size, settings, goal, rounds, lambda line: click.echo(line, err=True)),
        }
    else:
        found = kept(measured)
    found = predicted(found)
    for line in scaling_table(found):
        click.echo(line)
    if out is not None:
        keep(found, out)
    if plot is not None:
        draw(found, plot)
    if measured is not None:
        return
    with tracker_at(tracking).run(
        "scaling",
        size,
        parameters={"goal": goal, "steps": steps, "batch": batch, "rounds": rounds},
        lineage=Lineage("drawn:uneven-pairs", code_version(), {"seed": settings.seed}),
    ) as run:
        run.metrics({f"off/{row['way']}": row["off"] for row in found["back_test"]})
        run.figure(scaling_chart(found), "scaling")
