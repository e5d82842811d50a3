"""What share of faulty changes a threshold on the score catches: conformal risk control."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from foretest.errors import BadBundle
from foretest.records import Basis, Promise, Why

if TYPE_CHECKING:
    from foretest.models.contract import Model
    from foretest.selection.policy import Rules

ALWAYS = 2.0
"""Stands for the score of a case that rules catch whatever the threshold: above every score."""
TOLERANCE = 1e-12
"""By which levels may differ for the rounding of floats alone."""

Case = tuple[tuple[float, float], ...]
"""A faulty change: failing tests that could catch it, each as its score (0..1, or ALWAYS) and the
share of suite time (0..1) at which the run reaches it; with falling scores the shares fall. Empty
where none of its failing tests can run."""

KEY = "calibration"
"""Under which a bundle's thresholds hold the repository's own calibration."""
POOLED = "models/pretrained/promise.json"
"""Where the package holds the calibration over other repositories."""

UNITS = {Basis.OWN: "faulty commit", Basis.POOLED: "repository"}


@dataclass(frozen=True)
class Calibration:
    """Past faulty changes, each as the scores of its failing tests and when a run reaches them.

    At the threshold t all tests with a score of at least t run, and those of the rules: a case is
    missed if, and only if, its highest score is below t. Under a budget of the share b of suite
    time it is caught for certain where a failing test of at least that score is reached by b when
    all run: what a threshold leaves out only brings the others forward. The sets are nested in
    both, so the loss falls with t and rises as b falls.

    Exchangeable are the groups, not the cases in them: commits where the calibration is the
    repository's own, repositories where it is pooled. With n groups, each missing on average the
    share r of its own cases, the level that t earns is 1 - (sum of r + 1) / (n + 1): the next
    group's chance to be caught is at least that (Angelopoulos, Bates, Fisch, Lei, Schuster:
    Conformal Risk Control, ICLR 2024; for groups, Lee, Barber, Willett: Distribution-free
    inference with hierarchical data, 2023).
    """

    basis: Basis
    groups: Mapping[str, tuple[Case, ...]]
    """By name; each holds at least one case."""
    model: str
    """The `identity` of the model that gave the scores: those of another model do not compare."""
    rules: Mapping[str, Any] = field(default_factory=dict)
    """What `decisive` says of the rules under which the cases were judged."""
    lineage: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The number of groups: what decides which levels can be promised at all."""
        return len(self.groups)

    def level(self, threshold: float, share: float = math.inf) -> float:
        """What a threshold, and a cut at a share of suite time, earn that were fixed before.

        0..1; 0 where there is no case.
        """
        found = (
            sum(is_caught(case, threshold, share) for case in cases) / len(cases)
            for cases in self.groups.values()
        )
        return math.fsum(found) / (self.size + 1)

    def threshold(self, level: float) -> float | None:
        """The largest threshold (0..1) that earns at least this level; None where none does."""
        place = bisect_right(self._candidates, TOLERANCE - level, key=lambda t: -self.level(t))
        return self._candidates[place - 1] if place else None

    def within(self, level: float, share: float) -> float:
        """The promise of `threshold(level)`, or of all where there is none, cut at this share.

        The same cases chose the threshold, so that what they say of it flatters by up to one
        group. What holds is the level of the largest threshold that the next group could have made
        of it, were it known and caught: the argument of the paper, for a second loss.
        """
        least = needed(level)
        if least is None or self.size < least:  # then the cases chose nothing: all are run
            return min(level, self.level(0.0, share))
        highest = level - 1 / (self.size + 1)
        if highest <= 0:
            return 0.0
        return min(level, self.level(self.threshold(highest) or 0.0, share))

    def holds_under(self, rules: Mapping[str, Any]) -> bool:
        """Whether the sets under these rules (see `decisive`) hold those that were calibrated.

        More patterns in `must_run` only add tests. Any other difference may take some away.
        """
        mine = dict(self.rules)
        return {**rules, "must_run": 0} == {**mine, "must_run": 0} and (
            set(mine["must_run"]) <= set(rules["must_run"])
        )

    def unforeseen(self, rules: Mapping[str, Any]) -> frozenset[Why]:
        """Rules whose tests take of a budget what no case knew of."""
        grown = set(rules["must_run"]) - set(self.rules.get("must_run", ()))
        return frozenset({Why.RECENTLY_FAILED, *([Why.MUST_RUN] if grown else [])})

    @cached_property
    def _candidates(self) -> list[float]:
        """The level falls at the scores of the cases alone; above 1 there is no score to demand."""
        highest = {case[0][0] for cases in self.groups.values() for case in cases if case}
        return sorted({min(score, 1.0) for score in highest})

    def to_json(self) -> dict[str, Any]:
        return {
            "basis": self.basis.value,
            "model": self.model,
            "rules": dict(self.rules),
            "groups": {
                name: [[list(pair) for pair in case] for case in cases]
                for name, cases in self.groups.items()
            },
            "lineage": dict(self.lineage),
        }

    @classmethod
    def from_json(cls, data: Any) -> Calibration:
        """Undo `to_json`. Raises BadBundle for anything else."""
        try:
            groups = {
                str(name): tuple(_case(case) for case in cases)
                for name, cases in data["groups"].items()
            }
            if not all(groups.values()):
                raise ValueError("a group without a case")
            basis = Basis(data["basis"])
            if basis is Basis.NONE:
                raise ValueError("it does not say whose cases it holds")
            rules, lineage = _rules(data["rules"]), dict(data.get("lineage", {}))
            return cls(basis, groups, str(data["model"]), rules, lineage)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadBundle(
                f"The calibration of the promise cannot be read ({type(error).__name__}: {error}).",
                "Run 'foretest learn' to make a new one.",
            ) from error


