"""Which change turned a test red: history narrows the range, probability aims the bisection."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from foretest.bundle import Bundle
from foretest.changes.diff import read_change
from foretest.changes.git import Commit, Repository, repository_key
from foretest.config import Config
from foretest.engine import read_bundle
from foretest.errors import ForetestError, StateNotFound
from foretest.features.build import build
from foretest.features.query import query_of
from foretest.history.lake import Lake
from foretest.lab.runner import SuiteRunner
from foretest.lab.workspace import Workspace, cache_directory
from foretest.models.contract import predict
from foretest.records import TestId, TestRun

FLOOR = 0.02
"""Weight of a change that no evidence links to the test: evidence may be wrong."""
SCORED = 300
"""Changes scored at most; of a longer range the rest has the floor's weight."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """One commit between the last state known good and the first known bad, oldest first."""

    commit: str
    subject: str
    weight: float
    """How likely this change is to break the test, by the evidence; any positive scale."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the search found."""

    culprit: Suspect | None
    runs: int
    """States that were run, the check of both ends included."""
    plain_runs: int
    """What a bisection that knows nothing would have needed at most, both ends included."""
    note: str = ""


def find_culprit(
    suspects: Sequence[Suspect], fails_after: Callable[[int], bool | None], max_runs: int = 50
) -> Verdict:
    """Find the first suspect after which the test fails.

    `fails_after(i)` runs the test with suspects[0..i] applied; -1 is the state before all of
    them. It returns None where that state cannot be judged (it does not build). The search splits
    the remaining probability in half instead of the remaining commits, so a well-aimed prior needs
    few runs and a useless one (all weights equal) is ordinary bisection.
    """
    plain = 2 + max(0, (len(suspects) - 1)).bit_length()
    runs = 1
    if not fails_after(len(suspects) - 1):
        return Verdict(
            None, runs, plain, "The test does not fail at the newest state: it may be flaky."
        )
    runs += 1
    if fails_after(-1):
        return Verdict(None, runs, plain, "The test fails before the first of these changes too.")
    good, bad = -1, len(suspects) - 1
    unknown: set[int] = set()
    while bad - good > 1 and runs < max_runs:
        middle = _split(suspects, good, bad, unknown)
        if middle is None:
            break
        runs += 1
        answer = fails_after(middle)
        if answer is None:
            unknown.add(middle)
        elif answer:
            bad = middle
        else:
            good = middle
    if bad - good == 1:
        return Verdict(suspects[bad], runs, plain)
    span = [s.commit[:10] for s in suspects[good + 1 : bad + 1]]
    reason = "could not be run" if unknown else "are left after the allowed number of runs"
    return Verdict(None, runs, plain, f"One of {', '.join(span)}; the states between {reason}.")


def _split(suspects: Sequence[Suspect], good: int, bad: int, unknown: set[int]) -> int | None:
    """The state whose answer halves the weight of what remains best; None if none can be asked."""
    total = sum(s.weight for s in suspects[good + 1 : bad + 1])
    best, distance, below = None, float("inf"), 0.0
    for index in range(good + 1, bad):
        below += suspects[index].weight
        if index not in unknown and abs(total / 2 - below) < distance:
            best, distance = index, abs(total / 2 - below)
    return best


@dataclass(frozen=True, slots=True)
class Report:
    """The answer for one test."""

    test: str
    good: str
    bad: str
    changes: int
    verdict: Verdict

    def lines(self) -> list[str]:
        verdict = self.verdict
        runs = f"{verdict.runs} runs over {self.changes:,} changes"
        plain = f" (plain bisection: up to {verdict.plain_runs})"
        if verdict.culprit is None:
            return [f"{self.test}: not found after {runs}.", f"    {verdict.note}"]
        culprit = verdict.culprit
        return [
            f"{self.test}: broken by {culprit.commit[:12]} {culprit.subject}",
            f"    {runs}{plain}; good at {self.good[:12]}, bad at {self.bad[:12]}.",
        ]


