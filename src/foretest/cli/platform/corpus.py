"""`foretest platform corpus`: cases of many repositories, mined, counted and published."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretest.cli.options import repository_option

if TYPE_CHECKING:
    from foretest.platform.corpus.fleet import Standing
    from foretest.platform.corpus.mining import Order

FACTS = Path("proof/cases")
_folder = click.Path(path_type=Path, file_okay=False)
facts_option = click.option(
    "--facts", type=_folder, default=FACTS, show_default=True, help="Folder of the kept facts."
)
scratch_option = click.option(
    "--scratch", type=_folder, help="Folder of clones and environments (default: in the cache)."
)


@click.group(
    "corpus",
    short_help="Mine real regressions of many repositories",
    invoke_without_command=True,
    epilog="""\b
Examples:
  foretest platform corpus --minutes 10 --until 06:30     all repositories, over night
  foretest platform corpus --names click,jinja --faults 40 --no-ray
  foretest platform corpus --address 10.0.0.1:6379 --scratch /shared/corpus
  foretest platform job submit -- platform corpus --minutes 5
  foretest platform corpus status
  foretest platform corpus publish --to s3://ci/facts
""",
)
@scratch_option
@facts_option
@click.option("--mirrors", type=_folder, help="Folder of git mirrors, OWNER+NAME/repo each.")
@click.option("--names", help="Repositories to mine: A,B,C (default: all that have a recipe).")
@click.option("--recipes", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="TOML file of recipes (default: those that foretest ships).")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(0), default=10.0, show_default=True,
              help="Minutes of tries in each repository.")  # fmt: skip
@click.option("--until", help="Begin nothing after HH:MM or YYYY-MM-DDTHH:MM.")
@click.option("--faults", type=click.IntRange(0), default=0, show_default=True,
              help="Injected faults in each repository, every fourth try.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True,
              help="Suites at once in one repository: CPUs of its Ray task.")  # fmt: skip
@click.option("--ray/--no-ray", default=True, help="Repositories in parallel, or one by one here.")
@click.option("--address", help="Ray cluster to work on (default: a local one for this call).")
@click.pass_context
def command(
    context: click.Context, /, address: str | None, ray: bool, **options: Any
) -> int | None:
    """Undo past changes and inject faults in many repositories; keep which tests fail.

    Each repository is a task: its clone and environment, one traced run of its suite, then tries
    for some minutes. What was found is kept at once; the next call goes on there. A repository
    that cannot be mined is a row of the closing table, and stops no other.
    """
    if context.invoked_subcommand is not None:
        return None
    from foretest.cli.screen import Screen
    from foretest.platform.corpus.account import closing_lines
    from foretest.platform.corpus.fleet import mine_all
    from foretest.platform.corpus.recipes import read_recipes

    names = [name for name in (options["names"] or "").split(",") if name]
    recipes = read_recipes(options["recipes"], names)
    order = _order(**options)
    here = not ray or len(recipes) == 1
    with Screen() as screen, _cluster(None if here else address, here):

        def told(standing: Standing) -> None:
            screen("Mining", len(standing.ended), standing.whole, standing.sentence())

        rows = mine_all(recipes, order, options["facts"].resolve(), told, here=here)
    for line in closing_lines(rows):
        click.echo(line)
    return int(all(row.error for row in rows))


@command.command("status", epilog="\b\nExample:\n  foretest platform corpus status\n")
@scratch_option
@facts_option
def status(scratch: Path | None, facts: Path) -> None:
    """Count repositories, cases and evidence; name the data version and what failed last."""
    from foretest.platform.corpus.account import account, as_lines

    for line in as_lines(account(facts, _scratch(scratch))):
        click.echo(line)


@command.command(
    "publish",
    epilog="""\b
Examples:
  foretest platform corpus publish
  foretest platform corpus publish --to s3://ci/facts
""",
)
@facts_option
@click.option("--to", help="Folder or s3://bucket/prefix (default: beside the lake here).")
@repository_option
def publish(facts: Path, to: str | None, repository: Path | None) -> None:
    """Write all facts to the lake under the version that trainings log."""
    from foretest.platform.corpus.publishing import publish as published

    click.echo(published(facts, _shelf(to, repository)).sentence())


@command.command(
    "fetch",
    epilog="\b\nExample:\n  foretest platform corpus fetch 3f2a9c0d11e45b67 --facts there\n",
)
@click.argument("version")
@click.option("--facts", type=_folder, required=True, help="Empty folder to write to.")
@click.option("--from", "origin", help="Where it was published to (default: beside the lake here).")
@repository_option
def fetch(version: str, facts: Path, origin: str | None, repository: Path | None) -> None:
    """Write the facts of a published version into a folder, to train on exactly those."""
    from foretest.platform.corpus.publishing import fetch as fetched

    names = fetched(_shelf(origin, repository), version, facts)
    click.echo(f"Fetched {len(names)} repositories of version {version} into {facts}.")


def _order(scratch: Path | None, mirrors: Path | None, until: str | None, **options: Any) -> Order:
    from foretest.platform.corpus.account import until as moment
    from foretest.platform.corpus.mining import Order

    try:
        end = moment(until) if until else float("inf")
    except ValueError as error:
        raise click.BadParameter(f"{until!r} is neither HH:MM nor YYYY-MM-DDTHH:MM.") from error
    there = _scratch(scratch)
    there.mkdir(parents=True, exist_ok=True)
    return Order(
        there,
        None if mirrors is None else mirrors.resolve(),
        options["minutes"],
        end,
        options["workers"],
        options["faults"],
    )


def _scratch(scratch: Path | None) -> Path:
    from foretest.config import load_config

    return (scratch or load_config(Path.cwd()).cache_path / "corpus").resolve()


def _cluster(address: str | None, here: bool) -> Any:
    if here:
        return nullcontext()
    from foretest.platform.cluster import connect, cpus_here

    return connect(address, cpus=cpus_here())


def _shelf(address: str | None, repository: Path | None) -> Any:
    from foretest.cli.options import here
    from foretest.config import object_store_environment
    from foretest.history.shelf import FOLDER, Shelf

    place = address or here(repository).state / FOLDER
    return Shelf(place, object_store_environment())
