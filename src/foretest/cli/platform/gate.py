"""`foretest platform gate`: examine a model on the kept facts, and say what it fails at."""

from __future__ import annotations

import json
from pathlib import Path

import click

from foretest.cli.platform.tracking import tracker_at
from foretest.cli.platform.train import named, places, show


@click.command(
    "gate",
    short_help="Examine a model before it serves",
    epilog="""\b
Examples:
  foretest platform gate                                       the formula that foretest ships
  foretest platform gate .foretest/trained/model.ftb           what train wrote
  foretest platform gate model.ftb --names h11,glom --json     on two repositories, for a machine
""",
)
@places
@click.argument("model", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def command(
    facts: Path,
    names: str | None,
    tracking: str | None,
    registry: Path,
    model: Path | None,
    as_json: bool,
) -> int:
    """Examine MODEL, a bundle, beside the registered champion; without one beside the formula.

    A model is judged on repositories that it was not fitted on, or by its stand-ins. The exit
    status is 1 where it does not pass.
    """
    from foretest.cli.screen import Screen
    from foretest.models.formula import Formula
    from foretest.platform.gate.exam import Candidate
    from foretest.platform.gate.examine import examine
    from foretest.platform.tracking.lineage import lineage
    from foretest.platform.training.release import champion_of, read
    from foretest.platform.training.trained import everyday, promising

    known = named(facts, names)
    tracker, origin = tracker_at(tracking), lineage(facts, 0)
    seen = everyday(facts, known)
    candidate = read(model) if model else Candidate(Formula())
    if candidate.promise is None:
        candidate = promising(candidate, seen, origin.data_version)
    with (
        Screen() as screen,
        tracker.run("gate", str(model or "formula"), parameters={"repositories": known},
                    lineage=origin) as run,
    ):  # fmt: skip
        verdict = examine(candidate, champion_of(tracker, registry), seen, run=run, progress=screen)
    if as_json:
        click.echo(json.dumps(verdict.to_json(), indent=1))
    else:
        show(verdict)
    return 0 if verdict.passed else 1
