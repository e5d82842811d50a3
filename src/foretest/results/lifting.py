"""Lifts plain test cases out of JUnit XML in bulk: only what is not plain reaches the XML parser.

Nearly all test cases of a report are one element without failures, with the same attributes in the
same order. The text is cut at the beginnings of test cases and the pieces at their quotes, column
by column; a piece that then has exactly the shape of its neighbours is a plain case. Whatever else
stands there (suites, failures, odd spellings) is parsed as XML, in its place. In markup without
sections a `<` begins a tag wherever it stands, so nothing is taken for a case that is none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import IO

import numpy as np
import polars as pl

from foretest.results.xmlstream import (
    ILLEGAL,
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
_SUITE = ("<testsuite ", "</testsuite>")
TOLD = ("name", "classname", "file", "time")
"""Attributes that are looked at."""
_JUDGED = {"status", "result", "disabled"}
"""Attributes by which a case may not have passed: only one by one can that be told."""
_FIRST = re.compile(r'<testcase((?: [\w.:-]+="[^"<]*")+)( ?/>| ?>\s*</testcase>)')
_NAMES = re.compile(r' ([\w.:-]+)="')
_LOG = re.compile(r"<(system-(?:out|err))>[^<]*</\1>\s*")
_KEPT, _LEFT = '([^"<]*)', '[^"<]*'
_SKIPPED = r'\s*<skipped((?: [\w.:-]+="[^"<]*")*) ?(?:/>|>[^<]*</skipped>)\s*</testcase>\s*'
_SPECIAL = r"[<\x00-\x1f\x{fffe}\x{ffff}]"
"""What the parser changes or refuses in an attribute."""


@dataclass(slots=True)
class Stretch:
    """Test cases in order, the plain ones by column, and the suites that open among them.

    `cases` has the attributes of TOLD that the report writes, `skipped` (the attributes of a case's
    mark for skipped tests, null where it has none), `position` and `suite`; `among` holds
    (position, suite, element). Positions order both. Suite n is the n-th of `opened`, and suite 0
    the one that stood open before.
    """

    cases: pl.DataFrame | None
    among: list[tuple[int, int, Element]] = field(default_factory=list)
    opened: list[Element] = field(default_factory=list)

    def within(self, begin: int, end: int) -> Stretch:
        """What belongs to the suites from `begin` up to `end`; all of it stays as it is counted."""
        if begin == 0 and end > len(self.opened):
            return self
        cases = self.cases
        if cases is not None:
            cases = cases.filter(pl.col("suite").is_between(begin, end, closed="left"))
        among = [entry for entry in self.among if begin <= entry[1] < end]
        return Stretch(cases, among, self.opened)


def stretches(file: IO[bytes], whole: frozenset[str], opened: frozenset[str]) -> Iterator[Stretch]:
    """The report's test cases and what opens around them, in order and in constant memory.

    Raises DamagedError as `xmlstream.elements` does, after what was read before.
    """
    sections, lifter = _Sections(), _Lifter(Builder(whole, opened))
    for text in decoded(file, SIZE):
        yield from lifter.take(sections.markup(text))
    yield from lifter.take(sections.markup("", final=True))
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
        content = text[start : end if end >= 0 else max(start, len(text) - 2)][:TEXT_LIMIT]
        parts.append(content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
        return start


def _cut(text: str) -> int:
    """Where the last test case begins, or the last tag: it may go on in what is read next."""
    cut = text.rfind(CASE)
    if cut <= 0:
        cut = text.rfind("<")
    return cut if cut >= 0 and len(text) - cut < SIZE else len(text)


class _Lifter:
    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._shape: _Shape | None = None

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
            self._shape = _shape_of(text)
        first = text.find(CASE)
        instructs = text.find("?", first) >= 0 and text.find("<?", first) >= 0
        if self._shape is None or instructs or f"{CASE}<" in text:
            yield from self._parse(text)
            return
        if "<system-" in text:
            text = _LOG.sub("", text)
        for tag in _SUITE:
            text = text.replace(tag, CASE + tag)
        yield from self._woven(self._shape.part(text))

    def end(self) -> Iterator[Stretch]:
        """What the end of the file tells."""
        yield from self._parse("", final=True)

    def _parse(self, text: str, final: bool = False) -> Iterator[Stretch]:
        stretch = Stretch(None)
        damage: DamagedError | None = None
        try:
            for element in self._builder.feed(text, final):
                if element.tag == "testcase":
                    stretch.among.append((len(stretch.among), len(stretch.opened), element))
                else:
                    stretch.opened.append(element)
        except DamagedError as error:
            damage = error
        if stretch.among or stretch.opened:
            yield stretch
        if damage is not None:
            raise damage

    def _woven(self, part: _Part) -> Iterator[Stretch]:
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


@dataclass(slots=True)
class _Part:
    """A text in its pieces: plain cases by column; positions and texts of all others, in order."""

    cases: pl.DataFrame
    others: list[tuple[int, str]]
    tags: Set[int]
    """Which of the others are tags of suites, with whatever follows but cases."""


class _Weaving:
    """Reads one part in order; `done` is the position up to which it makes sense."""

    def __init__(self, part: _Part, builder: Builder) -> None:
        self._part, self._builder = part, builder
        self._among: list[tuple[int, int, Element]] = []
        self._opened: list[Element] = []
        self._places: list[int] = []
        self._end: int | None = None

    def all(self) -> None:
        """Raises DamagedError."""
        tags: list[tuple[int, str]] = []
        for index, (position, text) in enumerate(self._part.others):
            if position in self._part.tags:
                tags.append((position, text))
                continue
            self._enter(tags)
            tags = []
            self._take(position, text)
            if not self._builder.between:  # what follows stands in another case and is none
                self._within(position, index + 1)
                return
        self._enter(tags)

    def stretch(self) -> Stretch:
        """What was read."""
        cases = self._part.cases
        if self._end is not None:
            cases = cases.filter(pl.col("position") < self._end)
        suites = np.searchsorted(self._places, cases["position"].to_numpy()).astype(np.uint32)
        return Stretch(
            cases.with_columns(suite=pl.Series(suites, dtype=pl.UInt32)), self._among, self._opened
        )

    def _enter(self, tags: list[tuple[int, str]]) -> None:
        """Tags of suites between which nothing stands but plain cases, all at one time."""
        if not tags:
            return
        openings = iter([at for at, text in tags if not text.startswith("</")])
        try:
            for element in self._builder.feed("".join(text for _, text in tags)):
                self._open(next(openings), element)
        except DamagedError:
            ends = accumulate(len(text.translate(ILLEGAL).encode()) for _, text in tags)
            index = next((i for i, e in enumerate(ends) if e > self._builder.taken), len(tags) - 1)
            self._end = tags[index][0]
            raise

    def _take(self, position: int, text: str) -> None:
        self._end = position
        for element in _familiar(text) or self._builder.feed(text):
            if element.tag == "testcase":
                self._among.append((position, len(self._opened), element))
            else:
                self._open(position, element)
        self._end = None

    def _open(self, position: int, element: Element) -> None:
        self._opened.append(element)
        self._places.append(position)

    def _within(self, position: int, rest: int) -> None:
        cases = self._part.cases
        self._end = position
        if len(cases) and (cases["position"] > position).any():
            raise DamagedError("a test case within another")
        for later, text in self._part.others[rest:]:
            self._take(later, text)


class _Shape:
    """A test case with certain attributes in a certain order."""

    def __init__(self, names: Sequence[str], ends: Iterable[str]) -> None:
        self._ends = sorted(ends)
        self._between = [f"{names[0]}=", *(f" {name}=" for name in names[1:])]
        self._columns = {n: f"field_{2 * i + 1}" for i, n in enumerate(names) if n in TOLD}
        values = (f'{re.escape(n)}="{_KEPT if n in TOLD else _LEFT}"' for n in names)
        self._skipped = f"^{' '.join(values)} ?>{_SKIPPED}$"

    def part(self, text: str) -> _Part:
        """The pieces of a text in which each tag of a suite begins a piece, as each case does."""
        pieces = pl.Series("piece", [text]).str.split(CASE).explode()
        fields = pieces.str.splitn('"', 2 * len(self._between) + 1).struct.unnest()
        expected = [pl.col(f"field_{2 * i}") == text for i, text in enumerate(self._between)]
        last = pl.col(f"field_{2 * len(self._between)}").str.strip_chars_end()
        plain = pl.all_horizontal(*expected, last.is_in(self._ends)).fill_null(value=False)
        frame = fields.select(
            plain.alias("plain"),
            *(pl.col(column).alias(name) for name, column in self._columns.items()),
        ).with_row_index("position")
        plainly = frame["plain"] & ~_special(frame["name"])
        cases = frame.filter(plainly).drop("plain").with_columns(skipped=pl.lit(None, pl.String))
        strange = (~plainly).arg_true()
        cases, strange = self._with_skipped(cases, strange, pieces.gather(strange))
        cases, entangled = _untangled(cases)
        if len(entangled):
            strange = pl.concat((strange, entangled)).sort()
        texts = pieces.gather(strange)
        tags = set(strange.filter(texts.str.starts_with("<")))
        others = [
            (at, piece if at in tags or not at else CASE + piece)
            for at, piece in zip(strange, texts, strict=True)
            if at or piece
        ]
        return _Part(cases, others, tags - {0})

    def _with_skipped(
        self, cases: pl.DataFrame, positions: pl.Series, pieces: pl.Series
    ) -> tuple[pl.DataFrame, pl.Series]:
        """Cases that were skipped are plain too, but for what marks them."""
        groups = pieces.str.extract_groups(self._skipped).struct.unnest()
        names = dict(zip(groups.columns, (*self._columns, "skipped"), strict=True))
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
            told = texts.str.replace_many(list(_ENTITIES), list(_ENTITIES.values()))
            known = texts.str.replace_many(list(_ENTITIES), [""] * len(_ENTITIES))
            unknown = known.str.contains("&", literal=True)
            strange = strange.scatter(rows.filter(unknown), True)
            cases = cases.with_columns(cases[name].scatter(rows, told))
    return cases.filter(~strange), cases["position"].filter(strange)


def _special(values: pl.Series) -> pl.Series:
    return values.str.contains(_SPECIAL).fill_null(value=True)


def _shape_of(text: str) -> _Shape | None:
    """The commonest shape among the first plain cases."""
    shapes: Counter[tuple[str, ...]] = Counter()
    ends = {"/>", " />", "></testcase>"}
    for found in islice(_FIRST.finditer(text), 64):
        names = tuple(_NAMES.findall(found[1]))
        if "name" in names and len(set(names)) == len(names) and not _JUDGED & set(names):
            shapes[names] += 1
            ends.add(found[2])
    return _Shape(shapes.most_common(1)[0][0], ends) if shapes else None


# --- cases with one child ------------------------------------------------------------------------

_VALUE = r'[\w.:-]+="[^"<]*"'
_ONE = re.compile(
    rf"""<testcase((?: {_VALUE})*) ?>\s*"""
    rf"""<(skipped|failure|error)((?: {_VALUE})*) ?(?:/>|>([^<]*)</\2>)\s*</testcase>\s*"""
)
_ATTRIBUTE = re.compile(r' ([\w.:-]+)="([^"]*)"')
_STRANGE = re.compile(r"&(?!(?:lt|gt|amp|quot|apos);)|[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&"}


def _familiar(text: str) -> list[Element]:
    """The test case that is all of a text, where it has one child that holds text alone.

    Most cases that are not plain failed and look like that. Empty for anything else, and for
    anything that only the parser can judge.
    """
    case = _ONE.fullmatch(text)
    if case is None or _STRANGE.search(text):
        return []
    child = Element(case[2], _attributes(case[3]), _unescaped(case[4] or "")[:TEXT_LIMIT])
    return [Element("testcase", _attributes(case[1]), "", [child])]


def _attributes(text: str) -> dict[str, str]:
    pairs = _ATTRIBUTE.findall(text)
    if "&" in text or "\n" in text or "\t" in text:
        return {n: _unescaped(v.replace("\n", " ").replace("\t", " ")) for n, v in pairs}
    return dict(pairs)


def _unescaped(text: str) -> str:
    if "&" in text:
        for entity, character in _ENTITIES.items():
            text = text.replace(entity, character)
    return text
