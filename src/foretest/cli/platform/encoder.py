"""`foretest platform encoder`: pairs from histories, training, export, and its judge."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretest.cli.platform.corpus import facts_option
from foretest.cli.platform.tracking import tracker_at, tracking_option

if TYPE_CHECKING:
    from foretest.platform.encoder.checkpoints import Step

_folder = click.Path(path_type=Path, file_okay=False)
_there = click.Path(path_type=Path, file_okay=False, exists=True)
AGES = ("lagged", "fresh", "no")
SIZES = ("tiny", "small", "base", "large")
pairs_option = click.option(
    "--pairs", type=_folder, default=Path("encoder/pairs"), show_default=True,
    help="Folder of pairs as tokens.",
)  # fmt: skip
model_option = click.option(
    "--model", type=_folder, default=Path("encoder/model"), show_default=True,
    help="Folder of checkpoints, card and tokenizer.",
)  # fmt: skip
onnx_option = click.option(
    "--onnx", type=_folder, default=Path("encoder/onnx"), show_default=True,
    help="Folder of the exported forms.",
)  # fmt: skip
size_option = click.option(
    "--size", type=click.Choice(SIZES), default="tiny", show_default=True, help="About 2 M, 9 M, "
    "55 M or 340 M parameters.",
)  # fmt: skip


@click.group(
    "encoder",
    short_help="The code encoder: pairs, training, export, judge",
    epilog="""\b
Examples:
  foretest platform encoder pairs --clones ~/.cache/foretest/corpus
  foretest platform encoder train --steps 600 --then 300
  foretest platform encoder export
  foretest platform encoder judge
""",
)
def command() -> None:
    """A transformer that reads hunks and tests, trained from scratch on what belongs together.

    Off by default: selection does not ask it. `judge` says what it is worth on repositories that
    it never saw.
    """


@command.command(
    "pairs",
    epilog="""\b
Examples:
  foretest platform encoder pairs --clones ~/.cache/foretest/corpus
  foretest platform encoder pairs --clones /shared/corpus --commits 250 --size small
""",
)
@click.option("--clones", type=_there, required=True, help="Folder with NAME/repo of each recipe.")
@facts_option
@pairs_option
@size_option
@click.option("--commits", type=click.IntRange(1), default=800, show_default=True,
              help="Commits of one repository at most, the newest first.")  # fmt: skip
def pairs(clones: Path, facts: Path, pairs: Path, size: str, commits: int) -> None:
    """Train the tokenizer, and write what changed together and what undone changes failed.

    Goes on where it was cut off, and makes anew what came from other facts, another history or
    --size. Repositories that are held out are read for `judge` alone.
    """
    from foretest.platform.corpus.facts import names_in
    from foretest.platform.corpus.recipes import read_recipes
    from foretest.platform.encoder.cochanges import prepare
    from foretest.platform.encoder.config import LADDER
    from foretest.platform.encoder.undone import prepare_suites

    config = LADDER[size]
    names = [recipe.name for recipe in read_recipes()]
    tokenizer = prepare(clones, names, pairs, config, commits, click.echo)
    prepare_suites(clones, facts, names_in(facts), pairs, tokenizer, config.context, click.echo)


@command.command(
    "train",
    epilog="""\b
Examples:
  foretest platform encoder train
  foretest platform encoder train --size base --steps 20000 --then 4000 --batch 512 --precision bf16
  foretest platform encoder train --begin https://models.example.org/encoder --then 300
  foretest platform encoder train --tracking http://mlflow:5000
  foretest platform encoder train --workers 8 --sharding fsdp --address 10.0.0.1:6379 \\
      --storage s3://models/encoder
