"""Lifts plain test cases out of JUnit XML in bulk: only what is not plain reaches the XML parser.

Nearly all test cases of a report are one empty element with the same attributes in the same order.
A regular expression made from the first such case finds the others and gives their attributes as
columns; what lies between them (suites, failures, logs, comments) is parsed as XML, in its place.
A piece of text that holds anything a plain case cannot hold is left to the parser as a whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import IO

from foretest.results.xmlstream import CHUNK, TEXT_LIMIT, Builder, DamagedError, Element, decoded

SIZE = 4 * CHUNK
"""Bytes looked at together."""
_FIRST = re.compile(r'<testcase((?: [\w.:-]+="[^"<&]*")+) ?(?:/>|>\s*</testcase>)')
_NAMES = re.compile(r' ([\w.:-]+)="')
_TOLD = ("name", "classname", "file", "time")
"""Attributes that are looked at; of a case with a status of its own, more than these count."""
_JUDGED = {"status", "result", "disabled"}
_OPENS = re.compile(r"<!\[CDATA\[|<!--|<[!?]")
_CLOSES = {"<![CDATA[": "]]>", "<!--": "-->"}


@dataclass(slots=True)
class Stretch:
    """Plain cases by column, in order, and the elements that stand among them.

    `among` holds (number of plain cases before it, element).
    """

    columns: dict[str, list[str]]
    among: list[tuple[int, Element]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.columns["name"]) if self.columns else 0


def stretches(file: IO[bytes], whole: frozenset[str], opened: frozenset[str]) -> Iterator[Stretch]:
    """The report's test cases and what opens around them, in order and in constant memory.

    Raises DamagedError as `xmlstream.elements` does, after what was read before.
    """
    lifter = _Lifter(Builder(whole, opened))
    held = ""
    for text in decoded(file, SIZE):
        held += text
        cut = held.rfind("<")
        # A tag may go on in the next piece; the parser judges one that is larger than a piece.
        if cut >= 0 and len(held) - cut < SIZE:
            piece, held = held[:cut], held[cut:]
        else:
            piece, held = held, ""
        yield from lifter.take(piece)
    yield from lifter.take(held, final=True)


class _Lifter:
    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._until = ""
        """How the section ends that began in an earlier piece: nothing in it is markup."""
        self._shape: _Shape | None = None

    def take(self, text: str, final: bool = False) -> Iterator[Stretch]:
        start = 0
        while True:
            if self._until:
                end = text.find(self._until, start)
                stop = len(text) if end < 0 else end + len(self._until)
                yield from self._parse(text[start:stop])
                if end < 0:
                    break
                self._until, start = "", stop
            opening = _OPENS.search(text, start)
            stop = len(text) if opening is None else opening.start()
            yield from self._markup(text[start:stop])
            if opening is None:
                break
            self._until, start = _CLOSES.get(opening[0], ">"), stop
        if final:
            yield from self._parse("", final=True)

    def _parse(self, text: str, final: bool = False) -> Iterator[Stretch]:
        for element in self._builder.feed(text, final):
            yield Stretch({}, [(0, element)])

    def _markup(self, text: str) -> Iterator[Stretch]:
        """Text in which every `<` begins a tag."""
        if self._shape is None:
            self._shape = _shape_of(text)
        if self._shape is None or not self._builder.between:
            yield from self._parse(text)
            return
        rest, columns = self._shape.part(text)
        if columns is None:
            self._shape = None if not rest[1:] else self._shape
            yield from self._parse(text)
            return
        yield from self._woven(rest, columns)

    def _woven(self, rest: list[str], columns: dict[str, list[str]]) -> Iterator[Stretch]:
        """`rest[i]` stands before the case i; what opens a suite ends the stretch before it."""
        began = 0
        among: list[tuple[int, Element]] = []
        for index, text in enumerate(rest):
            if not text:
                continue
            try:
                for element in _familiar(text) or self._builder.feed(text):
                    if element.tag != "testcase":
                        yield _slice(columns, began, index, among)
                        began, among = index, []
                    among.append((index - began, element))
            except DamagedError:
                yield _slice(columns, began, index, among)
                raise
            if not self._builder.between:  # these stand in another case and are none
                yield _slice(columns, began, index, among)
                began, among = len(rest) - 1, []
                for later in rest[index + 1 :]:
                    yield from self._parse(later)
                return
        yield _slice(columns, began, len(rest) - 1, among)


_VALUE = r'[\w.:-]+="[^"<]*"'
_ONE = re.compile(
    rf"""<testcase((?: {_VALUE})*) ?>\s*"""
    rf"""<(skipped|failure|error)((?: {_VALUE})*) ?(?:/>|>([^<]*)</\2>)\s*</testcase>\s*"""
)
_ATTRIBUTE = re.compile(r' ([\w.:-]+)="([^"]*)"')
_STRANGE = re.compile(r"&(?!(?:lt|gt|amp|quot|apos);)|[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))


def _familiar(text: str) -> list[Element]:
    """The test cases that are all of a text, where each has one child that holds text alone.

    Most cases that are not plain were skipped or failed and look like that. Empty for anything
    else, and for anything that only the parser can judge.
    """
    found, end = [], 0
    if not text.startswith("<testcase"):
        return []
    while end < len(text):
        case = _ONE.match(text, end)
        if case is None:
            return []
        end = case.end()
        found.append(case)
    return [] if _STRANGE.search(text) else [_element(case) for case in found]


def _element(case: re.Match[str]) -> Element:
    child = Element(case[2], _attributes(case[3]), _unescaped(case[4] or "")[:TEXT_LIMIT])
    return Element("testcase", _attributes(case[1]), "", [child])


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


def _slice(
    columns: dict[str, list[str]], start: int, end: int, among: list[tuple[int, Element]]
) -> Stretch:
    if start == 0 and end == len(columns["name"]):
        return Stretch(columns, among)
    return Stretch({name: values[start:end] for name, values in columns.items()}, among)


class _Shape:
    """A test case with certain attributes in a certain order and nothing in it."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = [name for name in names if name in _TOLD]
        values = (f' {re.escape(n)}="' + ('([^"]*)"' if n in _TOLD else '[^"]*"') for n in names)
        self._pattern = re.compile(f"<testcase{''.join(values)} ?(?:/>|>\\s*</testcase>)\\s*")

    def part(self, text: str) -> tuple[list[str], dict[str, list[str]] | None]:
        """What stands before, between and after the cases, and their attributes by name.

        No columns where there is no case of this shape, or where one holds what a tag may not hold
        or what stands for something else: only the parser knows that.
        """
        step = len(self.names) + 1
        parts = self._pattern.split(text)
        rest = parts[::step]
        columns = {name: parts[i::step] for i, name in enumerate(self.names, start=1)}
        count = len(rest) - 1
        return rest, (columns if count and _as_written(columns) else None)


def _as_written(columns: Mapping[str, list[str]]) -> bool:
    """Whether the parser would leave the values alone: it reads entities and line ends."""
    for name, values in columns.items():
        if name == "time":
            continue  # what is no number counts as unknown, however it is spelled
        joined = " ".join(values if name == "name" else set(values))
        if "&" in joined or "<" in joined or not joined.isprintable():
            return False
    return True


def _shape_of(text: str) -> _Shape | None:
    """The commonest shape among the first plain cases."""
    shapes: Counter[tuple[str, ...]] = Counter()
    for found in islice(_FIRST.finditer(text), 64):
        names = tuple(_NAMES.findall(found[1]))
        if "name" in names and len(set(names)) == len(names) and not _JUDGED & set(names):
            shapes[names] += 1
    return _Shape(shapes.most_common(1)[0][0]) if shapes else None
