"""How plain test cases and suites are written in a report, and a text of it in columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import polars as pl

from foretest.results.familiar import ENTITIES

CASE = "<testcase "
OPEN, CLOSE = "<testsuite ", "</testsuite>"
TOLD = ("name", "classname", "file", "time")
"""Attributes that are looked at."""
ASKED = ("name", "tests", "timestamp", "file", "hostname", "id", "uuid")
"""Attributes of suites and of the root that are looked at."""
SUITES: dict[str, pl.DataType] = {
    "position": pl.UInt32(),
    "tag": pl.String(),
    **dict.fromkeys(ASKED, pl.String()),
}
_NO_SUITES = pl.DataFrame(schema=SUITES)
_JUDGED = {"status", "result", "disabled"}
"""Attributes by which a case may not have passed: only one by one can that be told."""
_FIRST = re.compile(r'<testcase((?: [\w.:-]+="[^"<]*")+)( ?/>| ?>\s*</testcase>)')
_SUITE = re.compile(r'<testsuite((?: [\w.:-]+="[^"<]*")+)( ?>)')
_STRANGE = r"[&\x00-\x1f\x{fffe}\x{ffff}]"
_NAMES = re.compile(r' ([\w.:-]+)="')
_KEPT, _LEFT = '([^"<]*)', '[^"<]*'
_SKIPPED = r'\s*<skipped((?: [\w.:-]+="[^"<]*")*) ?(?:/>|>[^<]*</skipped>)\s*</testcase>\s*'
_SPECIAL = r"[<\x00-\x1f\x{fffe}\x{ffff}]"
"""What the parser changes or refuses in an attribute."""


@dataclass(slots=True)
class Part:
    """A text in its pieces: plain cases and suites by column, and the texts of all others."""

    cases: pl.DataFrame
    suites: pl.DataFrame
    tags: pl.DataFrame
    """Those that open or close the plain suites: position and text."""
    others: list[tuple[int, str]]
    """Positions and texts, in order."""


class _Shape:
    """A tag with certain attributes in a certain order, of which those in `kept` are looked at."""

    def __init__(
        self, lead: str, names: Sequence[str], ends: Iterable[str], kept: Sequence[str]
    ) -> None:
        self._ends = sorted(ends)
        self._between = [f"{lead}{names[0]}=", *(f" {name}=" for name in names[1:])]
        self.columns = {n: f"field_{2 * i + 1}" for i, n in enumerate(names) if n in kept}
        values = (f'{re.escape(n)}="{_KEPT if n in kept else _LEFT}"' for n in names)
        self.skipped = f"^{' '.join(values)} ?>{_SKIPPED}$"

    def lift(self, pieces: pl.Series) -> pl.DataFrame:
        """The attributes of pieces that begin with such a tag, and whether they are `plain`."""
        fields = pieces.str.splitn('"', 2 * len(self._between) + 1).struct.unnest()
        expected = [pl.col(f"field_{2 * i}") == text for i, text in enumerate(self._between)]
        last = pl.col(f"field_{2 * len(self._between)}").str.strip_chars_end()
        plain = pl.all_horizontal(*expected, last.is_in(self._ends)).fill_null(value=False)
        columns = (pl.col(column).alias(name) for name, column in self.columns.items())
        return fields.select(plain.alias("plain"), *columns)


class Shapes:
    """How plain cases and plain suites are written in this report."""

    def __init__(self, case: _Shape, suite: _Shape | None) -> None:
        self._case, self._suite = case, suite

    def part(self, text: str) -> Part:
        """The pieces of a text in which each tag of a suite begins a piece, as each case does."""
        pieces = pl.Series("piece", [text]).str.split(CASE).explode()
        frame = self._case.lift(pieces).with_row_index("position")
        plainly = frame["plain"] & ~_special(frame["name"])
        cases = frame.filter(plainly).drop("plain").with_columns(skipped=pl.lit(None, pl.String))
        strange = (~plainly).arg_true()
        if "<skipped" in text:
            cases, strange = self._with_skipped(cases, strange, pieces.gather(strange))
        if "&" in text:
            cases, entangled = _untangled(cases)
            strange = pl.concat((strange, entangled)).sort()
        suites, tags = self._tags(strange, pieces.gather(strange))
        if len(tags):
            strange = strange.filter(~strange.is_in(tags["position"].implode()))
        others = [
            (at, piece if piece.startswith("<") or not at else CASE + piece)
            for at, piece in zip(strange, pieces.gather(strange), strict=True)
            if at or piece
        ]
        return Part(cases, suites, tags, others)

    def _tags(self, positions: pl.Series, pieces: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The plain suites, and all tags that open and close them."""
        texts = pl.DataFrame({"position": positions.cast(pl.UInt32), "text": pieces})
        texts = texts.filter(pl.col("text").str.starts_with("<") & (pl.col("position") > 0))
        if self._suite is None or not len(texts):
            return _NO_SUITES, texts.clear()
        found = self._suite.lift(texts["text"]).with_columns(position=texts["position"])
        bare = texts["text"].str.strip_chars_end()
        opens = found["plain"] & ~bare.str.contains(_STRANGE)
        told = [name for name in ASKED if name in self._suite.columns]
        suites = found.filter(opens).select("position", pl.lit("testsuite").alias("tag"), *told)
        plain = pl.concat((_NO_SUITES, suites), how="diagonal")
        return plain, texts.filter(opens | (bare == CLOSE))

    def _with_skipped(
        self, cases: pl.DataFrame, positions: pl.Series, pieces: pl.Series
    ) -> tuple[pl.DataFrame, pl.Series]:
        """Cases that were skipped are plain too, but for what marks them."""
        groups = pieces.str.extract_groups(self._case.skipped).struct.unnest()
        names = dict(zip(groups.columns, (*self._case.columns, "skipped"), strict=True))
        found = groups.rename(names).with_columns(position=positions.cast(pl.UInt32))
        skipped = found["skipped"].is_not_null() & ~_special(found["name"])
        if skipped.any():
            cases = pl.concat([cases, found.filter(skipped).select(cases.columns)])
            cases = cases.sort("position")
        return cases, positions.filter(~skipped)


