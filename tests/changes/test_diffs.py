"""Diffs as git really writes them, read back."""

from __future__ import annotations

import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from git_sandbox import Sandbox
from hypothesis import given, settings
from hypothesis import strategies as st

from foretest.changes.diff import parse_diff, read_change, split_hunks
from foretest.errors import MissingBase
from foretest.records import FileChange, FileStatus, Hunk, Symbol

ODD = ["two words.py", "ünï/çödé.py", 'quo"te\\.py', "new\nline.py", "tab\there.py", "a b/a b.py"]


def by_path(files: list[FileChange] | tuple[FileChange, ...]) -> dict[str, FileChange]:
    found = {file.path: file for file in files}
    assert len(found) == len(files)
    return found


def between(sandbox: Sandbox, base: str, head: str | None) -> dict[str, FileChange]:
    return by_path(read_change(sandbox.repo, base, head).files)


@pytest.mark.parametrize("name", ODD)
def test_odd_names_in_every_kind_of_header(sandbox: Sandbox, name: str) -> None:
    states: list[bytes | None] = [None, b"", b"x\n", b"\0", b"\0\0", b"y\n" * 9, None]
    for old, new in pairwise(states):
        base = sandbox.commit({"other": b"1", **({} if old is None else {name: old})})
        head = sandbox.commit({name: new})
        assert list(between(sandbox, base, head)) == [name], (old, new)
    base = sandbox.commit({name: b"z\n" * 9})
    sandbox.git("update-index", "--chmod=+x", "--", name)
    sandbox.git("commit", "-q", "-m", "mode")
    assert list(between(sandbox, base, "HEAD")) == [name]
    sandbox.git("reset", "-q", "--hard")
    sandbox.git("mv", "--", name, "moved " + name.replace("/", "-"))
    head = sandbox.commit()
    (moved,) = between(sandbox, base, head).values()
    assert (moved.old_path, moved.path) == (name, "moved " + name.replace("/", "-"))


def test_every_status(sandbox: Sandbox) -> None:
    base = sandbox.commit(
        {
            "modified": "1\n2\n",
            "deleted": "1\n",
            "renamed": "1\n2\n3\n4\n5\n6\n7\n8\n",
            "mode": "1\n",
            "both": "1\n",
            "type": "1\n",
            "binary": b"\0\1",
            "emptied": "1\n",
        }
    )
    (sandbox.root / "type").unlink()
    (sandbox.root / "type").symlink_to("modified")
    sandbox.git("mv", "renamed", "moved")
    for path in ("mode", "both"):
        (sandbox.root / path).chmod(0o755)
    head = sandbox.commit(
        {
            "modified": "1\n3\n",
            "deleted": None,
            "moved": "1\n2\n3\n4\n5\n6\n7\n9\n",
            "both": "2\n",
            "binary": b"\0\2",
            "emptied": "",
            "added": "1",
            "nothing": "",
        }
    )
    files = between(sandbox, base, head)
    assert {path: file.status.value for path, file in files.items()} == {
        "modified": "modified",
        "deleted": "deleted",
        "moved": "renamed",
        "mode": "mode",
        "both": "modified",
        "type": "type",
        "binary": "modified",
        "emptied": "modified",
        "added": "added",
        "nothing": "added",
    }
    assert files["moved"].old_path == "renamed"
    assert files["moved"].hunks == (Hunk(8, 1, 8, 1, ("8",), ("9",)),)
    assert files["added"].hunks == (Hunk(0, 0, 1, 1, (), ("1",)),)
    assert files["deleted"].hunks == (Hunk(1, 1, 0, 0, ("1",), ()),)
    assert files["emptied"].hunks == (Hunk(1, 1, 0, 0, ("1",), ()),)
    assert [path for path, file in files.items() if file.binary] == ["binary"]
    assert files["nothing"].hunks == files["mode"].hunks == ()


