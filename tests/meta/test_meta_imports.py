"""What imports what: the ladder, and what a process pays for loading the client."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STRANGE = {
    "altair",
    "boto3",
    "coverage",
    "deltalake",
    "jinja2",
    "lightgbm",
    "numpy",
    "obstore",
    "polars",
    "scipy",
    "sqlalchemy",
    "tqdm",
    "tree_sitter",
    "vl_convert",
}

LIGHT = {
    "foretest.pytest_plugin": STRANGE | {"click", "pytest", "foretest.client", "foretest.config"},
    "foretest.client": STRANGE | {"click", "pytest"},
    "foretest.cli.main": STRANGE | {"pytest", "foretest.engine"},
    "foretest.results.report": STRANGE | {"click", "pytest"},
    "foretest.evidence.tracer": STRANGE | {"click", "pytest"},
    "foretest.lab.zygote": STRANGE | {"click"},
}
"""Modules that run on every CI job or inside the tested process, and what they must not load."""

WATCH = """
import importlib, json, os, sys, threading
done = []
STDLIB = os.path.dirname(os.__file__)
CHANGES = {"subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "socket.connect",
           "socket.bind", "os.mkdir", "os.remove", "os.rename", "os.putenv", "os.chdir",
           "shutil.rmtree", "signal.signal"}
def strange():
    # A library that acts, not we: numpy and others set variables for their native code.
    frame = sys._getframe(2)
    while frame and (frame.f_code.co_filename.startswith(("<frozen", STDLIB))
                     and "site-packages" not in frame.f_code.co_filename):
        frame = frame.f_back
    return frame is not None and "site-packages" in frame.f_code.co_filename
def watch(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if (event in CHANGES or writes) and not strange():
        done.append(f"{event} {args[0]!r}")
sys.addaudithook(watch)
names = json.loads(sys.argv[1])
found = {}
for name in names:
    before = len(done), threading.active_count()
    importlib.import_module(name)
    if (len(done), threading.active_count()) != before:
        found[name] = done[before[0]:] or "threads"
print(json.dumps(found))
"""


def _python(code: str, *args: str) -> str:
    # -I -B: neither the working directory nor written bytecode may mix in.
    command = [sys.executable, "-I", "-B", "-c", code, *args]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("name", sorted(LIGHT))
def test_what_every_job_pays_for_stays_light(name: str) -> None:
    loaded = json.loads(
        _python(f"import json, sys, {name}; print(json.dumps(sorted(sys.modules)))")
    )
    assert LIGHT[name] & set(loaded) == set()


def test_nothing_happens_on_import(modules: dict[str, Path]) -> None:
    names = [name for name in modules if not name.endswith("__main__")]
    assert json.loads(_python(WATCH, json.dumps(names))) == {}


def test_watching_sees_what_an_import_does(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(
        "import os; os.mkdir(os.path.join(os.path.dirname(__file__), 'd'))"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{WATCH}"
    assert "os.mkdir" in _python(code, json.dumps(["noisy"]))


def test_imports_go_down_the_ladder(root: Path) -> None:
    code = "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())"
    command = [sys.executable, "-c", code, "--no-cache"]
    run = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stdout + run.stderr