def _untangled(cases: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """The cases with their entities as characters; positions of those that only a parser knows."""
    strange = pl.Series([False]).new_from_index(0, len(cases))
    for name in TOLD:
        if name not in cases.columns:
            continue
        rows = cases[name].str.contains("&", literal=True).arg_true()
        if len(rows):
            texts = cases[name].gather(rows)
            told = texts.str.replace_many(list(ENTITIES), list(ENTITIES.values()))
            known = texts.str.replace_many(list(ENTITIES), [""] * len(ENTITIES))
            unknown = known.str.contains("&", literal=True)
            strange = strange.scatter(rows.filter(unknown), True)
            cases = cases.with_columns(cases[name].scatter(rows, told))
    return cases.filter(~strange), cases["position"].filter(strange)


def _special(values: pl.Series) -> pl.Series:
    return values.str.contains(_SPECIAL).fill_null(value=True)


def shapes_of(text: str) -> Shapes | None:
    """The commonest shapes among the first plain cases and suites."""
    ends = {"/>", " />", "></testcase>"}
    case = _shape_of(_FIRST, text, "", ends, TOLD)
    suite = _shape_of(_SUITE, text, OPEN, {">", " >"}, ASKED)
    return None if case is None else Shapes(case, suite)


def _shape_of(
    first: re.Pattern[str], text: str, lead: str, ends: set[str], kept: Sequence[str]
) -> _Shape | None:
    shapes: Counter[tuple[str, ...]] = Counter()
    for found in islice(first.finditer(text), 64):
        names = tuple(_NAMES.findall(found[1]))
        if "name" in names and len(set(names)) == len(names) and not _JUDGED & set(names):
            shapes[names] += 1
            ends.add(found[2])
    return _Shape(lead, shapes.most_common(1)[0][0], ends, kept) if shapes else None