def test_a_submodule(sandbox: Sandbox, tmp_path: Path) -> None:
    inner = Sandbox(tmp_path / "inner")
    inner.commit({"x.py": "1\n"})
    base = sandbox.commit()
    command = ("-c", "protocol.file.allow=always", "submodule", "add", "-q")
    sandbox.git(*command, str(inner.root), "sub.py")
    added = sandbox.commit()
    assert between(sandbox, base, added)["sub.py"].status is FileStatus.SUBMODULE
    within = Sandbox(sandbox.root / "sub.py")
    within.commit({"x.py": "2\n"})
    uncommitted = between(sandbox, added, None)["sub.py"]
    moved = between(sandbox, added, sandbox.commit())["sub.py"]
    assert moved == uncommitted == FileChange("sub.py", FileStatus.SUBMODULE)
    assert sandbox.repo.files(None) == sandbox.repo.files("HEAD") == (".gitmodules",)


def test_the_work_tree_counts_staged_unstaged_and_untracked(sandbox: Sandbox) -> None:
    base = sandbox.commit(
        {"staged.py": "a = 1\n", "unstaged.py": "a = 1\n", ".gitignore": "*.log\n"}
    )
    sandbox.write("staged.py", "a = 2\n")
    sandbox.git("add", "staged.py")
    for path in ("unstaged.py", "new dir/new.py", "x.log", ".foretest/state"):
        sandbox.write(path, "a = 2\n")
    sandbox.write("data.bin", b"\0\1")
    sandbox.write("empty", "")
    files = between(sandbox, base, None)
    assert set(files) == {"staged.py", "unstaged.py", "new dir/new.py", "data.bin", "empty"}
    assert files["new dir/new.py"] == FileChange(
        "new dir/new.py",
        FileStatus.ADDED,
        hunks=(Hunk(0, 0, 1, 1, (), ("a = 2",)),),
        touched=(Symbol("new dir/new.py", "<module>"),),
        names_set=("a",),
    )
    assert files["data.bin"].binary
    assert read_change(sandbox.repo, base, None).head is None


def test_taken_out_of_the_index_alone(sandbox: Sandbox) -> None:
    base = sandbox.commit({"same.py": "a = 1\n", "other.py": "a = 1\n"})
    sandbox.git("rm", "-q", "--cached", "same.py", "other.py")
    sandbox.write("other.py", "a = 2\n")
    (other,) = between(sandbox, base, None).values()
    assert (other.path, other.status) == ("other.py", FileStatus.MODIFIED)
    assert other.hunks == (Hunk(1, 1, 1, 1, ("a = 1",), ("a = 2",)),)


def test_an_unsettled_merge(sandbox: Sandbox) -> None:
    base = sandbox.commit({"a.py": "x = 1\n", "clean.py": "x = 1\n"})
    sandbox.git("checkout", "-q", "-b", "side")
    sandbox.commit({"a.py": "x = 2\n"})
    sandbox.git("checkout", "-q", "main")
    sandbox.commit({"a.py": "x = 3\n"})
    sandbox.git("merge", "-q", "side", ok=False)
    (file,) = between(sandbox, base, None).values()
    assert (file.path, file.status) == ("a.py", FileStatus.UNMERGED)
    assert file.hunks
    assert parse_diff(b"* Unmerged path a b.py\n") == [FileChange("a b.py", FileStatus.UNMERGED)]


def test_text_that_attributes_call_binary_still_has_symbols(sandbox: Sandbox) -> None:
    base = sandbox.commit({"a.py": "def f():\n    return 1\n", ".gitattributes": "*.py -diff\n"})
    file = between(sandbox, base, sandbox.commit({"a.py": "def f():\n    return 2\n"}))["a.py"]
    assert file.binary
    assert file.touched == (Symbol("a.py", "f"),)


def test_a_rename_touches_module_level_under_both_names(sandbox: Sandbox) -> None:
    source = "".join(f"def f{n}():\n    return {n}\n" for n in range(9))
    base = sandbox.commit({"a.py": source})
    sandbox.git("mv", "a.py", "b.py")
    pure = between(sandbox, base, sandbox.commit())["b.py"]
    assert pure.touched == (Symbol("a.py", "<module>"), Symbol("b.py", "<module>"))
    edited = sandbox.commit({"b.py": source.replace("return 3", "return 33")})
    assert set(between(sandbox, base, edited)["b.py"].touched) == {
        *pure.touched,
        Symbol("a.py", "f3"),
        Symbol("b.py", "f3"),
    }


