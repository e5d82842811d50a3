"""Co-change: how often a test file changed with a source file, old commits counting less."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foretest.changes.git import Commit, Repository

MOST_FILES = 30
"""A commit that touches more says nothing about any pair of them: a reformatting, a rename."""
MOST_COMMITS = 5000
HALF_LIFE = 365.0
"""Days after which a commit counts half."""
PRIOR = 2.0
"""Commits without the test that each source file starts with: one shared commit is no proof."""

_DAY = 86400.0


def cochange_weights(
    repo: Repository, commit: str, test_files: Collection[str], source_files: Collection[str]
) -> dict[str, dict[str, float]]:
    """For each test file its source files, weight 0..1; merges left out."""
    commits = repo.log(start=commit, limit=MOST_COMMITS, no_merges=True)
    return weigh(commits, frozenset(test_files), frozenset(source_files))


def weigh(
    commits: Iterable[Commit], test_files: frozenset[str], source_files: frozenset[str]
) -> dict[str, dict[str, float]]:
    """Decayed commits of the pair / (decayed commits of the source file + PRIOR)."""
    together: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    alone: dict[str, float] = defaultdict(float)
    for paths, weight in _decayed(commits):
        sources = [p for p in paths if p in source_files and p not in test_files]
        for source in sources:
            alone[source] += weight
        for test in paths:
            if test in test_files:
                for source in sources:
                    together[test][source] += weight
    return {
        test: {source: both / (alone[source] + PRIOR) for source, both in pairs.items()}
        for test, pairs in together.items()
    }


def _decayed(commits: Iterable[Commit]) -> Iterator[tuple[frozenset[str], float]]:
    """Each commit's files by their present names, and its weight; newest first.

    Age counts from the newest commit, so that a project at rest keeps its evidence.
    """
    present: dict[str, str] = {}
    newest: int | None = None
    for commit in commits:
        newest = commit.author_time if newest is None else max(newest, commit.author_time)
        paths = frozenset(present.get(f.path, f.path) for f in commit.files)
        if len(commit.files) <= MOST_FILES:
            yield paths, 0.5 ** ((newest - commit.author_time) / _DAY / HALF_LIFE)
        for file in commit.files:  # older commits know the file by its old name
            if file.old_path and file.status == "renamed":
                present[file.old_path] = present.get(file.path, file.path)
