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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import IO

import polars as pl

from foretest.results.xmlstream import TEXT_LIMIT, Builder, DamagedError, Element, decoded

SIZE = 1 << 20
"""Bytes looked at together."""
LEAST = 1 << 15
"""Characters below which the parser alone is as quick."""
CASE = "<testcase "
TOLD = ("name", "classname", "file", "time")
"""Attributes that are looked at."""
_JUDGED = {"status", "result", "disabled"}
"""Attributes by which a case may not have passed: only one by one can that be told."""
_FIRST = re.compile(r'<testcase((?: [\w.:-]+="[^"<&]*")+)( ?/>| ?>\s*</testcase>)')
_NAMES = re.compile(r' ([\w.:-]+)="')
_LOG = re.compile(r"<(system-(?:out|err))>[^<]*</\1>\s*")
_KEPT, _LEFT = '([^"<&]*)', '[^"<]*'
_SKIPPED = r'\s*<skipped((?: [\w.:-]+="[^"<&]*")*) ?(?:/>|>[^<]*</skipped>)\s*</testcase>\s*'
_SPECIAL = r"[&<\x00-\x1f\x{fffe}\x{ffff}]"
"""What the parser changes or refuses in an attribute."""


@dataclass(slots=True)
class Stretch:
    """Plain cases, in order, and the elements that stand among them.

    `cases` has the attributes of TOLD that the report writes, `skipped` (the attributes of a case's
    mark for skipped tests, null where it has none) and `position`; `among` holds (position,
    element). Positions order both, and the rows of `cases` need not.
    """

    cases: pl.DataFrame | None
    among: list[tuple[int, Element]] = field(default_factory=list)


def stretches(file: IO[bytes], whole: frozenset[str], opened: frozenset[str]) -> Iterator[Stretch]:
    """The report's test cases and what opens around them, in order and in constant memory.

    No suite opens within a stretch, but at its beginning. Raises DamagedError as
    `xmlstream.elements` does, after what was read before.
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
        if self._shape is None or instructs:
            yield from self._parse(text)
            return
        if "<system-" in text:
            text = _LOG.sub("", text)
        yield from self._woven(*self._shape.part(text))

    def end(self) -> Iterator[Stretch]:
        """What the end of the file tells."""
        yield from self._parse("", final=True)

    def _parse(self, text: str, final: bool = False) -> Iterator[Stretch]:
        among: list[tuple[int, Element]] = []
        damage: DamagedError | None = None
        try:
            for element in self._builder.feed(text, final):
                if element.tag != "testcase" and among:
                    yield Stretch(None, among)
                    among = []
                among.append((len(among), element))
        except DamagedError as error:
            damage = error
        if among:
            yield Stretch(None, among)
        if damage is not None:
            raise damage

    def _woven(self, cases: pl.DataFrame, others: list[tuple[int, str]]) -> Iterator[Stretch]:
        """The plain cases with the elements of what is not plain; suites part the stretches."""
        among: list[tuple[int, Element]] = []
        for index, (position, text) in enumerate(others):
            try:
                for element in _familiar(text) or self._builder.feed(text):
                    if element.tag != "testcase":
                        before = cases.filter(pl.col("position") < position)
                        cases = cases.filter(pl.col("position") > position)
                        yield Stretch(before, among)
                        among = []
                    among.append((position, element))
            except DamagedError:
                yield Stretch(cases.filter(pl.col("position") < position), among)
                raise
            if not self._builder.between:  # what follows stands in another case and is none
                after = cases.filter(pl.col("position") > position)
                yield Stretch(cases.filter(pl.col("position") < position), among)
                if len(after) == 0:
                    for _, later in others[index + 1 :]:
                        yield from self._parse(later)
                    return
                raise DamagedError("a test case within another")
        yield Stretch(cases, among)


class _Shape:
    """A test case with certain attributes in a certain order."""

    def __init__(self, names: Sequence[str], ends: Iterable[str]) -> None:
        self._ends = sorted(ends)
        self._between = [f"{names[0]}=", *(f" {name}=" for name in names[1:])]
        self._columns = {n: f"field_{2 * i + 1}" for i, n in enumerate(names) if n in TOLD}
        values = (f'{re.escape(n)}="{_KEPT if n in TOLD else _LEFT}"' for n in names)
        self._skipped = f"^{' '.join(values)} ?>{_SKIPPED}$"

    def part(self, text: str) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
        """The plain cases of a text, and what is not plain, with its position."""
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
        return self._with_skipped(cases, strange, pieces.gather(strange))

    def _with_skipped(
        self, cases: pl.DataFrame, positions: pl.Series, pieces: pl.Series
    ) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
        """Cases that were skipped are plain too, but for what marks them."""
        groups = pieces.str.extract_groups(self._skipped).struct.unnest()
        names = dict(zip(groups.columns, (*self._columns, "skipped"), strict=True))
        found = groups.rename(names).with_columns(position=positions.cast(pl.UInt32))
        skipped = found["skipped"].is_not_null() & ~_special(found["name"])
        if skipped.any():
            cases = pl.concat([cases, found.filter(skipped).select(cases.columns)])
        rest = zip(positions.filter(~skipped), pieces.filter(~skipped), strict=True)
        return cases, [(at, CASE + piece if at else piece) for at, piece in rest if at or piece]


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
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))


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
        for entity, character in _ENTITIES:
            text = text.replace(entity, character)
    return text
