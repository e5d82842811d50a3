"""What the encoder reads: the text of each hunk of a change, and the text of each test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from foretest.changes.diff import split_hunks
from foretest.changes.git import Repository
from foretest.changes.layout import is_test_file
from foretest.changes.symbols import is_source, outline
from foretest.records import MODULE_LEVEL

_HEADER = re.compile(r"^@@ -\S+ \+\S+ @@ ?(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HunkText:
    """One hunk of a source file, as far as it says what the change is about."""

    path: str
    within: str
    """The line that git names the hunk by: the function or class that holds it."""
    removed: str
    added: str
    around: str

    def turned(self) -> HunkText:
        """The same hunk as it looks when the change is taken back."""
        return HunkText(self.path, self.within, self.added, self.removed, self.around)


@dataclass(frozen=True, slots=True)
class TestText:
    """One test: its unit and its source, empty where no function of that name was found."""

    __test__ = False

    unit: str
    source: str


def hunk_texts(patch: bytes) -> list[HunkText]:
    """The hunks of source files in a patch with context; those of tests run their tests anyway."""
    found = []
    for hunk in split_hunks(patch):
        if not is_source(hunk.path) or is_test_file(hunk.path):
            continue
        text = hunk.patch.decode("utf-8", "replace")
        if header := _HEADER.search(text):
            body = text[header.end() + 1 :].split("\n")
            removed, added, around = (
                "\n".join(line[1:] for line in body if line[:1] == sign) for sign in "-+ "
            )
            found.append(HunkText(hunk.path, header[1], removed, added, around))
    return found


def functions(path: str, source: bytes) -> dict[str, tuple[int, int, str]]:
    """First line, last line and text of every function by its unit, `file::Class::name`."""
    text = source.decode("utf-8", "replace")
    lines = text.split("\n")
    found = {}
    for span in outline(path, source).symbols:
        if span.symbol.qualname != MODULE_LEVEL:
            unit = "::".join((path, *span.symbol.qualname.split(".")))
            body = "\n".join(lines[span.first - 1 : span.last])
            found[unit] = (span.first, span.last, body)
    return found


def test_texts(repo: Repository, commit: str | None, units: Iterable[str]) -> list[TestText]:
    """The text of each unit in a commit or (None) the work tree, in the order asked for.

    A unit that no function has the name of goes by the nearest one that holds it (a test made
    within a function), or by its name alone (one that a base class of another file brings).
    """
    units = list(units)
    files = dict.fromkeys(unit.partition("::")[0] for unit in units)
    known: dict[str, str] = {}
    for path, source in repo.read_many(commit, filter(is_source, files)).items():
        known.update({unit: text for unit, (_, _, text) in functions(path, source).items()})
    return [TestText(unit, _nearest(unit, known)) for unit in units]


test_texts.__test__ = False  # type: ignore[attr-defined]  # no test, though named like one


def _nearest(unit: str, known: Mapping[str, str]) -> str:
    while "::" in unit:
        if unit in known:
            return known[unit]
        unit = unit.rpartition("::")[0]
    return ""
