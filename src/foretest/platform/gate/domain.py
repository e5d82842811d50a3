"""Kinds of change that the domain knows to be hard: real ones where facts hold them, and made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from statistics import fmean

import numpy as np

from foretest.changes.layout import is_test_file
from foretest.features.query import FileFacts, Query
from foretest.platform.gate.exam import CANDIDATE, Candidate, Exam, Instance
from foretest.platform.gate.templates import holds
from foretest.platform.gate.verdict import Check
from foretest.records import MODULE_LEVEL, Budget, FileStatus, Symbol, Why
from foretest.replay.intervals import ClusteredBootstrap
from foretest.replay.judge import ALL
from foretest.replay.metrics import SHARES
from foretest.replay.strategies import Moment
from foretest.selection.widening import INSTALLED, has_symbols, matches

SHARE = 0.20
LOCKS = ("poetry.lock", "uv.lock", "package-lock.json", "requirements/ci.txt", "Cargo.lock")
HUGE = 3_000
"""Files of a made change that touches everything and as much again."""
MANY = 20
"""Files from which on a real change counts as huge."""


def checks(exam: Exam) -> Iterator[Check]:
    for name, kind in KINDS.items():
        yield _real(exam, name, kind)
    candidate = exam.candidate
    for name, template in (
        ("a lock file runs everything", lock_file),
        ("a data file widens", data_file),
        ("a renamed file is known by its old name", renamed_file),
        ("module-level code reaches who uses it", module_level),
        ("a huge diff is answered and widens", huge),
    ):
        yield holds(exam, f"domain: {name}", partial(template, candidate), 1.0)


Kind = Callable[[Query], bool]
KINDS: dict[str, Kind] = {
    "module-level changes": lambda q: any(s.qualname == MODULE_LEVEL for s in q.touched),
    "data files": lambda q: any(_is_data(file) for file in q.files),
    "renames": lambda q: any(file.status is FileStatus.RENAMED for file in q.files),
    "lock files": lambda q: any(matches(file.path, INSTALLED) for file in q.files),
    "huge diffs": lambda q: len(q.files) >= MANY,
}


def _real(exam: Exam, name: str, kind: Kind) -> Check:
    """What is caught of the real changes of a kind, beside the rival."""
    name = f"domain: real {name}"
    margin = exam.limits.margin
    wanted = f"no surer loss than {100 * margin:.0f} points"
    found: dict[tuple[str, str], dict[str, float]] = {}
    for v in exam.verdicts:
        key = v.repository, v.case_id
        if v.slice == ALL and kind(exam.trials[key][0].query):
            found.setdefault(key, {})[v.strategy] = v.score.caught[SHARES.index(SHARE)]
    commits = [(repository, exam.trials[repository, case][0].commit) for repository, case in found]
    if len(set(commits)) < exam.limits.slice_least:
        why = f"fewer than {exam.limits.slice_least} commits with one"
        return Check(name, None, f"{len(found)} changes", wanted, why, essential=False)
    mine, theirs = (
        np.array([each[who] for each in found.values()]) for who in (CANDIDATE, exam.rival_name)
    )
    apart = ClusteredBootstrap(commits).difference(mine, theirs)
    told = (
        f"{fmean(mine):.0%} of {len(found)} in {SHARE:.0%}, {exam.rival_name} {fmean(theirs):.0%} "
        f"[{100 * apart.low:+.1f}, {100 * apart.high:+.1f}]"
    )
    return Check(name, apart.high >= -margin, told, wanted, "such changes are caught less often")


def lock_file(candidate: Candidate, instance: Instance) -> bool | None:
    """Beside the real change, what is installed changes: everything runs, whatever the budget."""
    path = LOCKS[instance.random.integers(len(LOCKS))]
    return candidate.decide(*_with(instance, path), budget=Budget(share=0.05)).run_all


def data_file(candidate: Candidate, instance: Instance) -> bool | None:
    """Beside the real change, a file of the package that is no code."""
    folder = _source(instance).rpartition("/")[0]
    path = f"{folder}/table.dat" if folder else "table.dat"
    selection = candidate.decide(*_with(instance, path), budget=Budget(share=0.05))
    return selection.run_all or any(c.why is Why.WIDENED for c in selection.chosen)


def renamed_file(candidate: Candidate, instance: Instance) -> bool | None:
    """The real change in files that moved as well: its tests are scored as before."""
    query = instance.moment.query
    if any(file.status is not FileStatus.MODIFIED for file in query.files):
        return None
    if not any(file for file in query.files if not is_test_file(file.path)):
        return None
    moved = [
        replace(f, path=_moved(f.path), status=FileStatus.RENAMED, old_path=f.path)
        for f in query.files
    ]
    after = candidate.score(instance.moment, replace(query, files=tuple(moved)))
    return bool(np.allclose(after, candidate.score(instance.moment), atol=1e-5))


def module_level(candidate: Candidate, instance: Instance) -> bool | None:
    """Only module level changes of a file that tests enter: one of them stands above the prior."""
    store, path = instance.moment.known, _source(instance)
    symbols = np.zeros(len(store.symbols), bool)
    symbols[store.symbols_of_file(path)] = True
    users = store.coverage.any(symbols)
    if not users.any():
        return None
    touched = (Symbol(path, MODULE_LEVEL),)
    query = Query((FileFacts(path, touched=touched),))
    scores = candidate.score(instance.moment, query)
    return bool(scores[users].max() > candidate.model.prior)


def huge(candidate: Candidate, instance: Instance) -> bool | None:
    """Every known file and as many unknown ones change; once a repository is enough."""
    if instance.seed % 1_000:
        return None
    store = instance.moment.known
    known = [FileFacts(path, touched=_symbols(path)) for path in store.files if path][:HUGE]
    made = [FileFacts(f"made/module_{i}.py") for i in range(HUGE - len(known))]
    words = dict.fromkeys(store.text.words, 3.0)
    query = Query((*known, *made), words, words)
    selection = candidate.decide(instance.moment, query, budget=Budget(share=0.05))
    return selection.run_all or any(c.why is Why.WIDENED for c in selection.chosen)


def _with(instance: Instance, path: str) -> tuple[Moment, Query]:
    query = instance.moment.query
    return instance.moment, replace(query, files=(*query.files, FileFacts(path)))


def _source(instance: Instance) -> str:
    """A changed file that is no test, else the first."""
    paths = [file.path for file in instance.moment.query.files]
    return next((path for path in paths if not is_test_file(path)), paths[0] if paths else "")


def _moved(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}moved_{name}"


def _symbols(path: str) -> tuple[Symbol, ...]:
    return (Symbol(path, MODULE_LEVEL),)


def _is_data(file: FileFacts) -> bool:
    return file.binary or not (has_symbols(file.path) or is_test_file(file.path))
