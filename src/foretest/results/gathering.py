"""Reports of one run in many files: folders searched, files that share no test joined."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foretest.errors import BadReport
from foretest.records import TestId, TestRun
from foretest.results.joining import Units
from foretest.results.read import Origin, ReadReport, read_report
from foretest.results.report import merge

SUFFIXES = (".xml", ".json", ".jsonl")
_COPIES = ("junitreports", "testng-junit-results")
"""Folders in which TestNG writes beside Surefire's reports what stands in them."""
_EXAMPLES = 3


@dataclass(slots=True)
class Gathered:
    """What several reports came to."""

    runs: list[TestRun] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    refused: list[tuple[Path, BadReport]] = field(default_factory=list)
    """Reports that were named one by one and cannot be read."""


def gather(
    places: Sequence[Path], known: Iterable[str] = (), origin: Origin | None = None
) -> Gathered:
    """Read the reports at `places`: files, folders with reports below them, patterns.

    Reports that carry the id of their run are joined by it. Others are one run where they share
    no test, as files of one class each do (Surefire, Gradle), shards, or attempts of one Bazel
    target; a report that repeats tests of another is a run of its own.
    """
    units, gathered = Units(known), Gathered()
    reads: list[ReadReport] = []
    passed_over, unmatched, results = 0, 0, 0
    for path, searched in _files(places, gathered.refused):
        try:
            read = read_report(path, units, origin)
        except BadReport as error:
            if searched:
                passed_over += 1  # builds leave all kinds of XML beside their reports
            else:
                gathered.refused.append((path, error))
            continue
        if not searched and not read.head.complete and read.ledger is not None and not read.ledger:
            said = f"{path} holds no result that can be read: {' '.join(read.skipped)}"
            gathered.refused.append((path, BadReport(said, "Write the report anew.")))
            continue
        reads.append(read)
        gathered.notices.extend(read.skipped)
        if not searched and read.head.complete and read.ledger is not None and not read.ledger:
            gathered.notices.append(f"{path} holds no test.")
        unmatched += read.unmatched
        results += len(read.run.results)
    if passed_over and reads:
        gathered.notices.append(f"{passed_over:,} of the files found there are no reports.")
    if unmatched:
        gathered.notices.append(
            f"{unmatched:,} of {results:,} results belong to no known test; they are kept under a "
            "guessed name."
        )
    gathered.notices = list(dict.fromkeys(gathered.notices))
    gathered.runs = merge(_joined(reads))
    return gathered


def _files(
    places: Sequence[Path], refused: list[tuple[Path, BadReport]]
) -> Iterator[tuple[Path, bool]]:
    """Each file once, and whether it was found by searching; empty places are refused."""
    seen: set[Path] = set()
    for place in places:
        try:
            found = _found(place)
        except BadReport as error:
            refused.append((place, error))
            continue
        for path, searched in found:
            if path not in seen:
                seen.add(path)
                yield path, searched


def _found(place: Path) -> list[tuple[Path, bool]]:
    if place.is_dir():
        below = [p for p in _sorted(place.rglob("*")) if p.suffix in SUFFIXES and p.is_file()]
        found = [p for p in below if not set(_COPIES) & set(p.relative_to(place).parts)]
        if not found:
            raise BadReport(
                f"{place} holds no report ({', '.join(SUFFIXES)}).", "Name the folder of reports."
            )
        return [(path, True) for path in found]
    if not place.exists() and glob.has_magic(str(place)):
        pattern = str(place.relative_to(place.anchor))
        found = _sorted(Path(place.anchor).glob(pattern))
        if not found:
            raise BadReport(f"No file matches {place}.", "Check the pattern.")
        return [(p, True) for p in found if p.is_file()]
    return [(place, False)]


def _sorted(paths: Iterable[Path]) -> list[Path]:
    """By folder and name; what Bazel calls earlier attempts stands before the last one."""

    def key(path: Path) -> tuple[Path, int, Path]:
        earlier = path.parent.name == "test_attempts"
        return (path.parent.parent if earlier else path.parent, int(not earlier), path)

    return sorted(paths, key=key)


def _joined(reads: Iterable[ReadReport]) -> Iterator[TestRun]:
    """The runs; those without an id of their own joined to the first that shares no test."""
    groups: list[tuple[list[TestRun], set[TestId]]] = []
    for read in reads:
        run = read.run
        if read.named:
            yield run
            continue
        tests = {result.test for result in run.results}
        free = (g for g in groups if _alike(g[0][0], run) and not _collide(g[1], tests))
        group = next(free, None)
        if group is None:
            groups.append(([run], tests))
        else:
            group[0].append(run)
            group[1].update(tests)
    for runs, _ in groups:
        yield from merge(replace(run, run_id=_common_id(runs)) for run in runs)


def _collide(seen: set[TestId], tests: set[TestId]) -> bool:
    """Whether tests would stand there twice; what Bazel logs twice are attempts and shards."""
    return any(test in seen and test.runner != "bazel" for test in tests)


def _alike(one: TestRun, other: TestRun) -> bool:
    def place(run: TestRun) -> tuple[object, ...]:
        return run.repository, run.commit, run.configuration, run.attempt, run.shard

    return place(one) == place(other)


def _common_id(runs: Sequence[TestRun]) -> str:
    """One report's own id, or a digest of all of them: the same files again are the same run."""
    if len(runs) == 1:
        return runs[0].run_id
    ids = sorted(run.run_id for run in runs)
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:24]
    return f"{ids[0].rpartition('-')[0]}-{digest}"
