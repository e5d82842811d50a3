"""How plain test cases and suites are written in a report, and a text of it in columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import polars as pl

from foretest.results.familiar import ENTITIES
from foretest.results.pieces import LONGEST, Pieces, positions
from foretest.results.tags import Mask, Places, Tags

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
_NO_TAGS = pl.DataFrame(schema={"position": pl.UInt32, "text": pl.String})
_JUDGED = {"status", "result", "disabled"}
"""Attributes by which a case may not have passed: only one by one can that be told."""
_CLOSED, _OPENED = (b'"/>', b'" />'), (b'">', b'" >')
_CASE_ENDS, _SUITE_ENDS = b"</testcase>", b"</testsuite>"
_FIRST = re.compile(r'<testcase((?: [\w.:-]+="[^"<]*")+) ?(?:/>|>\s*</testcase>)')
_SUITE = re.compile(r'<testsuite((?: [\w.:-]+="[^"<]*")+) ?>')
_STRANGE = r"[&\x00-\x1f\x{fffe}\x{ffff}]"
_NAMES = re.compile(r' ([\w.:-]+)="')
_MARK = r'<skipped((?: [\w.:-]+="[^"<]*")*) ?'
_SKIPPED = {3: re.compile(_MARK + r"/>\s*"), 4: re.compile(_MARK + ">[^<]*")}
"""By the number of tags in such a case."""
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

    def __init__(self, lead: str, names: Sequence[str], kept: Sequence[str]) -> None:
        self._before = [f'{lead}{names[0]}="'.encode(), *(f'" {n}="'.encode() for n in names[1:])]
        self._quotes = 2 * len(names)
        self._columns = {name: 2 * i for i, name in enumerate(names) if name in kept}
        self.names = list(self._columns)
        self.longest = max(map(len, self._before))

    def fits(self, tags: Tags, numbers: Places, ends: Sequence[bytes]) -> Mask:
        """Which of the tags have this shape, one of the ends, and blanks at most behind it."""
        found: Mask = tags.quotes[numbers] == self._quotes
        found[found] = tags.stand(self._before[0], tags.begins[numbers[found]])
        numbers = numbers[found]
        fits = np.ones(len(numbers), np.bool_)
        for index, text in enumerate(self._before[1:]):
            fits &= tags.stand(text, tags.quote(numbers, 2 * index + 1))
        last = tags.quote(numbers, self._quotes - 1)
        after = last + sum(len(end) * tags.stand(end, last) for end in ends)
        found[found] = fits & tags.blank(after, tags.ends[numbers])
        return found

    def told(self, tags: Tags, numbers: Places) -> pl.DataFrame:
        """The attributes of tags that have this shape."""
        places = {
            name: (tags.quote(numbers, quote) + 1, tags.quote(numbers, quote + 1))
            for name, quote in self._columns.items()
        }
        return tags.texts(places)


class Shapes:
    """How plain cases and plain suites are written in this report."""

    def __init__(self, case: _Shape, suite: _Shape | None) -> None:
        self._case, self._suite = case, suite
        self._longest = max(LONGEST, case.longest, suite.longest if suite is not None else 0)

    def part(self, text: str) -> Part:
        """The pieces of a text: each case and each tag of a suite begins one."""
        pieces = Pieces(Tags(text, self._longest))
        plain = self._plain(pieces)
        cases = self._case.told(pieces.tags, pieces.heads[plain])
        skipped = pl.Series("skipped", [None], pl.String).new_from_index(0, len(cases))
        cases = cases.hstack([positions(plain), skipped])
        if pieces.tags.odd and holds(cases["name"], _SPECIAL):
            fine = ~_special(cases["name"])
            cases = cases.filter(fine)
            plain[plain] = fine.to_numpy()
        cases = self._with_skipped(cases, pieces, plain)
        if "&" in text:
            touched = np.isin(pieces.heads[plain], pieces.tags.holding("&"))
            cases, strange = _untangled(cases, np.flatnonzero(touched))
            plain[plain] = ~strange
        suites, tags = self._tags(pieces)
        plain[tags["position"].to_numpy() - 1] = True
        before = [(0, text) for text in [pieces.before()] if text]
        return Part(cases, suites, tags, before + pieces.texts(~plain))

    def _plain(self, pieces: Pieces) -> Mask:
        """Which pieces are one plain case."""
        tags, heads = pieces.tags, pieces.heads
        plain: Mask = pieces.sizes == 1
        plain[plain] = self._case.fits(tags, heads[plain], _CLOSED)
        two = np.flatnonzero(pieces.sizes == 2)
        if len(two):
            fits = self._case.fits(tags, heads[two], _OPENED)
            plain[two] = fits & tags.only(_CASE_ENDS, heads[two] + 1)
        return plain

    def _with_skipped(self, cases: pl.DataFrame, pieces: Pieces, plain: Mask) -> pl.DataFrame:
        """Cases that were skipped are plain too, but for what marks them."""
        tags, marked = pieces.tags, pieces.followed(b"<skipped") & ~plain
        marked &= (pieces.sizes == 3) | (pieces.sizes == 4)
        if not marked.any():
            return cases
        heads, sizes = pieces.heads[marked], pieces.sizes[marked]
        fits = self._case.fits(tags, heads, _OPENED) & tags.only(_CASE_ENDS, heads + sizes - 1)
        fits &= (sizes == 3) | tags.only(b"</skipped>", heads + 2)
        told = [
            _SKIPPED[size].fullmatch(tags.text(tags.begins[head + 1], tags.ends[head + 1]))
            for head, size in zip(heads.tolist(), sizes.tolist(), strict=True)
        ]
        fits &= np.array([found is not None for found in told])
        found = self._case.told(tags, heads[fits])
        fine = ~_special(found["name"]).to_numpy()
        fits[fits] = fine
        said = [match[1] for match, fit in zip(told, fits, strict=True) if match and fit]
        plain[marked] = fits
        skipped = pl.Series("skipped", said, pl.String)
        marked[marked] = fits
        found = found.filter(fine).hstack([positions(marked), skipped])
        return pl.concat([cases, found]).sort("position")

    def _tags(self, pieces: Pieces) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The plain suites, and all tags that open and close them."""
        found = pieces.of_suites & (pieces.sizes == 1)
        if self._suite is None or not found.any():
            return _NO_SUITES, _NO_TAGS
        tags, numbers = pieces.tags, pieces.heads[found]
        texts = tags.texts({"text": (tags.begins[numbers], tags.ends[numbers])})
        texts = texts.select(positions(found), pl.col("text").str.strip_chars_end())
        opens = self._suite.fits(tags, numbers, _OPENED)
        if holds(texts["text"].filter(opens), _STRANGE):
            opens &= ~texts["text"].str.contains(_STRANGE).to_numpy()
        suites = self._suite.told(tags, numbers[opens])
        suites = suites.with_columns(texts["position"].filter(opens), tag=pl.lit("testsuite"))
        plain = pl.concat((_NO_SUITES, suites), how="diagonal")
        return plain, texts.filter(opens | tags.only(_SUITE_ENDS, numbers))