def is_caught(case: Case, threshold: float, share: float = math.inf) -> bool:
    """Whether a threshold, and a cut at a share of suite time, are certain to catch the case."""
    return any(reached <= share for score, reached in case if score >= threshold)


def as_case(reached: Iterable[tuple[float, float]]) -> Case:
    """A case of its failing tests (score, share): those that a better and earlier one outdoes go.

    >>> as_case([(0.2, 0.1), (0.5, 0.3), (0.4, 0.6)])
    ((0.5, 0.3), (0.2, 0.1))
    """
    kept: list[tuple[float, float]] = []
    for score, share in sorted(reached, key=lambda pair: (-pair[0], pair[1])):
        if not kept or share < kept[-1][1]:
            kept.append((score, share))
    return tuple(kept)


def _case(pairs: Any) -> Case:
    for score, share in pairs:
        if not all(type(value) in (int, float) for value in (score, share)):
            raise TypeError(f"{[score, share]!r} is no score and share")
        if not (0 <= score <= 1 or score == ALWAYS) or not 0 <= share <= 1:
            raise ValueError(f"{[score, share]!r} is no score and share")
    return as_case((float(score), float(share)) for score, share in pairs)


def decisive(rules: Rules) -> dict[str, Any]:
    """What of the rules decides whether a past change is caught; JSON, whatever the order.

    Not among it are draws and tests that failed of late: both only add.
    """
    return {
        "must_run": sorted({*rules.must_run}),
        "never_widen": sorted({*rules.never_widen}),
        "max_coverage_age": float(rules.max_coverage_age),
    }


def _rules(data: Any) -> dict[str, Any]:
    lists = {name: data[name] for name in ("must_run", "never_widen")}
    if not all(isinstance(v, list) and all(type(x) is str for x in v) for v in lists.values()):
        raise TypeError("its rules are no lists of patterns")
    return {**lists, "max_coverage_age": float(data["max_coverage_age"])}


def needed(level: float) -> int | None:
    """Groups without which no calibration can promise a level; None where no number suffices.

    >>> needed(0.9), needed(0.95), needed(0.99), needed(1.0)
    (9, 19, 99, None)
    """
    return math.ceil((level - TOLERANCE) / (1 - level + TOLERANCE)) if level < 1 else None


def identity(model: Model) -> str:
    """Name and digest of a scoring model: of equal identity are models that score alike."""
    from foretest.models.contract import identity as of_model  # with numpy: not for clients

    return of_model(model)


