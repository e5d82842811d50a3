"""Slices and subpopulations: nobody's part of the code gets systematically less than all do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist, fmean

import numpy as np

from foretest.features.build import DAY
from foretest.platform.gate.exam import CANDIDATE, Exam, wilson
from foretest.platform.gate.verdict import Check
from foretest.replay.judge import ALL, Trial
from foretest.replay.metrics import SHARES

BUDGET = SHARES.index(0.10)
"""What is caught within 10 % of suite time is a slice's recall."""
SIZES = ((300, "up to 300 tests"), (1_000, "301 to 1,000 tests"))
LARGER = "more than 1,000 tests"
YEARS = ((5.0, "up to 5 years"), (12.0, "5 to 12 years"))
OLDER = "more than 12 years"
FACETS = ("language", "suite size", "repository age", "repository", "directory")


@dataclass(frozen=True, slots=True)
class Part:
    """One slice: how much of it is caught, and how many independent witnesses say so."""

    name: str
    caught: Mapping[str, float]
    """For each commit the mean over its cases."""
    before: float
    """What the rival catches of the same cases, 0..1."""

    @property
    def recall(self) -> float:
        return fmean(self.caught.values())


def checks(exam: Exam) -> Iterator[Check]:
    """A check a facet; what is too small to tell is counted and said."""
    parts = parts_of(exam)
    large = [
        part
        for facet in parts.values()
        for part in facet
        if len(part.caught) >= exam.limits.slice_least
    ]
    # Bonferroni over every slice looked at: among many, some lie low by chance.
    z = NormalDist().inv_cdf(1 - exam.limits.alpha / max(len(large), 1))
    for facet in FACETS:
        yield _check(exam, facet, parts.get(facet, []), z)


def _check(exam: Exam, facet: str, parts: list[Part], z: float) -> Check:
    name, behind = f"slices: {facet}", exam.limits.slice_behind
    wanted = f"none surely {100 * behind:.0f} points below all"
    known = [part for part in parts if len(part.caught) >= exam.limits.slice_least]
    small = len(parts) - len(known)
    unknown = f"{small} of {len(parts)} unknown (fewer than {exam.limits.slice_least} commits)"
    if not known:
        return Check(name, None, unknown, wanted, "no slice is large enough", essential=False)
    overall = _recall(exam)
    low = [part for part in known if _best(part, z) < overall - behind]
    worst = min(known, key=lambda part: _best(part, z))
    told = f"{len(known)} known, worst {worst.name} {worst.recall:.0%} of {overall:.0%} of all"
    why = "; ".join(
        f"{part.name}: {part.recall:.0%}, at best {_best(part, z):.0%} ({exam.rival_name} "
        f"{part.before:.0%})"
        for part in low
    )
    return Check(name, not low, f"{told}; {unknown}" if small else told, wanted, why)


def parts_of(exam: Exam) -> dict[str, list[Part]]:
    """The slices of each facet. One of several repositories' changes counts a commit once."""
    before = {
        (v.repository, v.case_id): v.score.caught[BUDGET]
        for v in exam.verdicts
        if v.slice == ALL and v.strategy == exam.rival_name
    }
    ages = _ages(exam)
    caught: dict[tuple[str, str], dict[str, list[float]]] = {}
    rivals: dict[tuple[str, str], list[float]] = {}
    for v in exam.verdicts:
        if v.slice != ALL or v.strategy != CANDIDATE:
            continue
        trial, store = exam.trials[v.repository, v.case_id]
        for label in labels(trial, v.repository, len(store.tests), ages[v.repository]):
            commits = caught.setdefault(label, {})
            commits.setdefault(f"{v.repository} {v.commit}", []).append(v.score.caught[BUDGET])
            rivals.setdefault(label, []).append(before[v.repository, v.case_id])
    parts: dict[str, list[Part]] = {}
    for (facet, name), commits in caught.items():
        means = {commit: fmean(values) for commit, values in commits.items()}
        parts.setdefault(facet, []).append(Part(name, means, fmean(rivals[facet, name])))
    return parts


def labels(trial: Trial, repository: str, tests: int, years: float) -> Iterator[tuple[str, str]]:
    """The slices, as facet and name, that a change is in."""
    paths = [file.path for file in trial.query.files]
    for suffix in sorted({_suffix(path) for path in paths}):
        yield "language", suffix
    yield "suite size", next((name for most, name in SIZES if tests <= most), LARGER)
    if years == years:
        yield "repository age", next((name for most, name in YEARS if years <= most), OLDER)
    yield "repository", repository
    for folder in sorted({_folder(path) for path in paths}):
        yield "directory", f"{repository}/{folder}"


def _recall(exam: Exam) -> float:
    mine = [v for v in exam.verdicts if v.slice == ALL and v.strategy == CANDIDATE]
    return float(np.mean([v.score.caught[BUDGET] for v in mine])) if mine else 0.0


def _best(part: Part, z: float) -> float:
    """The good end of a slice's interval; a commit is one witness, however many its cases."""
    return wilson(sum(part.caught.values()), len(part.caught), z)[1]


def _ages(exam: Exam) -> dict[str, float]:
    """Years from the first known change of a repository to its last: its age is no less."""
    ages = {}
    for lesson, _ in exam.judged:
        times = [trial.time for trial in lesson.trials if trial.time == trial.time]
        span = max(times) - min(times) if times else np.nan
        ages[lesson.repository] = span / (365.25 * DAY)
    return ages


def _suffix(path: str) -> str:
    name = path.rpartition("/")[2]
    return "." + name.rpartition(".")[2].lower() if "." in name else "no suffix"


def _folder(path: str) -> str:
    """The folder that holds a file, at most three deep."""
    return "/".join(path.split("/")[:-1][:3])
