"""`foretest platform retrain`: newer changes in, champion against challenger, and who serves."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.platform.tracking import tracker_at
from foretest.cli.platform.train import named, out_option, places, told


@click.command(
    "retrain",
    short_help="Go on with newer changes; the better model serves",
    epilog="""\b
Examples:
  foretest platform retrain                                every night; asks nothing
  foretest platform retrain --tracking http://127.0.0.1:5000
  foretest platform retrain --fresh                        a new fit instead of further trees
  foretest platform job submit -- platform retrain         on a Ray cluster
""",
)
@places
@out_option
@click.option("--champion", "serving", type=click.Path(path_type=Path, exists=True),
              help="Bundle of the model that serves (default: the registered one).")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Fit afresh on all changes up to the window.")
@click.option("--seed", type=int, default=0, show_default=True)
def command(
    facts: Path,
    names: str | None,
    tracking: str | None,
    registry: Path,
    out: Path,
    serving: Path | None,
    fresh: bool,
    seed: int,
) -> int:
    """Go on from the model that serves with the changes that came after its own.

    The newer changes of each repository are split in time: the first half is fitted on, the other
    half judges challenger and champion. A challenger that wins goes through the gate on that same
    window, and is registered if it passes. Exit status: 0 with nothing newer, where the champion
    stays, and where the challenger was registered; 1 where the gate stopped it.
    """
    from dataclasses import asdict, replace

    from foretest.cli.screen import Screen
    from foretest.models.formula import Formula
    from foretest.platform.gate.exam import Candidate
    from foretest.platform.tracking.lineage import lineage
    from foretest.platform.training.producing import Where, produce
    from foretest.platform.training.release import champion_of, read, writable
    from foretest.platform.training.retraining import in_time, retrain, tell
    from foretest.training.continuing import MORE
    from foretest.training.fit import Recipe

    known = named(facts, names)
    tracker, origin = tracker_at(tracking), lineage(facts, seed)
    champion = read(serving) if serving else champion_of(tracker, registry)
    writable(tracker, out, registry)
    champion = champion or Candidate(Formula())
    usual = Recipe(seed=seed)
    warm = not fresh and not isinstance(champion.model, Formula)
    recipe = replace(usual, rounds=MORE) if warm else usual
    parameters = {"warm": warm, "repositories": ",".join(known), "recipe": asdict(recipe)}
    with (
        Screen() as screen,
        tracker.run("retraining", "ranker", parameters=parameters, lineage=origin) as run,
    ):
        done = retrain(
            facts, known, champion, recipe=recipe, origin=origin, warm=warm, progress=screen
        )
        tell(run, done)
        click.echo(done.sentence)
        if done.challenger is None or not done.won:
            return 0
        produced = produce(
            in_time(done.challenger),
            done.window,
            replace(champion, in_time=True),
            Where(tracker, out, registry),
            run,
            data=origin.data_version,
            progress=screen,
        )
    return told(produced)