def _untangled(cases: pl.DataFrame, rows: Places) -> tuple[pl.DataFrame, Mask]:
    """The cases with their entities as characters; which ones were those that only a parser knows.

    Entities stand in the rows alone.
    """
    strange = np.zeros(len(cases), np.bool_)
    for name in TOLD:
        if name not in cases.columns or not len(rows):
            continue
        texts = cases[name].gather(rows)
        told = texts.str.replace_many(list(ENTITIES), list(ENTITIES.values()))
        known = texts.str.replace_many(list(ENTITIES), [""] * len(ENTITIES))
        strange[rows] |= known.str.contains("&", literal=True).to_numpy()
        cases = cases.with_columns(cases[name].scatter(rows, told))
    return (cases.filter(~strange) if strange.any() else cases), strange


def holds(texts: pl.Series, pattern: str) -> bool:
    """Whether the pattern, which fits no line's end, is in any text: one look at all together."""
    return bool(texts.str.join("\x7f").str.contains(pattern).item())


def _special(values: pl.Series) -> pl.Series:
    return values.str.contains(_SPECIAL).fill_null(value=True)


def shapes_of(text: str) -> Shapes | None:
    """The commonest shapes among the first plain cases and suites."""
    case = _shape_of(_FIRST, text, "<testcase ", TOLD)
    suite = _shape_of(_SUITE, text, "<testsuite ", ASKED)
    return None if case is None else Shapes(case, suite)


def _shape_of(first: re.Pattern[str], text: str, lead: str, kept: Sequence[str]) -> _Shape | None:
    shapes: Counter[tuple[str, ...]] = Counter()
    for found in islice(first.finditer(text), 64):
        names = tuple(_NAMES.findall(found[1]))
        if "name" in names and len(set(names)) == len(names) and not _JUDGED & set(names):
            shapes[names] += 1
    return _Shape(lead, shapes.most_common(1)[0][0], kept) if shapes else None
