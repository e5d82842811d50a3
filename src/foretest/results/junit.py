"""JUnit XML of every runner, in constant memory: attempts grouped, ids joined to known tests."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from itertools import repeat
from operator import or_
from typing import IO

import polars as pl

from foretest.records import Outcome
from foretest.results.batch import Attempt, Batch, Case, Entries, any_volatile, steady
from foretest.results.dialects import bazel
from foretest.results.dialects.contract import Dialect, Scene, Spelling, under
from foretest.results.dialects.java import JUNIT
from foretest.results.dialects.javascript import JEST, MOCHA, PLAYWRIGHT, VITEST
from foretest.results.dialects.native import COULD_NOT_RUN, CTEST, GTEST
from foretest.results.dialects.python import PYTEST
from foretest.results.dialects.rust import NEXTEST
from foretest.results.joining import Units
from foretest.results.lifting import TOLD, Stretch, stretches
from foretest.results.normalise import moment_of
from foretest.results.xmlstream import ILLEGAL, Element

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
_COUNT = re.compile(r"[0-9]{1,9}")
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
        if batch is not None:
            yield batch


class _Reader:
    def __init__(self, units: Units, reading: Reading) -> None:
        self._units, self._reading = units, reading
        self._dialect: Dialect | None = None
        self._prefixes: dict[tuple[str, str], str] = {}
        self._homes: dict[str, str] = {}
        self._failed = ""
        self._suites = 0
        self._counted: int | None = None

    def read(self, stretch: Stretch) -> Batch | None:
        """A stretch's results, None where it has none; all belong to the suite opened last."""
        cases, among = stretch.cases, stretch.among
        while among and among[0][1].tag != "testcase":
            self._open(among[0][1])
            among = among[1:]
        plain = cases is not None and len(cases) > 0
        if not plain and not among:
            return None
        if self._dialect is None:
            self._choose(_first(cases, among))
        assert self._dialect is not None
        parts: list[pl.DataFrame] = []
        if plain and cases is not None:
            rows = self._plain(cases, self._dialect)
            parts.append(steady(rows) if any_volatile(cases["name"]) else rows)
        if among:
            entries = Entries()
            for position, element in among:
                self._add(element, position, entries, self._dialect)
            parts.append(steady(entries.frame()))
        rows = parts[0] if len(parts) == 1 else pl.concat(parts, how="diagonal")
        if not rows["position"].is_sorted():
            rows = rows.sort("position", maintain_order=True)
        runner = bazel.RUNNER if self._reading.target else self._dialect.runner
        entries_read = len(among) + (len(cases) if cases is not None else 0)
        return Batch(runner, rows, self._suites, self._uncounted(entries_read))

    def _uncounted(self, entries: int) -> int:
        """`entries` less what the suite counts and no batch of it has been told."""
        if self._counted is None:
            return 0
        beyond, self._counted = entries - self._counted, 0
        return beyond

    def _open(self, suite: Element) -> None:
        scene = self._reading.scene
        if suite.tag == "testsuites" or not scene.root_tag:
            scene.root_tag, scene.root = suite.tag, suite.attributes
        if suite.tag == "testsuite":
            scene.suite = suite.attributes
            self._suites += 1
            count = suite.attributes.get("tests", "")
            self._counted = int(count) if _COUNT.fullmatch(count) else None
        self._reading.began = _earlier(self._reading.began, suite.attributes.get("timestamp", ""))
        self._dialect = None

    def _choose(self, case: Mapping[str, str]) -> None:
        scene = self._reading.scene
        self._dialect = next(d for d in DIALECTS if d.tells(scene, case))
        self._prefixes.clear()
        if self._dialect.suspect is not None and (said := self._dialect.suspect(scene, case)):
            self._reading.notices[said] = None

    # --- plain cases, by column ----------------------------------------------------------------

    def _plain(self, cases: pl.DataFrame, dialect: Dialect) -> pl.DataFrame:
        if self._reading.target or dialect.identify not in (None, PYTEST.identify):
            spelled = self._each(cases, dialect)
        else:
            spelled = self._together(cases, dialect)
        passed, skipped = pl.lit(Outcome.PASSED.value), pl.lit(Outcome.SKIPPED.value)
        expected = pl.col("skipped").str.contains('type="pytest.xfail"', literal=True)
        marked = pl.when(expected).then(pl.lit(Outcome.XFAILED.value)).otherwise(skipped)
        outcome = pl.when(pl.col("skipped").is_null()).then(passed).otherwise(marked)
        rows = cases.select(
            "position",
            spelled["unit"],
            spelled["parameters"],
            outcome.alias("outcome"),
            seconds=pl.when(outcome != skipped).then(_seconds(cases)),
            attempt=pl.lit(1, pl.Int32),
            fingerprint=pl.lit(None, pl.String),
            known=pl.lit(value=True),
        )
        return self._join(rows, cases) if self._units else rows

    def _each(self, cases: pl.DataFrame, dialect: Dialect) -> pl.DataFrame:
        spelled = [self._spell(_attributes(row), dialect) for row in cases.iter_rows(named=True)]
        return pl.DataFrame(spelled, {"unit": pl.String, "parameters": pl.String}, orient="row")

    def _together(self, cases: pl.DataFrame, dialect: Dialect) -> pl.DataFrame:
        prefix = self._prefix(cases, dialect)
        if dialect.splits is not None:
            parts = dialect.splits(cases["name"])
        else:
            parts = _split_marked(cases["name"], dialect)
        if dialect.identify is not None and _nameless(cases):
            return self._each(cases, dialect)  # not all of them are a prefix and a name
        unit = prefix + parts["text"]
        if (parts["text"] == "").any():
            unit = unit.str.strip_suffix("::")
        return pl.DataFrame({"unit": unit, "parameters": parts["parameters"]})

    def _prefix(self, cases: pl.DataFrame, dialect: Dialect) -> pl.Series:
        """What stands before each name: neighbours mostly share it."""
        places = [cases[name] for name in ("classname", "file") if name in cases.columns]
        if not places:
            return pl.Series([dialect.prefix(self._reading.scene, "", "")]).new_from_index(
                0, len(cases)
            )
        differs = (s.ne_missing(s.shift(1)) for s in places)
        fresh = reduce(or_, differs)
        fresh[0] = True
        firsts = fresh.arg_true()
        told = [
            cases[n].gather(firsts).to_list() if n in cases.columns else repeat("")
            for n in ("classname", "file")
        ]
        prefixes = [
            self._prefix_of(_plain_text(classname), _plain_text(file), dialect)
            for classname, file in zip(told[0], told[1], strict=False)
        ]
        return pl.Series(prefixes, dtype=pl.String).gather(fresh.cum_sum() - 1)

    def _prefix_of(self, classname: str, file: str, dialect: Dialect) -> str:
        place = (classname, file)
        known = self._prefixes.get(place)
        if known is None:
            if len(self._prefixes) >= _PREFIXES:
                self._prefixes.clear()
            known = dialect.prefix(self._reading.scene, classname, file)
            self._prefixes[place] = known
        return known

    def _join(self, rows: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
        strange = (~rows["unit"].is_in(self._units.series.implode())).arg_true()
        if not len(strange):
            return rows
        among = cases[strange.to_list()].iter_rows(named=True)
        homes = [
            self._home(unit, _attributes(row))
            for unit, row in zip(rows["unit"].gather(strange), among, strict=True)
        ]
        units, known = zip(*homes, strict=True)
        return rows.with_columns(
            rows["unit"].scatter(strange, pl.Series(units, dtype=pl.String)),
            rows["known"].scatter(strange, pl.Series(known)),
        )

    # --- any case --------------------------------------------------------------------------------

    def _add(self, element: Element, position: int, entries: Entries, dialect: Dialect) -> None:
        case = element.attributes
        unit, parameters = self._spell(case, dialect)
        known = True
        if self._units and unit not in self._units.all:
            unit, known = self._home(unit, case)
        attempts = attempts_of(element)
        if dialect is PYTEST and self._failed == unit and _only_teardown(attempts):
            return  # the second half of an attempt that failed before its teardown did
        self._failed = unit if attempts[-1].outcome.bad else ""
        entries.add(Case(unit, parameters, attempts, known), position)

    def _spell(self, case: Mapping[str, str], dialect: Dialect) -> Spelling:
        if dialect is PYTEST and case.get("classname"):
            name, parameters = dialect.split(case.get("name", ""))
            prefix = self._prefix_of(case["classname"], case.get("file", ""), dialect)
            return under(prefix, name), parameters
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
        found = self._units.find(case.get("classname") or "", name, case.get("file") or "")
        if found is None:
            return unit, False
        self._homes[prefix] = found.rpartition("::")[0]
        return found, True


def _first(cases: pl.DataFrame | None, among: Sequence[tuple[int, Element]]) -> Mapping[str, str]:
    """The attributes of the case that comes first, whatever it is like."""
    position = among[0][0] if among else -1
    if cases is None or not len(cases):
        return among[0][1].attributes
    row = cases.row(cases["position"].arg_min() or 0, named=True)
    if among and position < row["position"]:
        return among[0][1].attributes
    return _attributes(row)


def _attributes(row: Mapping[str, str]) -> dict[str, str]:
    return {name: _plain_text(row[name]) for name in TOLD if name in row}


def _nameless(cases: pl.DataFrame) -> bool:
    return "classname" not in cases.columns or bool((cases["classname"] == "").any())


def _plain_text(value: str) -> str:
    """An attribute as the parser gives it: spaces for line ends, but for those that are spelled."""
    if not value.isprintable():
        value = re.sub(r"[\t\n]", " ", value).translate(ILLEGAL)
    return html.unescape(value) if "&" in value else value


def _split_marked(names: pl.Series, dialect: Dialect) -> pl.DataFrame:
    """The names' parts; those without a mark are whole."""
    parts = pl.DataFrame({"text": names}).with_columns(parameters=pl.lit(None, pl.String))
    if not dialect.marks:
        return parts
    marked = names.str.contains_any(list(dialect.marks)).arg_true()
    if not len(marked):
        return parts
    texts, parameters = zip(*map(dialect.split, names.gather(marked)), strict=True)
    return pl.DataFrame(
        {
            "text": names.scatter(marked, pl.Series(texts, dtype=pl.String)),
            "parameters": parts["parameters"].scatter(
                marked, pl.Series(parameters, dtype=pl.String)
            ),
        }
    )


def _seconds(cases: pl.DataFrame) -> pl.Series:
    """The durations; what is not spelled as a plain number is looked at one by one."""
    if "time" not in cases.columns:
        return pl.Series([None], dtype=pl.Float64).new_from_index(0, len(cases))
    seconds = cases["time"].cast(pl.Float64, strict=False)
    odd = seconds.is_null().arg_true()
    if len(odd):
        told = [seconds_of(text) for text in cases["time"].gather(odd)]
        seconds = seconds.scatter(odd, pl.Series(told, dtype=pl.Float64))
    possible = seconds.is_between(0, _LONGEST, closed="left")
    return seconds if possible.all() else seconds.set(~possible.fill_null(value=False), None)


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
