"""Go: `go test -json`, lines of events, and JUnit XML; a test is its import path and its name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import IO

import polars as pl

from foretest.records import Outcome
from foretest.results.batch import Attempt, Case
from foretest.results.dialects.contract import Dialect, Document, Files, Scene, Spelling
from foretest.results.jsonstream import lines, number, text

_VERDICTS = {"pass": Outcome.PASSED, "fail": Outcome.FAILED, "skip": Outcome.SKIPPED}
_OUTPUT_LIMIT = 8_000
"""Characters kept of what a running test printed."""
_BROKEN = re.compile(r"FAIL\t(\S+) \[(.+ failed)\]")
"""How older versions of Go say among the JSON that a package does not build."""
_FUNCTION = re.compile(r"(?:Test|Example|Fuzz|Benchmark)(?![a-z])")
_MARKER = re.compile(r"^\s*(?:===|---) ")


def cases(file: IO[bytes], _: Files) -> Iterator[Case]:
    """Tests as they end. `-count` and retries give one case each: further attempts.

    A test without a verdict when its package fails was killed; a package that fails without a
    failed test (it does not build, or ends the process) is an error of its own.
    """
    printed: dict[tuple[str, str], str] = {}
    failed: set[str] = set()
    for event in lines(file):
        if isinstance(event, str):
            if broken := _BROKEN.match(event):
                yield Case(broken[1], None, [Attempt(Outcome.ERROR, message=broken[2])])
                failed.add(broken[1])
            continue
        action, test = text(event, "Action"), text(event, "Test")
        package = text(event, "Package") or text(event, "ImportPath").partition(" ")[0]
        key = (package, test)
        if action == "run":
            printed[key] = ""
        elif action in ("output", "build-output"):
            said = text(event, "Output")
            if not _MARKER.match(said) and len(printed.get(key, "")) < _OUTPUT_LIMIT:
                printed[key] = printed.get(key, "") + said
        elif action in _VERDICTS and test:
            if action == "fail":
                failed.add(package)
            yield _case(package, test, action, number(event, "Elapsed"), printed.pop(key, ""))
        elif action in _VERDICTS:
            yield from _package(package, action, printed, failed)


def _case(package: str, test: str, action: str, seconds: float | None, said: str) -> Case:
    name, slash, subtest = test.partition("/")
    attempt = Attempt(_VERDICTS[action], seconds)
    if action == "fail":
        attempt.message = attempt.text = said
    if action == "skip":
        attempt.seconds = None
    return Case(f"{package}::{name}", subtest if slash else None, [attempt])


def _package(
    package: str, action: str, printed: dict[tuple[str, str], str], failed: set[str]
) -> Iterator[Case]:
    """What the end of a package tells of tests that did not end, and of the package itself."""
    own = printed.pop((package, ""), "")
    unended = [key for key in printed if key[0] == package]
    for key in unended:
        said = printed.pop(key)
        if action == "fail":
            name, slash, subtest = key[1].partition("/")
            told = Attempt(Outcome.ERROR, None, "", said, said)
            yield Case(f"{package}::{name}", subtest if slash else None, [told])
    if action == "fail" and not unended and package not in failed:
        yield Case(package, None, [Attempt(Outcome.ERROR, None, "", own, own)])
    failed.discard(package)


def _tells(scene: Scene, case: Mapping[str, str]) -> bool:
    """gotestsum and go-junit-report: a suite a package, called by its import path."""
    classname = case.get("classname", "")
    is_path = "/" in classname and scene.suite.get("name") == classname
    return is_path and _FUNCTION.match(case.get("name", "")) is not None


def _told(_: Scene) -> pl.Expr:
    is_path = pl.col("classname").str.contains("/", literal=True)
    named = pl.col("name").str.contains(r"^(?:Test|Example|Fuzz|Benchmark)(?:[^a-z]|$)")
    return is_path & (pl.col("suite_name") == pl.col("classname")) & named


def _prefix(_: Scene, classname: str, __: str) -> str:
    return f"{classname}::"


def _split(name: str) -> Spelling:
    """A package that does not build stands there as `TestMain`, and is the package itself."""
    function, slash, subtest = name.partition("/")
    return ("" if name == "TestMain" else function), subtest if slash else None


GOTESTSUM = Dialect("go", _tells, _prefix, _split, marks="/M", told=_told)

_EVENT = rb'\{\s*"(?:Time|Action|ImportPath|Package)"\s*:'
_BEFORE = rb"(?:(?![<{])[^\n]*\n)*"
"""Lines of the go command itself: what it downloads, what does not build."""
GO = Document("go", re.compile(_BEFORE + _EVENT), cases)
