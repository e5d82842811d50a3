"""JUnit XML of every runner, in constant memory: attempts grouped, ids joined to known tests."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from itertools import pairwise, repeat
from operator import or_
from typing import IO

import numpy as np
import polars as pl

from foretest.records import Outcome
from foretest.results.attempts import attempts_of, only_teardown, seconds_of
from foretest.results.batch import Batch, Case, Entries, steady
from foretest.results.choosing import DIALECTS, Suites, of_plain
from foretest.results.dialects import bazel
from foretest.results.dialects.contract import Dialect, Scene, Spelling, under
from foretest.results.dialects.python import PYTEST
from foretest.results.joining import Units
from foretest.results.lifting import Stretch, stretches
from foretest.results.normalise import LONGEST, VOLATILE, moment_of
from foretest.results.shapes import TOLD, holds
from foretest.results.xmlstream import ILLEGAL, Element

ROOTS = (b"<testsuites", b"<testsuite")
"""How a JUnit report begins, for whoever sniffs at formats."""


_COUNT = "^[0-9]{1,9}$"
_ISO = (
    r"^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]+)?(Z|[+-][0-9:]{5}|)$"
)
_PLACE = {"suite": pl.Int32(), "position": pl.UInt32()}
_UNREADY = r"[\x00-\x1f\x{fffe}\x{ffff}]"
"""Not as the parser gives it."""
_PREFIXES = 50_000
"""Prefixes that are remembered: a report with a class a test must not fill the memory."""


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
        yield from reader.read(stretch)


class _Reader:
    def __init__(self, units: Units, reading: Reading) -> None:
        self._units, self._reading = units, reading
        self._dialect: Dialect | None = None
        self._spelled: Dialect | None = None
        self._prefixes: dict[tuple[str, str], str] = {}
        self._homes: dict[str, str] = {}
        self._failed = ""
        self._suites = 0
        self._counted: dict[int, int] = {}

    def read(self, stretch: Stretch) -> Iterator[Batch]:
        """A stretch's results: a batch for neighbouring suites of one dialect."""
        scene, suites = self._reading.scene, Suites(self._reading.scene.suite, stretch.suites)
        self._begin(stretch.suites)
        roots = [n for n in suites.roots if n]
        if not scene.root_tag and len(suites) > 1 and 1 not in roots:
            roots.insert(0, 1)
        for begin, end in pairwise((0, *roots, len(suites))):
            if begin:
                scene.root_tag, scene.root = suites.element(begin)
            part = stretch.within(begin, end)
            for start, stop, dialect in self._runs(part, suites):
                yield self._batch(part.within(start, stop), dialect, suites)
        self._suites += len(stretch.suites)
        scene.suite = suites[-1]
        self._counted = {n: c for n, c in self._counted.items() if n == self._suites}

    def _begin(self, suites: pl.DataFrame) -> None:
        """Take in when suites began and what they count."""
        if not len(suites):
            return
        counts = suites.select("tag", "tests").with_row_index("number", self._suites + 1)
        counts = counts.filter(pl.col("tests").str.contains(_COUNT), tag="testsuite")
        numbers, tests = counts["number"].to_list(), counts["tests"].cast(pl.Int64).to_list()
        self._counted.update(zip(numbers, tests, strict=True))
        for text in _earliest(suites["timestamp"]):
            self._reading.began = _earlier(self._reading.began, text)

    def _runs(self, stretch: Stretch, suites: Suites) -> Iterator[tuple[int, int, Dialect]]:
        """Neighbouring suites of one dialect: the first, the one behind the last, the dialect."""
        if len(suites) == 1 and self._dialect is not None:
            if stretch:
                yield 0, 1, self._dialect  # the suite goes on
            return
        chosen = self._choose(stretch, suites)
        start, before = 0, None
        alike = len({id(dialect) for dialect in chosen.values()}) == 1
        for number in sorted(chosen) if not alike else [min(chosen)]:
            dialect = chosen[number]
            if before is not None and dialect is not before:
                yield start, number, before
                start = number
            before = dialect
        if before is not None:
            yield start, len(suites), before
        if len(suites) > 1 or before is not None:
            self._dialect = chosen.get(len(suites) - 1)

    def _choose(self, stretch: Stretch, suites: Suites) -> dict[int, Dialect]:
        """The dialect of each suite that has cases: its first case tells."""
        scene = self._reading.scene
        plain, strange = _firsts(stretch)
        told = of_plain(scene, plain, suites) if len(plain) else []
        chosen = dict(zip(plain["suite"].to_list(), told, strict=True)) if told is not None else {}
        if told is None:
            strange |= {row["suite"]: _attributes(row) for row in plain.iter_rows(named=True)}
        for number, case in strange.items():
            scene.suite = suites[number]
            dialect = next(d for d in DIALECTS if d.tells(scene, case))
            if dialect.suspect is not None and (said := dialect.suspect(scene, case)):
                self._reading.notices[said] = None
            chosen[number] = dialect
        if self._dialect is not None and 0 in chosen:
            chosen[0] = self._dialect
        return chosen

    def _batch(self, stretch: Stretch, dialect: Dialect, suites: Suites) -> Batch:
        if dialect is not self._spelled:
            self._spelled = dialect
            self._prefixes.clear()
        parts: list[pl.DataFrame] = []
        cases = stretch.cases
        if cases is not None and len(cases):
            parts.append(self._plain(cases, dialect, suites))
        if stretch.among:
            entries = Entries()
            for position, number, element in stretch.among:
                self._reading.scene.suite = suites[number]
                self._add(element, (position, self._suites + number), entries, dialect)
            parts.append(steady(entries.frame()))
        rows = parts[0]
        if len(parts) > 1:
            rows = pl.concat(parts, how="diagonal").sort("position", maintain_order=True)
        runner = bazel.RUNNER if self._reading.target else dialect.runner
        uncounted = self._uncounted(stretch) if dialect is PYTEST else {}
        return Batch(runner, rows, uncounted)

    def _uncounted(self, stretch: Stretch) -> dict[int, int]:
        """For each suite its entries less what it counts and no batch of it has been told."""
        entries = Counter(self._suites + number for _, number, _ in stretch.among)
        if stretch.cases is not None:
            counts = np.bincount(stretch.cases["suite"].to_numpy())
            entries.update({self._suites + int(n): int(counts[n]) for n in np.flatnonzero(counts)})
        told = {n: count - self._counted[n] for n, count in entries.items() if n in self._counted}
        self._counted.update(dict.fromkeys(told, 0))
        return told

    # --- plain cases, by column ----------------------------------------------------------------

    def _plain(self, cases: pl.DataFrame, dialect: Dialect, suites: Suites) -> pl.DataFrame:
        whole = dialect.identify is not None and dialect.splits is None
        if whole or self._reading.target:
            spelled = self._each(cases, dialect, suites)
        else:
            spelled = self._together(cases, dialect, suites)
        outcome, seconds = pl.lit(Outcome.PASSED.value), pl.lit(_seconds(cases))
        if cases["skipped"].null_count() < len(cases):
            skipped = pl.lit(Outcome.SKIPPED.value)
            expected = pl.col("skipped").str.contains('type="pytest.xfail"', literal=True)
            marked = pl.when(expected).then(pl.lit(Outcome.XFAILED.value)).otherwise(skipped)
            outcome = pl.when(pl.col("skipped").is_null()).then(outcome).otherwise(marked)
            seconds = pl.when(outcome != skipped).then(seconds)
        rows = cases.select(
            "position",
            pl.col("suite") + self._suites,
            spelled["unit"],
            spelled["parameters"],
            outcome=outcome,
            seconds=seconds,
            attempt=pl.lit(1, pl.Int32),
            fingerprint=pl.lit(None, pl.String),
            known=pl.lit(value=True),
        )
        rows = self._join(rows, cases) if self._units else rows
        return steady(rows) if holds(cases["name"], VOLATILE) else rows

    def _each(self, cases: pl.DataFrame, dialect: Dialect, suites: Suites) -> pl.DataFrame:
        spelled: list[Spelling] = []
        for row in cases.iter_rows(named=True):
            self._reading.scene.suite = suites[row["suite"]]
            spelled.append(self._spell(_attributes(row), dialect))
        return pl.DataFrame(spelled, {"unit": pl.String, "parameters": pl.String}, orient="row")

    def _together(self, cases: pl.DataFrame, dialect: Dialect, suites: Suites) -> pl.DataFrame:
        names, prefix = cases["name"], self._prefix(cases, dialect)
        if not dialect.marks or not holds(names, f"[{re.escape(dialect.marks)}]"):
            parts = names.to_frame("text").with_columns(parameters=pl.lit(None, pl.String))
        elif dialect.splits is not None:
            parts = dialect.splits(names)
        else:
            parts = _split_marked(names, dialect)
        if dialect.identify is not None and _apart(cases):
            return self._each(cases, dialect, suites)  # not all of them are a prefix and a name
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
        fresh = reduce(or_, (np.diff(s.rle_id().to_numpy(), prepend=1) != 0 for s in places))
        firsts, runs = np.flatnonzero(fresh), np.cumsum(fresh) - 1
        if dialect.prefixes is not None and "file" not in cases.columns:
            classnames = places[0].gather(firsts)
            if not holds(classnames, _UNREADY) and not (classnames == "").any():
                return dialect.prefixes(classnames).gather(runs)
        told = [
            cases[n].gather(firsts).to_list() if n in cases.columns else repeat("")
            for n in ("classname", "file")
        ]
        prefixes = [
            self._prefix_of(_plain_text(classname), _plain_text(file), dialect)
            for classname, file in zip(told[0], told[1], strict=False)
        ]
        return pl.Series(prefixes, dtype=pl.String).gather(runs)

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

    def _add(
        self, element: Element, place: tuple[int, int], entries: Entries, dialect: Dialect
    ) -> None:
        case = element.attributes
        unit, parameters = self._spell(case, dialect)
        known = True
        if self._units and unit not in self._units.all:
            unit, known = self._home(unit, case)
        attempts = attempts_of(element)
        if dialect is PYTEST and self._failed == unit and only_teardown(attempts):
            return  # the second half of an attempt that failed before its teardown did
        self._failed = unit if attempts[-1].outcome.bad else ""
        entries.add(Case(unit, parameters, attempts, known), *place)

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


