"""Selections in the spelling of each runner, and as JSON."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

from foretest.errors import BadConfiguration
from foretest.records import Basis, Budget, Choice, Promise, Selection, TestId, Why

LONGEST_EXPRESSION = 30_000
"""Characters of a regular expression on a command line; Windows allows 32,767 in all."""


def render(selection: Selection, name: str, suite: Sequence[str] = (".",)) -> str:
    """The chosen tests for the runner `name`, in running order.

    Empty output always means that nothing is to run: where everything must run and the tests are
    not known one by one, the runner's own word for everything stands there, which for pytest is
    `suite`, the places of the tests.
    """
    if name == "json":
        return json.dumps(selection_to_json(selection), indent=2, ensure_ascii=False) + "\n"
    if selection.run_all and not selection.chosen:
        return "".join(f"{word}\n" for word in (suite if name == "pytest" else EVERYTHING[name]))
    return render_units([choice.test for choice in selection.chosen], name)


def render_units(units: Sequence[str], name: str) -> str:
    """As `render`, from the units alone; raises BadConfiguration for an unknown runner."""
    if name not in FORMATS:
        known = ", ".join((*FORMATS, "json"))
        raise BadConfiguration(f"There is no format '{name}'.", f"Choose one of {known}.")
    lines = FORMATS[name]([_split(unit) for unit in units]) if units else []
    return "".join(f"{line}\n" for line in lines)


def _split(unit: str) -> TestId:
    """The parts of a unit; other runners' names may hold brackets, which are no parameters."""
    file, *parts = unit.split("::")
    return TestId(file, tuple(parts[:-1]), parts[-1] if parts else "")


def _units(tests: Sequence[TestId]) -> list[str]:
    return [str(test) if test.name else test.file for test in tests]


def _files(tests: Sequence[TestId]) -> list[str]:
    return list(dict.fromkeys(test.file for test in tests))


def _java_class(test: TestId) -> str:
    """`src/test/java/org/a/BTest.java` with class C is `org.a.BTest$C`; a class name stays."""
    path = re.sub(r"^(.*/)?src/[^/]+/(java|kotlin|groovy|scala)/", "", test.file)
    path = re.sub(r"\.(java|kt|groovy|scala)$", "", path)
    name = path.replace("/", ".")
    nested = [c for c in test.classes if c != name.rpartition(".")[2]]
    return "$".join((name, *nested))


def _methods(test: TestId) -> list[str]:
    """How a method may be called where it runs: JUnit 4 gives each set of parameters a name."""
    return [test.name, f"{test.name}[*]"] if test.name else []


def _surefire(tests: Sequence[TestId]) -> list[str]:
    """Lines of a file for `-Dsurefire.includesFile`, which takes classes alone, never methods."""
    return list(
        dict.fromkeys(_java_class(test).replace(".", "/").partition("$")[0] for test in tests)
    )


def _maven(tests: Sequence[TestId]) -> list[str]:
    """One argument; methods of a class joined, as Surefire wants them."""
    methods: dict[str, list[list[str]]] = {}
    for test in tests:
        methods.setdefault(_java_class(test), []).append(_methods(test))
    parts = [
        c + ("#" + "+".join(chain.from_iterable(m)) if all(m) else "") for c, m in methods.items()
    ]
    return ["-Dtest=" + shlex.quote(",".join(parts))]


def _gradle(tests: Sequence[TestId]) -> list[str]:
    names = [
        f"{_java_class(test)}{'.' * bool(method)}{method}"
        for test in tests
        for method in _methods(test) or [""]
    ]
    return [f"--tests {shlex.quote(name)}" for name in names]


def _go(tests: Sequence[TestId]) -> list[str]:
    """Arguments of one `go test` a package: a file is its folder, an import path is itself."""
    packages: dict[str, list[str]] = {}
    for test in tests:
        packages.setdefault(_go_package(test.file), []).append(test.name)
    lines = []
    for package, names in packages.items():
        where = shlex.quote(package)
        wanted = "|".join(re.escape(name) for name in dict.fromkeys(names) if name)
        lines.append(f"{where} -run {shlex.quote(f'^({wanted})$')}" if all(names) else where)
    return lines


def _go_package(file: str) -> str:
    if not file.endswith(".go"):
        return file
    folder = str(PurePosixPath(file).parent)
    return folder if folder.startswith((".", "/")) else f"./{folder}"


def _ctest(tests: Sequence[TestId]) -> list[str]:
    """Regular expressions for `ctest -R`, as many as their length asks for."""
    names = dict.fromkeys(_cmake_escape(str(test) if test.name else test.file) for test in tests)
    return [f"^({batch})$" for batch in _batches(names, "|", LONGEST_EXPRESSION - 4)]


def _cmake_escape(name: str) -> str:
    # CMake's expressions know fewer escapes than Python's: only special characters take one.
    return re.sub(r"([\\^$.\[\]|()*+?])", r"\\\1", name)


def _bazel(tests: Sequence[TestId]) -> list[str]:
    """Targets; `pkg/foo_test` counts as `//pkg:foo_test`."""
    labels = []
    for file in _files(tests):
        path = PurePosixPath(file)
        folder = "" if str(path.parent) == "." else str(path.parent)
        labels.append(file if file.startswith(("//", "@")) else f"//{folder}:{path.stem}")
    return list(dict.fromkeys(labels))


def _jest(tests: Sequence[TestId]) -> list[str]:
    """Files, which jest would take for regular expressions: `app/[id].test.js` is none."""
    return ["--runTestsByPath", *_files(tests)]


