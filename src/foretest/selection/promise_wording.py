"""What a selection promises, in sentences for people."""

from __future__ import annotations

from foretest.records import Basis, Promise, Selection, Why
from foretest.selection.promise import percent


def sentence(selection: Selection) -> str:
    """One line on what is promised; empty where nothing was asked."""
    promise = selection.promise
    if promise is None:
        return ""
    jointly = any(choice.why is Why.OTHER_SHARD for choice in selection.rest)
    whole = ", all shards together" if jointly else ""
    if promise.made >= 1:
        return f"promise{whole} ({percent(promise.asked)} asked): nothing is left out."
    if not promise.made:
        return f"no promise ({percent(promise.asked)} asked): {_nothing(selection, promise)}."
    less = percent(promise.made) != percent(promise.asked)
    limited = f" instead of {percent(promise.asked)}, since a budget limits runs" if less else ""
    made = f"{percent(promise.made)} of faulty changes are caught{limited}"
    return f"promise{whole}: {made}; {_by(promise)}."


def _nothing(selection: Selection, promise: Promise) -> str:
    """Why nothing is promised."""
    if promise.basis is Basis.NONE:
        return "the budget leaves out tests, and how often that misses a fault is unknown"
    elsewhere = any(choice.why is Why.OTHER_SHARD for choice in selection.rest)
    if not elsewhere and all(choice.why is Why.EXPLORED for choice in selection.chosen):
        return "no rule names a test, and none runs for its score"
    return "of the faulty changes known, too few are caught within this budget"


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
    if promise.made < promise.asked:
        told.append(
            "It is the level of that threshold and this budget together, over all changes: whether "
            "the budget left out a test of this one makes no difference to it."
        )
    return told
