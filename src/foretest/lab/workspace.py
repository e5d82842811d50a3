"""A work tree of our own: a mirror and its work trees in the cache, never in the user's tree."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from foretest.changes.git import Repository
from foretest.changes.runner import finish
from foretest.durable import lock, refused
from foretest.errors import Busy, ForetestError

LARGEST_OVERLAY = 50 * 1024 * 1024
"""Bytes above which an ignored file is not taken for the product of a build."""

_NOT_BUILT = frozenset(
    (".foretest", ".git", ".hypothesis", ".nox", ".tox", ".venv", "__pycache__", "build", "dist")
) | frozenset(("env", "htmlcov", "node_modules", "site-packages", "venv", "wheels"))
_BUILT = (".py", ".pyi", ".so", ".pyd", ".dylib", ".json", ".typed")


class Workspace:
    """One work tree at one commit, held by one process. Every change to it can be taken back."""

    def __init__(
        self, tree: Path, temporary: Path, commit: str, overlay: tuple[str, ...], origin: Path
    ) -> None:
        self.tree = tree
        self.temporary = temporary
        self.commit = commit
        self.overlay = overlay
        self.origin = origin
        self._held = ExitStack()

    @classmethod
    def create(cls, repo_root: Path, commit: str, cache_dir: Path) -> Workspace:
        """Check `commit` out in a free place under `cache_dir`; raises BadStore, GitFailed.

        What killed processes left there is removed first. The user's repository is only read.
        """
        repository = Repository.open(repo_root)
        commit = repository.resolve(commit)
        cache_dir = cache_dir.resolve()
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
            with lock(cache_dir / "lock", timeout=120.0):
                mirror = _mirror(repository.root, cache_dir)
                reap(cache_dir)
                place, held = _free_place(cache_dir)
                tree = place / repository.root.name
                try:
                    _git(mirror, "worktree", "add", "--quiet", "--detach", str(tree), commit)
                    temporary = _temporary(place)
                    overlay = tuple(_overlay(repository))
                    workspace = cls(tree, temporary, commit, overlay, repository.root)
                    workspace._copy_overlay()
                except BaseException:
                    held.close()
                    raise
                workspace._held = held
                return workspace
        except OSError as error:
            raise refused(cache_dir, error) from error

    def apply(self, patch: bytes, reverse: bool = True) -> bool:
        """Apply a patch, by default backwards; False and no change where it does not fit."""
        direction = ("-R",) if reverse else ()
        args = ("apply", *direction, "--whitespace=nowarn", "-")
        return finish(self.tree, args, stdin=patch, ok=(0, 1, 128)).returncode == 0

    def restore(self) -> None:
        """Bring the tree back to the commit, whatever a run did to it."""
        try:
            _make_writable(self.tree)
            _git(self.tree, "reset", "--hard", "--quiet", self.commit)
            _git(self.tree, "clean", "-ffdxq", *(f"--exclude=/{path}" for path in self.overlay))
            self._copy_overlay()
            for left in self.temporary.iterdir():
                _remove(left)
        except OSError as error:
            raise refused(self.tree, error) from error

    def close(self) -> None:
        """Remove the tree and give the place free."""
        place = self.tree.parent
        _remove_for_good(self.temporary)
        _remove_for_good(place)  # before the lock is let go: a newcomer may take the place at once
        self._held.close()
        with suppress(ForetestError):
            _git(place.parent.parent / "mirror.git", "worktree", "prune")

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _copy_overlay(self) -> None:
        for path in self.overlay:
            source, target = self.origin / path, self.tree / path
            if not source.is_file() or _same_file(source, target):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def reap(cache_dir: Path) -> int:
    """Remove the work trees whose owners are gone; returns how many there were."""
    removed = 0
    for place in sorted((cache_dir / "workers").glob("*")):
        with suppress(Busy), lock(place / "lock", timeout=0.0):
            for link in place.glob("temporary"):
                _remove(link.resolve())
            _remove(place)
            removed += 1
    mirror = cache_dir / "mirror.git"
    if removed and mirror.is_dir():
        _git(mirror, "worktree", "prune")
    return removed


def _mirror(root: Path, cache_dir: Path) -> Path:
    """A bare repository that borrows the user's objects: new commits show up by themselves."""
    mirror = cache_dir / "mirror.git"
    if mirror.is_dir() and finish(mirror, ("rev-parse", "--git-dir"), ok=(0, 128)).returncode == 0:
        return mirror
    _remove(mirror)
    fresh = cache_dir / "mirror.fresh"
    _remove(fresh)
    _git(cache_dir, "clone", "--quiet", "--bare", "--shared", str(root), str(fresh))
    fresh.rename(mirror)
    return mirror


def _free_place(cache_dir: Path) -> tuple[Path, ExitStack]:
    number = 0
    while True:
        place = cache_dir / "workers" / str(number)
        if not place.exists():
            held = ExitStack()
            held.enter_context(lock(place / "lock", timeout=0.0))
            return place, held
        number += 1


def _temporary(place: Path) -> Path:
    """A short path for the tests' own files: the socket files in it allow but 108 characters."""
    temporary = Path(tempfile.mkdtemp(prefix="ft-"))
    (place / "temporary").symlink_to(temporary)
    return temporary


def _overlay(repository: Repository) -> Iterator[str]:
    """Ignored files that a build left among the sources, so that the copy can be imported."""
    listed = repository.run("ls-files", "-z", "--others", "--ignored", "--exclude-standard")
    for path in listed.decode("utf-8", "surrogateescape").split("\0"):
        parts = path.split("/")
        if not path.endswith(_BUILT) or _NOT_BUILT.intersection(parts):
            continue
        if any(part.endswith((".egg-info", ".dist-info", ".egg")) for part in parts):
            continue
        if len(parts) < 2 and not path.endswith((".so", ".pyd", ".dylib")):
            continue
        if any((repository.root / parent / "pyvenv.cfg").exists() for parent in _parents(parts)):
            continue
        file = repository.root / path
        if file.is_file() and file.stat().st_size <= LARGEST_OVERLAY:
            yield path


def _parents(parts: list[str]) -> list[str]:
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _same_file(source: Path, target: Path) -> bool:
    with suppress(FileNotFoundError):
        ours, theirs = target.stat(), source.stat()
        return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)
    return False


def _make_writable(tree: Path) -> None:
    """Let folders that a test made read-only be cleaned."""
    for folder, names, _ in os.walk(tree):
        for name in names:
            path = Path(folder, name)
            with suppress(OSError):
                mode = path.lstat().st_mode
                if not mode & 0o200:
                    path.chmod(mode | 0o700)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        _make_writable(path)
        shutil.rmtree(path, ignore_errors=True)


def _remove_for_good(path: Path) -> None:
    """Remove a folder into which a process that was just killed may write a last time."""
    for _ in range(50):
        _remove(path)
        if not path.exists():
            return
        time.sleep(0.02)


def _git(root: Path, *args: str) -> None:
    finish(root, args)


def cache_directory(repo_root: Path, base: Path) -> Path:
    """Where the trees of the repository at `repo_root` lie under `base`."""
    digest = hashlib.blake2b(os.fsencode(repo_root.resolve()), digest_size=6).hexdigest()
    return base / f"{repo_root.resolve().name}-{digest}"
