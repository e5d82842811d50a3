"""JUnit XML of every runner, in constant memory: attempts grouped, ids joined to known tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import add
from typing import IO

from foretest.records import Outcome
from foretest.results.batch import Attempt, Batch, Case, stable_spelling
from foretest.results.dialects import bazel
from foretest.results.dialects.contract import Dialect, Scene, Spelling
from foretest.results.dialects.java import JUNIT
from foretest.results.dialects.javascript import JEST, MOCHA, PLAYWRIGHT, VITEST
from foretest.results.dialects.native import COULD_NOT_RUN, CTEST, GTEST
from foretest.results.dialects.python import PYTEST
from foretest.results.dialects.rust import NEXTEST
from foretest.results.joining import Units
from foretest.results.lifting import Stretch, stretches
from foretest.results.normalise import moment_of, volatile
from foretest.results.xmlstream import Element

ROOTS = (b"<testsuites", b"<testsuite")
"""How a JUnit report begins, for whoever sniffs at formats."""


def _file_or_class(scene: Scene, classname: str, file: str) -> str:
    place = scene.files(file) or classname
    return f"{place}::" if place else ""


OTHER = Dialect("junit", lambda _, __: True, _file_or_class)
"""Whoever else writes JUnit XML: a test is its file or class, and its name."""
DIALECTS = (NEXTEST, JEST, VITEST, PLAYWRIGHT, MOCHA, GTEST, CTEST, PYTEST, JUNIT, OTHER)
"""The first that tells a case as its own reads it."""

_RERUN = {"rerunFailure": Outcome.FAILED, "rerunError": Outcome.ERROR}
_FLAKY = {"flakyFailure": Outcome.FAILED, "flakyError": Outcome.ERROR}
_BAD = {"failure": Outcome.FAILED, "error": Outcome.ERROR}
_TEARDOWN = "failed on teardown with"
_PREFIXES = 50_000
"""Prefixes that are remembered: a report with a class a test must not fill the memory."""
_LONGEST = 1e9
"""Seconds that no test takes."""


@dataclass(slots=True)
class Reading:
    """What is learnt of a report beside its results, while they are read."""

    scene: Scene = field(default_factory=Scene)
    began: datetime | None = None
    target: str = ""
    """Bazel's target, where the report lies among Bazel's."""
    notices: dict[str, None] = field(default_factory=dict)


def batches(file: IO[bytes], units: Units, reading: Reading) -> Iterator[Batch]:
    """Every test case up to the end, normalised and joined to the known `units`.

    Raises DamagedError at the first damage, after what was read before it.
    """
    opened = frozenset(("testsuite", "testsuites"))
    reader = _Reader(units, reading)
    for stretch in stretches(file, frozenset(("testcase",)), opened):
        batch = reader.read(stretch)
        if len(batch):
            yield batch


class _Reader:
    def __init__(self, units: Units, reading: Reading) -> None:
        self._units, self._reading = units, reading
        self._dialect: Dialect | None = None
        self._prefixes: dict[tuple[str, str], str] = {}
        self._homes: dict[str, str] = {}
        self._failed = ""
        self._suites = 0

    def read(self, stretch: Stretch) -> Batch:
        """A stretch's results; its plain cases all belong to the suite that was opened last."""
        among = stretch.among
        while among and among[0][1].tag != "testcase":
            self._open(among[0][1])
            among = among[1:]
        if not len(stretch) and not among:
            return Batch("")
        if self._dialect is None:
            self._choose(_first(stretch.columns) if len(stretch) else among[0][1].attributes)
        assert self._dialect is not None
        plain = self._plain(stretch.columns, self._dialect) if len(stretch) else None
        if plain is not None and not among:
            return plain
        batch, start = Batch(self._runner, self._suites), 0
        for place, element in among:
            if plain is not None:
                _move(plain, batch, start, place)
            start = place
            self._add(element, batch, self._dialect)
        if plain is not None:
            _move(plain, batch, start, len(plain))
            batch.unmatched += plain.unmatched
        return batch

    def _open(self, suite: Element) -> None:
        scene = self._reading.scene
        if suite.tag == "testsuites" or not scene.root_tag:
            scene.root_tag, scene.root = suite.tag, suite.attributes
        if suite.tag == "testsuite":
            scene.suite = suite.attributes
            self._suites += 1
        self._reading.began = _earlier(self._reading.began, suite.attributes.get("timestamp", ""))
        self._dialect = None

    @property
    def _runner(self) -> str:
        assert self._dialect is not None
        return bazel.RUNNER if self._reading.target else self._dialect.runner

    def _choose(self, case: Mapping[str, str]) -> None:
        scene = self._reading.scene
        self._dialect = next(d for d in DIALECTS if d.tells(scene, case))
        self._prefixes.clear()
        if self._dialect.suspect is not None and (said := self._dialect.suspect(scene, case)):
            self._reading.notices[said] = None

    # --- plain cases, by column ----------------------------------------------------------------

    def _plain(self, columns: Mapping[str, list[str]], dialect: Dialect) -> Batch:
        names = columns["name"]
        count = len(names)
        batch = Batch(
            self._runner,
            self._suites,
            parameters=[None] * count,
            outcome=[Outcome.PASSED] * count,
            seconds=_all_seconds(columns.get("time"), count),
            attempt=[1] * count,
            fingerprint=[None] * count,
        )
        if self._reading.target or dialect.identify not in (None, PYTEST.identify):
            self._each(columns, dialect, batch)
        else:
            self._together(columns, dialect, batch)
        if self._units:
            self._join(columns, batch)
        if volatile(names):
            _steady(batch)
        return batch

    def _each(self, columns: Mapping[str, list[str]], dialect: Dialect, batch: Batch) -> None:
        told = list(columns)
        for index, values in enumerate(zip(*columns.values(), strict=True)):
            unit, parameters = self._spell(dict(zip(told, values, strict=True)), dialect)
            batch.unit.append(unit)
            batch.parameters[index] = parameters

    def _together(self, columns: Mapping[str, list[str]], dialect: Dialect, batch: Batch) -> None:
        names, scene = columns["name"], self._reading.scene
        empty = [""] * len(names)
        places = list(zip(columns.get("classname", empty), columns.get("file", empty), strict=True))
        prefixes = self._prefixes
        for place in set(places).difference(prefixes):
            prefixes[place] = dialect.prefix(scene, *place)
        if len(prefixes) > _PREFIXES:
            self._prefixes = {}
        batch.unit = list(map(add, map(prefixes.__getitem__, places), names))
        marked = [i for mark in dialect.marks for i, name in enumerate(names) if mark in name]
        for index in marked:
            text, batch.parameters[index] = dialect.split(names[index])
            prefix = prefixes[places[index]]
            batch.unit[index] = prefix + text if text else prefix.removesuffix("::")

    def _join(self, columns: Mapping[str, list[str]], batch: Batch) -> None:
        known = self._units.all
        strange = [i for i, unit in enumerate(batch.unit) if unit not in known]
        for index in strange:
            case = {name: values[index] for name, values in columns.items()}
            batch.unit[index], found = self._home(batch.unit[index], case)
            batch.unmatched += not found

    # --- any case --------------------------------------------------------------------------------

    def _add(self, element: Element, batch: Batch, dialect: Dialect) -> None:
        case = element.attributes
        unit, parameters = self._spell(case, dialect)
        known = True
        if self._units and unit not in self._units.all:
            unit, known = self._home(unit, case)
        attempts = attempts_of(element)
        if dialect is PYTEST and self._failed == unit and _only_teardown(attempts):
            return  # the second half of an attempt that failed before its teardown did
        self._failed = unit if attempts[-1].outcome.bad else ""
        batch.add(Case(unit, parameters, attempts), known)

    def _spell(self, case: Mapping[str, str], dialect: Dialect) -> Spelling:
        spelling = dialect.spell(self._reading.scene, case)
        return bazel.inside(self._reading.target, spelling) if self._reading.target else spelling

    def _home(self, unit: str, case: Mapping[str, str]) -> tuple[str, bool]:
        """The known unit that is meant, and whether there is one.

        What was found for one test of a class is tried first for the next.
        """
        prefix, _, name = unit.rpartition("::")
        at_home = f"{self._homes.get(prefix, prefix)}::{name}"
        if at_home in self._units.all:
            return at_home, True
        found = self._units.find(case.get("classname", ""), name, case.get("file", ""))
        if found is None:
            return unit, False
        self._homes[prefix] = found.rpartition("::")[0]
        return found, True


