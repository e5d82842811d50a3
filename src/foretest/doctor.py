"""What is wrong with a set-up, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from foretest.changes.git import Repository, repository_key
from foretest.comparing import base_by_ci, context_of
from foretest.config import Config, load_config, unread_settings
from foretest.errors import ForetestError

LOW_DISK = 1 << 30
"""Bytes free under which the lab's copies may not fit."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer; `grade` is "ok", "note" (could be better) or "bad" (does not work)."""

    grade: str
    what: str
    remedy: str = ""


def examine(start: Path) -> list[Finding]:
    """Run every check, in the order in which a set-up is built."""
    try:
        repo = Repository.open(start)
        config = load_config(repo.root)
    except ForetestError as error:
        return [Finding("bad", error.message, error.remedy)]
    findings = [
        Finding(
            "note",
            f"The settings of {file.relative_to(repo.root.resolve())} are not read.",
            "Move them to the pyproject.toml or foretest.toml at the root of the repository.",
        )
        for file in unread_settings(start, repo.root)
    ]
    for check in _CHECKS:
        try:
            findings.extend(check(repo, config))
        except ForetestError as error:
            findings.append(Finding("bad", error.message, error.remedy))
    return findings


def _history(repo: Repository, config: Config) -> Iterator[Finding]:
    head = repo.head()
    yield Finding("ok", f"Repository {repository_key(config, repo)} at {head[:10]}.")
    if repo.is_shallow():
        yield Finding(
            "bad", "The clone is shallow: its history ends early.", "git fetch --unshallow"
        )
    context = context_of(repo, head)
    named = None
    if context is not None:
        yield Finding("ok", f"This is a job of {context.system}; `foretest ci show` says more.")
        named = base_by_ci(repo, context, head)
    if named is not None:
        yield Finding("ok", named[1])
        return
    fork = repo.fork_point(head)
    base = f"{fork[:10]}, where it left the main line" if fork else "the state of the bundle"
    yield Finding("ok", f"A change is compared with {base}, unless --base says otherwise.")


def _interpreter(_: Repository, config: Config) -> Iterator[Finding]:
    code = (
        "import importlib.util as u, sys; "
        "wanted = ('pytest', 'coverage', 'foretest', 'pytest_cov'); "
        "print(sys.version.split()[0], *(m for m in wanted if u.find_spec(m)))"
    )
    try:
        answer = subprocess.run(
            [config.python, "-c", code], capture_output=True, text=True, timeout=60, check=True
        ).stdout.split()
        version, *modules = answer
        number = tuple(int(part) for part in version.split(".")[:2])
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        yield Finding(
            "bad",
            f"The interpreter {config.python} does not run: {error}.",
            "Set `python` in [tool.foretest] to the interpreter that runs your tests.",
        )
        return
    if "pytest" not in modules:
        yield Finding(
            "bad", f"{config.python} has no pytest.", f"{config.python} -m pip install pytest"
        )
        return
    yield Finding("ok", f"Tests run by Python {version} ({config.python}).")
    monitoring = number >= (3, 12)
    if monitoring:
        yield Finding("ok", "Coverage is traced by sys.monitoring, at little cost.")
    elif "coverage" in modules:
        yield Finding(
            "ok", "Coverage is traced by Coverage.py's contexts (Python 3.12 would be faster)."
        )
    else:
        yield Finding(
            "bad",
            f"{config.python} has no coverage package, so no coverage can be traced.",
            f"{config.python} -m pip install coverage",
        )
    if "pytest_cov" in modules and not monitoring:
        yield Finding(
            "note",
            "pytest-cov holds the tracer while it measures: such runs refresh no coverage.",
            "Refresh in a run without --cov, or use Python 3.12 or newer.",
        )


def _disk(repo: Repository, config: Config) -> Iterator[Finding]:
    place = config.state if config.state.exists() else repo.root
    if not os.access(place, os.W_OK):
        yield Finding("bad", f"{place} cannot be written to.", f"chmod u+w '{place}'")
    free = shutil.disk_usage(place).free
    if free < LOW_DISK:
        yield Finding("bad", f"Only {free / 1e6:.0f} MB of disk are free.", "Free 1 GB or more.")


def _bundle(repo: Repository, config: Config) -> Iterator[Finding]:
    from foretest.engine import read_bundle, staleness

    bundle = read_bundle(config)
    store = bundle.store
    known = int((store.coverage_commit >= 0).sum())
    total = len(store.tests)
    yield Finding(
        "ok",
        f"The bundle knows {total:,} tests and the coverage of {known:,}, at {store.commit[:10]}.",
    )
    if known < total:
        yield Finding(
            "note",
            f"{total - known:,} tests have no coverage: they are judged by text and imports.",
            "foretest learn",
        )
    age = staleness(repo, store.commit)
    if age is None:
        yield Finding(
            "note",
            "The bundle describes a commit of another history: all tests run.",
            "foretest learn",
        )
    elif age > config.max_coverage_age:
        yield Finding(
            "note", f"The bundle is {age:,} commits old: all tests run.", "foretest learn"
        )


def _installed(_: Repository, __: Config) -> Iterator[Finding]:
    points = importlib.metadata.entry_points(group="pytest11")
    if not any(point.value.startswith("foretest") for point in points):
        yield Finding(
            "note",
            "pytest does not see foretest's plugin in this environment.",
            "pip install foretest in the environment that runs the tests.",
        )


_CHECKS: tuple[Callable[[Repository, Config], Iterator[Finding]], ...] = (
    _history,
    _interpreter,
    _installed,
    _disk,
    _bundle,
)
