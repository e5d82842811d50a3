"""Answers judged by the judge's own metrics, and summed up beside foretest in the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foretest.evidence.store import EvidenceStore
from foretest.peers.answers import Answer
from foretest.peers.tools import Question
from foretest.replay.intervals import ClusteredBootstrap, Interval
from foretest.replay.judge import Trial
from foretest.replay.metrics import SHARES, Mask, Seconds, score
from foretest.replay.strategies import OURS
from foretest.replay.table import Verdict
from foretest.report.contents import PeerRow

PEERS = "beside the real peers"
"""The slice that holds these verdicts."""

REFERENCES = (0.05, 0.10, 0.20)
"""Budgets at which our own orders stand beside selections, as shares of suite time."""


GRANULARITY = (
    "Peers are judged by test function: one that chooses single parameters is given the catch. In "
    "budgets it is charged the whole function, as ours is; its suite time, which ours is given "
    "beside it, is that of the parameters alone, taken as equally long (of answers that do not "
    "tell them, of all). Where a peer gives no answer, everything runs."
)
ALL_OR_NONE = (
    "Intervals are resampled; where none (or all) of n changes were missed they are empty, and up "
    "to 3/n may be missed (or caught) all the same."
)


@dataclass(frozen=True, slots=True)
class PeerVerdict:
    """What one answer was worth."""

    verdict: Verdict
    time: float
    """Share of suite time that the selection takes; 1.0 for an order or no answer."""
    answer: Answer


def judge_answer(
    answer: Answer, question: Question, trial: Trial, store: EvidenceStore, seconds: Seconds
) -> PeerVerdict:
    """One answer's verdict; without an answer everything runs, in the suite's order.

    A unit is chosen where any of its parameters is. For the score it then takes the time of them
    all; the selection's own time counts those alone that were chosen.
    """
    index = store.test_index
    units = answer.chosen or ()
    chosen = np.array([index[unit] for unit in units if unit in index], dtype=np.intp)
    rest = np.setdiff1d(np.arange(len(store.tests)), chosen, assume_unique=True)
    whole = question.orders or answer.chosen is None
    value = score(
        np.concatenate((chosen, rest)),
        seconds,
        _mask(store, trial.failed),
        None if whole else chosen.size,
    )
    verdict = Verdict(PEERS, question.name, trial.case_id, trial.repository, trial.commit, value)
    parts = np.array([answer.shares.get(store.tests[row], 1.0) for row in chosen])
    time = 1.0 if whole else float((seconds[chosen] * parts).sum() / seconds.sum())
    return PeerVerdict(verdict, time, answer)


def _mask(store: EvidenceStore, units: Iterable[str]) -> Mask:
    mask = np.zeros(len(store.tests), dtype=bool)
    mask[[store.test_index[unit] for unit in units if unit in store.test_index]] = True
    return mask


def peer_rows(
    selections: Mapping[str, Sequence[PeerVerdict]], ours: Mapping[str, Sequence[Verdict]]
) -> tuple[PeerRow, ...]:
    """A row for each tool that leaves tests out, then the orders of our own in fixed budgets.

    `ours` holds a strategy's verdicts by its name (`OURS` and `ORACLE` at least) over the cases of
    every selection, in the same order. "In the same time" gives foretest, change by change, what
    the tool took there.
    """
    mine = ours[OURS]
    bootstrap = ClusteredBootstrap([(v.repository, v.commit) for v in mine])
    first = np.array([v.score.first for v in mine])
    rows = []
    for name, verdicts in selections.items():
        if [v.verdict.case_id for v in verdicts] != [v.case_id for v in mine]:
            raise ValueError(f"{name} was not asked about the changes of the others")
        time = np.array([v.time for v in verdicts])
        missed = np.array([float(not v.verdict.score.selected) for v in verdicts])
        # An order stops before the first test too long, so the end of its first failure tells all.
        also = (first > time * (1 + 1e-9)).astype(np.float64)
        rows.append(
            PeerRow(
                strategy=name,
                n=len(verdicts),
                missed=_triple(bootstrap.mean(missed)),
                time=_triple(bootstrap.mean(time)),
                ours_missed=_triple(bootstrap.mean(also)),
                fewer=_triple(bootstrap.difference(missed, also)),
                seconds=float(np.median([v.answer.seconds for v in verdicts])),
                unanswered=sum(v.answer.chosen is None for v in verdicts),
            )
        )
    for name, orders in ours.items():
        for share in REFERENCES:
            caught = np.array([v.score.caught[SHARES.index(share)] for v in orders])
            rows.append(
                PeerRow(
                    strategy=f"{name} in {share:.0%}",
                    n=len(orders),
                    missed=_triple(bootstrap.mean(1 - caught)),
                    time=(share, share, share),
                )
            )
    return tuple(rows)


def _triple(value: Interval) -> tuple[float, float, float]:
    return (value.mean, value.low, value.high)


def as_text(rows: Sequence[PeerRow]) -> str:
    """The rows for a terminal, per cent with 95 % intervals."""
    head = [
        "",
        "missed",
        "suite time",
        f"{OURS} in that time",
        "fewer missed",
        "asking s",
        "silent",
    ]
    cells = [
        [
            row.strategy,
            _percent(row.missed),
            _percent(row.time) if row.seconds is not None else f"{100 * row.time[0]:.0f}",
            _percent(row.ours_missed),
            _percent(row.fewer),
            "" if row.seconds is None else f"{row.seconds:.1f}",
            "" if row.seconds is None else f"{row.unanswered}",
        ]
        for row in rows
    ]
    widths = [max(len(line[at]) for line in (head, *cells)) for at in range(len(head))]
    lines = [
        "  ".join(
            (
                line[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
            )
        ).rstrip()
        for line in (head, *cells)
    ]
    return "\n".join(lines)


def _percent(value: tuple[float, float, float] | None) -> str:
    if value is None:
        return ""
    mean, low, high = (100 * part for part in value)
    return f"{mean:.0f}" if np.isnan(low) else f"{mean:.0f} [{low:.0f}, {high:.0f}]"
