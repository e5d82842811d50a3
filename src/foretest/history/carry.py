"""Carries what was learned between machines: a small file a commit, found by nearest ancestor."""

from __future__ import annotations

import hashlib
import re
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foretest.config import STATE_DIRECTORY
from foretest.durable import atomic_write
from foretest.errors import BadStore, ForetestError, NoBundle, StateNotFound
from foretest.history.places import Place, place

BUNDLE = "bundle.ftb"
HISTORY = "history.npz"
"""The folded history of all runs, beside the bundle."""
KEEP = 20
"""States left at a target after a push: the last ones pushed."""

_NAME = re.compile(r"(\d{10,12})-([0-9a-f]{40}|[0-9a-f]{64})\.ftb")
_HEADS = (b"foretest-state 1 ", b"foretest-state 2 ")
"""Of a state that is a bundle alone, and of one with history behind its bundle."""
_HEAD_LENGTH = len(_HEADS[0]) + 64 + 1
_SIZE = struct.Struct("<Q")


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
    """Where the bundle lies now; nothing was put there where the state is a history alone."""
    history: bool = False
    """Whether the history of past runs came with it."""
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
    history: bytes = b"",
    keep: int = KEEP,
    now: float | None = None,
) -> Pushed:
    """Store the bundle in `state_dir` at the target under its commit; the last `keep` stay.

    `history` is the snapshot of all runs (`state.portable`), which goes with it or, where there is
    no bundle yet, alone.
    `root` is the user's repository (default: where `state_dir` lies), from which relative folders
    and git's remote are meant; `environment` holds an object store's `AWS_...` settings.
    Raises NoBundle, ReadOnlyTarget, BadStore.
    """
    bundle = _bundle(state_dir)
    try:
        data = bundle.read_bytes()
    except OSError as error:
        if not history:
            raise NoBundle(f"There is no bundle at {bundle}.", "Run `foretest learn`.") from error
        data = b""
    there = place(target, root or _root(state_dir), environment or {})
    entry = _Entry(int(time.time() if now is None else now), commit)
    sealed = seal(data, history)
    there.put(entry.name, sealed)
    try:
        _prune(there, keep)
    except ForetestError as error:  # the state is stored: tidying up can wait
        return Pushed(commit, len(sealed), (f"Older states were not removed: {error.message}",))
    return Pushed(commit, len(sealed))


def pull(
    state_dir: Path,
    target: str,
    ancestors: Sequence[str],
    *,
    root: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Pulled:
    """Fetch the state of the first of `ancestors` (newest first) that has a bundle at the target.

    Bundle and history take the place of those in `state_dir`. Where no state has a bundle, the
    first history comes alone. A damaged one is passed over with a notice. Needs read access only.
    Raises StateNotFound where none of the ancestors has a whole one, BadStore where the target
    cannot be reached.
    """
    there = place(target, root or _root(state_dir), environment or {})
    distance = {commit: i for i, commit in enumerate(ancestors)}
    entries = [entry for entry in _entries(there) if entry.commit in distance]
    entries.sort(key=lambda entry: (distance[entry.commit], -entry.pushed_at))
    notices: list[str] = []
    best: tuple[_Entry, bytes, bytes] | None = None
    for entry in entries:
        try:
            bundle, history = unseal(there.get(entry.name))
        except BadStore as error:
            notices.append(f"The state of {entry.commit[:12]} was passed over: {error.message}")
            continue
        best = (entry, bundle, history) if bundle or best is None else best
        if bundle:
            break
    if best is not None:
        entry, bundle, history = best
        path = _bundle(state_dir)
        if history:
            atomic_write(state_dir / HISTORY, history)
        if bundle:
            atomic_write(path, bundle)
        return Pulled(entry.commit, distance[entry.commit], path, bool(history), tuple(notices))
    found = "\n".join(
        [f"{target} has no usable state of the last {len(ancestors)} commits.", *notices]
    )
    raise StateNotFound(
        found, "Run `foretest learn` and `foretest state push`; until then all run."
    )


def seal(bundle: bytes, history: bytes = b"") -> bytes:
    """Bundle and history under a first line with their digest: half a download is noticed.

    A bundle alone is sealed as every version of foretest can read it.
    """
    data = _SIZE.pack(len(bundle)) + bundle + history if history else bundle
    digest = hashlib.sha256(data).hexdigest().encode()
    return _HEADS[bool(history)] + digest + b"\n" + data


def unseal(sealed: bytes) -> tuple[bytes, bytes]:
    """Bundle and history whose digest holds; raises BadStore for anything else."""
    head, data = sealed[:_HEAD_LENGTH], memoryview(sealed)[_HEAD_LENGTH:]
    if not head.startswith(_HEADS):
        raise BadStore("It is no state of foretest.", "Push it again.")
    if head[len(_HEADS[0]) : -1] != hashlib.sha256(data).hexdigest().encode():
        raise BadStore("It is damaged: its digest does not hold.", "Push it again.")
    if head.startswith(_HEADS[0]):
        return bytes(data), b""
    (size,) = _SIZE.unpack_from(data)
    behind = _SIZE.size + size
    return bytes(data[_SIZE.size : behind]), bytes(data[behind:])


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
