"""What recorded runs say of flaky tests: the lake's rows go through the classifier in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from foretest.models.flaky import FlakyModel, Watch
from foretest.records import Outcome, Source

Floats = NDArray[np.float64]
Coverage = Callable[[str], Mapping[str, bool] | None]
"""Whether each unit enters what a commit changed; None where that is unknown."""

_BAD = [outcome.value for outcome in Outcome if outcome.bad]
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Failed:
    """One failure of a unit at one state of the code, and how likely it is flaky."""

    unit: str
    commit: str | None
    when: float
    """Seconds since 1970."""
    flaky: float
    failed: int
    passed: int
    """Attempts at that state."""
    covered: bool | None
    fingerprint: str | None

    def sentence(self) -> str:
        """The evidence in words."""
        told = [f"{self.failed} of {self.failed + self.passed} attempts failed"]
        if self.passed:
            told.append("it passed on the same commit")
        if self.covered is False:
            told.append("it enters nothing that the commit changed")
        return f"{(self.commit or 'unknown')[:10]}: {', '.join(told)}; {self.flaky:.0%} flaky"


@dataclass(frozen=True, slots=True)
class FlakyHistory:
    """Rates and failures of all units of one repository, as their runs tell."""

    units: tuple[str, ...]
    runs: Floats
    """States in which each unit ran."""
    flakes: Floats
    """Expected number of flaky failures."""
    rate: Floats
    low: Floats
    high: Floats
    """90 % credible interval of the flake rate a run."""
    failures: tuple[Failed, ...]
    """In the order of receipt."""
    days: float
    """From the first run to the last, at least one."""
    states: int
    run_seconds: float
    """Median length of a run: the sum of its tests."""


def read_history(
    rows: pl.LazyFrame, coverage: Coverage = lambda _: None, model: FlakyModel | None = None
) -> FlakyHistory | None:
    """Go through a repository's rows (`Lake.scan`); None where nothing was recorded.

    A state is a commit in a configuration; a run without a commit is a state of its own. A state is
    judged once all its attempts are in, so reruns of the same commit count as evidence.
    """
    attempts = _attempts(rows)
    if attempts.is_empty():
        return None
    units = tuple(attempts["unit"].unique(maintain_order=True).to_list())
    index = {unit: place for place, unit in enumerate(units)}
    watch = Watch(len(units), model)
    runs = np.zeros(len(units))
    failures: list[Failed] = []
    states = 0
    for part in attempts.partition_by("state", maintain_order=True):
        states += 1
        found, place = _observed(watch, part, index, len(units), coverage)
        runs[place] += 1
        failures.extend(found)
    known = watch.rates()
    first, last = attempts["when"].min(), attempts["when"].max()
    span = (float(str(last)) - float(str(first))) / _DAY
    return FlakyHistory(
        units, runs, watch.flakes.copy(), known.mean, known.low, known.high,
        tuple(failures), max(span, 1.0), states, _run_seconds(rows),
    )  # fmt: skip


def _attempts(rows: pl.LazyFrame) -> pl.DataFrame:
    """A row a state and unit: attempts that failed and passed, in the order of receipt.

    An attempt runs all sets of a unit's parameters. Where one of them failed in a state, only the
    sets that did so count there: that another one passed is no flip.
    """
    own = pl.col("commit").fill_null(pl.format("?{}/{}", "run_id", "attempt"))
    bad = pl.col("outcome").is_in(_BAD)
    ran = pl.col("outcome") != Outcome.SKIPPED.value
    received = pl.col("sequence") * 2**31 + pl.col("position")
    place = ("state", "unit")
    fails = pl.col("bad").any().over(*place)
    return (
        rows.filter(ran, pl.col("source") == Source.RECORDED.value)
        .with_columns(state=pl.concat_str(own, "configuration", separator="\n"), bad=bad)
        .filter(~fails | pl.col("bad").any().over(*place, "parameters"))
        .group_by(*place, "run_id", "attempt", "result_attempt")
        .agg(
            pl.col("bad").any(),
            pl.col("commit").first(),
            pl.col("occurred_at").min(),
            pl.col("fingerprint").filter(pl.col("bad")).drop_nulls().first(),
            pl.col("sequence").min(),
            pl.col("position").min(),
            pl.col("line").min(),
        )
        .sort("sequence", "position", "line")
        .group_by(place, maintain_order=True)
        .agg(
            pl.col("bad").sum().cast(pl.Float64).alias("failed"),
            (~pl.col("bad")).sum().cast(pl.Float64).alias("passed"),
            pl.col("commit").first(),
            pl.col("occurred_at").min().dt.epoch("ms").truediv(1000).alias("when"),
            pl.col("fingerprint").drop_nulls().first(),
            pl.col("sequence").min(),
            pl.col("position").min(),
            pl.col("line").min(),
        )
        .with_columns(order=received.min().over("state"))
        .sort("order", "state", "line")
        .collect()
    )


def _observed(
    watch: Watch, part: pl.DataFrame, index: Mapping[str, int], size: int, coverage: Coverage
) -> tuple[list[Failed], NDArray[np.intp]]:
    units = part["unit"].to_list()
    place = np.array([index[unit] for unit in units], np.intp)
    failed, passed, covered = np.zeros(size), np.zeros(size), np.full(size, np.nan)
    failed[place], passed[place] = part["failed"].to_numpy(), part["passed"].to_numpy()
    bad = part.filter(pl.col("failed") > 0)
    commit = part["commit"][0]
    entered = coverage(commit) if commit and bad.height else None
    for unit in bad["unit"] if entered else ():
        if entered and unit in entered:
            covered[index[unit]] = float(entered[unit])
    marks = {index[u]: m for u, m in bad.select("unit", "fingerprint").iter_rows() if m is not None}
    said = watch.observe(failed, passed, covered, marks)
    return list(_told(bad, said, index, entered)), place


def _told(
    bad: pl.DataFrame,
    said: Mapping[int, float],
    index: Mapping[str, int],
    entered: Mapping[str, bool] | None,
) -> Iterator[Failed]:
    for row in bad.iter_rows(named=True):
        unit = row["unit"]
        yield Failed(
            unit=unit,
            commit=row["commit"],
            when=row["when"],
            flaky=said[index[unit]],
            failed=int(row["failed"]),
            passed=int(row["passed"]),
            covered=None if entered is None else entered.get(unit),
            fingerprint=row["fingerprint"],
        )


def _run_seconds(rows: pl.LazyFrame) -> float:
    sums = rows.group_by("run_id", "attempt").agg(pl.col("seconds").sum()).collect()["seconds"]
    return float(sums.fill_null(0.0).median() or 0.0)  # type: ignore[arg-type]
