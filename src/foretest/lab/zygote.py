"""A warm process that forks a child per run of a suite; a script: stdlib and pytest only.

The interpreter of the tested project starts it by path, so it imports nothing of foretest. The
engine's end is `worker.py`. Requests come as JSON lines on one descriptor, answers leave as JSON
lines on another: the child's own lines (`start`, `test`, `collected`, ...), then one `end` line.
When the requests end, because the engine closed them or was killed, all that runs here is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import select
import signal
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

KEPT_OUTPUT = 16_384
"""Bytes kept of either end of what a run prints; the rest is drained and dropped."""

run_suite: Callable[[dict[str, Any], int, Callable[[], None]], int]

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main(requests: int, answers: int) -> None:
    """Serve requests until they end."""
    here = pathlib.Path(__file__).resolve().parent
    sys.path[:] = [p for p in sys.path if p and pathlib.Path(p).resolve() != here]
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    sys.modules["__main__"] = _blank_main()
    cache = CodeCache()
    cache.install()
    reader = LineReader(requests)
    say(answers, {"kind": "ready", "python": list(sys.version_info[:2]), "pid": os.getpid()})
    while True:
        line = reader.line()
        if line is None:
            return
        request = json.loads(line)
        if request["kind"] == "prepare":
            say(answers, prepare(request, cache))
        else:
            supervise(request, reader, answers, cache)


def _blank_main() -> types.ModuleType:
    module = types.ModuleType("__main__")
    del module.__spec__  # a test that starts processes by `spawn` must not run this script again
    module.__spec__ = None
    return module


def say(descriptor: int, record: dict[str, Any]) -> None:
    _write(descriptor, (json.dumps(record) + "\n").encode())


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


class LineReader:
    """Lines of a descriptor, read without a buffer that would hide them from select()."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.pending = b""
        self.ended = False

    def pump(self) -> list[bytes]:
        """Read once, and give the complete lines; `ended` turns true at the end of the file."""
        data = os.read(self.descriptor, 1 << 16)
        self.ended = not data
        *lines, self.pending = (self.pending + data).split(b"\n")
        return lines

    def line(self) -> bytes | None:
        """Wait for one line (the engine sends one at a time); None at the end."""
        while not self.ended:
            lines = self.pump()
            if lines:
                return lines[0]
        return None


# --- what is made warm ---------------------------------------------------------------------------


class NeedsProject(BaseException):
    """Raised where a preloaded module wants the tested project, which must stay fresh.

    Not an Exception, so that no `except ImportError` leaves a module behind that believes the
    project is not installed.
    """


class Refusing(importlib.abc.MetaPathFinder):
    """Refuse to import the project's own packages while third-party modules are preloaded."""

    def __init__(self, packages: list[str]) -> None:
        self.packages = frozenset(packages)

    def find_spec(self, fullname: str, *_: Any) -> None:
        if fullname.partition(".")[0] in self.packages:
            raise NeedsProject(fullname)


def prepare(request: dict[str, Any], cache: CodeCache) -> dict[str, Any]:
    """Import third-party modules and compile the project's sources, to be shared by all forks."""
    refusing = Refusing(request["packages"])
    sys.meta_path.insert(0, refusing)
    left_out = []
    known = list(sys.modules)
    for name in ["pytest", *request["modules"]]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)
        except (Exception, NeedsProject, SystemExit):
            left_out.append(name)
    sys.meta_path.remove(refusing)
    for path in request["sources"]:
        cache.learn(path)
    for path in request["tests"]:
        cache.learn_test(path)
    gc.collect()
    gc.freeze()
    threads = 1
    with contextlib.suppress(OSError):
        threads = len(list(pathlib.Path("/proc/self/task").iterdir()))
    loaded = len(sys.modules) - len(known)
    return {"kind": "prepared", "left_out": left_out, "loaded": loaded, "threads": threads}


class CodeCache:
    """Compiled code by path and digest of the source, held in memory and inherited by every fork.

    Python's own cache files are told apart by time stamp and size: two edits within a second can
    look the same to them. A digest cannot be fooled, and nothing is written to the work tree.
    """

    def __init__(self) -> None:
        self.codes: dict[tuple[str, bytes], types.CodeType] = {}
        self.rewritten: dict[tuple[str, bytes], types.CodeType] = {}

    def install(self) -> None:
        original = importlib.machinery.SourceFileLoader.source_to_code
        codes = self.codes

        def source_to_code(loader: Any, data: Any, path: Any, **options: Any) -> types.CodeType:
            if isinstance(data, bytes):
                found = codes.get((str(path), hashlib.blake2b(data).digest()))
                if found is not None:
                    return found
            return original(loader, data, path, **options)

        importlib.machinery.SourceFileLoader.source_to_code = source_to_code  # type: ignore

    def learn(self, path: str) -> None:
        with contextlib.suppress(OSError, SyntaxError, ValueError, RecursionError):
            data = pathlib.Path(path).read_bytes()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                code = compile(data, path, "exec", dont_inherit=True)
            self.codes[path, hashlib.blake2b(data).digest()] = code

    def learn_test(self, path: str) -> None:
        """Compile a test file as pytest does, with its assertions rewritten."""
        with contextlib.suppress(Exception):
            from _pytest.assertion import rewrite

            data = pathlib.Path(path).read_bytes()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                code = rewrite._rewrite_test(pathlib.Path(path), None)[1]  # type: ignore
            self.rewritten[path, hashlib.blake2b(data).digest()] = code

    def install_rewritten(self) -> None:
        """Let pytest's rewriter take what `learn_test` made. In the child, once pytest is there."""
        with contextlib.suppress(Exception):
            from _pytest.assertion import rewrite

            original = rewrite._rewrite_test
            rewritten = self.rewritten

            def rewrite_test(path: Any, config: Any) -> tuple[Any, types.CodeType]:
                if not config.getini("enable_assertion_pass_hook"):
                    data = pathlib.Path(path).read_bytes()
                    found = rewritten.get((str(path), hashlib.blake2b(data).digest()))
                    if found is not None:
                        return None, found  # the first part serves pytest's cache files alone
                return original(path, config)

            rewrite._rewrite_test = rewrite_test  # type: ignore
            # Preloaded plugins were imported before pytest could rewrite them: known and harmless.
            rewrite.AssertionRewritingHook._warn_already_imported = (  # type: ignore
                lambda *_: None
            )


