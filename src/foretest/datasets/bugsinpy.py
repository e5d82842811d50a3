"""BugsInPy: reproducible bugs of Python projects (`projects/NAME/bugs/NUMBER/bug.info`).

Written from the set's documentation. Patches are not read: they carry people's names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import polars as pl

from foretest.datasets.contract import BATCH, Facts, repository_of
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Flaw, Ledger

DOCUMENTED = True
TABLE = "python_bugs"
_ASSIGNED = re.compile(r'^\s*(\w+)\s*=\s*"?([^"\n]*)"?\s*$', re.MULTILINE)
_WANTED = ("buggy_commit_id", "fixed_commit_id", "test_file")
SCHEMA: dict[str, pl.DataType] = {
    "repository": pl.String(),
    "bug": pl.String(),
    "buggy_commit": pl.String(),
    "fixed_commit": pl.String(),
    "test_files": pl.String(),  # joined by ;
    "python": pl.String(),
    "commands": pl.String(),  # how its failing tests are run, a line each
}


def files(path: Path) -> list[Path]:
    return sorted(file for file in path.glob("projects/*/bugs/*/bug.info") if file.is_file())


def read(path: Path, ledger: Ledger, _: Pseudonyms) -> Iterator[Facts]:
    rows = _rows(path, ledger)
    while batch := list(islice(rows, BATCH)):
        yield Facts(TABLE, pl.DataFrame(batch, schema=SCHEMA, orient="row"))


def _rows(path: Path, ledger: Ledger) -> Iterator[tuple[str, ...]]:
    seen: set[tuple[str, str]] = set()
    for file in files(path):
        ledger.rows += 1
        number, project = file.parent.name, file.parent.parent.parent
        where = f"{project.name} bug {number}"
        told = dict(_ASSIGNED.findall(_text(file)))
        if any(not told.get(name) for name in _WANTED):
            ledger.note(Flaw.UNREADABLE, f"{where}: no {', '.join(_WANTED)}")
            continue
        if told["buggy_commit_id"] == told["fixed_commit_id"]:
            ledger.note(Flaw.IMPOSSIBLE, f"{where}: broken and fixed by one commit")
        key = project.name, told["fixed_commit_id"]
        if key in seen:
            ledger.note(Flaw.DUPLICATES, f"{where}: another bug has the same fix")
        seen.add(key)
        script = _text(file.parent / "run_test.sh").splitlines()
        commands = "\n".join(line.strip() for line in script if line.strip())
        repository = repository_of("bugsinpy", project.name)
        ledger.saw(repository, told["test_file"])
        yield (
            *(repository, number, told["buggy_commit_id"], told["fixed_commit_id"]),
            *(told["test_file"], told.get("python_version", ""), commands),
        )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="backslashreplace")
    except OSError:  # most often there is none
        return ""
