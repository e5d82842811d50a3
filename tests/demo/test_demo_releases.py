"""Source releases become a git history, whatever their archives hold."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from foretest.demo import releases
from foretest.demo.releases import Project, download, lay_out
from foretest.errors import DemoFailed


def archive(folder: Path, name: str, files: dict[str, str], mtime: int, links=()) -> Path:
    path = folder / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz") as release:
        for file, text in files.items():
            member = tarfile.TarInfo(f"{name}/{file}")
            member.size, member.mtime = len(text), mtime
            release.addfile(member, io.BytesIO(text.encode()))
        for file, target in links:
            member = tarfile.TarInfo(f"{name}/{file}")
            member.type, member.linkname = tarfile.SYMTYPE, target
            release.addfile(member)
    return path


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def nothing(_: int) -> None:
    pass


def test_each_release_is_a_commit_dated_by_its_files(tmp_path):
    first = archive(tmp_path, "p-1", {"a.py": "1\n", "gone.py": "2\n"}, 1_600_000_000)
    second = archive(
        tmp_path, "p-2", {"a.py": "3\n", ".gitignore": "b.py\n", "b.py": ""}, 1_700_000_000
    )
    lay_out([first, second], tmp_path / "history", nothing)
    log = git(tmp_path / "history", "log", "--reverse", "--format=%s %at").splitlines()
    assert log == ["p-1 1600000000", "p-2 1700000000"]
    # The release's own .gitignore must not hide what it carries.
    assert git(tmp_path / "history", "ls-files").split() == [".gitignore", "a.py", "b.py"]
    assert git(tmp_path / "history", "status", "--porcelain") == ""


def test_time_never_runs_backwards_and_a_time_stamp_of_zero_says_nothing(tmp_path):
    late = archive(tmp_path, "p-1", {"a": "1"}, 1_700_000_000)
    early = archive(tmp_path, "p-2", {"a": "2"}, 0)
    lay_out([late, early], tmp_path / "history", nothing)
    times = [int(t) for t in git(tmp_path / "history", "log", "--reverse", "--format=%at").split()]
    assert times == [1_700_000_000, 1_700_086_400]


def test_members_that_leave_the_tree_are_refused_and_links_left_out(tmp_path):
    hostile = archive(tmp_path, "p-1", {"../../outside": "x"}, 1_700_000_000)
    with pytest.raises(tarfile.FilterError):
        lay_out([hostile], tmp_path / "history", nothing)
    assert not (tmp_path / "outside").exists()
    linked = archive(tmp_path, "p-2", {"a": "1"}, 1_700_000_000, [("link", "/etc/passwd")])
    lay_out([linked], tmp_path / "history", nothing)
    assert git(tmp_path / "history", "ls-files").split() == ["a"]


def test_the_user_s_git_identity_and_settings_are_not_used(tmp_path, monkeypatch):
    settings = tmp_path / "gitconfig"
    settings.write_text("[commit]\ngpgsign = true\n[user]\nname = Someone\nemail = some@one\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    lay_out([archive(tmp_path, "p-1", {"a": "1"}, 1_700_000_000)], tmp_path / "history", nothing)
    monkeypatch.delenv("GIT_DIR")
    assert git(tmp_path / "history", "log", "--format=%an").strip() == "foretest demo"


def test_what_is_there_is_not_fetched_again(tmp_path, monkeypatch):
    project = Project("p", ("1", "2"), (), ())
    kept = [archive(tmp_path, f"p-{version}", {"a": version}, 0) for version in project.versions]
    monkeypatch.setattr(releases, "_run", lambda *_: pytest.fail("asked the index"))
    counts = []
    assert download(Path(sys.executable), project, tmp_path, counts.append) == kept
    assert counts == [1, 2]


def test_an_index_without_the_release_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    project = Project("no-such-project-of-ours", ("1",), (), ())
    with pytest.raises(DemoFailed, match="Fetching no-such-project-of-ours-1 failed") as raised:
        download(Path(sys.executable), project, tmp_path, nothing)
    assert "package index" in raised.value.remedy


def test_a_missing_program_is_named(tmp_path):
    with pytest.raises(DemoFailed, match="failed"):
        download(tmp_path / "no-python", Project("p", ("1",), (), ()), tmp_path / "d", nothing)
