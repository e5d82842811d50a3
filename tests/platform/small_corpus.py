"""Facts of a few made repositories, small enough to examine a model in a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from foretest import bundle as bundles
from foretest.bundle import Bundle
from foretest.evidence.graph import SymbolGraph
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import EvidenceStore, empty
from foretest.evidence.text import TextIndex
from foretest.lab.labels import Case, CaseFile
from foretest.platform.gate.exam import Limits
from foretest.records import FileStatus, Source, Symbol
from foretest.replay.cases import trials_of
from foretest.replay.published.rankers import Lesson
from foretest.selection.policy import Freshness
from foretest.training.pool import Taught

TESTS, CODE = 40, 20
DAY = 86_400
BEGIN = 1_600_000_000
LIMITS = Limits(
    instances=2,
    holds=0.6,
    slice_least=6,
    levels=(0.5,),
    slower=1e9,
    seconds=1e9,
)
"""What a sound model meets on so few changes; of time nothing, which a busy machine decides."""
SMALL = "repository{}"


def lesson(number: int, changes: int = 8) -> Taught:
    """Two tests enter each function, by name and by word; a change in it breaks the two."""
    store = evidence(number)
    trials = trials_of(cases(number, changes), store.commit)
    named = tuple(replace(trial, repository=SMALL.format(number)) for trial in trials)
    return Lesson(SMALL.format(number), named, store), Freshness((0.0,), 0.0, is_ancestor=True)


def corpus(repositories: int = 6, changes: int = 8) -> tuple[Taught, ...]:
    return tuple(lesson(number, changes) for number in range(repositories))


def cases(number: int, changes: int = 8) -> list[Case]:
    commit = f"{number:040x}"
    made = []
    for change in range(changes):
        at = (3 * change + number) % CODE
        path = _path(at)
        made.append(
            Case(
                case_id=f"undone-{number}-{change}",
                repository=SMALL.format(number),
                source=Source.UNDONE,
                commit=commit,
                files=(CaseFile(path, FileStatus.MODIFIED, touched=(Symbol(path, f"work{at}"),)),),
                undone_commit=f"{100 * number + change:040x}",
                author_time=BEGIN + change * 30 * DAY,
                removed={f"subject{at}": 1, "value": 1},
                added={f"subject{at}": 1, "temporary": 1},
                failed=(_test(2 * at), _test(2 * at + 1)),
            )
        )
    return made


def evidence(number: int) -> EvidenceStore:
    symbols = tuple(f"{_path(at)}::work{at}" for at in range(CODE))
    files = tuple(dict.fromkeys(_path(at) for at in range(CODE)))
    nothing = np.zeros(TESTS)
    seconds = np.ones(TESTS)
    return replace(
        empty(SMALL.format(number)),
        commit=f"{number:040x}",
        created_at=float(BEGIN),
        tests=tuple(map(_test, range(TESTS))),
        symbols=symbols,
        coverage=SparseRows.from_lists([(at // 2,) for at in range(TESTS)], CODE),
        import_time=np.zeros(CODE, bool),
        coverage_commit=np.zeros(TESTS, np.int32),
        coverage_commits=(f"{number:040x}",),
        text=TextIndex.build(
            [{f"subject{at // 2}": 1.0, f"case{at}": 1.0, "check": 1.0} for at in range(TESTS)]
        ),
        imports=SparseRows.from_pairs(
            range(TESTS),
            [files.index(_path(at // 2)) for at in range(TESTS)],
            np.ones(TESTS),
            (TESTS, len(files)),
        ),
        files=files,
        cochange=SparseRows.empty(TESTS, len(files), weighted=True),
        graph=SymbolGraph((), SparseRows.empty(CODE, 0), SparseRows.empty(0, CODE)),
        test_symbols_digest=("d",) * TESTS,
        runs=nothing,
        failures=nothing,
        last_failed_at=np.full(TESTS, np.nan),
        seconds=seconds,
        seconds_high=seconds,
        past=np.full(TESTS, np.nan),
    )


def write(folder: Path, repositories: int = 3, changes: int = 8) -> Path:
    """The same as kept facts, with fresh and lagged evidence."""
    import gzip

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(repositories):
        lines = "".join(case.to_line() for case in cases(number, changes))
        name = SMALL.format(number)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
        for kind in ("fresh", "lagged"):
            lineage = {"ages": [0.0 if kind == "fresh" else 50.0], "age": 0.0}
            bundles.write(folder / f"{name}.{kind}.ftb", Bundle(evidence(number), lineage=lineage))
    return folder


def _path(at: int) -> str:
    return f"src/part{at % 2}/module{at // 5}.py"


def _test(at: int) -> str:
    return f"tests/test_part{at // 2 % 2}.py::test_case{at}"
