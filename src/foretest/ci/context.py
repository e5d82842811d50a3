"""The nouns of this room: what a CI system says of a run, and the table by which it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Environment = Mapping[str, str]
Names = tuple[str, ...]

_ABSENT = frozenset({"", "0" * 40, "0" * 64})
"""What systems write where there is no commit: a new branch has none before it."""


@dataclass(frozen=True, slots=True)
class CiContext:
    """One job of one run, as its system describes it; empty or None is what it does not say."""

    system: str
    """The name users know: "GitHub Actions"."""
    deepen: str
    """What mends a clone that lacks the base, in this system's own words."""
    commit: str = ""
    """The commit that the system says it checked out."""
    other_heads: tuple[str, ...] = ()
    """Commits that a job of this run may have checked out instead."""
    branch: str = ""
    request: str = ""
    """Number of the pull or merge request."""
    target: str = ""
    """The branch that the request asks to be merged into."""
    bases: tuple[str, ...] = ()
    """Names of commits that a request is compared with, the best first."""
    merged: bool = False
    """True where `commit` is a merge made by the system: its first parent is the target's tip."""
    previous: str = ""
    """The branch's tip before this push."""
    default_branch: str = ""
    fork: bool = False
    """True where the request comes from another repository: there are no secrets then."""
    run_id: str = ""
    attempt: int = 1
    job: str = ""
    configuration: tuple[str, ...] = ()
    """What tells jobs of one name apart, such as the cell of a matrix, where the system says it."""
    shard: str = ""
    """The part that this job is of several, `1/4`."""

    @property
    def run(self) -> str:
        """The run's name everywhere, fit for a file's name; empty where the system gives none.

        Jobs have names of their own: results of one must never pass for another's. At most 120
        characters, so that a digest can follow.
        """
        parts = (self.system.split()[0].lower(), self.run_id, self.job, *self.configuration)
        slugs = (re.sub(r"[^\w.]+", "-", part, flags=re.ASCII).strip("-")[:60] for part in parts)
        return "-".join(slug for slug in slugs if slug)[:120] if self.run_id else ""

    @property
    def on_default_branch(self) -> bool:
        return bool(self.branch) and self.branch == self.default_branch and not self.request


@dataclass(frozen=True, slots=True)
class Table:
    """Which variables say what: of each tuple the first that is set counts."""

    system: str
    sign: str
    """The variable that is set in this system and in no other."""
    deepen: str
    commit: Names = ()
    branch: Names = ()
    tag: Names = ()
    """Set where a tag is built: the branch that is named then is none, though spelled like one."""
    request: Names = ()
    target: Names = ()
    bases: Names = ()
    """Every one that is set counts, in this order; `origin/<target>` follows."""
    previous: Names = ()
    default_branch: Names = ()
    run_id: Names = ()
    attempt: Names = ()
    job: Names = ()
    index: Names = ()
    total: Names = ()
    first_index: int = 1
    """What the system calls the first of several parallel jobs."""


def read(table: Table, environment: Environment) -> CiContext | None:
    """What the variables of one system say; None where the run is not one of its own."""
    if environment.get(table.sign, "").lower() in {"", "false"}:
        return None

    def value(names: Names) -> str:
        return next(iter(_set(names, environment)), "")

    target = plain_branch(value(table.target))
    bases = _set(table.bases, environment)
    return CiContext(
        system=table.system,
        deepen=table.deepen,
        commit=value(table.commit),
        branch="" if value(table.tag) else plain_branch(value(table.branch)),
        request=value(table.request),
        target=target,
        bases=(*bases, f"origin/{target}") if target else bases,
        previous=value(table.previous),
        default_branch=value(table.default_branch),
        run_id=value(table.run_id),
        attempt=max(1, number(value(table.attempt), 1)),
        job=value(table.job),
        shard=_shard(value(table.index), value(table.total), table.first_index),
    )


def plain_branch(name: str) -> str:
    """A branch without the prefixes of full names and remotes."""
    return name.removeprefix("refs/heads/").removeprefix("origin/")


def number(text: str, otherwise: int) -> int:
    """A whole number from 0 on; `otherwise` for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else otherwise


def _set(names: Names, environment: Environment) -> tuple[str, ...]:
    values = (environment.get(name, "").strip() for name in names)
    return tuple(value for value in values if value not in _ABSENT)


def _shard(index: str, total: str, first: int) -> str:
    place, count = number(index, -1) - first + 1, number(total, 0)
    return f"{place}/{count}" if count > 1 and 1 <= place <= count else ""
