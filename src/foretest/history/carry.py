"""Carries the bundle between machines: one small file a commit, found by the nearest ancestor."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foretest.config import STATE_DIRECTORY
from foretest.durable import atomic_write
from foretest.errors import BadStore, ForetestError, NoBundle, StateNotFound
from foretest.history.places import Place, place

BUNDLE = "bundle.ftb"
KEEP = 20
"""States left at a target after a push: the last ones pushed."""

_NAME = re.compile(r"(\d{10,12})-([0-9a-f]{40}|[0-9a-f]{64})\.ftb")
_HEAD = b"foretest-state 1 "
_HEAD_LENGTH = len(_HEAD) + 64 + 1


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did."""

    commit: str
    size: int
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull found."""

    commit: str
    distance: int
    """Place of the commit among the ancestors asked for: 0 is the newest. More means staler."""
    path: Path
    notices: tuple[str, ...] = ()
    """What was found damaged and passed over, each a sentence."""


@dataclass(frozen=True, slots=True)
class _Entry:
    pushed_at: int
    commit: str

    @property
    def name(self) -> str:
        return f"{self.pushed_at:010d}-{self.commit}.ftb"


def push(
    state_dir: Path,
    target: str,
    commit: str,
    *,
    root: Path | None = None,
    environment: Mapping[str, str] | None = None,
    keep: int = KEEP,
    now: float | None = None,
) -> Pushed:
    """Store the bundle in `state_dir` at the target under its commit; the last `keep` stay.

    `root` is the user's repository (default: where `state_dir` lies), from which relative folders
    and git's remote are meant; `environment` holds an object store's `AWS_...` settings.
    Raises NoBundle, ReadOnlyTarget, BadStore.
    """
    bundle = _bundle(state_dir)
    try:
        data = bundle.read_bytes()
    except OSError as error:
        raise NoBundle(f"There is no bundle at {bundle}.", "Run `foretest learn`.") from error
    there = place(target, root or _root(state_dir), environment or {})
    entry = _Entry(int(time.time() if now is None else now), commit)
    there.put(entry.name, seal(data))
    try:
        _prune(there, keep)
    except ForetestError as error:  # the state is stored: tidying up can wait
        return Pushed(commit, len(data), (f"Older states were not removed: {error.message}",))
    return Pushed(commit, len(data))


def pull(
    state_dir: Path,
    target: str,
    ancestors: Sequence[str],
    *,
    root: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Pulled:
    """Fetch the bundle of the first of `ancestors` (newest first) that the target has.

    A damaged one is passed over with a notice. Needs read access only. Raises StateNotFound where
    none of the ancestors has a whole one, BadStore where the target cannot be reached.
    """
    there = place(target, root or _root(state_dir), environment or {})
    distance = {commit: i for i, commit in enumerate(ancestors)}
    entries = [entry for entry in _entries(there) if entry.commit in distance]
    entries.sort(key=lambda entry: (distance[entry.commit], -entry.pushed_at))
    notices: list[str] = []
    for entry in entries:
        try:
            data = unseal(there.get(entry.name))
        except BadStore as error:
            notices.append(f"The state of {entry.commit[:12]} was passed over: {error.message}")
            continue
        path = _bundle(state_dir)
        atomic_write(path, data)
        return Pulled(entry.commit, distance[entry.commit], path, tuple(notices))
    found = "\n".join(
        [f"{target} has no usable state of the last {len(ancestors)} commits.", *notices]
    )
    raise StateNotFound(
        found, "Run `foretest learn` and `foretest state push`; until then all run."
    )


def seal(data: bytes) -> bytes:
    """The bundle under a first line with its digest, so that a half download is noticed."""
    return _HEAD + hashlib.sha256(data).hexdigest().encode() + b"\n" + data


def unseal(sealed: bytes) -> bytes:
    """The bundle whose digest holds; raises BadStore for anything else."""
    head, data = sealed[:_HEAD_LENGTH], memoryview(sealed)[_HEAD_LENGTH:]
    if not head.startswith(_HEAD):
        raise BadStore("It is no state of foretest.", "Push it again.")
    if head[len(_HEAD) : -1] != hashlib.sha256(data).hexdigest().encode():
        raise BadStore("It is damaged: its digest does not hold.", "Push it again.")
    return bytes(data)


def _entries(there: Place) -> Iterator[_Entry]:
    for name in there.names():
        if match := _NAME.fullmatch(name):  # whatever else lies there is not ours
            yield _Entry(int(match[1]), match[2])


def _prune(there: Place, keep: int) -> None:
    """Remove all but the last `keep` commits' states, and older states of one commit."""
    latest: dict[str, _Entry] = {}
    entries = sorted(_entries(there), key=lambda entry: entry.pushed_at, reverse=True)
    for entry in entries:
        latest.setdefault(entry.commit, entry)
    kept = set(list(latest.values())[:keep])
    doomed = [entry.name for entry in entries if entry not in kept]
    if doomed:
        there.delete(doomed)


def _bundle(state_dir: Path) -> Path:
    return state_dir / BUNDLE


def _root(state_dir: Path) -> Path:
    return state_dir.parent if state_dir.name == STATE_DIRECTORY else Path.cwd()
