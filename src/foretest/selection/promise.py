"""What share of faulty changes a threshold on the score catches: conformal risk control."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from foretest.errors import BadBundle
from foretest.records import Basis, Promise, Selection, Why

if TYPE_CHECKING:
    from foretest.models.contract import Model

ALWAYS = 2.0
"""Stands for the score of a case that rules catch whatever the threshold: above every score."""
NEVER = -1.0
"""Stands for the score of a case that no threshold catches."""

KEY = "calibration"
"""Under which a bundle's thresholds hold the repository's own calibration."""
POOLED = "models/pretrained/promise.json"
"""Where the package holds the calibration over other repositories."""

UNITS = {Basis.OWN: "faulty commit", Basis.POOLED: "repository"}


@dataclass(frozen=True)
class Calibration:
    """Past faulty changes, each as the highest score among the tests that it failed.

    At the threshold t all tests with a score of at least t run, and those of the rules: a case with
    the score s is missed if, and only if, s < t. The sets are nested, so the loss falls with t.

    Exchangeable are the groups, not the cases in them: commits where the calibration is the
    repository's own, repositories where it is pooled. With n groups, each missing on average the
    share r of its own cases, the level that t earns is 1 - (sum of r + 1) / (n + 1): the next
    group's chance to be caught is at least that (Angelopoulos, Bates, Fisch, Lei, Schuster:
    Conformal Risk Control, ICLR 2024; for groups, Lee, Barber, Willett: Distribution-free
    inference with hierarchical data, 2023).
    """

    basis: Basis
    groups: Mapping[str, tuple[float, ...]]
    """By name; each holds at least one score, in 0..1, or ALWAYS, or NEVER."""
    model: str
    """The `identity` of the model that gave the scores: those of another model do not compare."""
    lineage: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The number of groups: what decides which levels can be promised at all."""
        return len(self.groups)

    def level(self, threshold: float) -> float:
        """The promise that a threshold earns, 0..1; 0 where there is no case."""
        caught = (
            sum(score >= threshold for score in scores) / len(scores)
            for scores in self.groups.values()
        )
        return math.fsum(caught) / (self.size + 1)

    def threshold(self, level: float) -> float | None:
        """The largest threshold (0..1) that earns at least this level; None where none does."""
        place = bisect_right(self._candidates, -level, key=lambda t: -self.level(t))
        return self._candidates[place - 1] if place else None

    @cached_property
    def _candidates(self) -> list[float]:
        """The level falls at the scores of the cases alone; above 1 there is no score to demand."""
        scores = {score for group in self.groups.values() for score in group}
        return sorted({min(score, 1.0) for score in scores if score >= 0})

    def to_json(self) -> dict[str, Any]:
        return {
            "basis": self.basis.value,
            "model": self.model,
            "groups": {name: list(scores) for name, scores in self.groups.items()},
            "lineage": dict(self.lineage),
        }

    @classmethod
    def from_json(cls, data: Any) -> Calibration:
        """Undo `to_json`. Raises BadBundle for anything else."""
        try:
            groups = {
                str(name): tuple(_score(score) for score in scores)
                for name, scores in data["groups"].items()
            }
            if not all(groups.values()):
                raise ValueError("a group without a case")
            basis = Basis(data["basis"])
            return cls(basis, groups, str(data["model"]), dict(data.get("lineage", {})))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadBundle(
                f"The calibration of the promise cannot be read ({type(error).__name__}: {error}).",
                "Run 'foretest learn' to make a new one.",
            ) from error


