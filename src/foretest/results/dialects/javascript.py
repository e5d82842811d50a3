"""jest, vitest, Playwright and Mocha: a test is its file and its full title."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import IO, Any

import polars as pl

from foretest.records import Outcome
from foretest.results.batch import Attempt, Case
from foretest.results.dialects.contract import Dialect, Document, Files, Scene, Spelling
from foretest.results.jsonstream import inner, items, number, objects, text, texts

_SCRIPT = re.compile(r"\.(?:[cm]?[jt]sx?|vue|svelte)$")


_BLANKS = "".join(sign for sign in map(chr, range(0x80, 0x3001)) if sign.isspace())
"""What else may stand around a title and is left out."""


def _unit(file: str, *titles: str) -> str:
    """Titles are joined by spaces, as `-t` and `--grep` want them."""
    title = " ".join(part for part in (t.strip() for t in titles) if part)
    return "::".join(part for part in (file, title) if part)


# --- JUnit XML ---------------------------------------------------------------------------------


def _tells_jest(scene: Scene, _: Mapping[str, str]) -> bool:
    return scene.root.get("name") == "jest tests"


def _jest(scene: Scene, case: Mapping[str, str]) -> Spelling:
    """jest-junit's templates are the user's: by default both names are the full title."""
    classname, name = case.get("classname", "").strip(), case.get("name", "").strip()
    file = _jest_file(scene, case)
    if classname == name or _SCRIPT.search(classname) or name.startswith(f"{classname} "):
        classname = ""
    return _unit(file, classname, name), None


def _jest_file(scene: Scene, case: Mapping[str, str]) -> str:
    places = (case.get("file", ""), scene.suite.get("name", ""), case.get("classname", ""))
    return scene.files(next((place for place in places if _SCRIPT.search(place)), ""))


def _no_files(scene: Scene, case: Mapping[str, str]) -> str:
    if _jest_file(scene, case):
        return ""
    return (
        'jest-junit names no files here, so its tests join no selection: set `"addFileAttribute": '
        '"true"` for it, or record the report of `jest --json`.'
    )


def _tells_vitest(scene: Scene, _: Mapping[str, str]) -> bool:
    return scene.root.get("name") == "vitest tests"


def _vitest(scene: Scene, case: Mapping[str, str]) -> Spelling:
    classname, name = case.get("classname", ""), case.get("name", "")
    return _unit(
        scene.files(classname), "" if name == classname else name.replace(" > ", " ")
    ), None


def _vitest_file(scene: Scene, classname: str, _: str) -> str:
    return f"{scene.files(classname)}::" if classname else ""


def _vitest_titles(names: pl.Series) -> pl.DataFrame:
    titles = names.str.replace_all(" > ", " ", literal=True).str.strip_chars()
    return pl.DataFrame({"text": titles}).with_columns(parameters=pl.lit(None, pl.String))


def _tells_playwright(scene: Scene, case: Mapping[str, str]) -> bool:
    return (
        "id" in scene.root
        and scene.suite.get("name") == case.get("classname")
        and _SCRIPT.search(case.get("classname", "")) is not None
    )


def _playwright(scene: Scene, case: Mapping[str, str]) -> Spelling:
    """The project (a browser, mostly) stands where others have a host."""
    name = case.get("name", "").replace(" › ", " ")
    return _unit(scene.files(case["classname"]), name), scene.suite.get("hostname") or None


def _tells_mocha(scene: Scene, _: Mapping[str, str]) -> bool:
    return scene.root.get("name") == "Mocha Tests"


def _mocha(scene: Scene, case: Mapping[str, str]) -> Spelling:
    """Mocha's own reporter parts the title, mocha-junit-reporter has all of it in the name."""
    file = scene.files(case.get("file", "") or scene.suite.get("file", ""))
    above = case.get("classname", "") if scene.root_tag == "testsuite" else ""
    return _unit(file, above, case.get("name", "")), None


def _whole(_: Scene, __: str, ___: str) -> str:
    return ""


JEST = Dialect("jest", _tells_jest, _whole, identify=_jest, suspect=_no_files)
VITEST = Dialect(
    "vitest",
    _tells_vitest,
    _vitest_file,
    identify=_vitest,
    marks="> " + _BLANKS,
    splits=_vitest_titles,
)
PLAYWRIGHT = Dialect("playwright", _tells_playwright, _whole, identify=_playwright)
MOCHA = Dialect("mocha", _tells_mocha, _whole, identify=_mocha)


# --- JSON --------------------------------------------------------------------------------------

_OUTCOMES = {
    "passed": Outcome.PASSED,
    "failed": Outcome.FAILED,
    "timedOut": Outcome.FAILED,
    "interrupted": Outcome.ERROR,
}
"""Whatever else a test may be (pending, todo, skipped, disabled) did not run."""


