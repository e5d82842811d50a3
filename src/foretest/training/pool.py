"""What a ranker for repositories never seen is fitted on: many repositories' changes, augmented."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from foretest.replay.judge import Setting
from foretest.replay.published.rankers import Lesson
from foretest.selection.policy import Freshness
from foretest.training.examples import Example, dropped, examples_of, several_edits

DROPPED, DROPPED_WEIGHT = 0.25, 0.5
JOINED, JOINED_WEIGHT = 0.25, 0.5
"""Share of the examples that is repeated with less evidence, or joined to changes of several edits,
and what each of these counts."""

Taught = tuple[Lesson, Freshness]
"""A repository's trials with one kind of evidence, and the age of that evidence."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The examples of many repositories, by name; of none without a faulty change."""

    taught: Mapping[str, Sequence[Taught]]
    """Each kind of evidence of a repository."""
    real: Mapping[str, Sequence[Example]]
    extra: Mapping[str, Sequence[Example]]
    """Augmented ones: fitted on, never calibrated on."""

    @property
    def examples(self) -> int:
        return sum(map(len, self.real.values()))

    @property
    def augmented(self) -> int:
        return sum(map(len, self.extra.values()))


def pool(taught: Iterable[Taught], *, augment: bool = True, seed: int = 0) -> Pool:
    """The pool of these lessons: several of one repository are its several kinds of evidence."""
    by_name: dict[str, list[Taught]] = {}
    for lesson, age in taught:
        by_name.setdefault(lesson.repository, []).append((lesson, age))
    real = {name: examples(part, name) for name, part in by_name.items()}
    real = {name: part for name, part in real.items() if part}
    extra = {
        name: augmented(by_name[name], name, part, seed) if augment else []
        for name, part in real.items()
    }
    return Pool({name: by_name[name] for name in real}, real, extra)


def examples(taught: Sequence[Taught], name: str) -> list[Example]:
    return [
        example
        for lesson, age in taught
        for example in examples_of(lesson.trials, lesson.store, Setting(freshness=age), name)
    ]


def augmented(
    taught: Sequence[Taught], name: str, real: Sequence[Example], seed: int
) -> list[Example]:
    """What a repository's changes would be with less evidence, and as changes of several edits."""
    rng = np.random.default_rng((seed, len(name), *name.encode()))
    made = dropped(real, rng, rate=DROPPED, weight=DROPPED_WEIGHT)
    for lesson, age in taught:
        count = round(JOINED * len(real) / max(len(taught), 1))
        joined = several_edits(lesson.trials, rng, count)
        setting = Setting(freshness=age)
        made.extend(
            replace(example, weight=JOINED_WEIGHT)
            for example in examples_of(joined, lesson.store, setting, name)
        )
    return made