def _first(columns: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: values[0] for name, values in columns.items()}


def _move(plain: Batch, batch: Batch, start: int, end: int) -> None:
    shift = len(batch) - start
    batch.extend(plain, start, end)
    for index in [i for i in plain.written if start <= i < end]:
        batch.written[index + shift] = plain.written.pop(index)


def _steady(batch: Batch) -> None:
    """Spell stably what may hold something volatile."""
    for index, unit in enumerate(batch.unit):
        written = (unit, batch.parameters[index])
        shown = stable_spelling(*written)
        if shown != written:
            batch.unit[index], batch.parameters[index] = shown
            batch.written[index] = written


def attempts_of(case: Element) -> list[Attempt]:
    """The attempts that one test case tells of, in time order.

    `flakyFailure` means that it failed and then passed; `rerunFailure` that it failed again after
    the failure named first. The case's own time is its last attempt's where it is flaky, else its
    first's; an attempt without a time of its own has None.
    """
    time = seconds_of(case.attributes.get("time"))
    own = [c for c in case.children if c.tag in _BAD]
    flaky = [c for c in case.children if c.tag in _FLAKY]
    again = [c for c in case.children if c.tag in _RERUN]
    attempts = [_failure(c, _FLAKY[c.tag], seconds_of(c.attributes.get("time"))) for c in flaky]
    if own:
        attempts.append(_failure(own[0], _BAD[own[0].tag], time, case))
    attempts += [_failure(c, _RERUN[c.tag], seconds_of(c.attributes.get("time"))) for c in again]
    if not own and not again:
        attempts.append(_good(case, time))
    return attempts


