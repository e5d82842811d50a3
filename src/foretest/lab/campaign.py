"""A campaign: many candidates tried in parallel, each result on disk at once, resumable."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from foretest.changes.diff import read_change
from foretest.changes.git import Repository, repository_key
from foretest.config import Config
from foretest.durable import lock, refused, sync_directory, write_text
from foretest.errors import SuiteFailed
from foretest.lab.labels import NONE_FAILED, Candidate, Case, change_facts
from foretest.lab.runner import Baseline, RunOutcome, SuiteRunner
from foretest.lab.workspace import Workspace, cache_directory
from foretest.records import Change

SelectTests = Callable[[Change, Candidate], Mapping[str, float] | None]
"""Units to run for a change, with their inclusion probabilities; None runs all."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How far a campaign has come."""

    tried: int = 0
    faulty: int = 0
    broken: int = 0
    unfit: int = 0
    """Candidates whose patch did not apply."""
    known: int = 0
    """Candidates that an earlier call had tried."""
    seconds: float = 0.0


Progress = Callable[[Case | None, Tally], None]


def run_campaign(
    repo_root: Path,
    config: Config,
    candidates: Iterable[Candidate],
    workers: int = 2,
    budget_seconds: float | None = None,
    out: Path | None = None,
    select_tests: SelectTests | None = None,
    progress: Progress | None = None,
    commit: str = "HEAD",
    baseline: Baseline | None = None,
) -> Tally:
    """Try each candidate at `commit` and append what it breaks to `out`/cases.jsonl.

    Candidates whose case at this commit is there already are passed over, so that a campaign goes
    on where it was cut off. Within the budget (seconds) a candidate that was begun is finished.
    Raises SuiteFailed for a suite of no use, Busy where another campaign writes to `out`.
    """
    out = config.state / "lab" if out is None else out
    repo = Repository.open(repo_root)
    commit = repo.resolve(commit)
    cases = out / "cases.jsonl"
    with lock(out / "lock", timeout=2.0):
        repair(cases)
        known = {case.case_id for case in read_cases(cases) if case.commit == commit}
        campaign = _Campaign(
            repo, config, commit, cases, known, select_tests, progress or (lambda *_: None)
        )
        return campaign.run(candidates, max(1, workers), budget_seconds, baseline)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file of cases holds, oldest first."""

    cases: tuple[Case, ...]
    unreadable: int = 0
    """Whole lines that are no case to us: damaged, or written by a newer foretest."""

    def notices(self) -> tuple[str, ...]:
        """What a user should know of the file."""
        if not self.unreadable:
            return ()
        lines = "1 line" if self.unreadable == 1 else f"{self.unreadable:,} lines"
        return (f"{lines} of tried changes cannot be read (damaged, or newer): passed over.",)


def read_kept(path: Path) -> Kept:
    """The cases of a file, and how many lines are none.

    It asks for no lock: a last line without its end is one that another process is writing, or
    that a kill cut short, and is not looked at.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return Kept(())
    cases = []
    for line in lines:
        # ValueError holds damaged JSON and unknown words, the others missing and unknown fields.
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            cases.append(Case.from_line(line))
    return Kept(tuple(cases), len(lines) - len(cases))


def read_cases(path: Path) -> Iterator[Case]:
    """The cases of a file that can be read, oldest first."""
    yield from read_kept(path).cases


def repair(path: Path) -> bool:
    """Cut off a torn last line; True where there was one. Only under the lock of `path`'s lab."""
    try:
        with path.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            tail = b""
            while size and b"\n" not in tail:
                start = max(0, size - (1 << 16))
                file.seek(start)
                tail = file.read(size - start) + tail
                size = start
            keep = size + tail.rfind(b"\n") + 1
            if keep == size + len(tail):
                return False
            file.truncate(keep)
            os.fsync(file.fileno())
            return True
    except FileNotFoundError:
        return False


def append_case(path: Path, case: Case) -> None:
    """Append one case; it is on disk when this returns."""
    append_line(path, case.to_line())


def append_line(path: Path, line: str) -> None:
    """Append one whole line; it is on disk when this returns. Raises BadStore."""
    try:
        with path.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except OSError as error:
        raise refused(path, error) from error