def _score(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no score")
    if not (0 <= value <= 1 or value in (ALWAYS, NEVER)):
        raise ValueError(f"{value!r} is no score")
    return float(value)


def needed(level: float) -> int | None:
    """Groups without which no calibration can promise a level; None where no number suffices.

    >>> needed(0.9), needed(0.95), needed(0.99), needed(1.0)
    (9, 19, 99, None)
    """
    return math.ceil(level / (1 - level) - 1e-9) if level < 1 else None


def identity(model: Model) -> str:
    """Name and digest of a scoring model: of equal identity are models that score alike."""
    from foretest.models.contract import identity as of_model  # with numpy: not for clients

    return of_model(model)


def pooled() -> Calibration | None:
    """The calibration over other repositories that the package brings; None where it has none."""
    from importlib.resources import files  # only who asks for a promise pays for it

    try:
        text = (files("foretest") / POOLED).read_text("utf-8")
    except FileNotFoundError:
        return None
    return Calibration.from_json(json.loads(text))


def calibrations(thresholds: Mapping[str, Any], model: Model) -> list[Calibration]:
    """The repository's own calibration and the pooled one, in this order, as far as they exist.

    One that was made with another model is left out. Raises BadBundle for a damaged one.
    """
    kept = thresholds.get(KEY)
    found = (None if kept is None else Calibration.from_json(kept), pooled())
    wanted = identity(model)
    return [each for each in found if each is not None and each.model == wanted]


@dataclass(frozen=True, slots=True)
class Aim:
    """The level that is asked for, and the calibration that answers."""

    level: float
    calibration: Calibration | None = None
    notice: str = ""
    """What is to be said where the level cannot be promised; else empty."""

    @property
    def threshold(self) -> float | None:
        """Tests of at least this score run; None: all do, since the level cannot be promised."""
        return None if self.calibration is None else self.calibration.threshold(self.level)

    def promise(self, cut: Sequence[float], *, complete: bool) -> Promise:
        """What is promised where a budget leaves out tests of these scores; `complete`: none rests.

        A cut set holds the whole set of every threshold above the scores that were cut.
        """
        made = self.level
        if complete:
            made = 1.0
        elif cut:
            above = math.nextafter(max(cut), math.inf)
            made = min(made, self.calibration.level(above)) if self.calibration else 0.0
        return Promise(
            asked=self.level,
            made=made,
            basis=self.calibration.basis if self.calibration else Basis.NONE,
            groups=self.calibration.size if self.calibration else 0,
            threshold=self.threshold,
            cut=bool(cut),
        )


def aim_at(level: float, known: Sequence[Calibration]) -> Aim:
    """Choose the first calibration with enough groups, by their number alone; else the largest."""
    least = needed(level)
    enough = [each for each in known if least is not None and each.size >= least]
    best = enough[0] if enough else max(known, key=lambda each: each.size, default=None)
    aim = Aim(level, best)
    if aim.threshold is not None:
        return aim
    if enough:
        told = f"{_counted(enough[0])} are known, and too many of them would be missed"
    elif least is None:
        told = "no number of past changes suffices"
    else:
        have = " and ".join(f"{_counted(each)}" for each in known) or "no calibration"
        told = (
            f"that takes {least:,} faulty commits of this repository, or {least:,} other "
            f"repositories; known: {have}"
        )
    notice = (
        f"{percent(level)} cannot be promised: {told}. `foretest learn --undo 200` tries past "
        "changes here."
    )
    return Aim(level, best, notice)


def _counted(calibration: Calibration) -> str:
    unit = UNITS[calibration.basis]
    plural = unit[:-1] + "ies" if unit.endswith("y") else f"{unit}s"
    whose = " here" if calibration.basis is Basis.OWN else " in the pooled calibration"
    return f"{calibration.size:,} {unit if calibration.size == 1 else plural}{whose}"


def percent(level: float) -> str:
    """A level for people, never rounded up: a promise must not grow in print.

    >>> percent(0.95), percent(8 / 9), percent(0.9999), percent(1.0)
    ('95 %', '88.8 %', '99.9 %', '100 %')
    """
    return f"{math.floor(level * 1000 + 1e-9) / 10:g} %"


def sentence(selection: Selection) -> str:
    """One line on what is promised; empty where nothing was asked."""
    promise = selection.promise
    if promise is None:
        return ""
    if promise.made >= 1:
        return f"promise ({percent(promise.asked)} asked): nothing is left out."
    if not promise.made:
        return (
            f"no promise ({percent(promise.asked)} asked): the budget leaves out tests, and how "
            "often that misses a fault is unknown."
        )
    jointly = any(choice.why is Why.OTHER_SHARD for choice in selection.rest)
    whole = ", all shards together" if jointly else ""
    less = f" instead of {percent(promise.asked)}, since the budget cuts" if promise.cut else ""
    made = f"{percent(promise.made)} of faulty changes are caught{less}"
    return f"promise{whole}: {made}; {_by(promise)}."


def _by(promise: Promise) -> str:
    if promise.basis is Basis.OWN:
        return f"calibrated on {promise.groups:,} faulty commits of this repository"
    return (
        f"calibrated on {promise.groups:,} other repositories, so it is not this repository's own"
    )


def explanation(selection: Selection) -> list[str]:
    """What the promise means and what it does not, a sentence each; empty where none was asked."""
    promise = selection.promise
    if promise is None:
        return []
    told = [sentence(selection)[0].upper() + sentence(selection)[1:]]
    if promise.made >= 1 or not promise.made:
        return told
    if promise.threshold is not None:
        told.append(
            f"Tests with a score of at least {promise.threshold:.3g} run for it, and all that the "
            "rules name."
        )
    told.append(
        "It counts faulty changes, of which at least one failing test runs, on average over changes"
        " like those calibrated on: past changes, taken back. Other kinds of faults, and a "
        "repository that drifts from its past, are outside of it (docs/promise.md)."
    )
    if promise.cut:
        told.append(
            "The budget decided what is left: a limit that moves with the change is judged "
            "as if it had stood before, so this level is an estimate and no bound."
        )
    return told