def _firsts(stretch: Stretch) -> tuple[pl.DataFrame, dict[int, Mapping[str, str]]]:
    """Each suite's first case: plain ones by column, and the attributes of others."""
    cases = stretch.cases if stretch.cases is not None else pl.DataFrame(schema=_PLACE)
    plain = cases.filter((pl.col("suite") != pl.col("suite").shift(1)).fill_null(value=True))
    if not stretch.among:
        return plain, {}
    places = dict(zip(plain["suite"], plain["position"], strict=True))
    strange: dict[int, Mapping[str, str]] = {}
    for position, number, element in stretch.among:
        if number not in strange and position < places.get(number, position + 1):
            strange[number] = element.attributes
    return plain.filter(~pl.col("suite").is_in(list(strange))), strange


def _attributes(row: Mapping[str, str]) -> dict[str, str]:
    return {name: _plain_text(row[name]) for name in TOLD if name in row}


def _apart(cases: pl.DataFrame) -> bool:
    """Whether some case is a whole file: it has no class name, or is called like it."""
    if "classname" not in cases.columns:
        return True
    classnames = cases["classname"]
    return bool(((classnames == "") | (classnames == cases["name"])).any())


def _plain_text(value: str) -> str:
    """An attribute as the parser gives it: spaces for line ends."""
    if not value.isprintable():
        return re.sub(r"[\t\n]", " ", value).translate(ILLEGAL)
    return value


