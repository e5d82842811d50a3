"""Puts the batches of one report together: attempts numbered over all of it, ids kept apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foretest.records import Outcome, TestId, TestResult
from foretest.results.batch import Batch

Key = tuple[str, str | None]


class Ledger:
    """The results of one run, by column, in the order of the report."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, int, int]] = []
        """Runner, suite and number of rows, batch by batch."""
        self._rows = Batch("")
        self._closed = False
        self.unmatched = 0

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, batch: Batch) -> None:
        """Append a batch."""
        rows, start = self._rows, len(self._rows)
        rows.extend(batch, 0, len(batch))
        for index, spelling in batch.written.items():
            rows.written[start + index] = spelling
        self._parts.append((batch.runner, batch.suite, len(batch)))
        self.unmatched += batch.unmatched
        self._closed = False

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """The results as the lake's columns: unit, parameters, runner, outcome, seconds, ..."""
        self._close()
        rows = self._rows
        return {
            "unit": rows.unit,
            "parameters": rows.parameters,
            "runner": [runner for runner, _, count in self._parts for _ in range(count)],
            "outcome": rows.outcome,
            "seconds": rows.seconds,
            "result_attempt": rows.attempt,
            "fingerprint": rows.fingerprint,
            "inclusion": [1.0] * len(rows),
        }

    def results(self) -> tuple[TestResult, ...]:
        """The results, an object each."""
        self._close()
        rows, results = self._rows, []
        runners = (runner for runner, _, count in self._parts for _ in range(count))
        for unit, parameters, runner, outcome, seconds, attempt, mark in zip(
            *(rows.unit, rows.parameters, runners, rows.outcome),
            *(rows.seconds, rows.attempt, rows.fingerprint),
            strict=True,
        ):
            file, *classes = unit.split("::")
            name = classes.pop() if classes else ""
            test = TestId(file, tuple(classes), name, parameters, runner)
            results.append(TestResult(test, outcome, seconds, attempt, mark))
        return tuple(results)

    @property
    def last(self) -> str:
        """The unit that was read last; empty where there is none."""
        return self._rows.unit[-1] if self._rows.unit else ""

    @property
    def failed(self) -> int:
        """Attempts that failed."""
        return sum(map({o: o.bad for o in Outcome}.__getitem__, self._rows.outcome))

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._tell_apart()
            self._number()

    def _tell_apart(self) -> None:
        """Give tests their written spelling back that would otherwise become one test."""
        rows = self._rows
        if not rows.written:
            return
        stable = {index: self._key(index) for index in rows.written}
        meant: dict[Key, set[Key]] = {key: set() for key in stable.values()}
        for index in range(len(rows)):
            key = self._key(index)
            if key in meant:
                meant[key].add(rows.written.get(index, key))
        for index, key in stable.items():
            if len(meant[key]) > 1:
                rows.unit[index], rows.parameters[index] = rows.written[index]
        rows.written.clear()

    def _number(self) -> None:
        """Attempts of a test that stands in the report more than once follow one another.

        pytest writes a failed attempt that it will repeat as if it had passed; within one suite
        nothing but a repetition brings the same test again.
        """
        rows = self._rows
        if len(set(zip(rows.unit, rows.parameters, strict=True))) == len(rows):
            return
        last: dict[Key, tuple[int, int]] = {}
        places = ((runner, suite) for runner, suite, count in self._parts for _ in range(count))
        for index, (runner, suite) in enumerate(places):
            key = self._key(index)
            before, where = last.get(key, (-1, 0))
            rows.attempt[index] = rows.attempt[before] + 1 if before >= 0 else 1
            repeated = before >= 0 and runner == "pytest" and suite == where
            if repeated and rows.outcome[before] is Outcome.PASSED:
                rows.outcome[before] = Outcome.FAILED
            last[key] = (index, suite)

    def _key(self, index: int) -> Key:
        return self._rows.unit[index], self._rows.parameters[index]