def _jest_cases(file: IO[bytes], files: Files) -> Iterator[Case]:
    """`jest --json`, and Vitest's reporter of the same shape."""
    for suite in items(file, "testResults.item"):
        name = files(text(suite, "name"))
        tests = 0
        for tests, test in enumerate(objects(suite, "assertionResults"), 1):  # noqa: B007
            unit = _unit(name, *texts(test, "ancestorTitles"), text(test, "title"))
            yield Case(unit, None, list(_jest_attempts(test)))
        if not tests and suite.get("status") == "failed":
            said = text(suite, "message")
            yield Case(name, None, [Attempt(Outcome.ERROR, message=said, text=said)])


def _jest_attempts(test: Mapping[str, Any]) -> Iterator[Attempt]:
    """jest counts invocations; Vitest leaves what an attempt said with a test that passed then."""
    outcome = _OUTCOMES.get(text(test, "status"), Outcome.SKIPPED)
    seconds = number(test, "duration", 1e-3)
    said = texts(test, "failureMessages")
    before = texts(test, "retryReasons")
    if outcome is Outcome.PASSED and not before:
        before = said
    times = min(max(int(number(test, "invocations") or 1) - 1, len(before)), 100)
    for index in range(times if outcome is not Outcome.SKIPPED else 0):
        message = before[index] if index < len(before) else (said[0] if said else "")
        yield Attempt(Outcome.FAILED, None, "", message, message)
    told = said[0] if said else ""
    yield Attempt(outcome, seconds if outcome is not Outcome.SKIPPED else None, "", told, told)


def _playwright_cases(file: IO[bytes], files: Files) -> Iterator[Case]:
    for suite in items(file, "suites.item"):
        yield from _playwright_suite(suite, files, ())


def _playwright_suite(
    suite: Mapping[str, Any], files: Files, titles: tuple[str, ...]
) -> Iterator[Case]:
    for spec in objects(suite, "specs"):
        unit = _unit(files(text(spec, "file")), *titles, text(spec, "title"))
        for test in objects(spec, "tests"):
            attempts = [_playwright_attempt(r, test) for r in objects(test, "results")]
            yield Case(unit, text(test, "projectName") or None, attempts)
    for below in objects(suite, "suites"):
        yield from _playwright_suite(below, files, (*titles, text(below, "title")))


def _playwright_attempt(result: Mapping[str, Any], test: Mapping[str, Any]) -> Attempt:
    outcome = _OUTCOMES.get(text(result, "status"), Outcome.SKIPPED)
    if text(test, "expectedStatus") == "failed" and outcome in (Outcome.FAILED, Outcome.PASSED):
        outcome = Outcome.XFAILED if outcome is Outcome.FAILED else Outcome.FAILED
    error = inner(result, "error")
    seconds = number(result, "duration", 1e-3) if outcome is not Outcome.SKIPPED else None
    return Attempt(outcome, seconds, "", text(error, "message"), text(error, "stack"))


def _mocha_cases(file: IO[bytes], files: Files) -> Iterator[Case]:
    """Mocha's JSON: `failures` holds hooks too, which are no tests but fail all the same."""
    tests: set[str] = set()
    for test in items(file, "tests.item"):
        unit = _unit(files(text(test, "file")), text(test, "fullTitle"))
        tests.add(unit)
        yield Case(unit, None, list(_mocha_attempts(test)))
    file.seek(0)
    for hook in items(file, "failures.item"):
        unit = _unit(files(text(hook, "file")), text(hook, "fullTitle"))
        if unit not in tests:
            error = inner(hook, "err")
            said = (text(error, "name"), text(error, "message"), text(error, "stack"))
            yield Case(unit, None, [Attempt(Outcome.ERROR, None, *said)])


def _mocha_attempts(test: Mapping[str, Any]) -> Iterator[Attempt]:
    """A test that is pending has no duration; how earlier attempts failed is not told."""
    seconds, error = number(test, "duration", 1e-3), inner(test, "err")
    outcome = Outcome.FAILED if test.get("err") else Outcome.PASSED
    if seconds is None and outcome is Outcome.PASSED:
        outcome = Outcome.SKIPPED
    for _ in range(min(int(number(test, "currentRetry") or 0), 100)):
        yield Attempt(Outcome.FAILED)
    said = (text(error, "name"), text(error, "message"), text(error, "stack"))
    yield Attempt(outcome, seconds, *said)


JEST_JSON = Document("jest", re.compile(rb'\{\s*"numFailedTestSuites"'), _jest_cases, "testResults")
VITEST_JSON = Document(
    "vitest", re.compile(rb'\{\s*"numTotalTestSuites"'), _jest_cases, "testResults"
)
PLAYWRIGHT_JSON = Document(
    "playwright", re.compile(rb'\{\s*"config"\s*:'), _playwright_cases, "suites"
)
MOCHA_JSON = Document("mocha", re.compile(rb'\{\s*"stats"\s*:'), _mocha_cases, "tests")
