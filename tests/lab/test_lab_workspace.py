"""Work trees of our own: exact, private, cleaned up."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foretest.errors import BadStore, MissingBase, NotARepository
from foretest.lab import workspace as room
from foretest.lab.workspace import Workspace, reap


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file, the user's `.git` included."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.fixture
def workspace(calculator):
    with Workspace.create(calculator.root, "HEAD", calculator.cache) as made:
        yield made


def test_the_users_tree_is_never_written(calculator, patch_to):
    calculator.write({"src/calc/__init__.py": "half finished", "untracked.py": "x = 1"})
    before = snapshot(calculator.root)
    with Workspace.create(calculator.root, "HEAD", calculator.cache) as made:
        assert "half finished" not in (made.tree / "src/calc/__init__.py").read_text()
        assert not (made.tree / "untracked.py").exists()
        (made.tree / "new.py").write_text("x")
        made.restore()
    assert snapshot(calculator.root) == before


def test_restore_undoes_whatever_a_run_did(workspace):
    tree = workspace.tree
    before = snapshot(tree / "src") | snapshot(tree / "tests")
    source = tree / "src/calc/__init__.py"
    stat = source.stat()
    source.write_bytes(source.read_bytes().replace(b"a + b", b"a - b"))
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (tree / "tests/test_calc.py").unlink()
    (tree / "left").mkdir()
    (tree / "left/file").write_text("x")
    (tree / "left").chmod(0o500)
    (workspace.temporary / "b").mkdir()
    subprocess.run(["git", "init", "-q", "nested"], cwd=tree, check=True)
    workspace.restore()
    assert snapshot(tree / "src") | snapshot(tree / "tests") == before
    assert sorted(path.name for path in tree.iterdir()) == [".git", "src", "tests"]
    assert not list(workspace.temporary.iterdir())


def test_a_patch_that_does_not_fit_changes_nothing(workspace, patch_to):
    before = snapshot(workspace.tree)
    fitting = patch_to(
        "src/calc/__init__.py", "", (workspace.tree / "src/calc/__init__.py").read_text()
    )
    for patch in (
        patch_to("src/calc/__init__.py", "a = 1\n", "a = 2\n"),
        patch_to("nowhere.py", "a = 1\n", "a = 2\n"),
        fitting + patch_to("nowhere.py", "a = 1\n", "a = 2\n"),
        b"rubbish",
        b"",
    ):
        assert not workspace.apply(patch)
        assert snapshot(workspace.tree) == before


def test_two_workspaces_stand_side_by_side_and_go(calculator):
    with Workspace.create(calculator.root, "HEAD", calculator.cache) as one:
        with Workspace.create(calculator.root, "HEAD~1", calculator.cache) as two:
            assert one.tree != two.tree
            assert one.temporary != two.temporary
            assert "a - b" in (two.tree / "src/calc/__init__.py").read_text()
        assert not two.tree.exists()
        assert one.tree.exists()
    assert not list((calculator.cache / "workers").iterdir())
    assert not one.temporary.exists()


def test_new_commits_are_seen_by_an_old_mirror(calculator):
    Workspace.create(calculator.root, "HEAD", calculator.cache).close()
    calculator.commit({"later.py": "x = 1\n"})
    with Workspace.create(calculator.root, "HEAD", calculator.cache) as made:
        assert (made.tree / "later.py").exists()


def test_what_a_build_left_among_the_sources_is_taken_along(calculator):
    calculator.commit(
        {".gitignore": "*.so\n_version.py\nvenv/\n__pycache__/\nbig.json\nlocal.py\n"}
    )
    calculator.write(
        {
            "src/calc/_fast.so": b"\0binary",
            "src/calc/_version.py": "version = '1'\n",
            "local.py": "x = 1\n",
            "src/calc/__pycache__/x.so": b"no",
            "venv/pyvenv.cfg": "",
            "venv/lib/a.so": b"no",
        }
    )
    with Workspace.create(calculator.root, "HEAD", calculator.cache) as made:
        assert set(made.overlay) == {"src/calc/_fast.so", "src/calc/_version.py"}
        (made.tree / "src/calc/_version.py").write_text("broken")
        (made.tree / "src/calc/_fast.so").unlink()
        made.restore()
        assert (made.tree / "src/calc/_version.py").read_text() == "version = '1'\n"
        assert (made.tree / "src/calc/_fast.so").read_bytes() == b"\0binary"


def test_what_a_killed_process_left_is_removed(calculator):
    script = (
        "import os, sys; from pathlib import Path; from foretest.lab.workspace import Workspace\n"
        "w = Workspace.create(Path(sys.argv[1]), 'HEAD', Path(sys.argv[2]))\n"
        "print(w.tree, w.temporary, flush=True); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", script, str(calculator.root), str(calculator.cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    tree, temporary = map(Path, done.stdout.split())
    assert tree.exists()
    assert temporary.exists()
    with Workspace.create(calculator.root, "HEAD", calculator.cache) as made:
        assert not temporary.exists()
        assert reap(calculator.cache) == 0
        assert made.tree.exists()
    assert "prunable" not in calculator.git(
        "-C", str(calculator.cache / "mirror.git"), "worktree", "list"
    )


def test_errors_say_what_to_do(calculator, tmp_path, monkeypatch):
    with pytest.raises(NotARepository):
        Workspace.create(tmp_path / "nowhere", "HEAD", calculator.cache)
    with pytest.raises(MissingBase):
        Workspace.create(calculator.root, "no-such-commit", calculator.cache)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadStore, match="file"):
        Workspace.create(calculator.root, "HEAD", tmp_path / "file")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(room, "_temporary", full)
    with pytest.raises(BadStore, match="disk is full"):
        Workspace.create(calculator.root, "HEAD", calculator.cache)