def blame(
    config: Config,
    tests: Sequence[str] = (),
    *,
    good: str | None = None,
    bad: str = "HEAD",
    max_runs: int = 30,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> list[Report]:
    """Find the change that broke each test; without `tests`, those that failed in the last run.

    States are those of the first-parent line, so a merge counts as one change. The user's tree is
    not touched. Raises StateNotFound where no recorded run and no argument say where to look.
    """
    repo = Repository.open(config.root)
    newest = repo.resolve(bad)
    runs = list(Lake(config.state / "lake").events(repository_key(config, repo)))
    units = [TestId.parse(test).unit for test in tests] or _last_failures(runs)
    if not units:
        raise StateNotFound("No recorded run has a failing test.", "Name the test to look at.")
    reports = []
    for unit in dict.fromkeys(units):
        oldest = repo.resolve(good) if good else _last_good(repo, runs, unit, newest)
        commits = first_parents(repo, oldest, newest)
        suspects = [
            Suspect(commit.id, commit.subject, weight)
            for commit, weight in zip(commits, _weights(repo, config, commits, unit), strict=True)
        ]
        if not suspects:
            raise StateNotFound(
                f"There is no change between {oldest[:12]} and {newest[:12]}.", "Give --good REF."
            )
        states = [oldest, *(commit.id for commit in commits)]
        ran: list[int] = []

        def fails_after(index: int) -> bool | None:
            progress(f"Running {unit.rpartition('::')[2]}", len(ran), max_runs)  # noqa: B023
            ran.append(index)  # noqa: B023
            return fails_at(repo, config, states[index + 1], unit)  # noqa: B023

        verdict = find_culprit(suspects, fails_after, max_runs)
        progress(f"Running {unit.rpartition('::')[2]}", max_runs, max_runs)
        reports.append(Report(unit, oldest, newest, len(suspects), verdict))
    return reports


def fails_at(repo: Repository, config: Config, commit: str, unit: str) -> bool | None:
    """Whether the test fails at `commit`; None where that state cannot run it.

    A test that does not exist there yet does not fail there.
    """
    cache = cache_directory(repo.root, config.cache_path)
    with Workspace.create(repo.root, commit, cache) as workspace:
        file = unit.partition("::")[0]
        if not (workspace.tree / file).exists():
            return False
        args = (*config.pytest_args, file)
        runner = SuiteRunner(workspace, config.python, args, config.timeout)
        try:
            outcome = runner.run(only=[unit])
        finally:
            runner.close()
    if outcome is None:
        return None
    if unit in outcome.bad:
        return True
    if unit in outcome.results:
        return False
    return None if outcome.broken else False


def first_parents(repo: Repository, good: str, bad: str) -> list[Commit]:
    """The changes after `good` up to `bad` along the first parents, oldest first."""
    listed = repo.run("log", "--first-parent", "--format=%H %at %s", f"{good}..{bad}", "--")
    commits = []
    for line in listed.decode("utf-8", "replace").splitlines():
        commit, moment, subject = (*line.split(" ", 2), "")[:3]
        commits.append(Commit(commit, int(moment), (), subject, ()))
    return commits[::-1]


def _weights(repo: Repository, config: Config, commits: Sequence[Commit], unit: str) -> list[float]:
    """How likely each change is to break the test, by the bundle; all alike where there is none."""
    try:
        bundle = read_bundle(config)
    except ForetestError:
        return [1.0] * len(commits)
    row = bundle.store.test_index.get(unit)
    if row is None:
        return [1.0] * len(commits)
    late = {commit.id for commit in commits[-SCORED:]}
    return [FLOOR + _score(repo, bundle, c.id, row) if c.id in late else FLOOR for c in commits]


def _score(repo: Repository, bundle: Bundle, commit: str, row: int) -> float:
    try:
        query = query_of(read_change(repo, repo.resolve(f"{commit}^"), commit))
    except ForetestError:
        return 0.0  # the first commit of all has nothing before it
    wanted = frozenset(bundle.model.inputs)
    return float(predict(bundle.model, build(query, bundle.store, time.time(), only=wanted))[row])


def _last_failures(runs: Sequence[TestRun]) -> list[str]:
    for run in reversed(runs):
        failed = {r.test.unit for r in run.results if r.outcome.bad}
        if failed:
            return sorted(failed)
    return []


def _last_good(repo: Repository, runs: Sequence[TestRun], unit: str, bad: str) -> str:
    """The newest recorded state in `bad`'s past where the test passed."""
    passed: Mapping[str, int] = {
        run.commit: place
        for place, run in enumerate(runs)
        if run.commit
        and run.commit != bad
        and any(r.test.unit == unit and not r.outcome.bad for r in run.results)
        and not any(r.test.unit == unit and r.outcome.bad for r in run.results)
    }
    past = repo.ancestors(bad, 10_000)
    for commit in past:
        if commit in passed:
            return commit
    raise StateNotFound(
        f"No recorded run shows {unit} passing before {bad[:12]}.", "Give --good REF."
    )