def _playwright(tests: Sequence[TestId]) -> list[str]:
    """Files, as the regular expressions for which Playwright takes them."""
    return [f"(^|/){re.escape(file)}$" for file in _files(tests)]


def _gtest(tests: Sequence[TestId]) -> list[str]:
    """Filters of one binary's tests with all their parameters, as many as length asks for."""
    names = [f"{test.file}.{test.name}" if test.name else f"{test.file}.*" for test in tests]
    wanted = dict.fromkeys(f"{name}:{name}/*" if name[-1] != "*" else name for name in names)
    return [f"--gtest_filter={batch}" for batch in _batches(wanted, ":", LONGEST_EXPRESSION - 15)]


def _nextest(tests: Sequence[TestId]) -> list[str]:
    """Expressions for `-E`, as many as length asks for; `krate/it` is the binary krate::it."""
    terms = []
    for test in tests:
        binary = f"binary_id(={_matcher(test.file.replace('/', '::', 1))})"
        name = "::".join((*test.classes, test.name))
        terms.append(f"({binary} & test(={_matcher(name)}))" if name else binary)
    return _batches(dict.fromkeys(terms), " | ", LONGEST_EXPRESSION)


def _matcher(text: str) -> str:
    return re.sub(r"([\\(),])", r"\\\1", text)


def _batches(words: Iterable[str], between: str, longest: int) -> list[str]:
    """The words joined, in pieces of at most `longest` characters where one word allows it."""
    pieces: list[str] = []
    for word in words:
        if pieces and len(pieces[-1]) + len(between) + len(word) <= longest:
            pieces[-1] += between + word
        else:
            pieces.append(word)
    return pieces


FORMATS: Mapping[str, Callable[[Sequence[TestId]], list[str]]] = {
    "pytest": _units,
    "raw": _units,
    "files": _files,
    "jest": _jest,
    "vitest": _files,
    "playwright": _playwright,
    "mocha": _files,
    "maven": _maven,
    "surefire": _surefire,
    "gradle": _gradle,
    "go": _go,
    "ctest": _ctest,
    "gtest": _gtest,
    "bazel": _bazel,
    "nextest": _nextest,
}

EVERYTHING: Mapping[str, tuple[str, ...]] = {
    "raw": (".",),
    "files": (".",),
    "jest": (".",),  # a pattern that every path matches, as for the next two
    "vitest": (".",),
    "playwright": (".",),
    "mocha": ("--no-dry-run",),  # says nothing: files would take the place of the project's own
    # A pattern would take the place of the project's own includes: this setting changes nothing.
    "maven": ("-Dsurefire.failIfNoSpecifiedTests=false",),
    "surefire": ("**/Test*", "**/*Test", "**/*Tests", "**/*TestCase"),
    "gradle": ("--tests '*'",),
    "go": ("./...",),
    "ctest": (".",),
    "gtest": ("--gtest_filter=*",),
    "bazel": ("//...",),
    "nextest": ("all()",),
}
"""How to say to each runner that everything runs; pytest's word depends on the project."""


def selection_to_json(selection: Selection) -> dict[str, Any]:
    """A selection as plain JSON, for programs and for the wire."""
    seconds, high = selection.chosen_seconds, selection.chosen_seconds_high
    return {**asdict(selection), "seconds": seconds, "seconds_high": high}


def selection_from_json(data: Mapping[str, Any]) -> Selection:
    """Undo `selection_to_json`. Raises KeyError, TypeError or ValueError for anything else."""
    budget, promise = data["budget"], data.get("promise")
    return Selection(
        decision_id=str(data["decision_id"]),
        repository=str(data["repository"]),
        base=str(data["base"]),
        head=None if data["head"] is None else str(data["head"]),
        chosen=tuple(_choice(c) for c in data["chosen"]),
        rest=tuple(_choice(c) for c in data["rest"]),
        run_all=bool(data["run_all"]),
        notices=tuple(str(notice) for notice in data["notices"]),
        budget=Budget(_share_or_none(budget["share"]), _number_or_none(budget["seconds"])),
        bundle=str(data["bundle"]),
        state=str(data.get("state", "")),  # decisions of an older version name none
        promise=None if promise is None else _promise(promise),
    )


def _promise(data: Mapping[str, Any]) -> Promise:
    groups = data["groups"]
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 0:
        raise ValueError(f"{groups!r} is no number of groups")
    return Promise(
        asked=_share(data["asked"]),
        made=_share(data["made"]),
        basis=Basis(data["basis"]),
        groups=groups,
        threshold=_share_or_none(data["threshold"]),
        cut=bool(data["cut"]),
    )


def _choice(data: Mapping[str, Any]) -> Choice:
    return Choice(
        str(data["test"]),
        Why(data["why"]),
        _share(data["score"]),
        _number(data["seconds"]),
        _share(data["inclusion"]),
        str(data["reason"]),
        _share_or_none(data.get("likelihood")),  # older decisions name neither
        _number_or_none(data.get("seconds_high")),
    )


def _number(value: Any) -> float:
    """A finite number that is not negative; JSON as Python reads it knows others."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if not 0 <= value < math.inf:  # NaN fails both comparisons
        raise ValueError(f"{value!r} is out of range")
    return float(value)


def _number_or_none(value: Any) -> float | None:
    return None if value is None else _number(value)


def _share(value: Any) -> float:
    if _number(value) > 1:
        raise ValueError(f"{value!r} is not within 0 and 1")
    return float(value)


def _share_or_none(value: Any) -> float | None:
    return None if value is None else _share(value)
