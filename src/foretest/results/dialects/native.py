"""CTest and GoogleTest: their JUnit XML, CTest's own Test.xml, GoogleTest's JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import IO, Any

from foretest.records import Outcome
from foretest.results.batch import Attempt, Case
from foretest.results.dialects.contract import Dialect, Document, Files, Scene, Spelling
from foretest.results.jsonstream import items, objects, text
from foretest.results.xmlstream import PROLOGUE, Element, elements

COULD_NOT_RUN = re.compile(r"unable to find|fixture dependency failed|failed to start", re.I)
"""What CTest calls 'not run' and counts as a failure."""

# --- CTest -------------------------------------------------------------------------------------


def _tells_ctest(scene: Scene, case: Mapping[str, str]) -> bool:
    """The only one to give a test the status `run` or `fail` and no class of its own."""
    status = case.get("status", "")
    return (
        scene.root_tag == "testsuite" and case.get("classname") == case.get("name") and bool(status)
    )


def _nowhere(_: Scene, __: str, ___: str) -> str:
    return ""


def _test_xml(file: IO[bytes], _: Files) -> Iterator[Case]:
    for element in elements(file, {"Test"}):
        if "Status" in element.attributes:  # without one it stands in the list of names
            yield _ctest_case(element)


def _ctest_case(test: Element) -> Case:
    name = next((c.text.strip() for c in test.children if c.tag == "Name"), "")
    results = next((c for c in test.children if c.tag == "Results"), Element("Results", {}))
    measured = {
        m.attributes.get("name", ""): "".join(v.text for v in m.children)
        for m in results.children
        if m.tag == "NamedMeasurement"
    }
    printed = "".join(
        v.text for m in results.children if m.tag == "Measurement" for v in m.children
    )
    status, ended = test.attributes["Status"].lower(), measured.get("Completion Status", "")
    outcome = {"passed": Outcome.PASSED, "failed": Outcome.FAILED}.get(status, Outcome.SKIPPED)
    if outcome is Outcome.SKIPPED and COULD_NOT_RUN.search(ended):
        outcome = Outcome.ERROR
    try:
        seconds = float(measured["Execution Time"]) if outcome is not Outcome.SKIPPED else None
    except (KeyError, ValueError):
        seconds = None
    return Case(name, None, [Attempt(outcome, seconds, measured.get("Exit Code", ""), "", printed)])


CTEST = Dialect("ctest", _tells_ctest, _nowhere)
CTEST_XML = Document("ctest", re.compile(PROLOGUE + rb"<Site\b"), _test_xml)

# --- GoogleTest --------------------------------------------------------------------------------


def _tells_gtest(scene: Scene, case: Mapping[str, str]) -> bool:
    return "result" in case or (scene.root.get("name") == "AllTests" and "status" in case)


def _suite(_: Scene, classname: str, __: str) -> str:
    return f"{classname}::" if classname else ""


def _split(name: str) -> Spelling:
    """`IsSmall/2` is `IsSmall` with the parameter of index 2."""
    function, slash, index = name.partition("/")
    return function, index if slash else None


def _gtest_json(file: IO[bytes], _: Files) -> Iterator[Case]:
    for suite in items(file, "testsuites.item"):
        for test in objects(suite, "testsuite"):
            name, parameters = _split(text(test, "name"))
            unit = f"{text(test, 'classname') or text(suite, 'name')}::{name}"
            yield Case(unit, parameters, [_gtest_attempt(test)])


def _gtest_attempt(test: Mapping[str, Any]) -> Attempt:
    said = [text(f, "failure") for f in objects(test, "failures")]
    try:
        seconds = float(text(test, "time").removesuffix("s"))
    except ValueError:
        seconds = None
    if said:
        return Attempt(Outcome.FAILED, seconds, "", said[0], "\n".join(said))
    if (
        text(test, "result").upper() in ("SKIPPED", "SUPPRESSED")
        or text(test, "status") == "NOTRUN"
    ):
        return Attempt(Outcome.SKIPPED)
    return Attempt(Outcome.PASSED, seconds)


GTEST = Dialect("gtest", _tells_gtest, _suite, _split, marks="/")
GTEST_JSON = Document(
    "gtest", re.compile(rb'\{\s*"tests"\s*:\s*\d+.*"testsuites"\s*:', re.DOTALL), _gtest_json
)
