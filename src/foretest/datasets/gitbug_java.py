"""GitBug-Java: reproducible bugs, each with the suite's results before, with the new tests, fixed.

Patches and messages carry people's names and mail addresses: of them only paths, counts and keyed
hashes are kept.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from foretest.datasets.contract import Facts, repository_of
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Flaw, Ledger
from foretest.datasets.sources import each
from foretest.errors import BadReport
from foretest.records import Configuration, Outcome, TestId, TestResult, TestRun

DOCUMENTED = False
TABLE = "bugs"
STATES = ("before", "before-with-new-tests", "fixed")
_OUTCOMES = {
    "Passed": Outcome.PASSED,
    "Skipped": Outcome.SKIPPED,
    "Failure": Outcome.FAILED,
    "Error": Outcome.ERROR,
}
_PATH = re.compile(r"^(?:\+\+\+ b|--- a)/(.+)$", re.MULTILINE)
_TEXTS = (
    *("repository", "commit_hash", "previous_commit_hash", "change_type", "strategy"),
    *("commit_timestamp", "previous_commit_timestamp", "collection_timestamp"),
)
_NO_BUG = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What a line raises that is damaged, or of another shape."""
SCHEMA: dict[str, pl.DataType] = {
    "repository": pl.String(),
    "commit": pl.String(),
    "previous_commit": pl.String(),
    "committed_at": pl.String(),
    "previous_committed_at": pl.String(),
    "change_type": pl.String(),
    "strategy": pl.String(),
    "source_paths": pl.String(),  # JSON list
    "test_paths": pl.String(),  # JSON list
    "lines_changed": pl.Int64(),
    "people": pl.String(),  # JSON list of keyed hashes
}


def files(path: Path) -> list[Path]:
    return sorted(path.glob("*.json")) if path.is_dir() else [path]


def read(path: Path, ledger: Ledger, people: Pseudonyms) -> Iterator[TestRun | Facts]:
    yield from each(files(path), lambda file: _file(file, ledger, people), ledger)


def _file(file: Path, ledger: Ledger, people: Pseudonyms) -> Iterator[TestRun | Facts]:
    """Its bugs, a line each. Raises BadReport where no line is one."""
    bugs, problem = 0, ""
    with file.open(encoding="utf-8", errors="backslashreplace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            ledger.rows += 1
            where = f"{file.name} line {number}"
            try:
                told = _bug(line, where, ledger, people)
            except _NO_BUG as error:
                problem = problem or f"{where} is no bug of GitBug-Java ({type(error).__name__})"
                ledger.note(Flaw.UNREADABLE, f"{where}: {type(error).__name__}")
                continue
            bugs += 1
            yield from told
    if problem and not bugs:
        raise BadReport(f"{problem}.", "Give the folder of its JSON files.")


def _bug(line: str, where: str, ledger: Ledger, people: Pseudonyms) -> list[TestRun | Facts]:
    bug = json.loads(line)
    for name in _TEXTS:
        if not isinstance(bug[name], str):
            raise TypeError(name)
    repository = repository_of("gitbug-java", bug["repository"])
    facts = _facts(bug, repository, people)
    runs = list(_runs(bug, repository, where, ledger))
    if bug["previous_commit_timestamp"] > bug["commit_timestamp"]:
        ledger.note(Flaw.CLOCK_SKEW, f"{where}: older than the commit before")
    return [*runs, facts]


def _facts(bug: Mapping[str, Any], repository: str, people: Pseudonyms) -> Facts:
    patch, tests = bug["bug_patch"], bug["test_patch"]
    changed = sum(
        line[:1] in ("+", "-") and line[:3] not in ("+++", "---") for line in patch.splitlines()
    )
    row = (
        *(repository, bug["commit_hash"], bug["previous_commit_hash"]),
        *(bug["commit_timestamp"], bug["previous_commit_timestamp"]),
        *(bug["change_type"], bug["strategy"], _paths(patch), _paths(tests), changed),
        json.dumps(people.people(f"{bug['commit_message']}\n{bug['previous_commit_message']}")),
    )
    return Facts(TABLE, pl.DataFrame([row], schema=SCHEMA, orient="row"))


def _paths(patch: str) -> str:
    return json.dumps(sorted({path.strip() for path in _PATH.findall(patch)}))


def _runs(bug: Mapping[str, Any], repository: str, where: str, ledger: Ledger) -> Iterator[TestRun]:
    occurred = datetime.fromisoformat(bug["collection_timestamp"]).astimezone(UTC)
    ledger.moment(occurred, where)
    # The state between the two commits, old code with new tests, is no commit of the repository.
    commits = (bug["previous_commit_hash"], None, bug["commit_hash"])
    for state, commit, jobs in zip(STATES, commits, bug["actions_runs"], strict=True):
        for job, part in enumerate(jobs or ()):
            if not isinstance(part, dict):
                continue  # beside each run stands null or the time it took
            results = tuple(_results(part, repository, f"{where} {state}", ledger))
            yield TestRun(
                run_id=f"{bug['commit_hash']}-{state}",
                repository=repository,
                commit=commit,
                configuration=Configuration("linux", "unknown", (str(part.get("build_tool")),)),
                occurred_at=occurred,
                received_at=datetime.now(UTC),
                results=results,
                shard=None if job == 0 else str(job),
            )


def _results(
    part: Mapping[str, Any], repository: str, where: str, ledger: Ledger
) -> Iterator[TestResult]:
    attempts: Counter[str] = Counter()
    for told in part["tests"]:
        name = f"{told['classname']}::{told['name']}"
        test = TestId.parse(name, runner="junit")
        if told["classname"] in (None, "", "null"):
            ledger.note(Flaw.IMPOSSIBLE, f"{where}: {name} has no class")
        seconds = ledger.duration(told["time"], f"{where}: {name}")
        ledger.note(Flaw.DUPLICATES, f"{where}: {name}", int(attempts[name] > 0))
        for result in told["results"]:
            outcome = _OUTCOMES.get(result["result"])
            if outcome is None:
                ledger.note(Flaw.IMPOSSIBLE, f"{where}: {name} is '{result['result']}'")
                continue
            attempts[name] += 1
            bad, passed = outcome.bad, outcome is Outcome.PASSED
            ledger.saw(repository, test.unit, passed=passed, failed=bad)
            yield TestResult(test, outcome, seconds, attempt=attempts[name])