# --- one run -------------------------------------------------------------------------------------


def supervise(
    request: dict[str, Any], requests: LineReader, answers: int, cache: CodeCache
) -> None:
    """Fork a child for one run, pass its lines on, and see that nothing of it is left."""
    lines_out, lines_in = os.pipe()
    text_out, text_in = os.pipe()
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 3.12+ warns of forks beside threads; preloading saw to it
        pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.close(lines_out)
            os.close(text_out)
            os.close(answers)
            os.close(requests.descriptor)
            _become_child(lines_in, text_in)
            code = run_suite(request, lines_in, cache.install_rewritten)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(lines_in)
    os.close(text_in)
    say(answers, {"kind": "child", "pid": pid})
    output = Output()
    timed_out = _relay(request, requests, answers, (pid, lines_out, text_out), output)
    status = _end(pid, patience=0.0 if timed_out else 2.0)
    while select.select([text_out], [], [], 0)[0] and output.take(text_out):
        pass
    os.close(lines_out)
    os.close(text_out)
    if requests.ended:
        os._exit(0)
    say(
        answers,
        {
            "kind": "end",
            "timeout": timed_out,
            "seconds": time.monotonic() - started,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
            "output": output.text(),
        },
    )


def _relay(
    request: dict[str, Any],
    requests: LineReader,
    answers: int,
    run: tuple[int, int, int],
    output: Output,
) -> str:
    """Pass on lines until the child closes its end; returns why it was cut short, or ""."""
    pid, lines_out, text_out = run
    started = time.monotonic()
    reader = LineReader(lines_out)
    watched = [lines_out, text_out, requests.descriptor]
    deadline = started + request["timeout"]
    progress = started
    patience = request["patience"]
    while lines_out in watched:
        now = time.monotonic()
        wait = min(deadline, progress + patience) - now
        if wait <= 0:
            return "run" if now >= deadline else "progress"
        ready = select.select(watched, [], [], min(wait, 1.0))[0]
        if requests.descriptor in ready:
            requests.pump()
            if requests.ended:
                return "ended"
        if text_out in ready and not output.take(text_out):
            watched.remove(text_out)
        if lines_out in ready:
            progress = time.monotonic()
            lines = reader.pump()
            if lines:
                _write(answers, b"\n".join(lines) + b"\n")
            if reader.ended:
                watched.remove(lines_out)
        elif not ready and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return ""  # ended, while something that it started still holds the pipe
    return ""


class Output:
    """The first and the last bytes of an output of any length."""

    def __init__(self) -> None:
        self.first = b""
        self.last = b""
        self.size = 0

    def take(self, descriptor: int) -> bool:
        data = os.read(descriptor, 1 << 16)
        self.size += len(data)
        room = KEPT_OUTPUT - len(self.first)
        self.first += data[:room]
        self.last = (self.last + data[room:])[-KEPT_OUTPUT:]
        return bool(data)

    def text(self) -> str:
        left_out = self.size - len(self.first) - len(self.last)
        gap = b"\n... %d bytes left out ...\n" % left_out if left_out else b""
        return (self.first + gap + self.last).decode("utf-8", "replace")


def _end(pid: int, patience: float) -> int:
    """Kill the child's group and all that has been re-parented to us; the child's wait status."""
    # A child that has said all it had to say may still be on its way out: give it its exit code.
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    for _ in range(100):
        orphans = _children()
        for orphan in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(orphan, 0)
        if not orphans:
            break
    return status


def _children() -> list[int]:
    with contextlib.suppress(OSError):
        listed = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        return [int(pid) for pid in listed.split()]
    return []


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(Exception):  # Linux alone has it; elsewhere the groups must do
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _become_child(lines_in: int, text_in: int) -> None:
    """A session of its own, which dies with the zygote, reads nothing and prints into the pipe."""
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(text_in, 1)
    os.dup2(text_in, 2)
    os.close(text_in)
    os.close(nowhere)
    os.set_inheritable(lines_in, False)


def _load_run_suite() -> Any:
    """The function of `recorder.py`, which no path of the tested project leads to."""
    place = pathlib.Path(__file__).with_name("recorder.py")
    spec = importlib.util.spec_from_file_location("_foretest_recorder", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.run_suite


if __name__ == "__main__":
    run_suite = _load_run_suite()
    main(int(sys.argv[1]), int(sys.argv[2]))
