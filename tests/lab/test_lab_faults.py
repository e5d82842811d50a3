"""Operators and the faults made of them."""

import ast
from pathlib import Path

import pytest

from foretest.changes.git import Repository
from foretest.lab import faults, operators
from foretest.lab.faults import fault_candidates, mending_patch
from foretest.lab.operators import edits_of
from foretest.lab.workspace import Workspace

OWN = [Path(operators.__file__).with_name(name) for name in ("layout.py", "labels.py")]


def results(source, operator):
    data = source.encode()
    return {
        (data[: e.start] + e.text + data[e.end :]).decode()
        for e in edits_of(data)
        if e.operator == operator
    }


@pytest.mark.parametrize(
    ("operator", "source", "wanted"),
    [
        ("comparison", "x = a  <  b", {"x = a  <=  b", "x = a  >=  b"}),
        ("comparison", "x = a not in b", {"x = a in b"}),
        ("comparison", "x = (a) == (b)", {"x = (a) != (b)"}),
        ("comparison", "x = (a  # == no\n == b)", {"x = (a  # == no\n != b)"}),
        ("boolean", "x = a or b", {"x = a and b"}),
        ("arithmetic", "x = a - b", {"x = a + b"}),
        ("arithmetic", "x //= 2", {"x /= 2", "x *= 2"}),
        ("condition", "if a and b: pass", {"if not (a and b): pass"}),
        ("condition", "x = not a", {"x = (a)"}),
        ("return", "def f(): return 1", {"def f(): return None"}),
        ("statement", "def f():\n  g(\n  1)\n", {"def f():\n  pass\n"}),
        ("argument-swap", "f(a, b)", {"f(b, a)"}),
        ("argument-drop", "f(a, b=1)", {"f(a)"}),
        ("exception", "raise KeyError(1)", {"raise IndexError(1)"}),
        ("exception", "try: a\nexcept OSError: b", {"try: a\nexcept ValueError: b"}),
        ("off-by-one", "x[a:]", {"x[(a) + 1:]"}),
        ("default", "def f(a=1): pass", {"def f(a=None): pass"}),
        ("table-drop", "T = ['é', 2, 3]", {"T = ['é', 3]", "T = ['é', 2]"}),
        ("table-value", "T = {1: a, 2: b}", {"T = {1: b, 2: b}"}),
        ("table-constant", "N = 5", {"N = 6", "N = 4"}),
        ("constant", "def f():\n  x = True", {"def f():\n  x = False"}),
        ("table-constant-string", "S = r'aB'", {"S = r'a'", "S = r'aBx'", "S = r'Ab'"}),
        ("jump", "for x in y: break", {"for x in y: continue"}),
        ("name", "def f(a, b): g(a)", {"def f(a, b): g(b)"}),
    ],
)
def test_operators_edit_the_text_where_the_tree_says(operator, source, wanted):
    assert results(source, operator) == wanted


@pytest.mark.parametrize(
    "source",
    [
        '"""Docstring."""',
        "x: int",
        "def f(a: 'int') -> 'str': ...",
        "if TYPE_CHECKING:\n    import a\n    x = 1",
        "if __name__ == '__main__':\n    f(1, 2)",
        "__all__ = ['a', 'b', 'c']",
        "x = f'{a} {b}'",
        "def (",
        "x = 1\r\ny = 2",
        "",
    ],
)
def test_some_code_is_left_alone(source):
    assert edits_of(source.encode()) == []


def test_bytes_that_are_no_text_are_left_alone():
    assert edits_of(b"# -*- coding: latin-1 -*-\nx = '\xe9' + 1\n") == []
    assert edits_of(b"x = 1\0") == []


@pytest.mark.parametrize("path", OWN, ids=[path.name for path in OWN])
def test_edits_of_real_code_mostly_parse_and_name_their_function(path):
    source = path.read_bytes()
    edits = edits_of(source)
    parsed = 0
    for edit in edits:
        try:
            ast.parse(source[: edit.start] + edit.text + source[edit.end :])
            parsed += 1
        except SyntaxError:
            continue
    assert parsed >= 0.97 * len(edits)


def test_methods_and_nested_functions_go_by_their_outermost_function():
    source = b"class A:\n    n = 1\n    def f(self):\n        def g():\n            return 2\n"
    found = {(e.operator, e.qualname) for e in edits_of(source)}
    assert ("table-constant", "<module>") in found
    assert ("return", "A.f") in found


def test_faults_are_distinct_repeat_by_seed_and_leave_tests_alone(calculator):
    repo = Repository(calculator.root)
    first = list(fault_candidates(repo, "HEAD", seed=1, count=12, edits=3))
    assert first == list(fault_candidates(repo, "HEAD", seed=1, count=12, edits=3))
    assert first != list(fault_candidates(repo, "HEAD", seed=2, count=12, edits=3))
    assert len({one.patch for one in first}) == len({one.case_id for one in first}) == 12
    assert all(b"tests/" not in one.patch for one in first)
    assert {len(one.edits) for one in first} > {1}


def test_a_fault_taken_back_gives_another_program(calculator):
    repo = Repository(calculator.root)
    right = repo.read("HEAD", "src/calc/__init__.py")
    with Workspace.create(calculator.root, "HEAD", calculator.cache) as workspace:
        file = workspace.tree / "src/calc/__init__.py"
        for candidate in fault_candidates(repo, "HEAD", seed=3, count=8, edits=2):
            assert workspace.apply(candidate.patch)
            assert ast.dump(ast.parse(file.read_bytes())) != ast.dump(ast.parse(right))
            workspace.restore()
            assert file.read_bytes() == right


def test_few_possible_faults_end_the_search(project):
    project.commit({"a.py": "N = 5\n", "b.py": "", "c.py": "def (", "d.txt": "1"})
    found = list(fault_candidates(Repository(project.root), "HEAD", seed=0, count=50))
    assert 1 <= len(found) <= 3


def test_no_sources_give_no_faults(project):
    project.commit({"README": "x"})
    assert list(fault_candidates(Repository(project.root), "HEAD", seed=0, count=5)) == []


def test_a_patch_minds_the_missing_last_newline(project):
    project.commit({"a.py": "x = 1\ny = 2"})
    patch = mending_patch("a.py", b"x = 1\ny = 3", b"x = 1\ny = 2")
    with Workspace.create(project.root, "HEAD", project.cache) as workspace:
        assert workspace.apply(patch)
        assert (workspace.tree / "a.py").read_bytes() == b"x = 1\ny = 3"
    assert mending_patch("a.py", b"x", b"x") == b""
    assert faults.LARGEST_FILE > 0
