"""`foretest flaky`: flaky tests by cost, with their evidence, and their quarantine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from foretest.cli.options import Duration, here, repository_option

_HOUR = 3600.0


@click.group(
    "flaky",
    invoke_without_command=True,
    short_help="Flaky tests: rate, cost, evidence, quarantine",
    epilog="""\b
Examples:
  foretest flaky                                   the most costly first
  foretest flaky --interruption 30m --limit 50
  foretest flaky quarantine tests/a.py::test_port --for 14d --reason "port taken"
  foretest flaky release tests/a.py::test_port
""",
)
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="Tests shown.")
@click.option(
    "--interruption",
    type=Duration(),
    default="15m",
    show_default=True,
    help="What looking at a failure that means nothing costs a person.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@repository_option
@click.pass_context
def command(
    ctx: click.Context, limit: int, interruption: float, as_json: bool, repository: Path | None
) -> None:
    """Rank flaky tests by what they cost a week: wasted runs and interrupted people.

    Shows each test's flake rate with its 90 % interval and the failures that look flaky: those that
    passed on the same commit, or enter nothing that the commit changed.
    """
    if ctx.invoked_subcommand is not None:
        return
    from foretest.flakes.report import flaky_tests

    tests = flaky_tests(here(repository), interruption)[:limit]
    if as_json:
        click.echo(json.dumps([asdict(test) for test in tests], indent=1, ensure_ascii=False))
        return
    if not tests:
        click.echo("No failure on record looks flaky.")
    for test in tests:
        held = f"  quarantined until {test.quarantined}" if test.quarantined else ""
        click.echo(f"{test.unit}{held}")
        click.echo(
            f"    flake rate {test.rate:.2%} (90 %: {test.low:.2%} to {test.high:.2%}) in"
            f" {test.runs:,} runs; {test.per_week:.1f} a week, {test.cost / _HOUR:.1f} h"
        )
        for sentence in test.evidence:
            click.echo(f"    {sentence}")


@command.command(
    "quarantine",
    epilog="""\b
Example:
  foretest flaky quarantine tests/a.py::test_port --until 2025-07-01 --reason "issue 12"
""",
)
@click.argument("test")
@click.option("--until", metavar="DATE", help="The day on which it ends, e.g. 2025-07-01.")
@click.option("--for", "term", metavar="TERM", help="How long it lasts, e.g. 14d or 2w.")
@click.option("--reason", default="", help="Why; a ticket's number is best.")
@repository_option
def quarantine(
    test: str, until: str | None, term: str | None, reason: str, repository: Path | None
) -> None:
    """Let TEST fail without failing the run until a day at most 90 days ahead.

    The test still runs, and its failures are told and recorded. Runs with `--foretest` obey, and
    plain ones with `--foretest-quarantine`.
    """
    from foretest.engine import ensure_state
    from foretest.flakes.quarantine import Entry, add, parse_term, today
    from foretest.records import TestId

    if (until is None) == (term is None):
        raise click.UsageError("Give --until DATE or --for TERM: a quarantine has an end.")
    try:
        ends = parse_term(until or term or "", today())
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if not (test and test.isprintable()):
        raise click.UsageError(f"{test!r} is no test. Give its id, as pytest prints it.")
    config = here(repository)
    ensure_state(config)
    entry = Entry(TestId.parse(test).unit, ends, " ".join(reason.split()))
    add(config.state, entry)
    click.echo(f"{entry.test} is quarantined until {ends}; then its failure fails the run again.")
    quoted = json.dumps(entry.setting(), ensure_ascii=False)
    click.echo(f"For the whole team, in the settings: quarantine = [{quoted}]")


@command.command(
    "release",
    epilog="""\b
Example:
  foretest flaky release tests/a.py::test_port
""",
)
@click.argument("test")
@repository_option
def release(test: str, repository: Path | None) -> int:
    """Take TEST out of quarantine; exit 1 where it was not in it."""
    from foretest.flakes.quarantine import release as take_out
    from foretest.records import TestId

    if take_out(here(repository).state, TestId.parse(test).unit):
        click.echo(f"{test} is out of quarantine.")
        return 0
    click.echo(f"{test} is in no quarantine of this machine; see `quarantine` in the settings.")
    return 1
