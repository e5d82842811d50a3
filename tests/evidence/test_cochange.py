"""Weights of pairs of files that changed together."""

from __future__ import annotations

import pytest

from foretest.changes.git import Commit, FileTouch
from foretest.evidence.cochange import HALF_LIFE, MOST_FILES, PRIOR, weigh
from foretest.records import FileStatus

NOW = 1_700_000_000
TESTS = frozenset({"tests/test_a.py", "tests/test_b.py"})
SOURCES = frozenset({"a.py", "b.py", "tests/test_a.py"})


def commit(*paths: str, days: float = 0, renamed: dict[str, str] | None = None) -> Commit:
    files = [FileTouch(FileStatus.MODIFIED, path) for path in paths]
    files += [FileTouch(FileStatus.RENAMED, new, old) for old, new in (renamed or {}).items()]
    return Commit("c", int(NOW - days * 86400), (), "subject", tuple(files))


def test_a_pair_weighs_its_share_of_the_source_files_commits() -> None:
    log = [commit("a.py", "tests/test_a.py"), commit("a.py"), commit("a.py", "tests/test_b.py")]
    found = weigh(log, TESTS, SOURCES)
    assert found == {
        "tests/test_a.py": {"a.py": pytest.approx(1 / (3 + PRIOR))},
        "tests/test_b.py": {"a.py": pytest.approx(1 / (3 + PRIOR))},
    }


def test_old_commits_count_less() -> None:
    log = [commit("b.py"), commit("a.py", "tests/test_a.py", days=HALF_LIFE)]
    assert weigh(log, TESTS, SOURCES)["tests/test_a.py"]["a.py"] == pytest.approx(
        0.5 / (0.5 + PRIOR)
    )


def test_large_commits_say_nothing() -> None:
    rest = [f"x{i}.py" for i in range(MOST_FILES)]
    assert weigh([commit("a.py", "tests/test_a.py", *rest)], TESTS, SOURCES) == {}


def test_a_renamed_file_keeps_its_past() -> None:
    log = [
        commit(renamed={"middle.py": "a.py"}),
        commit(renamed={"old.py": "middle.py"}, days=1),
        commit("old.py", "tests/test_a.py", days=2),
    ]
    assert "a.py" in weigh(log, TESTS, SOURCES)["tests/test_a.py"]


def test_no_commits() -> None:
    assert weigh([], TESTS, SOURCES) == {}
