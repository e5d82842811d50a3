"""Streams of CI runs drawn from FlakeFlagger's counted flake rates, real breakages mixed in.

Simulated, and named so wherever a figure comes from it. True are the rates of 17 projects' tests
and which of them failed in the same run; made up are the real breakages, how often CI repeats a
run, what coverage sees, and the fingerprints: `World` holds these numbers, and none of them is
among those that the classifier assumes (`models.flaky.Odds`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foretest.datasets import flakeflagger
from foretest.datasets.privacy import Pseudonyms
from foretest.datasets.quality import Ledger

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Project:
    """The counts of one project's tests, in the order of the file: classes stand together."""

    name: str
    failing: Floats
    runs: Floats
    together: NDArray[np.int64]
    """Tests with the same number here failed in the same runs: one cause."""
    types: NDArray[np.int64]
    """Distinct exceptions of a test's failures."""

    @property
    def rates(self) -> Floats:
        """True flake rates; tests that always fail are broken, not flaky."""
        return np.where(self.always, 0.0, self.failing / self.runs)

    @property
    def always(self) -> NDArray[np.bool_]:
        return self.failing == self.runs


@dataclass(frozen=True, slots=True)
class World:
    """What is made up."""

    breaks: float = 0.08
    """Share of commits that break something."""
    hit: float = 3.0
    """Mean number of tests broken together."""
    ends: float = 0.5
    """Chance that a breakage is mended by the next commit."""
    broken_passes: float = 0.01
    """Chance that an attempt of a test that a change broke passes; what always fails never does."""
    reruns: float = 0.1
    """Share of commits whose whole suite runs a second time."""
    retries: int = 0
    """How often a failing test is tried again at once, until it passes."""
    repeats: float = 0.4
    """Chance that a retry repeats a flaky failure whatever the test's rate."""
    coverage_known: float = 0.7
    covered_broken: float = 0.85
    covered_flaky: float = 0.15
    print_shared: float = 0.05
    """Chance that a real failure looks like a flaky one of the same test."""


@dataclass(frozen=True, slots=True)
class State:
    """One commit: attempts by test, and the truth of each failing test."""

    failed: Floats
    passed: Floats
    covered: Floats
    prints: dict[int, str]
    flaky: dict[int, bool]


def read_projects(path: Path) -> list[Project]:
    """FlakeFlagger's projects, from its file as `foretest import` reads it."""
    parts = flakeflagger.read(path, Ledger(), Pseudonyms(b""))
    rows = [row for part in parts for row in part.rows.rows(named=True)]
    projects = []
    for name in dict.fromkeys(row["repository"] for row in rows):
        own = [row for row in rows if row["repository"] == name]
        causes: dict[tuple[int, int], int] = {}
        together = []
        for place, row in enumerate(own):
            alone = (-1, place) if not row["failing"] else None
            key = alone or (row["failing"], row["first_failing_run"])
            together.append(causes.setdefault(key, len(causes)))
        projects.append(
            Project(
                name.rpartition("/")[2],
                np.array([row["failing"] for row in own], np.float64),
                np.array([row["failing"] + row["passing"] for row in own], np.float64),
                np.array(together),
                np.array([max(row["exception_types"], 1) for row in own]),
            )
        )
    return projects


@dataclass(slots=True)
class Stream:
    """Commits of one project, drawn one after the other."""

    project: Project
    world: World
    seed: int
    _broken: dict[int, str] = field(default_factory=dict)

    def states(self, count: int) -> Iterator[State]:
        draw = np.random.default_rng((self.seed, *self.project.name.encode()))
        for commit in range(count):
            self._move(draw, commit)
            yield self._state(draw)

    def _move(self, draw: np.random.Generator, commit: int) -> None:
        """Breakages end and begin; one breakage has one name, and one fate."""
        tests = len(self.project.runs)
        names = dict.fromkeys(self._broken.values())
        ended = {name for name in names if draw.random() < self.world.ends}
        self._broken = {t: n for t, n in self._broken.items() if n not in ended}
        if draw.random() < self.world.breaks:
            first = int(draw.integers(tests))
            size = int(draw.geometric(1 / self.world.hit))
            self._broken |= dict.fromkeys(range(first, min(first + size, tests)), f"break{commit}")

    def _state(self, draw: np.random.Generator) -> State:
        project, world = self.project, self.world
        broken = project.always.copy()
        broken[list(self._broken)] = True
        fails = 1 - world.broken_passes * ~project.always
        failed, passed = np.zeros(len(broken)), np.zeros(len(broken))
        for _ in range(1 + (draw.random() < world.reruns)):
            shared = draw.random(int(project.together.max()) + 1)[project.together]
            bad = np.where(broken, draw.random(len(broken)) < fails, shared < project.rates)
            failed += bad
            passed += ~bad
            self._retry(draw, np.flatnonzero(bad), broken, failed, passed)
        rows = np.flatnonzero(failed)
        covered = np.full(len(broken), np.nan)
        sees = np.where(broken[rows], world.covered_broken, world.covered_flaky)
        known = draw.random(rows.size) < world.coverage_known
        covered[rows] = np.where(known, draw.random(rows.size) < sees, np.nan)
        prints = {int(row): self._print(draw, int(row), bool(broken[row])) for row in rows}
        return State(failed, passed, covered, prints, {int(r): not broken[r] for r in rows})

    def _retry(
        self,
        draw: np.random.Generator,
        rows: NDArray[np.intp],
        broken: NDArray[np.bool_],
        failed: Floats,
        passed: Floats,
    ) -> None:
        world, rates = self.world, self.project.rates
        for _ in range(world.retries):
            fails = 1 - world.broken_passes * ~self.project.always[rows]
            again = np.where(
                broken[rows],
                draw.random(rows.size) < fails,
                (draw.random(rows.size) < world.repeats) | (draw.random(rows.size) < rates[rows]),
            )
            failed[rows[again]] += 1
            passed[rows[~again]] += 1
            rows = rows[again]

    def _print(self, draw: np.random.Generator, row: int, broken: bool) -> str:
        if broken and draw.random() >= self.world.print_shared:
            return self._broken.get(row, "always")
        return f"flaky{draw.integers(self.project.types[row])}"
