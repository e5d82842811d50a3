"""`foretest record`: results of any run are remembered."""

from __future__ import annotations

from pathlib import Path

import click

from foretest.cli.options import here, repository_option


@click.command(
    "record",
    short_help="Take in the results of a run",
    epilog="""\b
Examples:
  pytest --junitxml report.xml; foretest record report.xml
  foretest record target/surefire-reports --commit "$GIT_COMMIT"
  foretest record 'packages/*/junit.xml' --decision last
  go test -json ./... > go.jsonl; foretest record go.jsonl
  foretest record                       what `pytest --foretest` left in .foretest/spool
""",
)
@click.argument("reports", nargs=-1, type=click.Path(path_type=Path))
@click.option("--commit", help="The commit that was tested (default: HEAD).")
@click.option("--run-id", help="Name of the run; the same name is never recorded twice.")
@click.option("--decision", help="The selection that ran, by name, or 'last' for the last one.")
@repository_option
def command(
    reports: tuple[Path, ...],
    commit: str | None,
    run_id: str | None,
    decision: str | None,
    repository: Path | None,
) -> None:
    """Take in test reports: files, folders of them, or patterns. Recording twice changes nothing.

    Known are JUnit XML of any runner, the JSON of jest, Vitest, Playwright, Mocha, GoogleTest and
    `go test -json`, CTest's Test.xml, and what `pytest --foretest` writes. Where it is known what
    was selected and too little of it came back, all is recorded and the exit status is 2.

    A report that carries no id of its run is known by its content: the same file is the same run
    even after a further commit, unless --commit or --run-id tells the two apart.
    """
    from foretest.remembering import record

    recorded = record(here(repository), reports, commit=commit, run_id=run_id, decision=decision)
    for notice in recorded.notices:
        click.echo(f"note: {notice}", err=True)
    click.echo(recorded.sentence())
    if recorded.mismatch is not None:
        raise recorded.mismatch
