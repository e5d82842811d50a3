"""Reads XML from strangers: one small element at a time, no document types, bounded memory."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import IO
from xml.parsers import expat

TEXT_LIMIT = 64_000
"""Characters kept of one element's text: enough for a stack trace, not for a log."""
_CHILDREN_LIMIT = 200
_DEPTH_LIMIT = 200
_TOKEN_LIMIT = 16 << 20
"""Bytes after which one tag (a giant attribute, an endless comment) is given up on."""
CHUNK = 1 << 16

PROLOGUE = rb"(?:<\?[^>]*>|<!--(?:[^-]|-(?!->))*-->|\s)*"
"""What may stand before the root, for whoever looks at how a document begins."""
_DECLARED = re.compile(rb"<\?xml[^>]{0,100}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_CODECS = re.compile(
    r"ascii|utf-8|iso8859-\d+|cp\d+|mac-roman|koi8-[rtu]|gb2312|gbk|gb18030|big5|shift_jis|euc_(?:jp|kr)"
)
"""Encodings of text in which XML's own characters are ASCII's, as Python's registry calls them."""
ILLEGAL = dict.fromkeys(
    [*range(9), 11, 12, *range(14, 32), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], "\ufffd"
)
"""Characters that XML cannot hold and careless writers print all the same."""


@dataclass(slots=True)
class Element:
    """A finished element with its children; text beyond the limit is dropped."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)


class DamagedError(Exception):
    """The document stops making sense here; what was yielded before stands."""


def elements(file: IO[bytes], whole: Set[str], opened: Set[str] = frozenset()) -> Iterator[Element]:
    """Yield each outermost element whose tag is in `whole`, with its children, once it is closed.

    Elements whose tag is in `opened` are yielded bare when they begin. Raises DamagedError at the
    first place that is not XML, at the end of a cut file, and at any document type: a report has
    no use for entities, an attack has.
    """
    builder = Builder(whole, opened)
    for text in decoded(file):
        yield from builder.feed(text)
    yield from builder.feed("", final=True)


class Builder:
    """Makes elements of a document that comes in pieces."""

    def __init__(self, whole: Set[str], opened: Set[str]) -> None:
        self._whole, self._opened = whole, opened
        self._stack: list[Element] = []
        self._depth = 0
        self._room = 0
        self._fed = 0
        self.taken = 0
        """Bytes of the last piece of text up to which it made sense, in UTF-8."""
        self._ready: list[Element] = []
        self._parser = expat.ParserCreate("utf-8")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.StartDoctypeDeclHandler = self._doctype

    @property
    def between(self) -> bool:
        """Whether the document stands inside no element that is kept whole."""
        return not self._stack

    def feed(self, text: str, final: bool = False) -> Iterator[Element]:
        """The elements that this piece of text ends or opens. Raises DamagedError."""
        problem: DamagedError | None = None
        data = text.translate(ILLEGAL).encode("utf-8")
        try:
            self._parser.Parse(data, final)
        except expat.ExpatError as error:
            problem = DamagedError(expat.ErrorString(error.code))
        except DamagedError as error:
            problem = error
        self.taken = self._parser.CurrentByteIndex - self._fed
        self._fed += len(data)
        if not problem and self._fed - self._parser.CurrentByteIndex > _TOKEN_LIMIT:
            problem = DamagedError("a tag without end")
        ready, self._ready = self._ready, []
        yield from ready
        if problem:
            raise problem

    def check(self, tags: str, deeper: int) -> None:
        """Take in tags of which nothing is made, and which open `deeper` elements more than close.

        Raises DamagedError.
        """
        self._parser.StartElementHandler = self._parser.EndElementHandler = None
        try:
            for _ in self.feed(tags):
                pass
        finally:
            self._parser.StartElementHandler = self._start
            self._parser.EndElementHandler = self._end
        self._depth += deeper

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            raise DamagedError(f"more than {_DEPTH_LIMIT} elements inside one another")
        tag = tag.rpartition(":")[2]
        if self._stack or tag in self._whole:
            element = Element(tag, attributes)
            if self._stack and len(self._stack[-1].children) < _CHILDREN_LIMIT:
                self._stack[-1].children.append(element)
            self._stack.append(element)
            self._room = TEXT_LIMIT
        elif tag in self._opened:
            self._ready.append(Element(tag, attributes))

    def _end(self, _: str) -> None:
        self._depth -= 1
        if self._stack:
            element = self._stack.pop()
            if not self._stack:
                self._ready.append(element)

    def _data(self, text: str) -> None:
        if self._stack and self._room > 0:
            self._stack[-1].text += text[: self._room]
            self._room -= len(text)

    def _doctype(self, *_: object) -> None:
        raise DamagedError("a document type, which no report needs")


def decoded(file: IO[bytes], size: int = CHUNK) -> Iterator[str]:
    """The file's text, some `size` bytes at a time; no byte is ever fatal.

    Its encoding is its own where it names a real one, else UTF-8. Blanks before the first sign are
    left out: some writers print them, and no declaration may follow them.
    """
    while (head := file.read(size)).isspace():
        pass
    head = head.lstrip()
    decoder = codecs.getincrementaldecoder(_encoding(head))("replace")
    while head:
        yield decoder.decode(head)
        head = file.read(size)
    yield decoder.decode(b"", final=True)


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    declared = _DECLARED.match(head.removeprefix(codecs.BOM_UTF8))
    name = declared[1].decode() if declared else "utf-8"
    try:
        name = codecs.lookup(name).name
        real = _CODECS.fullmatch(name) is not None and b"<".decode(name) == "<"
    except (LookupError, UnicodeError):
        real = False
    return name if real and name != "utf-8" else "utf-8-sig"
