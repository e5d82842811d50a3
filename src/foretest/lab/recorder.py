"""Runs pytest in a forked child and tells what happens, as it happens; stdlib and pytest only.

Loaded by `zygote.py` from its file, in the interpreter of the tested project.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pathlib
import random
import resource
import sys
from collections.abc import Callable
from typing import Any

LARGEST_FILE = 1 << 29
"""Bytes after which a write by a test fails, so that no run fills the disk."""

# Options in a project's `addopts` that would change what runs, start processes, or write files;
# the number says how many words an option takes when its value is not joined by "=".
_DROPPED = {
    "-n": 1, "--numprocesses": 1, "--maxprocesses": 1, "--dist": 1, "--tx": 1, "--forked": 0,
    "--boxed": 0, "-x": 0, "--exitfirst": 0, "--maxfail": 1, "--strict-config": 0, "--strict": 0,
    "--ff": 0, "--failed-first": 0, "--lf": 0, "--last-failed": 0, "--nf": 0, "--new-first": 0,
    "--sw": 0, "--stepwise": 0, "--cache-clear": 0, "--cov": 1, "--no-cov": 0, "--cov-report": 1,
    "--cov-config": 1, "--cov-append": 0, "--cov-branch": 0, "--cov-fail-under": 1,
    "--cov-context": 1, "--no-cov-on-fail": 0, "--cov-reset": 0, "--junitxml": 1,
    "--junit-xml": 1, "--html": 1, "--self-contained-html": 0, "--reruns": 1, "--reruns-delay": 1,
    "--durations": 1, "--durations-min": 1, "--random-order": 0, "--random-order-bucket": 1,
    "--random-order-seed": 1, "--randomly-seed": 1, "--timeout": 1, "--timeout-method": 1,
    "--session-timeout": 1, "--pdb": 0, "--trace": 0, "--testmon": 0, "--memray": 0,
    "--benchmark-autosave": 0, "--benchmark-compare": 0, "--foretest": 0, "--full-trace": 0,
    "--cov-fail-under-diff": 1, "--mypy": 0, "--flake8": 0, "--black": 0, "--ruff": 0,
    "--codeblocks": 0, "--basetemp": 1, "--rootdir": 1, "--tb": 1, "--showlocals": 0, "-l": 0,
    "--setup-show": 0, "-s": 0,
}  # fmt: skip


def run_suite(request: dict[str, Any], lines_in: int, rewriting: Callable[[], None]) -> int:
    """Run pytest in this process; returns its exit code. `rewriting` prepares pytest's rewriter."""
    _limit(resource.RLIMIT_FSIZE, LARGEST_FILE)
    _limit(resource.RLIMIT_CORE, 0)
    if request["memory"]:
        _limit(resource.RLIMIT_DATA, request["memory"])
    os.chdir(request["tree"])
    own = [p for p in request["path"] if pathlib.Path(p).is_dir()]
    sys.path[:] = own + [p for p in sys.path if p and p not in own]
    importlib.invalidate_caches()
    sys.argv = ["pytest", *request["args"]]
    _seed()
    import pytest

    rewriting()
    pytest.hookimpl(tryfirst=True)(Recorder.pytest_load_initial_conftests)
    pytest.hookimpl(trylast=True)(Recorder.pytest_collection_modifyitems)
    args = [*_own_arguments(request), *without_dropped(request["args"])]
    recorder = Recorder(request, lines_in, len(args))
    code = int(pytest.main(args, plugins=[recorder]))
    recorder.close(code)
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(which, (value if hard < 0 else min(value, hard), hard))


def _seed() -> None:
    random.seed(0)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(0)


def _own_arguments(request: dict[str, Any]) -> list[str]:
    tree = request["tree"]
    args = ["--rootdir=" + tree, "--confcutdir=" + tree, "--basetemp=" + request["temporary"]]
    args += ["--tb=native", "--show-capture=no", "--continue-on-collection-errors", "-q"]
    # A plugin that is blocked takes its markers and fixtures with it: only what would shuffle the
    # tests or choose among them is. The rest goes without the options that wake it.
    args += ["-p", "no:randomly", "-p", "no:foretest", "-p", "no:testmon"]
    args += ["-o", "strict_config=false"]  # the settings of a plugin that is not there may stay
    return [*args, "-o", "cache_dir=" + request["temporary"] + "-cache"]


