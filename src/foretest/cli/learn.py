"""`foretest learn`: coverage, undone changes and injected faults become a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.options import Duration, here, repository_option
from foretest.cli.screen import Screen


@click.command(
    "learn",
    short_help="Learn which tests reach which code",
    epilog="""\b
Examples:
  foretest learn                       coverage alone: ready to select after one run of the suite
  foretest learn --within 10m          and as many undone changes and faults as ten minutes hold
  foretest learn --undo 40             and forty undone past changes
  foretest learn --faults 50           and fifty injected faults
  foretest learn --at v2.1 --undo 1    the change that v2.1 made, undone at v2.1 itself
  foretest learn --from c1.gz --from c2.gz --from r1.jsonl   a slow suite, traced by CI's shards
""",
)
@click.option("--undo", type=click.IntRange(0), help="Past changes to undo, at most.")
@click.option("--faults", type=click.IntRange(0), help="Faults to inject, at most.")
@click.option("--within", type=Duration(), help="Stop after this long, e.g. 10m.")
@click.option(
    "--at",
    default="HEAD",
    metavar="REF",
    show_default=True,
    help="Try changes at this commit, its own first; coverage is of HEAD all the same.",
)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes.")
@click.option("--fresh", is_flag=True, help="Forget the coverage of earlier commits.")
@click.option(
    "--from",
    "gathered",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Coverage file or report of a run elsewhere; the suite is then not run here.",
)
@repository_option
def command(
    undo: int | None,
    faults: int | None,
    within: float | None,
    at: str,
    workers: int,
    fresh: bool,
    gathered: tuple[Path, ...],
    repository: Path | None,
) -> None:
    """Learn which tests reach which code, and check it on real past changes.

    Runs the committed state (HEAD) in a copy outside your working tree: nothing in it is touched.
    What is finished is kept when the time is up or Ctrl-C is pressed; the next call goes on there.
    """
    from foretest.learning import learn
    from foretest.training.calibrate import calibrate
    from foretest.training.champion import crown

    if undo is None and faults is None:
        # A time alone means: as much as fits into it, past changes first.
        undo, faults = (0, 0) if within is None else (1000, 500)
    config = here(repository)
    with Screen() as screen:
        learned = learn(
            config,
            undo=undo or 0,
            faults=faults or 0,
            within=within,
            at=at,
            workers=workers,
            fresh=fresh,
            gathered=gathered,
            progress=screen,
        )
        crowned = crown(config, progress=screen)
        calibrated = calibrate(config, progress=screen)
    for notice in learned.notices:
        click.echo(f"note: {notice}", err=True)
    for sentence in filter(None, (learned.sentence(), crowned.sentence(), calibrated.sentence())):
        click.echo(sentence)
    click.echo(
        "Next: pytest --foretest=observe   (runs everything, says what it would have skipped)"
    )
