"""`foretest platform train`: fit a ranker on the facts, examine it, register it if it passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foretest.cli.platform.corpus import facts_option
from foretest.cli.platform.tracking import tracker_at, tracking_option

_folder = click.Path(path_type=Path, file_okay=False)
OUT, REGISTRY = Path(".foretest/trained"), Path(".foretest/registry")


out_option = click.option(
    "--out", type=_folder, default=OUT, show_default=True,
    help="Folder of the model, its card and the gate's answer.",
)  # fmt: skip


def places(command: Any) -> Any:
    """The options of every verb that makes or examines a model."""
    for option in (
        facts_option,
        click.option("--names", help="Repositories: A,B,C (default: all that have facts)."),
        tracking_option,
        click.option("--registry", type=_folder, default=REGISTRY, show_default=True,
                     help="Folder of registered models where there is no tracking server."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command(
    "train",
    short_help="Fit a ranker, examine it, register it",
    epilog="""\b
Examples:
  foretest platform train                                  on the facts of proof/cases
  foretest platform train --tracking http://127.0.0.1:5000 with curves, tables and registry there
  foretest platform train --names click,jinja,h11 --rounds 100 --seed 7
  foretest platform train --warm-start .foretest/registry/ranker-3/model.ftb
  foretest platform job submit -- platform train           on a Ray cluster
""",
)
@places
@out_option
@click.option("--warm-start", "start", type=click.Path(path_type=Path, exists=True),
              help="Go on from the trees of this model (a bundle that train wrote).")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), help="Trees (default: 150, 50 on a warm start).")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--augment/--no-augment", default=True, help="With changes made from the real ones.")
def command(
    facts: Path,
    names: str | None,
    tracking: str | None,
    registry: Path,
    out: Path,
    start: Path | None,
    rounds: int | None,
    seed: int,
    augment: bool,
) -> int:
    """Fit a ranker on all repositories with facts, and for each a stand-in that never saw it.

    The gate examines it by its stand-ins beside the model that serves. One that passes is
    registered with its card; one that does not is kept with the reasons, and the exit status is 1.
    """
    from dataclasses import asdict, replace

    from foretest.cli.screen import Screen
    from foretest.platform.tracking.lineage import lineage
    from foretest.platform.training.producing import Where, produce
    from foretest.platform.training.release import champion_of, read, writable
    from foretest.platform.training.trained import everyday, going_on, lessons, train
    from foretest.training.continuing import MORE
    from foretest.training.fit import Recipe

    known = named(facts, names)
    tracker = tracker_at(tracking)
    # All that can be refused is asked for before hours are spent on a fit.
    champion = champion_of(tracker, registry)
    writable(tracker, out, registry)
    begin = read(start) if start else None
    origin = lineage(facts, seed)
    usual = Recipe(seed=seed)
    recipe = replace(usual, rounds=rounds or (MORE if begin else usual.rounds))
    if begin is not None:
        going_on(begin, recipe)
    parameters = {
        "repositories": ",".join(known),
        "warm start": str(start or ""),
        "augment": augment,
        "recipe": asdict(recipe),
    }
    with (
        Screen() as screen,
        tracker.run("ranker", "ranker", parameters=parameters, lineage=origin) as run,
    ):
        made = train(
            lessons(facts, known),
            recipe,
            start=begin,
            origin=origin,
            augment=augment,
            progress=screen,
        )
        produced = produce(
            made,
            everyday(facts, known),
            champion,
            Where(tracker, out, registry),
            run,
            data=origin.data_version,
            progress=screen,
        )
    return told(produced)


def named(facts: Path, names: str | None) -> list[str]:
    """The repositories asked for. Raises BadConfiguration for one without facts, and for none."""
    from foretest.errors import BadConfiguration
    from foretest.platform.corpus.facts import names_in

    wanted = [name.strip() for name in (names or "").split(",") if name.strip()]
    known = names_in(facts, wanted)
    if missing := sorted(set(wanted) - set(known)):
        raise BadConfiguration(
            f"No facts of {', '.join(missing)} in {facts}.",
            f"There are: {', '.join(names_in(facts)) or 'none'}.",
        )
    if not known:
        raise BadConfiguration(
            f"{facts} holds no facts.", "Name a folder such as proof/cases by --facts."
        )
    return known


def told(produced: Any) -> int:
    """Print the gate's table and where the model went; the exit status."""
    show(produced.verdict)
    click.echo(produced.released.sentence())
    return 0 if produced.verdict.passed else 1


def show(verdict: Any) -> None:
    """The gate's table, its marks coloured on a terminal."""
    from foretest.platform.gate.verdict import as_text

    colours = {"passed": "green", "FAILED": "red", "unknown": "yellow"}
    for line in as_text(verdict).split("\n"):
        mark = line.split(" ", 1)[0]
        rest = line[len(mark) :]
        click.echo(click.style(mark, fg=colours[mark]) + rest if mark in colours else line)
