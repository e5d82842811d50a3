"""From a candidate to a registered version: examined, told to the tracker, written, released."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foretest.platform.gate.exam import CANDIDATE, Candidate, Limits
from foretest.platform.gate.examine import exam_of, examined
from foretest.platform.gate.verdict import Verdict
from foretest.platform.training.release import Released, release
from foretest.platform.training.trained import Trained, promising
from foretest.replay.table import tabulate
from foretest.training.pool import Taught

if TYPE_CHECKING:
    import altair

    from foretest.platform.tracking.runs import Run, Tracker

Progress = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Produced:
    """What the gate said of a training, and where the model went."""

    verdict: Verdict
    released: Released


@dataclass(frozen=True, slots=True)
class Where:
    """The places of a production."""

    tracker: Tracker
    out: Path
    """Folder of bundle, card and the gate's answer."""
    registry: Path
    """Folder of registered versions where there is no tracking server."""


def produce(
    made: Trained,
    facts: Iterable[Taught],
    champion: Candidate | None,
    where: Where,
    run: Run,
    *,
    data: str,
    limits: Limits | None = None,
    progress: Progress = lambda *_: None,
) -> Produced:
    """Give a training its promise, examine it on `facts`, register what passes.

    `run` is the one that the training began: it gets curves, metrics by slice, the model with its
    signature, the gate's answer and the card. `facts`, of version `data`, hold each repository
    once.
    """
    seen = tuple(facts)
    told_curves(run, made.curves)
    progress("Calibrating the promise", 0, 1)
    candidate = promising(made.candidate, seen, data)
    progress("Calibrating the promise", 1, 1)
    exam = exam_of(candidate, champion, seen, limits)
    verdict = examined(exam, run=run, progress=progress)
    example = made.example.frame
    run.model(candidate.model, example)
    released = release(
        candidate,
        verdict,
        tabulate(exam.verdicts, CANDIDATE),
        where.out,
        tracker=where.tracker,
        run=run,
        example=example,
        registry=where.registry,
    )
    run.tags({"version": released.version or "none"})
    return Produced(verdict, released)


def told_curves(run: Run, curves: Mapping[str, Sequence[float]]) -> None:
    """Loss by round, as metrics with steps and as one chart."""
    for name, losses in curves.items():
        for step, loss in enumerate(losses, 1):
            run.metric(f"log loss/{name}", float(loss), step)
    if curves:
        run.figure(chart_of(curves), "log loss by round")


def chart_of(curves: Mapping[str, Sequence[float]]) -> altair.Chart:
    """One line for what is fitted, one for what is held out."""
    import altair

    rows = [
        {"repositories": name, "round": step, "log loss": float(loss)}
        for name, losses in curves.items()
        for step, loss in enumerate(losses, 1)
    ]
    chart: altair.Chart = (
        altair.Chart({"values": rows}, width=480, height=260)
        .mark_line()
        .encode(
            x=altair.X("round:Q", title="Trees"),
            y=altair.Y("log loss:Q", title="Mean log loss", scale=altair.Scale(zero=False)),
            color=altair.Color("repositories:N", title="Repositories"),
        )
    )
    return chart
