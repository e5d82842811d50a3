"""`foretest platform strategies`: what each training strategy saves and costs, in one table."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.platform.tracking import tracker_at, tracking_option


@click.command(
    "strategies",
    short_help="Memory, time and loss of each training strategy",
    epilog="""\b
Examples:
  foretest platform strategies                                on CPU, minutes
  foretest platform strategies --size base --steps 100 --batch 512      on a GPU
""",
)
@click.option("--size", type=click.Choice(["tiny", "small", "base", "large"]), default="tiny",
              show_default=True, help="About 2 M, 9 M, 55 M or 340 M parameters.")  # fmt: skip
@click.option("--steps", type=click.IntRange(10), default=30, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True,
              help="Times that each strategy is run, in turns.")  # fmt: skip
@click.option(
    "--batch", type=click.IntRange(8), default=16, show_default=True, help="Pairs a step."
)
@click.option("--limit", type=click.FloatRange(1), default=900, show_default=True,
              help="Seconds for one run of a strategy, compiling included.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Keep it as JSON.")
@tracking_option
def command(
    size: str,
    steps: int,
    rounds: int,
    batch: int,
    limit: float,
    out: Path | None,
    tracking: str | None,
) -> None:
    """Train the encoder by each strategy on the same batches, each time in a fresh process.

    Reduced precision, gradient accumulation, activation checkpointing, sequence packing,
    torch.compile, DDP and FSDP on two workers, LoRA on a checkpoint. What this machine cannot
    run is named, with what it needs. A worker on a CPU has one thread.
    """
    from foretest.platform.encoder.strategies import compare
    from foretest.platform.encoder.tables import keep, strategies_table
    from foretest.platform.tracking.lineage import Lineage, code_version

    found = compare(size, steps, rounds, batch, limit, lambda line: click.echo(line, err=True))
    asked = f"--size {size} --steps {steps} --rounds {rounds} --batch {batch} --limit {limit:g}"
    found = {"command": f"foretest platform strategies {asked}", **found}
    for line in strategies_table(found):
        click.echo(line)
    if out is not None:
        keep(found, out)
    measured = [row for row in found["rows"] if "seconds" in row]
    with tracker_at(tracking).run(
        "strategies",
        size,
        parameters={"steps": steps, "rounds": rounds, "batch": batch, "limit": limit},
        lineage=Lineage("drawn:uneven-pairs", code_version(), {"seed": 0}),
    ) as run:
        for row in measured:
            figures = {name: row[name] for name in ("seconds", "memory", "loss")}
            run.metrics({f"{row['strategy']}/{name}": each for name, each in figures.items()})
        columns = ("strategy", "seconds", "memory", "loss", "tokens", "learning")
        run.table("strategies", {name: [row[name] for row in measured] for name in columns})
