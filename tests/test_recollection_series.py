"""Past builds as COLEMAN's sets tell them: read, folded, and ordered before each next build."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from foretest.config import load_config
from foretest.datasets import coleman
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Ledger
from foretest.features.history import history_rows
from foretest.history import state as states
from foretest.models.prioritiser import points
from foretest.recollection import durations
from foretest.records import TestRun
from foretest.replay.metrics import faults

VARIANT = "dune-debian_11_gcc-10-20"


def read(path: Path) -> list[TestRun]:
    return [
        run for run in coleman.read(path, Ledger(), Pseudonyms(b"")) if isinstance(run, TestRun)
    ]


def judged(runs: Sequence[TestRun]) -> list[float]:
    """APFD of the order by past results, over the failing builds."""
    state, found = states.State.empty("x"), []
    for run in runs:
        failed = {r.test.unit: r.outcome.bad for r in run.results}
        units = list(failed)
        targets = np.array(list(failed.values()))
        if targets.any():
            rows = history_rows(state, units, durations(state, units).typical)
            order = np.argsort(-points(rows), kind="stable")
            found.append(faults(order, np.ones(len(units)), targets).apfd)
        state = states.apply(state, run)
    return found


def test_a_small_set_of_the_same_form(tmp_path: Path) -> None:
    path = tmp_path / "small" / "features-engineered.parquet"
    path.parent.mkdir()
    rows = [
        {
            "Id": 50 * build + name,
            "Name": name,
            "BuildId": build,
            "Duration": 0.1,
            "LastRun": f"2020-01-{build:02d} 10:00:00.000000",
            "Verdict": int(name == 40 and build in (2, 3, 5)),
        }
        for build in range(1, 7)
        for name in range(1, 51)
    ]
    pl.DataFrame(rows).write_parquet(path)
    first, second, third = judged(read(path))
    assert first < 0.5  # nothing was known: the order of the report
    assert second == third == pytest.approx(1 - 1 / 100)


def test_the_real_set_is_ordered_far_better_than_by_chance() -> None:
    folder = Path(load_config(Path.cwd()).datasets or "nowhere", "coleman")
    found = sorted(folder.rglob(f"{VARIANT}/*.parquet")) if folder.is_dir() else []
    if not found:
        pytest.skip("COLEMAN's sets are not here: set FORETEST_DATASETS (docs/datasets.md)")
    assert np.mean(judged(read(found[0])[:150])) > 0.8
