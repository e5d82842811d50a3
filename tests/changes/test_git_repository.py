"""The repository, in every state that a user's may be in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from git_sandbox import Sandbox

from foretest.changes import runner
from foretest.changes.diff import read_change
from foretest.changes.git import FileTouch, Repository, origin_key
from foretest.errors import (
    EmptyRepository,
    GitFailed,
    MissingBase,
    NotARepository,
    ShallowClone,
)
from foretest.records import FileStatus

Fresh = Callable[[str], Sandbox]


def clone(source: Sandbox, target: Path, *options: str) -> Repository:
    address = source.root.as_uri()
    subprocess.run(["git", "clone", "-q", *options, address, str(target)], check=True)
    return Repository(target)


def test_open_finds_the_top_from_within(sandbox: Sandbox) -> None:
    sandbox.commit({"a/b/c.py": "1\n"})
    for inside in (sandbox.root, sandbox.root / "a" / "b", sandbox.root / "a" / "b" / "c.py"):
        assert Repository.open(inside).root == sandbox.root


def test_open_outside_of_git(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "deeper"):
        with pytest.raises(NotARepository) as error:
            Repository.open(path)
        assert error.value.remedy


def test_open_in_a_bare_repository(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path)], check=True)
    with pytest.raises(NotARepository):
        Repository.open(tmp_path)


def test_a_directory_that_stopped_being_a_repository(tmp_path: Path) -> None:
    with pytest.raises(NotARepository):
        Repository(tmp_path).head()


def test_an_empty_repository(sandbox: Sandbox) -> None:
    assert Repository.open(sandbox.root).root == sandbox.root
    for ask in (sandbox.repo.head, sandbox.repo.key, sandbox.repo.default_base):
        with pytest.raises(EmptyRepository):
            ask()
    assert sandbox.repo.files(None) == ()
    assert not sandbox.repo.is_dirty()


def test_a_detached_head(sandbox: Sandbox) -> None:
    first = sandbox.commit({"a": "1"})
    sandbox.commit({"a": "2"})
    sandbox.git("checkout", "-q", first)
    assert sandbox.repo.head() == first
    with pytest.raises(MissingBase):
        sandbox.repo.default_base()


def test_a_linked_worktree(sandbox: Sandbox, tmp_path: Path) -> None:
    first = sandbox.commit({"a": "1"})
    sandbox.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    linked = Repository.open(tmp_path / "linked")
    assert linked.root == tmp_path / "linked"
    assert linked.head() == first
    assert linked.key() == sandbox.repo.key()


@pytest.mark.parametrize("ref", ["", "nowhere", "--all", "-n1", "HEAD~9", "a\0b", "HEAD:a"])
def test_resolve_refuses_what_is_no_commit(sandbox: Sandbox, ref: str) -> None:
    sandbox.commit({"a": "1"})
    with pytest.raises(MissingBase):
        sandbox.repo.resolve(ref)


def test_resolve_names_the_fetch(sandbox: Sandbox) -> None:
    sandbox.commit()
    with pytest.raises(MissingBase, match="git fetch origin release"):
        sandbox.repo.resolve("origin/release")


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("https://user:token@GitHub.com/Org/name.git", "github.com/Org/name"),
        ("ssh://git@host.example:2222/org/name/", "host.example/org/name"),
        ("git@github.com:org/name.git", "github.com/org/name"),
        ("host.example:group/sub/name", "host.example/group/sub/name"),
        ("file:///srv/git/name.git", None),
        ("/srv/git/name.git", None),
        ("../name", None),
        ("C:\\work\\name", None),
        ("", None),
    ],
)
def test_origin_keys(address: str, key: str | None) -> None:
    assert origin_key(address) == key


def test_key_prefers_the_origin_to_the_root(sandbox: Sandbox) -> None:
    first = sandbox.commit()
    sandbox.commit()
    assert sandbox.repo.key() == f"root:{first}"
    sandbox.git("remote", "add", "origin", "git@example.org:a/b.git")
    assert Repository(sandbox.root).key() == "example.org/a/b"


def test_default_base_on_a_branch_is_where_it_left(sandbox: Sandbox) -> None:
    fork = sandbox.commit({"a": "1"})
    sandbox.git("checkout", "-q", "-b", "side")
    sandbox.commit({"b": "1"})
    sandbox.commit({"b": "2"})
    assert sandbox.repo.default_base() == fork


def test_default_base_on_the_main_line_is_the_commit_before(sandbox: Sandbox) -> None:
    first = sandbox.commit({"a": "1"})
    sandbox.commit({"a": "2"})
    assert sandbox.repo.default_base() == first


def test_default_base_prefers_origin(sandbox: Sandbox, tmp_path: Path) -> None:
    pushed = sandbox.commit({"a": "1"})
    copy = clone(sandbox, tmp_path / "copy")
    work = Sandbox(tmp_path / "copy")
    work.commit({"a": "2"})
    work.commit({"a": "3"})
    assert copy.default_base() == pushed


def test_a_commit_on_the_main_line_has_no_fork(sandbox: Sandbox) -> None:
    first = sandbox.commit({"a": "1"})
    second = sandbox.commit({"a": "2"})
    assert sandbox.repo.fork_point(second) is sandbox.repo.fork_point(first) is None
    sandbox.git("checkout", "-q", "-b", "side", first)
    third = sandbox.commit({"b": "1"})
    assert sandbox.repo.fork_point(third) == first
    assert sandbox.repo.default_base(second) == first
    assert sandbox.repo.is_ancestor(first, third)
    assert not sandbox.repo.is_ancestor(second, third)
    assert not sandbox.repo.is_ancestor("f" * 40, third)


def test_a_state_names_what_is_not_committed(sandbox: Sandbox) -> None:
    head = sandbox.commit({"a": "1", "b.py": "1"})
    repo = sandbox.repo
    assert repo.state(None) == repo.state("HEAD") == head
    states = {head}
    for path, text in (("a", "2"), ("a", "3"), ("new.py", "1"), ("new.py", "2"), ("newer.py", "")):
        (sandbox.root / path).write_text(text)
        states.add(repo.state(None))
    assert len(states) == 6
    last = repo.state(None)
    (sandbox.root / "report.xml").write_text("x")
    assert repo.state(None) == last
    assert last.startswith(f"{head}+")


def test_merge_base_of_strangers(sandbox: Sandbox) -> None:
    sandbox.commit({"a": "1"})
    sandbox.git("checkout", "-q", "--orphan", "other")
    sandbox.commit({"b": "1"})
    with pytest.raises(MissingBase, match="no common history"):
        sandbox.repo.merge_base("main", "other")
    assert sandbox.repo.distance("main", "other") is None


def test_a_shallow_clone_says_how_to_mend_it(sandbox: Sandbox, tmp_path: Path) -> None:
    first = sandbox.commit({"a": "1"})
    sandbox.commit({"a": "2"})
    shallow = clone(sandbox, tmp_path / "shallow", "--depth=1")
    assert shallow.is_shallow()
    for ask in (lambda: shallow.merge_base(first, "HEAD"), shallow.default_base, shallow.key):
        with pytest.raises(ShallowClone, match="git fetch --unshallow"):
            ask()
    assert shallow.distance(first, "HEAD") is None
    assert [c.subject for c in shallow.log()] == ["m"]
    assert not sandbox.repo.is_shallow()


def test_distance_and_ancestors(sandbox: Sandbox) -> None:
    a, b, c = (sandbox.commit(message=name) for name in "abc")
    repo = sandbox.repo
    assert repo.ancestors("HEAD", 9) == [c, b, a]
    assert repo.ancestors(b, 1) == [b]
    assert (repo.distance(a, c), repo.distance(c, a), repo.distance(b, b)) == (2, 2, 0)
    sandbox.git("checkout", "-q", "-b", "side", a)
    assert repo.distance(sandbox.commit(message="d"), c) == 3
    assert repo.distance("0" * 40, c) is None


ODD = ["plain.py", "two words.py", "ünï/çödé.py", 'quo"te\\.py', "new\nline.py", "tab\there"]
UNDECODABLE = os.fsdecode(b"latin-\xe9.py")


def test_reading_odd_names(sandbox: Sandbox) -> None:
    contents = {name: f"{n}\n\0é".encode() for n, name in enumerate([*ODD, UNDECODABLE])}
    commit = sandbox.commit({**contents, "empty": b""})
    repo = sandbox.repo
    for state in (commit, None):
        assert repo.read_many(state, [*contents, "empty", "none"]) == {**contents, "empty": b""}
        assert {name: repo.read(state, name) for name in contents} == contents
        assert repo.read(state, "missing") is None
        assert repo.read(state, "ünï") is None
        assert repo.files(state) == tuple(sorted([*contents, "empty"]))
    assert repo.read_many(commit, []) == {}


def test_links_are_read_as_links(sandbox: Sandbox) -> None:
    (sandbox.root / "link.py").symlink_to("nowhere.py")
    commit = sandbox.commit()
    assert sandbox.repo.read(None, "link.py") == sandbox.repo.read(commit, "link.py")
    assert sandbox.repo.files(None) == ("link.py",)


def test_blob_ids_follow_contents(sandbox: Sandbox) -> None:
    commit = sandbox.commit({"a": "same\n", "b": "same\n", "c": "other\n"})
    ids = sandbox.repo.blob_ids(commit)
    assert ids["a"] == ids["b"] != ids["c"]


def test_files_of_the_work_tree(sandbox: Sandbox) -> None:
    sandbox.commit({"kept.py": "", "gone.py": "", ".gitignore": "*.log\n"})
    (sandbox.root / "gone.py").unlink()
    for path in ("new.py", "noise.log", ".foretest/bundle.ftb"):
        sandbox.write(path, "x")
    assert sandbox.repo.files(None) == (".gitignore", "kept.py", "new.py")
    assert sandbox.repo.untracked() == ("new.py",)


def test_our_own_state_is_no_dirt(sandbox: Sandbox) -> None:
    sandbox.commit({"a": "1"})
    sandbox.write(".foretest/x", "1")
    assert not sandbox.repo.is_dirty()
    sandbox.write("b", "1")
    assert sandbox.repo.is_dirty()


def test_log_tells_files_with_their_status(sandbox: Sandbox) -> None:
    sandbox.commit({name: f"{name}\n" * 9 for name in ODD}, "first")
    sandbox.git("mv", ODD[1], "renamed.py")
    sandbox.commit({ODD[2]: None, ODD[4]: "x\n"}, "zweiter: ü")
    sandbox.commit(message="empty")
    empty, second, first = sandbox.repo.log()
    assert (empty.subject, empty.files) == ("empty", ())
    assert second.subject == "zweiter: ü"
    assert second.parents == (first.id,)
    assert set(second.files) == {
        FileTouch(FileStatus.RENAMED, "renamed.py", ODD[1]),
        FileTouch(FileStatus.DELETED, ODD[2]),
        FileTouch(FileStatus.MODIFIED, ODD[4]),
    }
    assert {touch.path for touch in first.files} == set(ODD)
    assert first.author_time > 1_000_000_000


def test_log_can_be_narrowed_and_left_early(sandbox: Sandbox) -> None:
    for n in range(5):
        sandbox.commit({"a" if n % 2 else "b": str(n)}, str(n))
    assert [c.subject for c in sandbox.repo.log(paths=["a"])] == ["3", "1"]
    assert [c.subject for c in sandbox.repo.log(limit=2)] == ["4", "3"]
    assert [c.subject for c in sandbox.repo.log(start="HEAD~3")] == ["1", "0"]
    reading = sandbox.repo.log()
    assert next(reading).subject == "4"
    reading.close()  # type: ignore[attr-defined]


def test_merges_are_left_out_or_against_the_first_parent(sandbox: Sandbox) -> None:
    sandbox.commit({"a": "1\n"}, "base")
    sandbox.git("checkout", "-q", "-b", "side")
    sandbox.commit({"b": "1\n"}, "side")
    sandbox.git("checkout", "-q", "main")
    sandbox.commit({"c": "1\n"}, "main")
    sandbox.git("merge", "-q", "--no-edit", "-m", "merge", "side")
    assert {c.subject for c in sandbox.repo.log()} == {"base", "side", "main"}
    merge = next(sandbox.repo.log(no_merges=False))
    assert merge.files == (FileTouch(FileStatus.ADDED, "b"),)
    assert b"+++ b/b" in sandbox.repo.show_patch(merge.id)
    assert b"+++ b/c" not in sandbox.repo.show_patch(merge.id)


def test_the_first_commit_has_a_patch(sandbox: Sandbox) -> None:
    assert b"+1" in sandbox.repo.show_patch(sandbox.commit({"a": "1\n"}))


def test_hostile_settings_neither_run_nor_disturb(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = sandbox.commit({"a.py": "one\n", ".gitattributes": "*.py diff=evil\n"})
    head = sandbox.commit({"a.py": "two\n"})
    clean = sandbox.repo.diff_bytes(base, head), list(sandbox.repo.log())
    trap = sandbox.root / "trap"
    evil = f"touch '{trap}'; cat"
    for name, value in {
        "diff.external": evil,
        "diff.evil.textconv": evil,
        "diff.evil.command": evil,
        "core.fsmonitor": evil,
        "core.pager": evil,
        "alias.diff": f"!{evil}",
        "color.ui": "always",
        "color.diff": "always",
        "core.abbrev": "4",
        "diff.noprefix": "true",
        "diff.mnemonicPrefix": "true",
        "diff.renames": "false",
        "diff.context": "9",
        "diff.algorithm": "patience",
        "diff.submodule": "log",
        "diff.relative": "true",
        "format.pretty": "oneline",
        "log.showSignature": "true",
        "log.showRoot": "false",
    }.items():
        sandbox.git("config", name, value)
    hooks = sandbox.root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "post-index-change").write_text(f"#!/bin/sh\n{evil}\n")
    (hooks / "post-index-change").chmod(0o755)
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", evil)
    monkeypatch.setenv("GIT_DIR", str(sandbox.root / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", "elsewhere")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert (sandbox.repo.diff_bytes(base, head), list(sandbox.repo.log())) == clean
    assert b"+two" in sandbox.repo.diff_bytes(base, None)
    assert b"+two" in sandbox.repo.show_patch(head)
    assert not sandbox.repo.is_dirty()
    assert not trap.exists()


def test_nothing_is_written_to_the_repository(sandbox: Sandbox) -> None:
    base = sandbox.commit({"a.py": "one\n"})
    os.utime(sandbox.root / "a.py", (1, 1))  # a stale index, which git likes to refresh
    before = (sandbox.root / ".git" / "index").read_bytes()
    assert not sandbox.repo.is_dirty()
    assert read_change(sandbox.repo, base, None).files == ()
    assert (sandbox.root / ".git" / "index").read_bytes() == before


def test_an_owner_whom_git_does_not_trust(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.commit()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("HOME", str(sandbox.root))
    for ask in (lambda: Repository.open(sandbox.root), sandbox.repo.head):
        with pytest.raises(NotARepository, match=r"safe\.directory"):
            ask()
    with pytest.raises(NotARepository, match=r"safe\.directory"):
        sandbox.repo.resolve("HEAD")


def test_without_git(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(sandbox.root))
    with pytest.raises(GitFailed, match="Install git"):
        sandbox.repo.head()
    with pytest.raises(GitFailed, match="Install git"):
        list(runner.stream(sandbox.root, ["log"]))


def test_a_git_that_hangs_is_given_up(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.write("git", "#!/bin/sh\nexec sleep 60\n")
    (sandbox.root / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(sandbox.root), prepend=os.pathsep)
    monkeypatch.setattr(runner, "TIMEOUT", 0.2)
    with pytest.raises(GitFailed, match="took longer"):
        sandbox.repo.head()


def test_a_failure_carries_what_git_said(sandbox: Sandbox) -> None:
    with pytest.raises(GitFailed, match="git ls-tree failed"):
        sandbox.repo.blob_ids("nowhere")
    with pytest.raises(GitFailed, match="git log failed"):
        list(runner.stream(sandbox.root, ["log", "nowhere", "--"]))
