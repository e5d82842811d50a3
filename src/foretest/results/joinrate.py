"""How many of the selected tests came back in the report, and why the others may not have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class JoinRate:
    """Selected tests and the results of their run, held against each other."""

    selected: int
    returned: int
    missing: tuple[str, ...]
    """Selected tests without a result; some of them."""
    strange: tuple[str, ...]
    """Tests with a result that were not selected; some of them."""
    cause: str
    """The likeliest reason why tests are missing, a sentence; empty where none is."""

    @property
    def share(self) -> float:
        return self.returned / self.selected

    def account(self) -> str:
        """What is missing and what came instead, in one sentence."""
        told = f"{self.returned:,} of {self.selected:,} selected tests came back ({self.share:.0%})"
        missing = f"; selected, but without a result: {_listed(self.missing)}" * bool(self.missing)
        strange = f"; in the report, but not selected: {_listed(self.strange)}" * bool(self.strange)
        return f"{told}{missing}{strange}."


def join_rate(
    selected: Iterable[str], seen: Iterable[str], complete: bool = True
) -> JoinRate | None:
    """The rate of units that came back; None where nothing was selected.

    A file or class that was selected came back with any test in it, and a test whose file could
    not be collected came back with the file's error. `complete` is False where the run was cut.
    """
    wanted, found = set(selected), set(seen)
    if not wanted:
        return None
    above = {place for unit in found for place in _places(unit)}
    back = {u for u in wanted if u in found or u in above or not found.isdisjoint(_places(u))}
    missing = sorted(wanted - back)
    strange = sorted(u for u in found - wanted if wanted.isdisjoint(_places(u)))
    return JoinRate(
        len(wanted),
        len(back),
        _alike(missing, strange),
        tuple(strange[:EXAMPLES]) if missing else (),
        _cause(missing, strange, found, complete) if missing else "",
    )


def _places(unit: str) -> list[str]:
    """What a unit stands in: `a.py::T::x` in `a.py` and `a.py::T`."""
    parts = unit.split("::")
    return ["::".join(parts[:end]) for end in range(1, len(parts))]


def _alike(missing: list[str], strange: list[str]) -> tuple[str, ...]:
    """Examples; first those whose own name stands on the other side too."""
    names = {unit.rpartition("::")[2] for unit in strange}
    return tuple(sorted(missing, key=lambda u: u.rpartition("::")[2] not in names)[:EXAMPLES])


def _cause(missing: list[str], strange: list[str], found: Collection[str], complete: bool) -> str:
    if not complete:
        return "The run was cut short."
    if not found:
        return "The report holds no result at all."
    files: dict[str, set[str]] = {}
    for unit in strange:
        file, _, name = unit.partition("::")
        files.setdefault(name, set()).add(file)
    homes = [(file, files.get(name, ())) for file, _, name in (u.partition("::") for u in missing)]
    if _most(homes, lambda one, other: one.replace("\\", "/") == other.replace("\\", "/")):
        return "The two sides write folders with different slashes."
    if _most(homes, _one_ends_other):
        return "The runner was started in another folder than the repository's root."
    if {u.rpartition("::")[2] for u in missing} & {u.rpartition("::")[2] for u in strange}:
        return "The report spells files or classes differently from the selection."
    if strange:
        return "The report is of another run, or the runner did not get the selection."
    return "The runner left selected tests out (a marker, a filter, or a worker that died)."


def _one_ends_other(one: str, other: str) -> bool:
    return f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")


def _most(homes: Sequence[tuple[str, Collection[str]]], same: Callable[[str, str], bool]) -> bool:
    """Whether more than half of the files have their `same` among those on the other side."""
    return 2 * sum(any(same(file, other) for other in others) for file, others in homes) > len(
        homes
    )


def _listed(units: tuple[str, ...]) -> str:
    return ", ".join(units)
