"""Which tests exist after an edit, held against what pytest itself collects."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foretest.changes.git import Repository
from foretest.evidence.collect import build_store
from foretest.evidence.store import EvidenceStore
from foretest.selection.existing import units_now

BASE = "class Mixin:\n    def test_shared(self): pass\n    def test_other(self): pass\n"
BEFORE = {
    "tests/base_cases.py": BASE,
    "tests/test_one.py": """
import unittest
import pytest
from base_cases import Mixin

class Local:
    def test_local(self): pass

class TestNear(Local):
    def test_own(self): pass

class TestFar(Mixin):
    def test_far(self): pass

class Odd(unittest.TestCase):
    def test_case(self): pass

class Helper:
    def test_connection(self): pass

@pytest.fixture
def test_client(): pass

def test_top(): pass
""",
    "tests/test_two.py": "from base_cases import Mixin\nclass TestTwo(Mixin): pass\n",
}


def one(old: str, new: str) -> dict[str, str | None]:
    text = BEFORE["tests/test_one.py"]
    assert old in text
    return {"tests/test_one.py": text.replace(old, new)}


EDITS: dict[str, dict[str, str | None]] = {
    "a comment": one("import unittest", "# words\nimport unittest"),
    "a method renamed": one("test_own", "test_mine"),
    "a case renamed": one("test_case", "test_case_two"),
    "a mixin's method renamed": one("test_local", "test_nearby"),
    "a mixin gains one": one("test_local(self): pass", "test_local(self): pass\n    test_x = id"),
    "a base goes": one("TestFar(Mixin)", "TestFar"),
    "a base comes": one("class TestNear(Local)", "class TestNear(Local, Mixin)"),
    "a class goes": one("class TestFar(Mixin):\n    def test_far(self): pass\n", ""),
    "a class is renamed": one("TestNear", "TestNigh"),
    "a class is no test": one("TestNear", "Near"),
    "a class inherits": one("def test_top", "class TestThird(Local): pass\n\ndef test_top"),
    "far method goes": one("def test_far(self): pass", "pass"),
    "a helper gains": one("test_connection(self): pass", "test_c(self): pass"),
    "a new helper": one("def test_top", "class Also:\n    def test_no(self): pass\n\ndef test_top"),
    "a constructor": one("def test_own", "def __init__(self): pass\n    def test_own"),
    "a condition": one("def test_top(): pass", "if False:\n    def test_top(): pass"),
    "an assignment": one("def test_top(): pass", "test_top = lambda: None"),
    "a loop": one("def test_top(): pass", "for n in 'ab':\n    globals()['test_' + n] = print"),
    "a shared base": {"tests/base_cases.py": BASE.replace("test_other", "test_another")},
    "a shared base gains": {"tests/base_cases.py": BASE + "    def test_third(self): pass\n"},
    "a file goes": {"tests/test_two.py": None},
    "a file moves": {"tests/test_two.py": None, "tests/test_new.py": BEFORE["tests/test_two.py"]},
    "a new file": {"tests/test_new.py": "class TestN:\n    def test_n(self): pass\n"},
    "both": {**one("test_far", "test_near"), "tests/base_cases.py": BASE.replace("other", "o")},
}


COLLECT = """
import io, json, os, sys
from contextlib import redirect_stdout
import pytest
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
options = ["--collect-only", "-q", "-p", "no:cacheprovider"]
for root, args in json.loads(sys.argv[1]):
    pid = os.fork()  # each collection in a process of its own, without pytest's long start
    if not pid:
        os.chdir(root)
        with redirect_stdout(io.StringIO()) as out:
            status = int(pytest.main([*options, *args]))
        units = [line for line in out.getvalue().splitlines() if "::" in line]
        print(json.dumps([status, sorted(units)]), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""


def collected(*asked: tuple[Path, list[str]]) -> list[list[str]]:
    """What pytest collects at each place, given these arguments."""
    told = json.dumps([(str(root), args) for root, args in asked])
    command = [sys.executable, "-B", "-c", COLLECT, told]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {status for status, _ in found} <= {0, 5}, found
    return [units for _, units in found]


def learnt(repo: Repository, tests: list[str]) -> EvidenceStore:
    """A store that knows these tests, at the commit that is checked out, and who imports whom."""

    return build_store(repo, repo.head(), collected=tests)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EvidenceStore]:
    root = tmp_path_factory.mktemp("existing")
    write(root, {**BEFORE, "pytest.ini": "[pytest]\npythonpath = tests\ntestpaths = tests\n"})
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "m"]):
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *command]
        subprocess.run(git, cwd=root, check=True)
    return root, learnt(Repository(root), *collected((root, [])))


def write(root: Path, files: dict[str, str] | dict[str, str | None]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(exist_ok=True)
        if text is None:
            (root / path).unlink()
        else:
            (root / path).write_text(text)


@pytest.mark.parametrize("name", EDITS)
def test_neither_phantom_nor_lost(
    origin: tuple[Path, EvidenceStore], tmp_path: Path, name: str
) -> None:

    root, store = tmp_path / "copy", origin[1]
    shutil.copytree(origin[0], root)
    write(root, EDITS[name])
    units = units_now(Repository(root), store, None)
    assert units is not None
    assert len(set(units)) == len(units)
    # pytest refuses a node that does not exist, and finds by these what it finds by itself.
    named, found = collected((root, [*units]), (root, []))
    assert named == found


def test_an_edit_of_a_body_names_no_whole_file(
    origin: tuple[Path, EvidenceStore], tmp_path: Path
) -> None:

    root, store = tmp_path / "copy", origin[1]
    shutil.copytree(origin[0], root)
    for name in ("a comment", "a method renamed", "a mixin's method renamed", "a helper gains"):
        write(root, EDITS[name])
        assert all("::" in unit for unit in units_now(Repository(root), store, None) or ["no"])