""",
)
@pairs_option
@model_option
@size_option
@click.option("--steps", type=click.IntRange(1), default=600, show_default=True,
              help="Steps on what changed together.")  # fmt: skip
@click.option("--then", type=click.IntRange(1), default=300, show_default=True,
              help="Steps on undone changes.")  # fmt: skip
@click.option(
    "--batch", type=click.IntRange(2), default=64, show_default=True, help="Pairs a step."
)
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=1e-3, show_default=True,
              help="Learning rate; undone changes get a third of it.")  # fmt: skip
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32",
              show_default=True, help="Of the computation.")  # fmt: skip
@click.option("--pack/--no-pack", default=True, show_default=True,
              help="Several sequences to a row of the batch.")  # fmt: skip
@click.option("--keep-every", type=click.IntRange(1), default=50, show_default=True,
              help="Steps between checkpoints.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="CPU threads (default: all cores).")
@click.option("--workers", "count", type=click.IntRange(1), default=1, show_default=True,
              help="Workers of Ray Train that share each step.")  # fmt: skip
@click.option("--sharding", type=click.Choice(["ddp", "fsdp"]), default="ddp", show_default=True,
              help="The whole model on each worker, or a share of every layer.")  # fmt: skip
@click.option("--storage", default="", help="Where workers keep checkpoints: a folder that all "
              "nodes see, or s3://BUCKET/PREFIX (default: beside the model).")  # fmt: skip
@click.option("--address", help="Ray cluster of the workers (default: a local one).")
@click.option("--begin", help="Begin with a published encoder: its folder, or https address.")
@click.option("--seed", type=int, default=0, show_default=True)
@tracking_option
def train(
    pairs: Path, model: Path, size: str, begin: str | None, threads: int | None,
    tracking: str | None, steps: int, then: int, rate: float,
    count: int, sharding: str, storage: str, address: str | None, **how: Any,
) -> None:  # fmt: skip
    """Train from scratch, or go on where the same training was cut off.

    A folder of --model belongs to one training: another seed, rate, size or other pairs need
    another folder. The loss of each step, its plot and the encoder as ONNX go to --tracking.
    """
    from foretest.platform.encoder.config import LADDER, parameters
    from foretest.platform.encoder.curriculum import COCHANGES, UNDONE, teach
    from foretest.platform.encoder.distributed import Workers
    from foretest.platform.encoder.settings import Settings
    from foretest.platform.tracking.lineage import lineage

    config = LADDER[size]
    stages = {
        COCHANGES: Settings(steps, rate=rate, **how),
        UNDONE: Settings(then, rate=rate / 3, **how),
    }
    click.echo(f"{size}: {parameters(config):,} parameters")
    with ExitStack() as stack:
        tracker = tracker_at(tracking)
        run = stack.enter_context(
            tracker.run(
                "encoder", size,
                parameters={"size": size, **{name: asdict(s) for name, s in stages.items()}},
                lineage=lineage(pairs, how["seed"]),
            )
        )  # fmt: skip

        def told(stage: str, step: Step) -> None:
            run.metrics({f"{stage}/loss": step.loss, f"{stage}/rate": step.rate}, step.number)
            if step.number % 10 == 0 or step.number == stages[stage].steps:
                speed = step.tokens / max(step.seconds, 1e-9)
                click.echo(
                    f"{stage} {step.number}/{stages[stage].steps}: loss {step.loss:.3f}, "
                    f"{speed:,.0f} tokens/s"
                )

        workers = Workers(count, "fsdp" if sharding == "fsdp" else "ddp", address)
        shared = workers if count > 1 else None
        done = teach(config, pairs, model, stages, told, begin, threads, shared, storage)
        if tracker.address:
            from foretest.platform.encoder.export import tell

            tell(run, model, done)
        for stage, progress in done.items():
            seconds = sum(step.seconds for step in progress.curve)
            click.echo(
                f"{stage}: {progress.tokens:,} tokens in {seconds:.0f} s, "
                f"{progress.tokens / max(seconds, 1e-9):,.0f} tokens/s"
            )


@command.command("export", epilog="\b\nExample:\n  foretest platform encoder export --onnx out\n")
@pairs_option
@model_option
@onnx_option
def export(pairs: Path, model: Path, onnx: Path) -> None:
    """Write the encoder as ONNX (fp32, int8), and hold both against the model they came from."""
    from foretest.platform.encoder.curriculum import UNDONE, read_encoder
    from foretest.platform.encoder.export import compare
    from foretest.platform.encoder.export import export as exported
    from foretest.platform.encoder.undone import UndonePairs

    encoder, _ = read_encoder(model)
    sequences = UndonePairs.read(pairs / UNDONE).sequences(400)
    for path in exported(model, onnx):
        found = compare(encoder, path, sequences)
        click.echo(
            f"{found.form}: {found.bytes / 1e6:.1f} MB, {found.milliseconds:.2f} ms a hunk or "
            f"test, cosines apart by at most {found.most_apart:.5f}, "
            f"{found.agreement:.2%} of {len(sequences)} sequences' comparisons alike"
        )


@command.command(
    "judge",
    epilog="""\b
Examples:
  foretest platform encoder judge
  foretest platform encoder judge --int8 --evidence lagged
""",
)
@facts_option
@pairs_option
@onnx_option
@click.option("--int8", is_flag=True, help="Judge the 8-bit form.")
@click.option("--evidence", type=click.Choice(AGES), multiple=True, default=AGES,
              help="Age of the coverage (default: all).")  # fmt: skip
def judge(facts: Path, pairs: Path, onnx: Path, int8: bool, evidence: tuple[str, ...]) -> None:
    """Replay repositories that the encoder never saw, slice by slice, with intervals."""
    from foretest.platform.corpus.facts import LAGGED
    from foretest.platform.encoder.config import HELD_OUT, WEIGHED_ON
    from foretest.platform.encoder.curriculum import UNDONE
    from foretest.platform.encoder.evaluation import (
        NOTHING,
        columns_of,
        encoded,
        judge_encoder,
        weights_tried,
    )
    from foretest.platform.encoder.export import FP32, INT8
    from foretest.platform.encoder.scoring import Encoder

    encoder = Encoder(onnx / (INT8 if int8 else FP32))
    known = columns_of(pairs / UNDONE, WEIGHED_ON, encoder)
    tried = weights_tried(list(encoded(facts, known, LAGGED)))
    click.echo(f"Weight beside the formula, chosen on {', '.join(known)} with lagged coverage:")
    for each, first in tried.items():
        click.echo(f"  {first:.3%} of suite time to the first failure: {each}")
    weight = next(iter(tried), NOTHING)
    if weight == NOTHING:
        weight = next((each for each in tried if each != NOTHING), NOTHING)
        click.echo("None is best. What the least harmful one costs is shown all the same.")
    unseen = columns_of(pairs / UNDONE, HELD_OUT, encoder)
    click.echo(f"Held out: {', '.join(unseen)}.")
    for age in evidence:
        click.echo(f"\n=== {age} coverage ===\n")
        for line in judge_encoder(facts, unseen, f"{age} coverage", weight).lines():
            click.echo(line)
