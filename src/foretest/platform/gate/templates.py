"""Templates: one question put to many real changes, answered by a share with its interval."""

from __future__ import annotations

from collections.abc import Callable

from foretest.errors import ForetestError
from foretest.platform.gate.exam import Exam, Instance, wilson
from foretest.platform.gate.verdict import Check

Template = Callable[[Instance], bool | None]
"""Whether it holds on a change; None where the change does not lend itself to it."""
Z = 1.96
ALMOST = 0.95
"""A share of changes on which a sound model holds: where so many are not certain, they are few."""
SHOWN = 3
"""Changes that are named where a template fails."""


def holds(exam: Exam, name: str, template: Template, wanted: float | None = None) -> Check:
    """The share of instances on which a template holds; `wanted` 1.0 asks for all of them.

    Failed: it does not hold for certain on as many as are wanted. Unknown where there are too few
    changes to be certain of a sound model, and it holds on as many.
    """
    least = exam.limits.holds if wanted is None else wanted
    right, wrong, why = 0, [], ""
    for instance in exam.instances:
        try:
            answer = template(instance)
        except (ForetestError, ArithmeticError, ValueError) as error:
            answer, why = False, f"{type(error).__name__}: {error}. "
        right += answer is True
        if answer is False:
            wrong.append(f"{instance.trial.repository} {instance.trial.case_id}")
    n = right + len(wrong)
    every = least >= 1.0
    asked = "all" if every else f"at least {least:.0%} for certain"
    if not n:
        return Check(name, None, "-", asked, "no change lends itself to it", essential=False)
    low, high = wilson(right, n, Z)
    told = f"{right} of {n}" if every else f"{right} of {n} [{low:.1%}, {high:.1%}]"
    named = ", ".join(wrong[:SHOWN]) + (f" and {len(wrong) - SHOWN} more" * (len(wrong) > SHOWN))
    hopeless = least > wilson(n, n, Z)[0]
    few = least > wilson(ALMOST * n, n, Z)[0] and right >= least * n
    if not every and low < least <= high and (hopeless or few):
        why = f"{n} changes are too few to be certain" + (f": not on {named}" if wrong else "")
        return Check(name, None, told, asked, why, essential=False)
    return Check(name, not wrong if every else low >= least, told, asked, f"{why}not on {named}")
