"""`foretest platform tune`: searches the ranker's settings; what each way found for its time."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.platform.corpus import facts_option
from foretest.cli.platform.tracking import tracker_at, tracking_option


@click.command(
    "tune",
    short_help="Search the ranker's settings with Ray Tune",
    epilog="""\b
Examples:
  foretest platform tune                                      ASHA and Optuna, 40 trials
  foretest platform tune --search random --search PBT --minutes 4 --seeds 2    at equal cost
  foretest platform tune --address 10.0.0.1:6379 --at-once 32 --trials 500
""",
)
@facts_option
@click.option("--on", "names", help="Repositories to tune on: A,B,C (default: the first half by "
              "name); the winners are judged on all others.")  # fmt: skip
@click.option("--search", "searches", multiple=True, default=("ASHA + Optuna",), show_default=True,
              type=click.Choice(("random", "ASHA + Optuna", "PBT", "BOHB-style")),
              help="How settings are searched; may be given several times.")  # fmt: skip
@click.option("--trials", type=click.IntRange(2), default=40, show_default=True,
              help="Trials of a search at most; PBT's population is 8.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(0, min_open=True),
              help="CPU minutes after which a search ends.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True,
              help="Times that each search is run.")  # fmt: skip
@click.option("--at-once", type=click.IntRange(1), default=2, show_default=True,
              help="Trials at once, a CPU each.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("tuning"),
              show_default=True, help="Folder of trials and of what was found.")  # fmt: skip
@click.option("--address", help="Ray cluster to work on (default: a local one for each search).")
@tracking_option
def command(
    facts: Path,
    names: str | None,
    searches: tuple[str, ...],
    trials: int,
    minutes: float | None,
    seeds: int,
    at_once: int,
    out: Path,
    address: str | None,
    tracking: str | None,
) -> None:
    """Search settings on some repositories; judge each search's winner on all others.

    What is minimised is the log loss on repositories left out in three folds. Found settings are
    printed with the loss by CPU minute, so that searches compare at equal cost; the recipe that
    foretest ships is told beside them.
    """
    from foretest.cli.screen import Screen
    from foretest.platform.ranking.searching import search_and_judge, told

    chosen = tuple(names.split(",")) if names else ()
    with Screen() as screen:
        outcome = search_and_judge(
            facts, chosen, searches, trials, seeds, out,
            minutes=minutes, address=address, at_once=at_once, tracker=tracker_at(tracking),
            progress=screen,
        )  # fmt: skip
    click.echo("\n".join(told(outcome)))
