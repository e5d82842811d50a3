"""The peers: a table of what each is, how it is seeded, how it is asked and what it answers."""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from foretest.changes.layout import is_test_file
from foretest.lab.layout import import_names, import_roots, is_python_source


@dataclass(frozen=True, slots=True)
class Question:
    """One way of asking a tool; a row of the tables."""

    name: str
    args: tuple[str, ...]
    """Given to pytest beside `--collect-only`; may hold the fields of `Layout` and `{own}`."""
    orders: bool = False
    """True where the answer is an order of the whole suite, False where it leaves tests out."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool as its documentation describes it. What it chose is read off pytest's own items."""

    name: str
    requirement: str
    """For pip, pinned; empty for what comes with the project's own pytest."""
    questions: tuple[Question, ...]
    seed: tuple[str, ...] | None = None
    """Arguments of one run of the whole suite on the unchanged code; None where it needs none."""
    state: tuple[str, ...] = ()
    """What that run leaves in the tree for the next one: names and patterns."""
    meets_failures: bool = False
    """True where it goes by earlier failures: it then meets those of the change before."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files in `{own}`, a folder outside the tree, that its documentation asks for."""
    remark: str = ""
    """What a reader of its figures should know, a sentence."""

    @property
    def version(self) -> str:
        """The pinned version; empty for what the project's environment holds."""
        return self.requirement.partition("==")[2]


TOOLS: tuple[Tool, ...] = (
    Tool(
        "pytest-testmon",
        "pytest-testmon==2.2.0",
        (Question("testmon", ("--testmon",)),),
        seed=("--testmon",),
        state=(".testmondata*",),
    ),
    Tool(
        "pytest-impacted",
        "pytest-impacted==0.36.0",
        (
            Question(
                "impacted",
                (
                    "--impacted",
                    "--impacted-module={package}",
                    "--impacted-tests-dir={tests}",
                    "--impacted-git-mode=unstaged",
                ),
            ),
        ),
    ),
    Tool(
        "pytest-rts",
        "pytest-rts==2.5.0",
        (Question("rts", ("--rts", "--rts-coverage-db=.coverage")),),
        seed=("--cov={package}", "--cov-context=test", "--cov-config={own}/rc", "--cov-report="),
        state=(".coverage",),
        files={"rc": "[run]\nrelative_files = True\n"},
    ),
    Tool(
        "pytest-picked",
        "pytest-picked==0.5.1",
        (Question("picked", ("--picked",)),),
        remark="picked runs changed test files; a change that is taken back carries no tests, so "
        "that it has none to run here.",
    ),
    Tool(
        "pytest-ranking",
        "pytest-ranking==0.3.4",
        (
            Question("ranking (default: faster first)", ("--rank",), orders=True),
            Question("ranking 1-1-1", ("--rank", "--rank-weight=1-1-1"), orders=True),
        ),
        seed=("--rank",),
        state=(".pytest_cache",),
        meets_failures=True,
    ),
    Tool(
        "pytest",
        "",
        (Question("pytest --lf", ("--lf",)), Question("pytest --ff", ("--ff",), orders=True)),
        seed=(),
        state=(".pytest_cache",),
        meets_failures=True,
        remark="--lf, --ff and ranking 1-1-1 have met the failures of the faulty change before; "
        "with nothing before it, --lf runs everything.",
    ),
)
"""`--nf` is left out: it goes by the age of test files, which a fresh check-out does not keep."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the tools must be told of a project; a field is empty where there is no such place."""

    package: str
    """Folder (or name) of the largest package of the project, such as `src/shop`."""
    tests: str
    """Folder that holds the tests."""


def layout_of(files: Sequence[str], units: Iterable[str]) -> Layout:
    """Where the package and the tests are, by the repository's files and the suite's units."""
    sources = [file for file in files if is_python_source(file)]
    names = import_names(files)
    sizes: Counter[str] = Counter()
    for root in import_roots(files):
        for name in names:
            place = os.path.join(root, name)  # noqa: PTH118 - a path inside git, not on the disk
            # Beside `src`, what lies at the top has no file below its name: it counts for nothing.
            size = sum(f.startswith(place + "/") for f in sources) + (f"{place}.py" in sources)
            if size:
                sizes[place] = max(sizes[place], size)
    largest = max(sorted(sizes), key=lambda place: sizes[place], default="")
    return Layout(largest, _common_folder({unit.partition("::")[0] for unit in units}))


def _common_folder(files: Iterable[str]) -> str:
    """The folder of all test files; of those in the most frequented top folder, where none is."""
    folders = Counter(os.path.dirname(file) for file in files if is_test_file(file))  # noqa: PTH120
    if not folders:
        return ""
    top = Counter[str]()
    for folder, count in folders.items():
        top[folder.partition("/")[0]] += count
    first = max(sorted(top), key=lambda name: top[name])
    return os.path.commonpath([f for f in folders if f.partition("/")[0] == first])


def spelled(question: Question, layout: Layout) -> str:
    """The question as it is put in a project, as one text that names no folder of this machine."""
    return " ".join(filled(question.args, layout, "OWN"))


def filled(args: Iterable[str], layout: Layout, own: str) -> list[str]:
    """Arguments with their fields filled in; one whose field is empty is left out."""
    values = {"package": layout.package, "tests": layout.tests, "own": own}
    empty = [f"{{{name}}}" for name, value in values.items() if not value]
    return [arg.format_map(values) for arg in args if not any(field in arg for field in empty)]