def _split_marked(names: pl.Series, dialect: Dialect) -> pl.DataFrame:
    """The names' parts; those without a mark are whole."""
    marked = names.str.contains_any(list(dialect.marks)).arg_true()
    texts, parameters = zip(*map(dialect.split, names.gather(marked)), strict=True)
    none = pl.Series([None], dtype=pl.String).new_from_index(0, len(names))
    return pl.DataFrame(
        {
            "text": names.scatter(marked, pl.Series(texts, dtype=pl.String)),
            "parameters": none.scatter(marked, pl.Series(parameters, dtype=pl.String)),
        }
    )


def _seconds(cases: pl.DataFrame) -> pl.Series:
    """The durations; what is not spelled as a plain number is looked at one by one."""
    if "time" not in cases.columns:
        return pl.Series([None], dtype=pl.Float64).new_from_index(0, len(cases))
    seconds = cases["time"].cast(pl.Float64, strict=False)
    if seconds.null_count():
        odd = seconds.is_null().arg_true()
        told = [seconds_of(text) for text in cases["time"].gather(odd)]
        seconds = seconds.scatter(odd, pl.Series(told, dtype=pl.Float64))
    values = seconds.to_numpy()
    possible = (values >= 0) & (values < LONGEST)
    return seconds if possible.all() else seconds.set(pl.Series(~possible), None)


def _earliest(texts: pl.Series) -> list[str]:
    """Among which the earliest moment is: of those that are written alike the first alone."""
    told = texts.drop_nulls().unique()
    alike = told.str.contains(_ISO)
    spelled = pl.DataFrame({"text": told.filter(alike)}).group_by(pl.col("text").str.extract(_ISO))
    return [*spelled.agg(first=pl.col("text").min())["first"], *told.filter(~alike)]


def _earlier(before: datetime | None, text: str) -> datetime | None:
    moment = moment_of(text)
    return moment if before is None or (moment is not None and moment < before) else before