def test_an_insertion_into_a_renamed_file_names_the_old_function(sandbox: Sandbox) -> None:
    source = "".join(f"def f{n}():\n    return {n}\n" for n in range(9))
    base = sandbox.commit({"a.py": source})
    sandbox.git("mv", "a.py", "b.py")
    head = sandbox.commit({"b.py": source.replace("    return 3", "    print()\n    return 3")})
    assert Symbol("a.py", "f3") in between(sandbox, base, head)["b.py"].touched


def test_a_missing_end(sandbox: Sandbox) -> None:
    base = sandbox.commit()
    for ends in (("nowhere", base), (base, "nowhere")):
        with pytest.raises(MissingBase):
            read_change(sandbox.repo, *ends)
    assert read_change(sandbox.repo, base, base).files == ()


def test_lines_that_look_like_headers(sandbox: Sandbox) -> None:
    lines = [
        "-- a/x",
        "++ b/x",
        "diff --git a/x b/x",
        "@@ -1 +1 @@",
        "",
        "\\ No newline",
        "\r",
        "\f",
    ]
    base = sandbox.commit({"a": "".join(f"{line}\n" for line in lines)})
    head = sandbox.commit({"a": "".join(f"{line}\n" for line in reversed(lines)), "b": "x"})
    assert set(between(sandbox, base, head)) == {"a", "b"}
    removed = between(sandbox, base, sandbox.commit({"a": None}))["a"].hunks[0].removed
    assert removed == tuple(lines)


def test_context_splits_into_exact_hunks(sandbox: Sandbox) -> None:
    lines = [f"{n}\n" for n in range(20)]
    base = sandbox.commit({"a": "".join(lines)})
    lines[3], lines[7] = "x\n", ""
    head = sandbox.commit({"a": "".join(lines) + "end"})
    exact = parse_diff(sandbox.repo.diff_bytes(base, head))
    assert parse_diff(sandbox.repo.diff_bytes(base, head, context=3)) == exact
    assert [(h.old_start, h.old_lines, h.new_start, h.new_lines) for h in exact[0].hunks] == [
        (4, 1, 4, 1),
        (8, 1, 7, 0),
        (20, 0, 20, 1),
    ]


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\0\xff\n@@ -1 +1 @@\n-x\n",
        b"diff --git ",
        b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n-cut",
        b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n?\n",
        b'diff --git "a/\\777\\q" "b/\\777\\q"\nold mode 1\nnew mode 2\n',
        b"diff --cc x\nindex 1,2..3\n--- a/x\n+++ b/x\n@@@ -1,1 -1,1 +1,1 @@@\n--a\n++b\n",
    ],
)
def test_junk_never_raises(junk: bytes) -> None:
    parse_diff(junk)
    split_hunks(junk)


@given(st.binary(max_size=200))
def test_no_bytes_raise(junk: bytes) -> None:
    start = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n"
    for patch in (junk, start + junk):
        parse_diff(patch)
        split_hunks(patch)


# Round trips through real git.

LINE = st.sampled_from(["a", "b", "", " c", "-d", "+e", "\\", "@@ -1 +1 @@", "é", "x\r", "\f"])
TEXT = st.tuples(st.lists(LINE, max_size=12), st.booleans()).map(
    lambda made: "\n".join(made[0]) + ("\n" if made[0] and made[1] else "")
)
NAMES = st.sampled_from(["a", "d/b c", "é", "\n", '"', "a/b", "b/c"])
TREE = st.dictionaries(NAMES, TEXT, max_size=5).filter(
    lambda tree: not {"a", "a/b"} <= set(tree)  # a file and a directory of one name
)


def lines_of(text: str) -> list[str]:
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def patched(old: list[str], hunks: tuple[Hunk, ...]) -> list[str]:
    """Apply hunks by their own account."""
    new: list[str] = []
    at = 0
    for hunk in hunks:
        start = hunk.old_start - 1 if hunk.old_lines else hunk.old_start
        new += old[at:start]
        assert len(new) == (hunk.new_start - 1 if hunk.new_lines else hunk.new_start)
        assert tuple(old[start : start + hunk.old_lines]) == hunk.removed
        assert (len(hunk.removed), len(hunk.added)) == (hunk.old_lines, hunk.new_lines)
        new += hunk.added
        at = start + hunk.old_lines
    return new + old[at:]


