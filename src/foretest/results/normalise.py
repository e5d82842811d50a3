"""Makes results comparable over runs: volatile ids and failures, duplicates, impossible values."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from foretest.records import TestId, TestResult, TestRun

_HEX = r"[0-9a-fA-F]"
_VOLATILE = (
    (re.compile(rf"\b{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}\b"), "<uuid>"),
    # An address has nine digits or more on every 64-bit system; shorter constants are meant.
    (re.compile(rf"(?<=\bat )0x{_HEX}+|\b0x{_HEX}{{9,16}}\b"), "<address>"),
    (
        re.compile(
            r"\b\d{4}-\d\d-\d\d[T _]\d\d[:-]?\d\d[:-]?\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
        ),
        "<time>",
    ),
    (re.compile(r"\b1[5-9]\d{8}(?:\d{3}|\d{6}|\d{9})?(?:\.\d+)?\b"), "<time>"),
    (re.compile(r"(?:/private)?/(?:var/)?tmp/[^\s'\":,;)\]}>]+"), "<tmp>"),
    (re.compile(r"(?:/private)?/var/folders/[^\s'\":,;)\]}>]+"), "<tmp>"),
    (re.compile(r"\b[A-Za-z]:\\[^\s'\":,;]*\\Temp\\[^\s'\":,;)\]}>]+", re.IGNORECASE), "<tmp>"),
    (re.compile(r"(?<=' \()\d+(?=\) panicked)"), "<n>"),  # Rust's threads
    (re.compile(r"\b(pid|process|port)([ =:#-]{1,2})\d+\b", re.IGNORECASE), r"\1\2<n>"),
)
VOLATILE = (
    r"(?i)[0-9]{4}-[0-9]{2}-[0-9]|[0-9]{10}|0x[0-9a-f]|te?mp[/\\]|/folders/"
    r"|(?:pid|process|port)[ =:#-]|\) panicked|[0-9a-f]{8}-[0-9a-f]{4}-"
)
"""What every volatile part holds: most texts hold none of it and are not looked at twice."""
_HINT = re.compile(VOLATILE)

LONGEST = 1e9
"""Seconds that no test takes: some thirty years."""
_MESSAGE_LIMIT = 500
"""Characters of a message that tell one failure from another; beyond lie diffs and dumps."""
_FOREIGN = re.compile(r"(?:^|[/\\])(?:site-packages|dist-packages|lib[/\\]python\d)|^<|importlib")


def stable(text: str) -> str:
    """Replace what differs from run to run: addresses, times, temporary paths, ids of processes."""
    if not _HINT.search(text):
        return text
    for pattern, sign in _VOLATILE:
        text = pattern.sub(sign, text)
    return text


def printable(text: str) -> str:
    """Spell out what UTF-8 cannot hold (lone surrogates), so that every store takes the text."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def fingerprint(kind: str, frames: Sequence[tuple[str, str]], message: str) -> str:
    """Hash of a failure's exception type, innermost project frame and normalised message.

    `frames` are (file, function), innermost last; line numbers stay out, since they move with
    every edit above. Frames of libraries and of the interpreter are passed over.
    """
    own = [frame for frame in frames if not _FOREIGN.search(frame[0])]
    file, function = own[-1] if own else ("", "")
    place = "/".join(re.split(r"[/\\]", file)[-3:])
    text = " ".join(stable(message[: 4 * _MESSAGE_LIMIT]).split())[:_MESSAGE_LIMIT]
    whole = "\0".join((kind.rpartition(".")[2], place, function, text))
    return hashlib.sha256(whole.encode("utf-8", "backslashreplace")).hexdigest()[:16]


