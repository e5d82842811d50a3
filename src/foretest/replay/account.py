"""A judgement as the report shows it: its rows, its cases and what was set apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from foretest.replay.judge import ALL, NOT_COUNTED, Judgement, OurCase
from foretest.replay.metrics import SHARES
from foretest.replay.strategies import OURS
from foretest.replay.table import Line
from foretest.report.contents import CaseRow, FirstFailure, ReplayReport, SliceRow, StrategyRow


def account(
    judgement: Judgement,
    lines: Sequence[Line],
    *,
    title: str,
    repository: str,
    summary: str = "",
    notices: Sequence[str] = (),
    commands: Sequence[str] = (),
    facts: Sequence[tuple[str, str]] = (),
) -> ReplayReport:
    """What the page shows of a judgement and its table."""
    return ReplayReport(
        title=title,
        repository=repository,
        rows=strategy_rows(lines, ALL),
        first_failures=tuple(
            FirstFailure(verdict.strategy, verdict.score.first, verdict.case_id)
            for verdict in judgement.verdicts
            if verdict.slice == ALL
        ),
        cases=tuple(_case_row(case) for case in judgement.cases),
        notices=(*apart(judgement.apart), *notices),
        generated_at=datetime.now(UTC),
        commands=tuple(commands),
        slices=tuple(
            SliceRow(line.slice, line.strategy, share, caught.mean, caught.low, caught.high, line.n)
            for line in lines
            if line.slice != ALL
            for share, caught in zip(SHARES, line.caught, strict=True)
        ),
        summary=summary,
        facts=(*_facts(judgement, lines), *facts),
        ours=OURS,
    )


def strategy_rows(lines: Sequence[Line], part: str) -> tuple[StrategyRow, ...]:
    """One slice's lines, a row a strategy and budget."""
    return tuple(
        StrategyRow(line.strategy, share, caught.mean, caught.low, caught.high, line.n)
        for line in lines
        if line.slice == part
        for share, caught in zip(SHARES, line.caught, strict=True)
    )


def apart(counts: Mapping[str, int]) -> tuple[str, ...]:
    """What is in no figure, a sentence a kind."""
    return tuple(
        f"{count} {'change' if count == 1 else 'changes'} {NOT_COUNTED.get(kind, kind)}: "
        "in no figure."
        for kind, count in sorted(counts.items(), key=lambda item: -item[1])
    )


def _case_row(case: OurCase) -> CaseRow:
    trial = case.trial
    return CaseRow(
        case_id=trial.case_id,
        title=trial.title or trial.case_id,
        files=tuple(file.path for file in trial.query.files),
        failed=tuple(sorted(trial.failed)),
        share=case.share,
        rank=case.rank,
        reason=case.reason,
    )


def _facts(judgement: Judgement, lines: Sequence[Line]) -> list[tuple[str, str]]:
    facts = [
        ("faulty changes", f"{judgement.judged:,}"),
        ("test functions", f"{judgement.tests:,}"),
        ("suite time", f"{judgement.suite_seconds:,.1f} s"),
    ]
    ours = next((line for line in lines if (line.slice, line.strategy) == (ALL, OURS)), None)
    if ours is not None and not np.isnan(ours.first_median):
        facts.append(("median time to the first failure", f"{ours.first_median:.1%} of the suite"))
    return facts