class _Campaign:
    """One call of `run_campaign`: what its workers share."""

    def __init__(
        self,
        repo: Repository,
        config: Config,
        commit: str,
        cases: Path,
        known: set[str],
        select_tests: SelectTests | None,
        progress: Progress,
    ) -> None:
        self.repo = repo
        self.config = config
        self.commit = commit
        self.cases = cases
        self.known = known
        self.select_tests = select_tests
        self.progress = progress
        self.key = repository_key(config, repo)
        self.tally = Tally()
        self.began = time.monotonic()
        self.deadline = float("inf")
        self.stopping = threading.Event()
        self.guard = threading.Lock()
        self.errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def run(
        self,
        candidates: Iterable[Candidate],
        workers: int,
        budget: float | None,
        baseline: Baseline | None,
    ) -> Tally:
        cache = cache_directory(self.repo.root, self.config.cache_path)
        source = iter(candidates)
        with ExitStack() as held:
            runners = [self._runner(cache, held) for _ in range(workers)]
            first = baseline or self._baseline(runners[0])
            self.began = time.monotonic()
            self.deadline = self.began + (float("inf") if budget is None else budget)
            threads = [
                threading.Thread(target=self._work, args=(runner, first, source), daemon=True)
                for runner in runners
            ]
            try:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    while thread.is_alive():
                        thread.join(0.2)
            finally:
                self.stopping.set()
                for runner in runners:
                    runner.worker.stop()
                for thread in threads:
                    thread.join(10.0)
        if not self.errors.empty():
            raise self.errors.get()
        return self.tally

    def _runner(self, cache: Path, held: ExitStack) -> SuiteRunner:
        workspace = held.enter_context(Workspace.create(self.repo.root, self.commit, cache))
        args = (*self.config.pytest_args, *self.config.tests)
        runner = SuiteRunner(workspace, self.config.python, args, self.config.timeout)
        held.callback(runner.close)
        return runner

    def _baseline(self, runner: SuiteRunner) -> Baseline:
        """The unchanged suite's results, kept beside the cases for the next call."""
        facts = (self.commit, self.config.python, self.config.pytest_args, self.config.tests)
        name = hashlib.blake2b(repr(facts).encode(), digest_size=6).hexdigest()
        path = self.cases.with_name(f"baseline-{name}.json")
        try:
            return Baseline.from_json(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            found = runner.baseline()
            write_text(path, json.dumps(found.to_json(), indent=1) + "\n")
            return found

    def _work(self, runner: SuiteRunner, baseline: Baseline, source: Iterator[Candidate]) -> None:
        try:
            trial = Trial(runner, baseline, self.key, self.select_tests)
            while (candidate := self._next(source)) is not None:
                case = trial.run(candidate)
                if self.stopping.is_set():
                    return
                self._note(case)
        except BaseException as error:
            if not self.stopping.is_set():
                self.errors.put(error)
            self.stopping.set()

    def _next(self, source: Iterator[Candidate]) -> Candidate | None:
        while True:
            with self.guard:
                if self.stopping.is_set() or time.monotonic() >= self.deadline:
                    return None
                candidate = next(source, None)
                if candidate is None:
                    return None
                if candidate.case_id not in self.known:
                    self.known.add(candidate.case_id)
                    return candidate
                self.tally = replace(self.tally, known=self.tally.known + 1)

    def _note(self, case: Case | None) -> None:
        with self.guard:
            tally = self.tally
            if case is None:
                self.tally = replace(tally, unfit=tally.unfit + 1)
            else:
                append_case(self.cases, case)
                self.tally = replace(
                    tally,
                    tried=tally.tried + 1,
                    faulty=tally.faulty + case.faulty,
                    broken=tally.broken + (case.broken not in ("", NONE_FAILED)),
                    seconds=time.monotonic() - self.began,
                )
            self.progress(case, self.tally)


class Trial:
    """Tries candidates, one after another, in one workspace."""

    def __init__(
        self,
        runner: SuiteRunner,
        baseline: Baseline,
        repository: str,
        select_tests: SelectTests | None = None,
    ) -> None:
        self.runner = runner
        self.baseline = baseline
        self.repository = repository
        self.select_tests = select_tests
        self.trusted = frozenset(baseline.seconds)
        self.units_by_name: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for unit in (*baseline.seconds, *baseline.failing, *baseline.flaky, *baseline.skipped):
            self.units_by_name[_named(unit)].append(unit)
        runner.use(baseline)

    def run(self, candidate: Candidate) -> Case | None:
        """The case that a candidate makes; None where its patch does not apply."""
        workspace = self.runner.workspace
        if candidate.commit != workspace.commit:
            raise SuiteFailed(
                f"Candidate {candidate.case_id} is for commit {candidate.commit[:12]}, not for "
                f"{workspace.commit[:12]}.",
                "Make candidates at the commit that the campaign runs at.",
            )
        try:
            if not workspace.apply(candidate.patch):
                return None
            change = read_change(Repository(workspace.tree), workspace.commit, None)
            ran = None if self.select_tests is None else self.select_tests(change, candidate)
            outcome = self.runner.run_as_is(only=ran)
            failed = outcome.bad & self.trusted
            if failed and not outcome.broken:
                failed &= self._again(candidate, failed)
        finally:
            workspace.restore()
        return self._case(candidate, change, ran, outcome, failed)

    def _again(self, candidate: Candidate, failed: frozenset[str]) -> frozenset[str]:
        """Which of the failed units fail once more, in a fresh tree: the rest is flaky."""
        self.runner.workspace.restore()
        self.runner.workspace.apply(candidate.patch)
        return self.runner.run_as_is(only=failed).bad

    def _case(
        self,
        candidate: Candidate,
        change: Change,
        ran: Mapping[str, float] | None,
        outcome: RunOutcome,
        failed: frozenset[str],
    ) -> Case:
        return Case(
            case_id=candidate.case_id,
            repository=self.repository,
            source=candidate.source,
            commit=candidate.commit,
            undone_commit=candidate.undone_commit,
            hunk=candidate.hunk,
            author_time=candidate.author_time,
            failed=tuple(sorted(failed)),
            broken=outcome.broken or ("" if failed else NONE_FAILED),
            modified_tests=self._with_heirs(candidate.modified_tests),
            added_tests=self._with_heirs(candidate.added_tests),
            ran=None if ran is None else dict(ran),
            seconds=round(outcome.seconds, 3),
            edits=candidate.edits,
            **change_facts(change),
        )

    def _with_heirs(self, units: Iterable[str]) -> tuple[str, ...]:
        """Units of the same file and name, too: a class inherits the tests of its base."""
        found = dict.fromkeys(units)
        for unit in list(found):
            found.update(dict.fromkeys(self.units_by_name.get(_named(unit), ())))
        return tuple(found)


def _named(unit: str) -> tuple[str, str]:
    return unit.partition("::")[0], unit.rpartition("::")[2]