_PYTEST_FRAME = re.compile(r"^([^\s:][^:\n]*):\d+: (?:in (\S+)|.*)$", re.MULTILINE)
_PYTHON_FRAME = re.compile(r'^ *File "([^"]+)", line \d+, in (\S+)', re.MULTILINE)
_JAVA_FRAME = re.compile(r"^\s*at ([\w.$/]+)\.([\w$<>]+)\(", re.MULTILINE)
_NODE_FRAME = re.compile(r"^\s*at (?:(?:async )?(.+?) \()?([^\s():]+):\d+:\d+\)?$", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ERROR_LINE = re.compile(
    r"^(?:E +)?([A-Za-z_][\w.]*(?:Error|Exception|Failure|Exit|Interrupt|Warning))(?::|$)",
    re.MULTILINE,
)


def fingerprint_of_text(kind: str, message: str, text: str) -> str:
    """`fingerprint` of a failure known by its printed text: pytest's, Python's, Java's, Node's."""
    if "\x1b" in message or "\x1b" in text:
        message, text = _COLOUR.sub("", message), _COLOUR.sub("", text)
    frames: list[tuple[str, str]] = []
    if 'File "' in text:
        frames = [(m[1], m[2]) for m in _PYTHON_FRAME.finditer(text)]
    frames = frames or [(m[1], m[2] or "") for m in _PYTEST_FRAME.finditer(text)]
    if not frames and "at " in text:  # Java and Node print the innermost frame first
        found = _JAVA_FRAME.search(text) or _NODE_FRAME.search(text)
        frames = [(found[1] if found[1] is not None else "", found[2])] if found else []
    error = None if kind else _ERROR_LINE.search(message) or _ERROR_LINE.search(text)
    return fingerprint(kind or (error[1] if error else ""), frames, message or text)


def seconds_or_none(value: float | None) -> float | None:
    """A duration, or None where it cannot be one: negative, beyond any test's, not a number."""
    return value if value is not None and 0 <= value < LONGEST else None


def clean(run: TestRun) -> TestRun:
    """The run as it is stored: stable ids, distinct attempts, possible values, times with a zone.

    A normalised id that two tests of the run would share is left as it was written: the volatile
    text is then all that tells them apart. A run cannot have occurred after it was received.
    """
    ids = _stable_ids(result.test for result in run.results)
    results = [
        replace(
            result,
            test=ids[result.test],
            seconds=seconds_or_none(result.seconds),
            inclusion=result.inclusion if 0.0 < result.inclusion <= 1.0 else 1.0,
        )
        for result in run.results
    ]
    received = in_zone(run.received_at)
    return replace(
        run,
        results=tuple(number_attempts(results)),
        occurred_at=min(in_zone(run.occurred_at), received),
        received_at=received,
    )


def in_zone(moment: datetime) -> datetime:
    """The moment in UTC; a moment without a zone is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def moment_of(text: str) -> datetime | None:
    """A moment as reports write it: ISO 8601, RFC 2822, or seconds or milliseconds since 1970."""
    try:
        if text.replace(".", "", 1).isdigit():
            since = float(text)
            return datetime.fromtimestamp(since / 1000 if since > 1e11 else since, UTC)
        return in_zone(datetime.fromisoformat(text))
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return in_zone(parsedate_to_datetime(text)) if "," in text else None
    except (ValueError, OverflowError):
        return None


def number_attempts(results: Iterable[TestResult]) -> Iterator[TestResult]:
    """Give every result of a test its own attempt number, and drop what was only said twice.

    Equal results are one result reported twice. Different results under one (test, attempt) are
    further attempts, or two tests of one id: the later one takes the next free number, so that
    both stay visible.
    """
    firsts: dict[TestId, TestResult] = {}
    several: dict[TestId, _Attempts] = {}
    for result in results:
        count, first = len(firsts), firsts.setdefault(result.test, result)
        if len(firsts) > count:
            yield result
            continue
        attempts = several.get(result.test)
        if attempts is None:
            attempts = several[result.test] = _Attempts()
            attempts.number(first)
        number = attempts.number(result)
        if number is not None:
            yield result if number == result.attempt else replace(result, attempt=number)


class _Attempts:
    """Which numbers the attempts of one test have, found at once however many there are."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        """From a number that is taken to one that may be free."""
        self._places: dict[tuple[object, ...], list[int]] = {}
        """The numbers under which the same was said, in order."""

    def number(self, result: TestResult) -> int | None:
        """Its number; None where one from its own up to the next free one says the same."""
        said = (result.outcome, result.seconds, result.fingerprint, result.inclusion)
        places, free = self._places.setdefault(said, []), self._free(result.attempt)
        same = bisect_left(places, result.attempt)
        if same < len(places) and places[same] < free:
            return None
        insort(places, free)
        self._next[free] = free + 1
        return free

    def _free(self, number: int) -> int:
        passed = []
        while number in self._next:
            passed.append(number)
            number = self._next[number]
        self._next.update(dict.fromkeys(passed, number))
        return number


def distinct(runs: Iterable[TestRun]) -> Iterator[TestRun]:
    """Leave out runs already seen: a run is known by its id, attempt and shard."""
    seen: set[tuple[str, str, int, str | None]] = set()
    for run in runs:
        key = (run.repository, run.run_id, run.attempt, run.shard)
        if key not in seen:
            seen.add(key)
            yield run


def _stable_ids(tests: Iterable[TestId]) -> dict[TestId, TestId]:
    ids = {test: _stable_id(test) for test in dict.fromkeys(tests)}
    shared = Counter(ids.values())
    return {test: new if shared[new] == 1 else test for test, new in ids.items()}


def _stable_id(test: TestId) -> TestId:
    name, parameters = printable(test.name), test.parameters
    if parameters is not None:
        parameters = stable(printable(parameters))
    file, classes = printable(test.file), tuple(printable(part) for part in test.classes)
    return TestId(file, classes, stable(name), parameters, test.runner)
