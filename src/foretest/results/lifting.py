"""Lifts plain test cases out of JUnit XML in bulk: only what is not plain reaches the XML parser.

Nearly all test cases of a report are one element without failures, with the same attributes in the
same order. The text is seen as a table of its tags, with the places of their quotes; a piece that
has exactly the shape of its neighbours is a plain case. Whatever else stands there (suites,
failures, odd spellings) is parsed as XML, in its place. In markup without sections a `<` begins a
tag wherever it stands, so nothing is taken for a case that is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import polars as pl

from foretest.results.familiar import familiar
from foretest.results.shapes import ASKED, SUITES, Part, Shapes, shapes_of
from foretest.results.xmlstream import (
    TEXT_LIMIT,
    Builder,
    DamagedError,
    Element,
    decoded,
)

SIZE = 1 << 20
"""Bytes looked at together."""
LEAST = 1 << 15
"""Characters below which the parser alone is as quick."""
CASE = "<testcase "
_LAST = re.compile(r"]]></system-(?:out|err)>\s*</testcase>")


@dataclass(slots=True)
class Stretch:
    """Test cases in order, the plain ones by column, and the suites that open among them.

    `cases` has the attributes of TOLD that the report writes, `skipped` (the attributes of a case's
    mark for skipped tests, null where it has none), `position` and `suite`; `among` holds
    (position, suite, element). Positions order both. Suite n is the n-th row of `suites`, and suite
    0 the one that stood open before; `suites` has SUITES.
    """

    cases: pl.DataFrame | None
    among: list[tuple[int, int, Element]]
    suites: pl.DataFrame

    def __bool__(self) -> bool:
        """Whether there is any case."""
        return bool(self.among) or (self.cases is not None and len(self.cases) > 0)

    def within(self, begin: int, end: int) -> Stretch:
        """What belongs to the suites from `begin` up to `end`; all of it stays as it is counted."""
        if begin == 0 and end > len(self.suites):
            return self
        cases = self.cases
        if cases is not None:
            cases = cases.filter(pl.col("suite").is_between(begin, end, closed="left"))
        among = [entry for entry in self.among if begin <= entry[1] < end]
        return Stretch(cases, among, self.suites)


def _suites(opened: Iterable[tuple[int, Element]]) -> pl.DataFrame:
    rows = [(at, e.tag, *map(e.attributes.get, ASKED)) for at, e in opened]
    return pl.DataFrame(rows, SUITES, orient="row")


def stretches(file: IO[bytes], whole: frozenset[str], opened: frozenset[str]) -> Iterator[Stretch]:
    """The report's test cases and what opens around them, in order and in constant memory.

    Raises DamagedError as `xmlstream.elements` does, after what was read before.
    """
    np.empty(4 * SIZE, np.uint8)  # glibc then keeps blocks of that size: no fresh pages a piece
    sections, lifter, held = _Sections(), _Lifter(Builder(whole, opened)), ""
    for text in decoded(file, SIZE):
        held += sections.markup(text)
        if len(held) > SIZE // 2:  # less where logs were left out
            yield from lifter.take(held)
            held = ""
    yield from lifter.take(held + sections.markup("", final=True))
    yield from lifter.end()


class _Sections:
    """Text without comments, and with the content of CDATA sections escaped like all other text."""

    def __init__(self) -> None:
        self._held = ""
        self._until = ""

    def markup(self, text: str, final: bool = False) -> str:
        """What can be read so far, up to the beginning of the last test case."""
        text, start = self._held + text, 0
        parts: list[str] = []
        self._held = ""
        while True:
            if self._until:
                end = text.find(self._until, start)
                if end < 0:
                    self._held = text[max(start, len(text) - 2) :]
                    return "".join(parts)
                start, self._until = end + 3, ""
            # The mark alone is rare and found at once, the pair is not.
            begin = text.find("<!", start) if text.find("!", start) >= 0 else -1
            if begin < 0:
                break
            if not final and len(text) - begin < len("<![CDATA["):
                self._held = text[begin:]
                return "".join((*parts, text[start:begin]))
            parts.append(text[start:begin])
            start = self._section(text, begin, parts)
        rest = text[start:]
        cut = len(rest) if final else _cut(rest)
        self._held = rest[cut:]
        return "".join((*parts, rest[:cut])) if parts else rest[:cut]

    def _section(self, text: str, begin: int, parts: list[str]) -> int:
        """Take in what begins with `<!`; where to go on. What is no section stays as it is."""
        if text.startswith("<!--", begin):
            self._until = "-->"
            return begin + 4
        if not text.startswith("<![CDATA[", begin):
            parts.append("<!")
            return begin + 2
        start, self._until = begin + 9, "]]>"
        end = text.find("]]>", start)
        if end >= 0 and _tells_nothing(text, begin, end):
            return end
        content = text[start : end if end >= 0 else max(start, len(text) - 2)][:TEXT_LIMIT]
        parts.append(content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
        return start


def _tells_nothing(text: str, begin: int, end: int) -> bool:
    """Whether a section is the log of a case that holds nothing else."""
    if not text.startswith(("<system-out>", "<system-err>"), begin - 12):
        return False
    before = text.rfind("<", 0, begin - 12)
    return text.startswith(CASE, before) and _LAST.match(text, end) is not None


def _cut(text: str) -> int:
    """Where the last test case begins, or the last tag: it may go on in what is read next."""
    cut = text.rfind(CASE)
    if cut <= 0:
        cut = text.rfind("<")
    return cut if cut >= 0 and len(text) - cut < SIZE else len(text)


class _Lifter:
    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._shape: Shapes | None = None

    def take(self, text: str) -> Iterator[Stretch]:
        """Text without sections."""
        if not self._builder.between:  # a case goes on that began in the piece before
            first = max(text.find(CASE), 0)
            yield from self._parse(text[:first])
            text = text[first:]
        if len(text) < LEAST or not self._builder.between:
            yield from self._parse(text)
            return
        if self._shape is None:
            self._shape = shapes_of(text)
        first = text.find(CASE)
        instructs = text.find("?", first) >= 0 and text.find("<?", first) >= 0
        if self._shape is None or instructs:
            yield from self._parse(text)
            return
        yield from self._woven(self._shape.part(text))

    def end(self) -> Iterator[Stretch]:
        """What the end of the file tells."""
        yield from self._parse("", final=True)

    def _parse(self, text: str, final: bool = False) -> Iterator[Stretch]:
        among: list[tuple[int, int, Element]] = []
        opened: list[tuple[int, Element]] = []
        damage: DamagedError | None = None
        try:
            for element in self._builder.feed(text, final):
                if element.tag == "testcase":
                    among.append((len(among), len(opened), element))
                else:
                    opened.append((len(among), element))
        except DamagedError as error:
            damage = error
        if among or opened:
            yield Stretch(None, among, _suites(opened))
        if damage is not None:
            raise damage

    def _woven(self, part: Part) -> Iterator[Stretch]:
        """The plain cases with the elements of what is not plain."""
        weaving = _Weaving(part, self._builder)
        damage: DamagedError | None = None
        try:
            weaving.all()
        except DamagedError as error:
            damage = error
        yield weaving.stretch()
        if damage is not None:
            raise damage


class _Weaving:
    """Reads one part in order."""

    def __init__(self, part: Part, builder: Builder) -> None:
        self._part, self._builder = part, builder
        self._tags = part.tags["position"].to_numpy()
        self._among: list[tuple[int, int, Element]] = []
        self._opened: list[tuple[int, Element]] = []
        self._end: int | None = None
        """Where damage begins."""

    def all(self) -> None:
        """Raises DamagedError."""
        done = 0
        for index, (position, text) in enumerate(self._part.others):
            done = self._enter(done, position)
            self._take(position, text)
            if not self._builder.between:  # what follows stands in another case and is none
                self._within(position, index + 1)
                return
        self._enter(done, None)

    def stretch(self) -> Stretch:
        """What was read."""
        cases, suites = self._part.cases, self._part.suites
        if self._end is not None:
            before = pl.col("position") < self._end
            cases, suites = cases.filter(before), suites.filter(before)
        if self._opened:
            both = pl.concat((suites, _suites(self._opened)))
            suites = both.sort("position", maintain_order=True)
        places = suites["position"].to_numpy()
        numbers = pl.Series(
            "suite", np.searchsorted(places, cases["position"].to_numpy()), pl.Int32
        )
        among = [
            (at, before + int(np.searchsorted(places, at)), element)
            for at, before, element in self._among
        ]
        return Stretch(cases.hstack([numbers]), among, suites)

    def _enter(self, done: int, position: int | None) -> int:
        """Take in the tags of plain suites up to there, all at one time."""
        end = len(self._tags) if position is None else int(np.searchsorted(self._tags, position))
        if end == done:
            return done
        tags = self._part.tags[done:end]
        closed = int(tags["text"].str.starts_with("</").sum())
        try:
            self._builder.check(tags["text"].str.join().item(), len(tags) - 2 * closed)
        except DamagedError:
            ends = tags["text"].str.len_bytes().cum_sum()
            wrong = min(int((ends <= self._builder.taken).sum()), len(tags) - 1)
            self._end = tags["position"][wrong]
            raise
        return end

    def _take(self, position: int, text: str) -> None:
        self._end, opened = position, len(self._opened)
        for element in familiar(text) or self._builder.feed(text):
            if element.tag == "testcase":
                self._among.append((position, len(self._opened) - opened, element))
            else:
                self._opened.append((position, element))
        self._end = None

    def _within(self, position: int, rest: int) -> None:
        self._end = position
        if (self._part.cases["position"] > position).any() or (self._tags > position).any():
            raise DamagedError("a test case within another")
        for later, text in self._part.others[rest:]:
            self._take(later, text)
