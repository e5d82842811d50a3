"""Reads JSON from strangers: one element of a list, or one line, at a time."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from foretest.results.xmlstream import DamagedError, decoded

_ELEMENT_LIMIT = 64 << 20
"""Bytes of one element (all tests of one file): what is larger is no test's result."""
_LINE_LIMIT = 1 << 22
_DEPTH_LIMIT = 500
_CHUNK = 1 << 16


def items(file: IO[bytes], prefix: str) -> Iterator[Mapping[str, Any]]:
    """The objects at `prefix` (ijson's spelling: `tests.item`), in constant memory.

    Raises DamagedError where the file is cut, is no JSON or holds something else there; objects
    read before stand.
    """
    import ijson  # type: ignore[import-untyped]

    source = _Limited(file)
    with _damage(ijson.JSONError):
        for item in ijson.items(source, prefix, use_float=True, buf_size=_CHUNK):
            source.since = 0
            if not isinstance(item, Mapping):
                raise DamagedError(f"`{prefix.removesuffix('.item')}` holds what is no object")
            yield item


def has_list(file: IO[bytes], prefix: str) -> bool:
    """Whether there is a list at `prefix`. Raises DamagedError where the file is cut before it."""
    import ijson

    with _damage(ijson.JSONError):
        events = ijson.basic_parse(_Limited(file), use_float=True, buf_size=_CHUNK)
        parsed = ijson.parse(events)
        return any(event == "start_array" and at == prefix for at, event, _ in parsed)


@contextmanager
def _damage(json_error: type[Exception]) -> Iterator[None]:
    """Where JSON ends to be JSON, the document is damaged."""
    try:
        yield
    except json_error as error:
        raise DamagedError(" ".join(str(error).split())[:200]) from error
    except (UnicodeDecodeError, RecursionError, ValueError, OverflowError) as error:
        raise DamagedError(f"no JSON: {' '.join(str(error).split())[:200]}") from error


class _Limited:
    """The file as UTF-8; refuses to read on where one element takes all the memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._parts = decoded(file)
        self._rest = b""
        self._depth = _Depth()
        self.since = 0

    def read(self, size: int) -> bytes:
        while len(self._rest) < max(size, 1):
            part = next(self._parts, None)
            if part is None:
                break
            self._rest += part.encode("utf-8", "replace")
        given, self._rest = self._rest[:size], self._rest[size:]
        self._depth.feed(given)
        self.since += len(given)
        if self.since > _ELEMENT_LIMIT:
            raise DamagedError(f"more than {_ELEMENT_LIMIT >> 20} MiB without a result")
        return given


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+("|\\?\Z)', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


class _Depth:
    """Counts how deep objects lie in one another: the parser's memory grows with its square."""

    def __init__(self) -> None:
        self._depth = 0
        self._string = b""
        """Begin of a string that goes on: what is needed to know where it ends."""

    def feed(self, data: bytes) -> None:
        """Raises DamagedError where it goes too deep."""
        data = self._string + data
        self._string = b""
        bare = _STRING.sub(self._drop, data)
        for bracket in _BRACKETS.finditer(bare):
            self._depth += 1 if bracket[0] in b"[{" else -1
            if self._depth > _DEPTH_LIMIT:
                raise DamagedError(f"more than {_DEPTH_LIMIT} objects and lists in one another")

    def _drop(self, string: re.Match[bytes]) -> bytes:
        if string[1] != b'"':
            self._string = b'"' + string[1]
        return b""


def lines(file: IO[bytes]) -> Iterator[Mapping[str, Any] | str]:
    """The object on each line of JSON; a line that holds none as it is."""
    rest = ""
    for part in decoded(file):
        *whole, rest = (rest + part).split("\n")
        yield from map(_object, whole)
        if len(rest) > _LINE_LIMIT:
            raise DamagedError(f"a line of more than {_LINE_LIMIT >> 20} MiB")
    if rest.strip():
        yield _object(rest)


def _object(line: str) -> Mapping[str, Any] | str:
    try:
        data = json.loads(line) if line.startswith("{") else None
    except (ValueError, RecursionError):
        return line
    return data if isinstance(data, dict) else line


def objects(data: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    """The objects in the list at `key`; none where there is nothing.

    Raises DamagedError at what is no list or no object: results may be lost there.
    """
    value = data.get(key)
    if value is None:
        return
    if not isinstance(value, list):
        raise DamagedError(f"`{key}` is no list")
    for item in value:
        if not isinstance(item, Mapping):
            raise DamagedError(f"`{key}` holds what is no object")
        yield item


def texts(data: Mapping[str, Any], key: str) -> list[str]:
    """The texts in the list at `key`; none where there is no list."""
    value = data.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def inner(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object at `key`; an empty one where there is none."""
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def text(data: Mapping[str, Any], key: str) -> str:
    """The text at `key`; empty where there is none."""
    value = data.get(key)
    return value if isinstance(value, str) else ""


def number(data: Mapping[str, Any], key: str, scale: float = 1.0) -> float | None:
    """The number at `key` times `scale`; None where there is none."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        scaled = float(value) * scale
    except OverflowError:
        return None
    return scaled if math.isfinite(scaled) else None