def without_dropped(args: list[str]) -> list[str]:
    """Arguments without those that a run in the lab cannot have."""
    kept = []
    skip = 0
    for index, word in enumerate(args):
        if skip:
            skip -= 1
            continue
        name, joined, _ = word.partition("=")
        if name.startswith("--cov") and name not in _DROPPED:
            continue
        if name in _DROPPED or (word[:2] == "-n" and word[2:3].isdigit()) or word == "-nauto":
            following = args[index + 1] if index + 1 < len(args) else "-"
            if not joined and name in _DROPPED and not following.startswith("-"):
                skip = _DROPPED[name]
            continue
        kept.append(word)
    return kept


def unit_of(node_id: str) -> str:
    """A node id without its parameters: the same rule as `foretest.records.TestId`."""
    head, bracket, rest = node_id.partition("[")
    while bracket and "::" not in head and "::" in rest:
        more, bracket, rest = rest.partition("[")
        head = head + "[" + more
    return head


class Recorder:
    """The pytest plugin that tells the zygote what happens, as it happens."""

    def __init__(self, request: dict[str, Any], descriptor: int, given: int) -> None:
        self.given = given
        self.request = request
        self.descriptor = descriptor
        self.only = None if request["only"] is None else frozenset(request["only"])
        self.known_errors = frozenset(request["known_errors"])
        self.new_errors: list[str] = []
        self.outcome: str | None = None
        self.seconds = 0.0

    def say(self, kind: str, **facts: Any) -> None:
        data = (json.dumps({"kind": kind, **facts}) + "\n").encode()
        while data:
            data = data[os.write(self.descriptor, data) :]

    def pytest_load_initial_conftests(self, early_config: Any, args: list[str]) -> None:
        count = len(args) - self.given
        args[:] = [*without_dropped(args[:count]), *args[count:]]
        # Before pytest 9 it is read from here, of old; see also `_own_arguments`.
        early_config.known_args_namespace.strict_config = False
        if early_config.pluginmanager.hasplugin("hypothesispytest"):
            args.append("--hypothesis-seed=0")

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            text = str(report.longrepr).strip().splitlines() or [""]
            self.say("error", node=report.nodeid, text=text[-1][:300])
            if report.nodeid not in self.known_errors:
                self.new_errors.append(report.nodeid)

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        units = [unit_of(item.nodeid) for item in items]
        self.say("collected", units=sorted(set(units)))
        if self.new_errors and self.request["stop_on_errors"]:
            items[:] = []
            return
        if self.only is None:
            return
        kept = [item for item, unit in zip(items, units, strict=True) if unit in self.only]
        if len(kept) < len(items):
            chosen = set(map(id, kept))
            config.hook.pytest_deselected(items=[i for i in items if id(i) not in chosen])
            items[:] = kept

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.outcome, self.seconds = None, 0.0
        self.say("start", node=nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds += report.duration
        found = _outcome(report)
        if found is not None and self.outcome not in ("failed", "error"):
            self.outcome = found

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.say("test", node=nodeid, outcome=self.outcome or "passed", seconds=self.seconds)

    def pytest_internalerror(self, excrepr: Any) -> None:
        lines = str(excrepr).strip().splitlines() or [""]
        self.say("internal", text=lines[-1][:300])

    def close(self, code: int) -> None:
        tree = os.path.realpath(self.request["tree"]) + os.sep
        packages = frozenset(self.request["packages"])
        foreign: dict[str, str] = {}
        inside: list[str] = []
        outside: list[str] = []
        for name, module in list(sys.modules.items()):
            path = getattr(getattr(module, "__spec__", None), "origin", None)
            path = path or getattr(module, "__file__", None)
            if not isinstance(path, str):
                continue
            if os.path.realpath(path).startswith(tree):
                inside.append(path)
            elif name.partition(".")[0] in packages and path.startswith("/"):
                foreign[name] = path
            elif self.request["learn"] and name.partition(".")[0] not in packages:
                outside.append(name)
        learned = {"inside": inside, "outside": outside} if self.request["learn"] else {}
        self.say("closed", exit=code, foreign=foreign, **learned)


def _outcome(report: Any) -> str | None:
    """The outcome of one phase, None where it says nothing of its own."""
    if report.outcome == "rerun":
        return None
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "skipped"
    return "passed" if report.when == "call" else None
