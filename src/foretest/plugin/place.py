"""Where a run takes place: the repository, its commit, and how pytest's node ids name its tests."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from foretest.errors import BadConfiguration, ForetestError
from foretest.records import TestId

if TYPE_CHECKING:
    from foretest.changes.git import Repository
    from foretest.config import Config


@dataclass(frozen=True, slots=True)
class Place:
    root: Path
    """Top of the repository; pytest's root directory where there is none."""
    repository: str = ""
    head: str | None = None
    commit: str | None = None
    """The state that runs: the head where no tracked file differs from it, else None."""
    run: str = ""
    """What CI calls this run; empty outside CI."""
    attempt: int = 1
    shard: str | None = None
    flags: tuple[str, ...] = ()
    """What settings and CI say of the configuration."""


def find_place(*starts: Path) -> Place:
    """The repository around the first of these directories that lies in one."""
    root = next((top for start in starts if (top := repository_root(start))), None)
    if root is None:
        return Place(starts[0])
    from foretest.changes.git import Repository

    repository = Repository(root)
    try:
        head = repository.head()
        # Untracked files are the normal case where tests run: caches, build output, environments.
        dirty = repository.run("status", "--porcelain", "-z", "--untracked-files=no")
        return _described(repository, head, None if dirty else head)
    except ForetestError:  # no git program, no commit yet: the engine names the reason
        return Place(root)


def _described(repository: Repository, head: str, commit: str | None) -> Place:
    """The place under the key by which `record` looks for runs, and what CI says of it."""
    from foretest.changes.git import repository_key
    from foretest.comparing import context_of

    config = _settings(repository.root)
    place = Place(
        repository.root, repository_key(config, repository), head, commit, flags=config.flags
    )
    context = context_of(repository, head)
    if context is None:
        return place
    return replace(
        place,
        run=context.run,
        attempt=context.attempt,
        shard=context.shard or None,
        flags=tuple(dict.fromkeys((*config.flags, *context.configuration))),
    )


def _settings(root: Path) -> Config:
    """The settings; where they are wrong, none: the engine says what is wrong."""
    from foretest.config import Config, load_config

    try:
        return load_config(root)
    except BadConfiguration:
        return Config(root)


def ensure_state(state: Path) -> None:
    """Make the state directory, which git ignores by a file of its own. Raises OSError."""
    if not state.is_dir():
        state.mkdir(parents=True, exist_ok=True)
        (state / ".gitignore").write_text("*\n", encoding="ascii")


def repository_root(start: Path) -> Path | None:
    """The nearest directory at or above `start` that holds `.git` (a file in worktrees)."""
    for directory in (start.resolve(), *start.resolve().parents):
        if (directory / ".git").exists():
            return directory
    return None


class Names:
    """Node ids are relative to pytest's root directory, units to the repository's."""

    def __init__(self, rootdir: Path, root: Path, *, grouped: bool = False) -> None:
        self._rootdir = os.path.realpath(rootdir)
        self._root = os.path.realpath(root)
        self._grouped = grouped
        """xdist's loadgroup puts `@group` behind each node id of a group."""
        self._files: dict[str, str] = {}

    def node_id(self, node_id: str) -> str:
        """The node id as it is spelt at the top of the repository."""
        if self._grouped:
            head, at, group = node_id.rpartition("@")
            node_id = head if at and "]" not in group and "::" not in group else node_id
        file, colons, rest = node_id.partition("::")
        known = self._files.get(file)
        if known is None:
            known = self._files[file] = self._moved(file)
        return f"{known}{colons}{rest}"

    def unit(self, node_id: str) -> str:
        return TestId.parse(self.node_id(node_id)).unit

    def _moved(self, file: str) -> str:
        if self._rootdir == self._root:
            return file
        try:
            moved = os.path.relpath(os.path.join(self._rootdir, file), self._root)  # noqa: PTH118
        except ValueError:  # another drive
            return file
        moved = moved.replace(os.sep, "/")
        # A file outside the repository is no test of it: it stays unknown, and so it runs.
        return file if moved.startswith("../") else moved