@settings(max_examples=25, deadline=None)
@given(TREE, TREE)
def test_what_is_read_rebuilds_the_new_tree(old: dict[str, str], new: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        sandbox = Sandbox(Path(directory))
        base = sandbox.commit(dict(old))
        for path in set(old) - set(new):
            (sandbox.root / path).unlink()
            if "/" in path and not any((sandbox.root / path).parent.iterdir()):
                (sandbox.root / path).parent.rmdir()
        head = sandbox.commit(dict(new))
        tree = {path: lines_of(text) for path, text in old.items()}
        for file in parse_diff(sandbox.repo.diff_bytes(base, head)):
            before = tree.get(file.old_path or file.path, [])
            if file.old_path or file.status is FileStatus.DELETED:
                tree.pop(file.old_path or file.path, None)
            if file.status is not FileStatus.DELETED:
                tree[file.path] = patched(before, file.hunks)
        assert tree == {path: lines_of(text) for path, text in new.items()}


# Hunks as patches of their own.


def apply(sandbox: Sandbox, patch: bytes, *options: str) -> None:
    command = ["git", "-C", str(sandbox.root), "apply", "--whitespace=nowarn", *options]
    subprocess.run(command, input=patch, check=True, capture_output=True)


@pytest.mark.parametrize("name", ["a.py", "b/a b.py", "é\n.py"])
def test_each_hunk_can_be_taken_back_alone(sandbox: Sandbox, name: str) -> None:
    old = "".join(f"{n}\n" for n in range(40)) + "end"
    base = sandbox.commit({name: old})
    new = old.replace("\n5\n", "\nfive\n").replace("\n20\n", "\n").replace("end", "the end\n")
    head = sandbox.commit({name: new})
    hunks = split_hunks(sandbox.repo.show_patch(head))
    assert [(h.path, h.index) for h in hunks] == [(name, 0), (name, 1), (name, 2)]
    apply(sandbox, hunks[1].patch, "-R")
    assert "\n20\n" in (sandbox.root / name).read_text()
    assert "five" in (sandbox.root / name).read_text()
    apply(sandbox, hunks[2].patch, "-R")
    apply(sandbox, hunks[0].patch, "-R")
    assert sandbox.repo.diff_bytes(base, None) == b""


def test_hunks_of_added_deleted_and_renamed_files(sandbox: Sandbox) -> None:
    old = "".join(f"{n}\n" for n in range(9))
    base = sandbox.commit({"gone": "gone\n", "before": old, "run": "1\n", "bin": b"\0"})
    sandbox.git("mv", "before", "after it")
    (sandbox.root / "run").chmod(0o755)
    new = {"gone": None, "made": "1\n", "after it": old + "x\n", "run": "2\n", "bin": b"\0\1"}
    head = sandbox.commit(new)
    hunks = {h.path: h for h in split_hunks(sandbox.repo.show_patch(head))}
    assert set(hunks) == {"gone", "made", "after it", "run"}
    for hunk in hunks.values():
        apply(sandbox, hunk.patch, "-R")
    assert (sandbox.root / "gone").read_text() == "gone\n"
    assert not (sandbox.root / "made").exists()
    assert (sandbox.root / "after it").read_text() == old
    assert (sandbox.root / "run").read_text() == "1\n"
    assert (sandbox.root / "run").stat().st_mode & 0o111  # the mode is no part of the hunk
    left = {file.path: file.status for file in parse_diff(sandbox.repo.diff_bytes(base, None))}
    assert left["run"] is FileStatus.MODE


def test_a_huge_diff_is_read_in_one_pass() -> None:
    section = b"".join(
        b"diff --git a/f%d b/f%d\nindex 1..2 100644\n--- a/f%d\n+++ b/f%d\n" % (n, n, n, n)
        + b"@@ -1,50 +1,50 @@\n"
        + b"-a line of some length\n" * 50
        + b"+a line of other length\n" * 50
        for n in range(2000)
    )
    files = parse_diff(section)
    assert len(files) == 2000
    assert all(len(file.hunks[0].removed) == 50 for file in files)
    assert len(split_hunks(section)) == 2000
