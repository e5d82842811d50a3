"""What a training came from: which data, which code, which seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import foretest
from foretest.changes.git import Repository
from foretest.errors import BadStore, ForetestError
from foretest.history.lake import Lake


@dataclass(frozen=True, slots=True)
class Lineage:
    """Enough to run a training again."""

    data_version: str
    """`facts:<digest>` of a folder of facts or pairs, or `lake:<version>`."""
    code_version: str
    """The commit of foretest itself, `+<digest>` where something was not committed, else the
    version that is installed."""
    seeds: Mapping[str, int]

    @property
    def commit(self) -> str:
        """The commit alone; empty for an installed version."""
        head = self.code_version.partition("+")[0]
        return head if len(head) == 40 else ""


def lineage(data: Path | Lake, seed: int | Mapping[str, int]) -> Lineage:
    """The lineage of a training on `data`, a folder of facts or a lake, with the code of now."""
    seeds = dict(seed) if isinstance(seed, Mapping) else {"seed": seed}
    version = f"lake:{data.version}" if isinstance(data, Lake) else f"facts:{digest_of(data)}"
    return Lineage(version, code_version(), seeds)


def digest_of(folder: Path, pattern: str = "*") -> str:
    """A digest over names and contents of the files below a folder, wherever it lies.

    Of all whose name has the pattern. Raises BadStore where there is none.
    """
    files = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if not files:
        raise BadStore(f"{folder} holds no facts.", "Name a folder such as proof/cases.")
    whole = hashlib.sha256()
    for path in files:
        name = path.relative_to(folder).as_posix()
        whole.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:16]


def code_version() -> str:
    """Which code runs: the state of its own work tree, or the version of the package."""
    here = Path(foretest.__file__).resolve()
    try:
        repo = Repository.open(here.parent)
        # An environment inside another project's work tree is not that project's code.
        if repo.read("HEAD", here.relative_to(repo.root.resolve()).as_posix()) is not None:
            return repo.state(None)
    except ForetestError:
        pass
    return foretest.__version__
