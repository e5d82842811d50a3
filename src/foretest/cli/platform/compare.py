"""`foretest platform compare`: kinds of model, families of features, on repositories left out."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.platform.corpus import facts_option
from foretest.cli.platform.tracking import tracker_at, tracking_option


@click.command(
    "compare",
    short_help="Race kinds of model or families of features",
    epilog="""\b
Examples:
  foretest platform compare kinds                      binary, lambdarank, linear, small neural
  foretest platform compare families --folds 20        each family taken away and added
  foretest platform compare kinds --coverage fresh --tracking http://127.0.0.1:5000
""",
)
@click.argument("question", type=click.Choice(("kinds", "families")))
@facts_option
@click.option("--folds", type=click.IntRange(2), default=10, show_default=True,
              help="Parts of the repositories, each judged by the others' models.")  # fmt: skip
@click.option("--coverage", type=click.Choice(("fresh", "lagged")), default="lagged",
              show_default=True, help="Age of the coverage that they are judged on.")  # fmt: skip
@click.option("--ray/--no-ray", default=False, help="Contenders in parallel, or one by one here.")
@click.option("--address", help="Ray cluster to work on (with --ray; default: a local one).")
@tracking_option
def command(
    question: str,
    facts: Path,
    folds: int,
    coverage: str,
    ray: bool,
    address: str | None,
    tracking: str | None,
) -> None:
    """Fit every contender on other repositories than it is judged on; print all of them, paired.

    The formula, BM25, coverage and the oracle stand in the table, too. Intervals are resampled by
    repository and commit.
    """
    from foretest.cli.screen import Screen
    from foretest.platform.corpus.facts import FRESH, LAGGED, lessons_of, names_in
    from foretest.platform.ranking.contenders import QUESTIONS, SHIPPED
    from foretest.platform.ranking.race import here, metrics_of, on_ray, race, told
    from foretest.platform.tracking.lineage import lineage
    from foretest.platform.tracking.plots import plotted
    from foretest.replay.table import tabulate
    from foretest.training.pool import pool

    entrants = QUESTIONS[question]()
    names = names_in(facts)
    taught = [lesson for kind in (FRESH, LAGGED) for lesson in lessons_of(facts, names, kind)]
    judged = {
        lesson.repository: (lesson, age)
        for lesson, age in lessons_of(facts, names, FRESH if coverage == "fresh" else LAGGED)
    }
    parameters = {"question": question, "folds": folds, "coverage": coverage}
    with (
        Screen() as screen,
        tracker_at(tracking).run(
            "ranking", question, parameters=parameters, lineage=lineage(facts, 0)
        ) as run,
    ):
        screen("Reading the facts", 0, 1)
        lessons = pool(taught)
        screen("Reading the facts", 1, 1)
        judged = {name: part for name, part in judged.items() if name in lessons.real}
        if ray:
            with on_ray(address) as spread:
                verdicts = race(lessons, judged, entrants, folds, spread, screen)
        else:
            verdicts = race(lessons, judged, entrants, folds, here, screen)
        lines = tabulate(verdicts, SHIPPED)
        run.metrics(metrics_of(lines))
        plotted(run, lines, SHIPPED)
        text = "\n".join(told(verdicts, lines, entrants))
        run.artifact(text.encode(), "race.txt")
    click.echo(text)
