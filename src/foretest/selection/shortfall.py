"""What would have to be larger for a test that is left out: the budget, or the level asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from foretest.records import Choice, Selection, Why
from foretest.selection.promise import Calibration, percent

SCORED = frozenset({Why.SCORE, Why.EXPLORED, Why.OTHER_SHARD})
"""What runs for its score or by a draw, and not by a rule."""


def shortfall(
    selection: Selection, choice: Choice, explore: float, known: Sequence[Calibration] = ()
) -> str:
    """What would make a left-out test of this selection run, a sentence; empty if nothing would.

    `explore` is the share of suite time that a draw is given; `known` are the calibrations that
    the promise may rest on.
    """
    if choice.why is not Why.OVER_BUDGET or selection.run_all:
        return ""
    least = selection.promise.threshold if selection.promise else None
    if least is not None and choice.score < least:
        return _by_level(selection, choice, known)
    needed, suite = seconds_needed(selection, choice, explore), selection.suite_seconds
    if needed >= suite:
        return f"nothing less than the whole suite holds it{_given(selection)}"
    share = f"{_up(100 * needed / suite)} % of suite time ({_up(needed)} s)"
    return f"it runs from a budget of {share} on{_given(selection)}"


def seconds_needed(selection: Selection, choice: Choice, explore: float) -> float:
    """A budget in seconds that holds a left-out test: that of all that runs before it, and its own.

    Never too small; it may be too large by what the draw took from before it.
    """
    least = selection.promise.threshold if selection.promise else None
    ruled = sum(c.seconds for c in selection.chosen if c.why not in SCORED)
    scored = selection.chosen_seconds - ruled
    scored += sum(c.seconds for c in selection.rest if c.why is Why.OTHER_SHARD)
    before = [c for c in selection.rest if c.why is Why.OVER_BUDGET]
    place = next(i for i, c in enumerate(before) if c.test == choice.test)
    scored += sum(c.seconds for c in before[: place + 1] if least is None or c.score >= least)
    if least is None:
        # A draw is paid first, from at most a fifth of what the rules leave (see `budget.choose`).
        scored = min(scored + explore * selection.suite_seconds, scored / 0.8)
    return ruled + scored


def _by_level(selection: Selection, choice: Choice, known: Sequence[Calibration]) -> str:
    promise = selection.promise
    basis = [each for each in known if promise is not None and each.basis is promise.basis]
    told = "it runs where a higher level is asked for (--confidence)"
    if not basis:
        return told
    # Beyond this level the threshold can no longer lie above the test's score.
    level = basis[0].level(math.nextafter(choice.score, math.inf))
    return f"it runs where more than {percent(level)} is asked for (--confidence)"


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
