"""Which past changes can be taken back today."""

import ast

import pytest

from foretest.changes.git import Repository
from foretest.lab.undo import undo_candidates
from foretest.lab.workspace import Workspace
from foretest.records import Source

# Far enough apart to be hunks of their own.
GAP = "\n\n# " + "-" * 20 + "\n" + "\n".join(f"x{n} = {n}" for n in range(8)) + "\n\n\n"


def module(first, second):
    return f"def first():\n    return {first}\n{GAP}def second():\n    return {second}\n"


def undone(project, **options):
    return list(undo_candidates(Repository(project.root), "HEAD", **options))


def test_the_whole_first_then_each_hunk(project):
    project.commit({"pkg/a.py": module(1, 1)})
    fix = project.commit({"pkg/a.py": module(2, 2)})
    found = undone(project)
    assert [(c.undone_commit, c.hunk) for c in found] == [(fix, None), (fix, 0), (fix, 1)]
    assert all(c.source is Source.UNDONE and c.author_time == project.clock for c in found)
    with Workspace.create(project.root, "HEAD", project.cache) as workspace:
        for candidate, text in zip(found, (module(1, 1), module(1, 2), module(2, 1)), strict=True):
            assert workspace.apply(candidate.patch)
            assert (workspace.tree / "pkg/a.py").read_text() == text
            workspace.restore()


def test_a_hunk_fits_where_the_rest_has_moved_on(project):
    project.commit({"pkg/a.py": module(1, 1)})
    old = project.commit({"pkg/a.py": module(2, 2)})
    new = project.commit({"pkg/a.py": "import os\n" + module(2, 3)})
    found = {(c.undone_commit, c.hunk) for c in undone(project)}
    assert (old, 0) in found
    assert not {(old, None), (old, 1)} & found
    assert {c for c, _ in found} == {old, new}


def test_comments_docstrings_versions_and_annotations_are_no_change(project):
    before = '"""A."""\n__version__ = "1"\n\n\ndef f(a):\n    return a  # one\n'
    project.commit({"pkg/a.py": before})
    after = '"""B."""\n__version__ = "2"\n\n\ndef f(a: int) -> int:\n\n    return a  # two\n'
    project.commit({"pkg/a.py": after})
    assert undone(project) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@a\n{}", "@b\n{}"),
        ("{}x = 1; y = 2\n", "{}x = 1; y = 3\n"),
        ('{}x = """\n1\n"""\n', '{}x = """\n2\n"""\n'),
        ("{}", "{}{}"),
        ("{}", "x = 1\n{}"),
        ("if x:\n    pass\n{}", "if x:\n    pass\nelse:\n    y = 1\n{}"),
    ],
    ids=["decorator", "same line", "text", "twice", "before", "else"],
)
def test_whatever_changes_a_statement_is_a_change(project, old, new):
    function = "def f():\n    return 1\n"
    project.commit({"pkg/a.py": old.replace("{}", function)})
    fix = project.commit({"pkg/a.py": new.replace("{}", function)})
    assert [(c.undone_commit, c.hunk) for c in undone(project)] == [(fix, None)]


def test_a_long_module_is_not_walked_for_each_hunk(project, monkeypatch):
    def long(value):
        return GAP.join(f"def f{n}():\n    return {value}\n" for n in range(5)) + "\n\n" + rest

    rest = "\n\n".join(f"def g{n}():\n    return {n}\n" for n in range(200))
    project.commit({"pkg/a.py": long(1)})
    project.commit({"pkg/a.py": long(2)})
    walked, walk = [], ast.walk

    def noted(tree):
        walked.extend(walk(tree))
        return walk(tree)

    monkeypatch.setattr(ast, "walk", noted)
    assert len(undone(project)) == 6
    assert len(walked) < len(list(walk(ast.parse(long(1)))))


def test_tests_documents_and_merges_are_not_undone(project):
    project.commit({"pkg/a.py": "x = 1\n", "tests/test_a.py": "x = 1\n"})
    project.commit({"tests/test_a.py": "x = 2\n", "docs/conf.py": "x = 2\n", "README": "x"})
    project.git("checkout", "-q", "-b", "side")
    side = project.commit({"pkg/b.py": "y = 1\n"})
    fix = project.commit({"pkg/b.py": "y = 2\n"})
    project.git("checkout", "-q", "main")
    project.commit({"README": "y"})
    project.git("merge", "-q", "--no-ff", "side", "-m", "merge")
    assert {c.undone_commit for c in undone(project)} <= {side, fix}
    assert fix in {c.undone_commit for c in undone(project)}


def test_own_tests_are_those_whose_body_the_commit_changed(project):
    tests = "def test_a():\n    assert 1\n\n\ndef test_b():\n    assert 2\n"
    project.commit({"pkg/a.py": "x = 1\n", "tests/test_a.py": tests})
    changed = tests.replace("assert 1", "assert 3") + "\n\ndef test_c():\n    assert 4\n"
    project.commit({"pkg/a.py": "x = 2\n", "tests/test_a.py": "# note\n" + changed})
    (one,) = undone(project)
    assert one.modified_tests == ("tests/test_a.py::test_a",)
    assert one.added_tests == ("tests/test_a.py::test_c",)


def test_own_tests_go_by_their_name_of_today(project):
    project.commit({"pkg/a.py": "x = 1\n"})
    test = "class TestA:\n    def test_deep(self):\n        assert 1\n"
    project.commit({"pkg/a.py": "x = 2\n", "tests/test_a.py": test})
    project.git("mv", "tests/test_a.py", "tests/test_moved.py")
    project.commit({})
    (one,) = undone(project)
    assert one.added_tests == ("tests/test_moved.py::TestA::test_deep",)


def test_since_and_limit_bound_the_search(project):
    for value in range(5):
        project.commit({f"pkg/m{value}.py": "x = 1\n"})
        project.commit({f"pkg/m{value}.py": "x = 2\n"})
    assert len(undone(project)) == 5
    assert len(undone(project, limit=2)) == 2
    assert len(undone(project, since=project.clock - 3600)) == 1
    assert undone(project, limit=0) == []


def test_the_same_edit_is_given_once(project):
    for text in ("x = 1\n", "x = 2\n", "x = 1\n", "x = 2\n"):
        project.commit({"pkg/a.py": text})
    assert len(undone(project)) == 1


def test_a_file_that_came_or_went_can_be_undone_as_a_whole(project):
    project.commit({"pkg/a.py": "x = 1\n", "pkg/gone.py": "z = 1\n"})
    new = project.commit({"pkg/b.py": "y = 1\n"})
    (project.root / "pkg/gone.py").unlink()
    gone = project.commit({})
    found = {c.undone_commit: c for c in undone(project)}
    assert set(found) == {new, gone}
    with Workspace.create(project.root, "HEAD", project.cache) as workspace:
        assert workspace.apply(found[new].patch)
        assert not (workspace.tree / "pkg/b.py").exists()
        workspace.restore()
        assert workspace.apply(found[gone].patch)
        assert (workspace.tree / "pkg/gone.py").read_text() == "z = 1\n"


def test_a_single_commit_gives_nothing(project):
    project.commit({"pkg/a.py": "x = 1\n"})
    assert undone(project) == []