def pooled() -> Calibration | None:
    """The calibration over other repositories that the package brings; None where it has none.

    Raises BadBundle for a damaged one.
    """
    from importlib.resources import files  # only who asks for a promise pays for it

    try:
        return _of(Basis.POOLED, json.loads((files("foretest") / POOLED).read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (BadBundle, OSError, ValueError, RecursionError) as error:
        raise BadBundle(
            f"The calibration of the promise that foretest brings cannot be read: {error}",
            "Install foretest again.",
        ) from error


def own(thresholds: Mapping[str, Any]) -> Calibration | None:
    """The repository's own calibration among a bundle's thresholds. Raises BadBundle."""
    kept = thresholds.get(KEY)
    return None if kept is None else _of(Basis.OWN, kept)


def _of(basis: Basis, data: Any) -> Calibration:
    made = Calibration.from_json(data)
    if made.basis is not basis:
        raise BadBundle(
            f"The calibration of the promise cannot be read: it is {made.basis.value}, where "
            f"{basis.value} is expected.",
            "Run 'foretest learn' to make a new one.",
        )
    return made


def calibrations(thresholds: Mapping[str, Any], model: Model, rules: Rules) -> list[Calibration]:
    """The repository's own calibration and the pooled one, in this order, as far as they hold.

    One that was made with another model or under other rules is left out. Raises BadBundle for a
    damaged one.
    """
    return [each for each in _known(thresholds) if not _unfit(each, model, rules)]


def _known(thresholds: Mapping[str, Any]) -> list[Calibration]:
    return [each for each in (own(thresholds), pooled()) if each is not None]


def _unfit(calibration: Calibration, model: Model, rules: Rules) -> str:
    """Why a calibration says nothing of this model and these rules; empty where it does."""
    if calibration.model != identity(model):
        return "with another model"
    if not calibration.holds_under(decisive(rules)):
        return "under other rules (must_run, never_widen, max_coverage_age)"
    return ""


@dataclass(frozen=True, slots=True)
class Aim:
    """The level that is asked for, and the calibration that answers."""

    level: float
    calibration: Calibration | None = None
    notice: str = ""
    """What is to be said: why the level cannot be promised, what was not used; else empty."""

    @property
    def threshold(self) -> float | None:
        """Tests of at least this score run; None: all do, since the level cannot be promised."""
        return None if self.calibration is None else self.calibration.threshold(self.level)

    def promise(
        self,
        share: float = math.inf,
        *,
        cut: bool = False,
        complete: bool = False,
        empty: bool = False,
    ) -> Promise:
        """What is promised under a budget of this share of suite time (infinity: there is none).

        The share is the budget less what rules take of it that no case knew of. Whether it cut this
        very set decides nothing: the promise is an average over changes, and the budget cuts
        others. `complete`: no test rests; `empty`: none runs, so that no fault can be caught.
        """
        if complete:
            made = 1.0
        elif empty or self.calibration is None:
            made = 0.0
        elif share < math.inf:
            made = self.calibration.within(self.level, share)
        else:
            made = min(self.level, self.calibration.level(self.threshold or 0.0))
        return Promise(
            asked=self.level,
            made=made,
            basis=self.calibration.basis if self.calibration else Basis.NONE,
            groups=self.calibration.size if self.calibration else 0,
            threshold=self.threshold,
            cut=cut,
        )


def aim_for(level: float, thresholds: Mapping[str, Any], model: Model, rules: Rules) -> Aim:
    """The aim for a bundle's thresholds; says so where the own calibration is of no use."""
    aim = aim_at(level, calibrations(thresholds, model, rules))
    kept = own(thresholds)
    unfit = "" if kept is None else _unfit(kept, model, rules)
    if not unfit:
        return aim
    told = (
        f"The calibration of the promise on this repository's own commits was made {unfit} and is "
        "not used: `foretest learn --undo 200` makes a new one."
    )
    return replace(aim, notice=f"{told} {aim.notice}".rstrip())


def aim_at(level: float, known: Sequence[Calibration]) -> Aim:
    """Choose the first calibration with enough groups, by their number alone; else the largest.

    Where the own one has enough and yet no threshold, since too many changes take their failing
    tests with them, no other is asked: what the repository itself says is not overruled.
    """
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