def _failure(
    element: Element, outcome: Outcome, seconds: float | None, case: Element | None = None
) -> Attempt:
    """CTest says of a failure only what the test printed."""
    traces = [c.text for c in element.children if c.tag == "stackTrace"]
    text = element.text if element.text.strip() else "\n".join(traces)
    if case is not None and not (text or element.attributes.get("message")):
        text = next((c.text for c in case.children if c.tag == "system-out"), "")
    told = element.attributes
    return Attempt(outcome, seconds, told.get("type", ""), told.get("message", ""), text)


def _good(case: Element, time: float | None) -> Attempt:
    skipped = next((c for c in case.children if c.tag == "skipped"), None)
    status, result = (case.attributes.get(a, "").lower() for a in ("status", "result"))
    if skipped is not None:
        if skipped.attributes.get("type", "") == "pytest.xfail":
            return Attempt(Outcome.XFAILED, time)
        said = skipped.attributes.get("message", "")
        if status == "notrun" and COULD_NOT_RUN.search(said):
            return Attempt(Outcome.ERROR, None, "", said, said)
        return Attempt(Outcome.SKIPPED)
    if status == "fail":
        return Attempt(Outcome.FAILED, time)
    idle = status in ("notrun", "disabled", "skipped") or result in ("suppressed", "skipped")
    return Attempt(Outcome.SKIPPED) if idle else Attempt(Outcome.PASSED, time)


def _only_teardown(attempts: list[Attempt]) -> bool:
    return len(attempts) == 1 and attempts[0].message.startswith(_TEARDOWN)


def _all_seconds(texts: list[str] | None, count: int) -> list[float | None]:
    if texts is None:
        return [None] * count
    try:
        values = list(map(float, texts))
    except ValueError:
        return [seconds_of(text) for text in texts]
    total = sum(values)
    if total == total and min(values) >= 0 and max(values) < _LONGEST:
        return values  # type: ignore[return-value]
    return [seconds_of(text) for text in texts]


def seconds_of(text: str | None) -> float | None:
    """A duration; some writers put a comma between thousands, some before the decimals."""
    if not text:
        return None
    if "," in text:
        whole, _, rest = text.rpartition(",")
        thousands = "." in rest or len(rest) == 3
        text = text.replace(",", "") if thousands else f"{whole.replace(',', '')}.{rest}"
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < _LONGEST else None


def _earlier(before: datetime | None, text: str) -> datetime | None:
    moment = moment_of(text)
    return moment if before is None or (moment is not None and moment < before) else before
