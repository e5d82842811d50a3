"""A replay report as a replay fills it: seven strategies, five budgets, a few dozen cases."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from foretest.report.contents import CaseRow, FirstFailure, ReplayReport, SliceRow, StrategyRow

PARTS = (
    ("failing tests that the change did not touch", 43),
    ("failing tests that the change modified", 31),
    ("module-level code changed", 27),
)
BUDGETS = (0.01, 0.05, 0.10, 0.20, 0.33)
CAUGHT = {
    "oracle": (0.96, 0.98, 0.98, 0.99, 1.0),
    "foretest": (0.84, 0.91, 0.93, 0.94, 0.96),
    "coverage ranked": (0.73, 0.78, 0.82, 0.90, 0.90),
    "coverage selection": (0.31, 0.45, 0.57, 0.66, 0.80),
    "BM25": (0.67, 0.86, 0.92, 0.93, 0.97),
    "recent failures": (0.08, 0.15, 0.30, 0.40, 0.52),
    "--ff": (0.12, 0.20, 0.35, 0.48, 0.60),
    "run-all order": (0.05, 0.11, 0.22, 0.30, 0.47),
    "random": (0.10, 0.16, 0.32, 0.41, 0.57),
}


def _interval(share: float) -> tuple[float, float]:
    return max(share - 0.07, 0.0), min(share + 0.05, 1.0)


@pytest.fixture
def report() -> ReplayReport:
    draw = random.Random(7)
    rows = tuple(
        StrategyRow(name, budget, share, *_interval(share), n=101)
        for name, shares in CAUGHT.items()
        for budget, share in zip(BUDGETS, shares, strict=True)
    )
    firsts = tuple(
        FirstFailure(
            name, min(draw.expovariate(1 / (1.05 - shares[1]) ** 2 / 0.5), 1.0), f"c{n:03}"
        )
        for name, shares in CAUGHT.items()
        for n in range(60)
    )
    cases = tuple(
        CaseRow(
            case_id=f"undone-{n:03}",
            title=f"Take back hunk {n} of 'Keep the sign of a negative zero when rounding'",
            files=("src/project/fields.py", "src/project/schema.py")[: 1 + n % 2],
            failed=tuple(
                f"tests/test_fields.py::TestField{n}::test_round[{k}]" for k in range(1 + n % 24)
            ),
            share=1.0 if n == 3 else n / 400,
            rank=None if n == 3 else n + 1,
            reason="It enters Field.round, which the change touches, and shares 'negative'.",
        )
        for n in range(40)
    )
    slices = tuple(
        SliceRow(part, name, budget, share, *_interval(share), n=count)
        for part, count in PARTS
        for name, shares in CAUGHT.items()
        for budget, share in zip(BUDGETS, shares, strict=True)
    )
    return ReplayReport(
        title="Replay of 101 undone changes",
        repository="example.org/team/project",
        rows=rows,
        first_failures=firsts,
        cases=cases,
        notices=(
            "18 changes broke collection and are counted apart.",
            "2 cases hang and were ended.",
        ),
        generated_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        commands=("foretest learn --within 10m", "foretest replay", "pytest --foretest=observe"),
        slices=slices,
        summary=(
            "Past changes were taken back one hunk at a time at a recent commit, and the suite "
            "was run on each. Every strategy then ordered the suite without seeing the outcome."
        ),
        facts=(
            ("test functions", "1,204"),
            ("suite time", "3 min 12 s"),
            ("faulty changes", "101"),
        ),
    )
