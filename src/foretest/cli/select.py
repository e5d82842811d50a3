"""`foretest select`: the tests that a change can break, best first, in the runner's own format."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from foretest import client
from foretest.cli.options import Bin, Duration, Share, repository_option
from foretest.errors import ForetestError
from foretest.records import Budget, Selection, Why
from foretest.selection.formats import FORMATS, render, render_units
from foretest.selection.promise_wording import sentence


@click.command(
    "select",
    short_help="Choose the tests to run for a change",
    epilog="""\b
Examples:
  foretest select                              against the default base, 10 % of suite time
  foretest select --base origin/main --time 5m --rest later.txt > now.txt
  pytest @now.txt
  foretest select --confidence 95%             what it takes to catch 95 % of faulty changes
  foretest select --confidence 95% --time 5m   and no longer than that: the promise made is printed
  foretest select --target 10% --adapt         10 % on average: more for a risky change
  foretest select --bin 1/4                    the first of four shards
  foretest select --format json | jq .chosen[0]
  go test $(foretest select --format go)
""",
)
@click.option("--base", help="What to compare with (default: where the branch began).")
@click.option(
    "--head", help="The state to judge (default: the working tree, uncommitted included)."
)
@click.option("--target", type=Share(), help="Share of suite time that may run, e.g. 10%.")
@click.option("--time", "seconds", type=Duration(), help="Time that may run, e.g. 5m.")
@click.option(
    "--confidence",
    type=Share(),
    help="Share of faulty changes to catch, e.g. 95%: it decides the set, a budget only cuts it.",
)
@click.option(
    "--adapt/--no-adapt",
    default=None,
    help="Let the budget follow the change's risk: it is then an average over changes.",
)
@click.option(
    "--rest", type=click.Path(path_type=Path, dir_okay=False), help="Write what was left out."
)
@click.option("--bin", "bin_", type=Bin(), help="One shard of several, e.g. 1/4.")
@click.option(
    "--format",
    "form",
    type=click.Choice((*FORMATS, "json")),
    default="pytest",
    show_default=True,
    help="The runner that reads the list.",
)
@click.option("--summary", type=click.Path(path_type=Path, dir_okay=False), help="Append Markdown.")
@click.option("--all", "run_all", is_flag=True, help="Select everything, in the best order.")
@repository_option
def command(
    base: str | None,
    head: str | None,
    target: float | None,
    seconds: float | None,
    confidence: float | None,
    adapt: bool | None,
    rest: Path | None,
    bin_: tuple[int, int] | None,
    form: str,
    summary: Path | None,
    run_all: bool,
    repository: Path | None,
) -> None:
    """Choose the tests to run for a change, and print them one a line.

    Whatever goes wrong, everything is selected, the reason stands on standard error and the exit
    status is 0. Where everything runs and the tests are not known one by one, the runner's own
    word for everything is printed: for pytest the places of the tests, `./...` for go, `//...`
    for bazel, and so on (JSON says it by `run_all`). So empty output always means that no test is
    to run.
    """
    if target is not None and seconds is not None:
        raise click.UsageError("Give --target or --time, not both.")
    if run_all:
        target, seconds, confidence = 1.0, None, 0.0
    start = repository or Path.cwd()
    request = client.Request(
        base, Budget(target, seconds), bin_, head=head, confidence=confidence, adapt=adapt
    )
    selection = client.ask(start, request)
    for notice in selection.notices:
        click.echo(f"foretest: {notice}", err=True)
    if rest is not None:
        # Before the list itself: who gets a list without its rest would lose tests unawares.
        later = [choice.test for choice in selection.rest if choice.why is not Why.OTHER_SHARD]
        _write(rest, render_units(later, "pytest" if form == "json" else form))
    suite = _suite(start) if selection.run_all and not selection.chosen else ()
    text = render(selection, form, suite)
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    if summary is not None:
        _append_summary(summary, selection)
    for told in filter(None, (sentence(selection), _sentence(selection))):
        click.echo(f"foretest: {told}", err=True)


def _suite(start: Path) -> tuple[str, ...]:
    """The words by which pytest is told to run everything."""
    from foretest.changes.git import Repository
    from foretest.config import load_config
    from foretest.selection.suite import whole_suite

    try:
        root = Repository.open(start).root
        return whole_suite(root, load_config(root).tests)
    except ForetestError:
        return whole_suite(start)


def _sentence(selection: Selection) -> str:
    if selection.run_all and not selection.chosen:
        return "everything runs."
    if not selection.chosen and not selection.rest:
        return "no test is known, none is selected."
    count, total = len(selection.chosen), len(selection.chosen) + len(selection.rest)
    suite = selection.suite_seconds
    share = f", {selection.chosen_seconds / suite:.1%} of suite time" if suite > 0 else ""
    return (
        f"{count:,} of {total:,} tests{share}{_time(selection)}; `foretest explain TEST` says why."
    )


def _time(selection: Selection) -> str:
    from foretest.selection.summary import duration

    if selection.chosen_seconds_high is None:
        return ""
    usual, high = duration(selection.chosen_seconds), duration(selection.chosen_seconds_high)
    return f", {usual} expected, {high} if every test takes its p90"


def _write(path: Path, text: str) -> None:
    from foretest.durable import atomic_write

    atomic_write(path, text.encode("utf-8", "surrogateescape"))


def _append_summary(path: Path, selection: Selection) -> None:
    """Add the Markdown. It is for reading alone: where it cannot be written, that is said."""
    from foretest.selection.summary import summary as summarise

    try:
        # A job summary file (such as CI systems hand out) is shared by the steps: append.
        with Path(os.fspath(path)).open("a", encoding="utf-8", errors="replace") as file:
            file.write(summarise(selection))
    except OSError as error:
        click.echo(f"foretest: no summary in {path}: {error.strerror}.", err=True)
