"""A plugin's report straight into columns, where it is in good order; nothing is cleaned here.

What a report says once (its first line) and what many reports say alike (which tests there are)
goes through the functions that read and clean every other report, a suite's ids only once. What
differs from result to result is taken over where it needs no cleaning. A report with anything else
in it (damage, repetition, odd values) is none of ours: the caller reads it result by result.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from json.scanner import make_scanner
from typing import Any

from foretest.errors import BadReport
from foretest.history.rows import OWN, RunRows
from foretest.records import Outcome, TestId, TestResult, TestRun
from foretest.results import report as reports
from foretest.results.normalise import LONGEST, clean
from foretest.results.read import Origin, placed

_OUTCOMES = frozenset(outcome.value for outcome in Outcome)
_TEXT, _WHOLE = frozenset({str}), frozenset({int})
_NUMBER, _NUMBER_OR_NONE = frozenset({int, float}), frozenset({int, float, type(None)})
_TEXT_OR_NONE = frozenset({str, type(None)})
_LONGEST = 1 << 20
_SUITES = 64
_IDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests that a report's ids name, cleaned; a place an id."""

    units: list[str]
    parameters: list[str | None]
    runners: list[str]
    repeated: bool
    """Some test stands there more than once: its attempts have to be told apart."""


class Columns:
    """Reads reports into columns and remembers the suites it has met."""

    def __init__(self) -> None:
        self._suites: OrderedDict[tuple[str, ...], Suite] = OrderedDict()
        self._held = 0

    def read(self, data: bytes, origin: Origin) -> RunRows | None:
        """The report's run by column; None where it has to be read result by result."""
        try:
            lines = _lines(data)
            if lines is None:
                return None
            first, *body, last = lines
            run = reports.header("report", first)
        except (BadReport, ValueError):
            return None
        own = _own(body)
        if own is None or "finished_at" not in last or "outcome" in last:
            return None
        complete = not last.get("stopped", False)
        return self._rows(placed(replace(run, complete=complete), origin), own)

    def _rows(self, run: TestRun, own: dict[str, list[Any]]) -> RunRows | None:
        ids = tuple(own.pop("id"))
        suite = self._suite(ids)
        if suite.repeated:
            attempts = set(zip(suite.units, suite.parameters, own["result_attempt"], strict=True))
            if len(attempts) < len(ids):
                return None
        own["unit"], own["parameters"] = suite.units, suite.parameters
        own["runner"] = suite.runners
        return RunRows(clean(run), {name: own[name] for name in OWN})

    def _suite(self, ids: tuple[str, ...]) -> Suite:
        if ids in self._suites:
            self._suites.move_to_end(ids)
            return self._suites[ids]
        self._suites[ids] = suite = _cleaned(ids)
        self._held += len(ids)
        while len(self._suites) > 1 and (len(self._suites) > _SUITES or self._held > _IDS):
            gone, _ = self._suites.popitem(last=False)
            self._held -= len(gone)
        return suite


def _cleaned(ids: tuple[str, ...]) -> Suite:
    """What `clean` makes of a run with these tests."""
    tests = [TestId.parse(text) for text in ids]
    distinct = tuple(dict.fromkeys(tests))
    results = tuple(TestResult(test, Outcome.PASSED, None) for test in distinct)
    kept = clean(replace(_NOBODY, results=results)).results
    names = dict(zip(distinct, (result.test for result in kept), strict=True))
    found = [names[test] for test in tests]
    return Suite(
        [test.unit for test in found],
        [test.parameters for test in found],
        [test.runner for test in found],
        len(distinct) < len(tests),
    )


def _lines(data: bytes) -> list[dict[str, Any]] | None:
    """Every line as an object; None where there is anything that a plain report does not have."""
    if not data.endswith(b"}\n") or b"\r" in data or b"\\ud" in data or b"\\uD" in data:
        return None
    texts = data.decode("utf-8").split("\n")
    texts.pop()
    if len(texts) < 3 or max(map(len, texts)) >= _LONGEST:
        return None
    try:
        pairs = list(map(_SCAN, texts, repeat(0)))
    except (StopIteration, ValueError, RecursionError):
        return None
    if [end for _, end in pairs] != list(map(len, texts)):
        return None
    objects = [found for found, _ in pairs]
    return objects if set(map(type, objects)) == {dict} else None


def _own(body: Sequence[dict[str, Any]]) -> dict[str, list[Any]] | None:
    """The results by column as `report.parse` and `clean` would leave them, or None."""
    try:
        own = {
            "id": [line["id"] for line in body],
            "outcome": [line["outcome"] for line in body],
            "seconds": [line["seconds"] for line in body],
            "result_attempt": [line["attempt"] for line in body],
            "fingerprint": [line["fingerprint"] for line in body],
            "inclusion": [line["inclusion"] for line in body],
        }
    except KeyError:
        return None
    if any("finished_at" in line for line in body):
        return None
    return sound(own)


def sound(own: dict[str, list[Any]]) -> dict[str, list[Any]] | None:
    """Columns by name as they are stored, none of them empty; None where any value is impossible.

    `id`, or `unit` and `runner`, are texts; `parameters` are texts or None.
    """
    kinds = {name: set(map(type, values)) for name, values in own.items()}
    texts = kinds.keys() & {"id", "unit", "runner", "outcome"}
    right = (
        all(kinds[name] <= _TEXT for name in texts)
        and kinds.get("parameters", _TEXT_OR_NONE) <= _TEXT_OR_NONE
        and kinds["seconds"] <= _NUMBER_OR_NONE
        and kinds["result_attempt"] <= _WHOLE
        and kinds["fingerprint"] <= _TEXT_OR_NONE
        and kinds["inclusion"] <= _NUMBER
        and _OUTCOMES.issuperset(own["outcome"])
    )
    if not right or not _in_bounds(own):
        return None
    if int in kinds["seconds"]:
        own["seconds"] = [None if value is None else float(value) for value in own["seconds"]]
    if int in kinds["inclusion"]:
        own["inclusion"] = list(map(float, own["inclusion"]))
    return own


def _in_bounds(own: dict[str, list[Any]]) -> bool:
    seconds = [value for value in own["seconds"] if value is not None]
    return (
        all(map(math.isfinite, set(seconds)))
        and min(seconds, default=0) >= 0
        and max(seconds, default=0) < LONGEST
        and min(own["result_attempt"]) >= 1
        and max(own["result_attempt"]) <= reports.ATTEMPTS
        and all(0.0 < value <= 1.0 for value in set(own["inclusion"]))
    )


_SCAN = make_scanner(json.JSONDecoder())  # type: ignore[arg-type]  # as the decoder itself does
_NOBODY = reports.header(
    "report",
    {
        "format": reports.FORMAT,
        "version": reports.VERSION,
        "run_id": "",
        "repository": "",
        "configuration": {"os": "", "python": "", "flags": []},
        "started_at": "2000-01-01T00:00:00+00:00",
    },
)
