"""What would have to be larger for a test that is left out: the budget, or the level asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import attrgetter

from foretest.records import Budget, Choice, Selection, Why
from foretest.selection.promise import Calibration

SCORED = frozenset({Why.SCORE, Why.EXPLORED, Why.OTHER_SHARD})
"""What runs for its score or by a draw, and not by a rule."""
Cost = Callable[[Choice], float]
USUAL: Cost = attrgetter("seconds")
"""What a test takes of a budget that is a share."""
COUNTED: Cost = attrgetter("seconds_counted")
"""What it takes of one in seconds."""
WHOLE = "nothing less than the whole suite holds it"


def shortfall(
    selection: Selection, choice: Choice, explore: float, known: Sequence[Calibration] = ()
) -> str:
    """What would make a left-out test of this selection run, a sentence; empty if nothing would.

    `explore` is the share of suite time that a draw is given; `known` are the calibrations that
    the promise may rest on.
    """
    if choice.why is not Why.OVER_BUDGET or selection.run_all:
        return ""
    held, given = _held(selection, choice, explore), _given(selection)
    if not _below(selection, choice):
        return f"it runs from a budget of {held} on{given}" if held else f"{WHOLE}{given}"
    if selection.budget == Budget():
        return f"it runs {_by_level(selection, choice, known)}"
    return f"it runs {_by_level(selection, choice, known)}, and {_enough(held)}{given}"


def _enough(held: str) -> str:
    return f"the budget is {held} or more" if held else WHOLE


def _held(selection: Selection, choice: Choice, explore: float) -> str:
    """The least budget that holds a test, in words; empty where none below the whole suite does."""
    needed, suite = _needed(selection, choice, explore, USUAL), selection.suite_seconds
    if needed >= suite:
        return ""
    seconds = seconds_needed(selection, choice, explore)
    return f"{_up(100 * needed / suite)} % of suite time ({_up(seconds)} s)"


def _below(selection: Selection, choice: Choice) -> bool:
    """Whether the level asked for does without a test, whatever the budget."""
    least = selection.promise.threshold if selection.promise else None
    return least is not None and choice.score < least


def seconds_needed(selection: Selection, choice: Choice, explore: float) -> float:
    """A budget in seconds that holds a left-out test: that of all that runs before it, and its own.

    Never too small; it may be too large by what the draw took from before it.
    """
    return _needed(selection, choice, explore, COUNTED)


def _needed(selection: Selection, choice: Choice, explore: float, cost: Cost) -> float:
    least = selection.promise.threshold if selection.promise else None
    if _below(selection, choice):
        least = 0.0  # how far a higher level lowers it is open: all that comes before may run
    ruled = sum(cost(c) for c in selection.chosen if c.why not in SCORED)
    scored = sum(map(cost, selection.chosen)) - ruled
    scored += sum(cost(c) for c in selection.rest if c.why is Why.OTHER_SHARD)
    before = [c for c in selection.rest if c.why is Why.OVER_BUDGET]
    place = next(i for i, c in enumerate(before) if c.test == choice.test)
    scored += sum(cost(c) for c in before[: place + 1] if least is None or c.score >= least)
    if least is None:
        # A draw is paid first, from at most a fifth of what the rules leave (see `budget.choose`).
        suite = sum(map(cost, (*selection.chosen, *selection.rest)))
        scored = min(scored + explore * suite, scored / 0.8)
    return ruled + scored


def _by_level(selection: Selection, choice: Choice, known: Sequence[Calibration]) -> str:
    promise = selection.promise
    basis = [each for each in known if promise is not None and each.basis is promise.basis]
    if not basis:
        return "where a higher level is asked for (--confidence)"
    # Beyond this level the threshold can no longer lie above the test's score.
    beyond = basis[0].level(math.nextafter(choice.score, math.inf))
    asked = _share_up(beyond)
    told = f"where more than {asked:g} % is asked for (--confidence)"
    if asked >= 100:
        told = "where 100 % is asked for (--confidence)"
    if basis[0].threshold(math.nextafter(max(asked / 100, beyond), math.inf)) is None:
        told += ", which cannot be promised with less than everything"
    return told


def _share_up(share: float) -> float:
    """Per cent with one digit, rounded up: what is printed must suffice.

    >>> _share_up(0.96774), _share_up(0.9), _share_up(0.9999)
    (96.8, 90.0, 100.0)
    """
    return math.ceil(share * 1000 - 1e-9) / 10


def _given(selection: Selection) -> str:
    budget = selection.budget
    if budget.seconds is not None:
        return f"; this one was {budget.seconds:.4g} s"
    return "" if budget.share is None else f"; this one was {100 * budget.share:.4g} %"


def _up(number: float) -> str:
    """Three digits, rounded up: what is printed must suffice.

    >>> _up(12.3401), _up(0.0023401), _up(99.95), _up(0.0), _up(12345.0)
    ('12.4', '0.00235', '100', '0', '12,400')
    """
    if number <= 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(number)) - 2)
    whole = math.ceil(number / unit - 1e-9) * unit
    return f"{whole:,.0f}" if whole >= 100 else f"{whole:.3g}"
