"""Each feature in plain words: what is said where it raised a score, and where it lowered it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from foretest.models.contract import BASE


@dataclass(frozen=True, slots=True)
class Words:
    """What one feature says of a test, as clauses; `{}` takes the value."""

    raised: str
    lowered: str
    """Where the value is there, but so small, or of such a kind, that it speaks against."""
    zero: str
    missing: str = "it is unknown"


WORDS: dict[str, Words] = {
    "coverage_share": Words(
        "it enters {:.0%} of what changed",
        "it enters only {:.0%} of what changed",
        "it enters none of the changed functions",
        "whether it enters what changed is unknown",
    ),
    "coverage_rarity": Words(
        "few tests enter what it enters of the change",
        "many tests enter what it enters of the change",
        "it enters nothing rare of what changed",
        "whether it enters what changed is unknown",
    ),
    "coverage_focus": Words(
        "few tests share what it enters of the change",
        "many tests share what it enters of the change",
        "it enters none of the changed functions",
        "whether it enters what changed is unknown",
    ),
    "file_coverage_share": Words(
        "it enters {:.0%} of the changed files",
        "it enters only {:.0%} of the changed files",
        "it enters none of the changed files",
        "whether it enters the changed files is unknown",
    ),
    "propagated_share": Words(
        "it enters code that reads what changed",
        "it enters little of the code that reads what changed",
        "it enters no code that reads what changed",
        "no code is known to read what changed",
    ),
    "coverage_age": Words(
        "its coverage was collected {:,.0f} commits ago",
        "its coverage was collected {:,.0f} commits ago",
        "its coverage is of this very state",
        "the age of its coverage is unknown",
    ),
    "breadth": Words(
        "it enters {:.1%} of all code",
        "it enters {:.1%} of all code",
        "it enters no code",
        "how much code it enters is unknown",
    ),
    "bm25": Words(
        "it shares words with the change",
        "it shares few words with the change",
        "it shares no word with the change",
        "the change has no words to compare",
    ),
    "bm25_name": Words(
        "it names what changed",
        "it hardly names what changed",
        "it does not name what changed",
        "what changed has no name",
    ),
    "path_similarity": Words(
        "its path resembles a changed path",
        "its path hardly resembles a changed path",
        "its path resembles no changed path",
        "the change names no file",
    ),
    "import_depth": Words(
        "its imports lead to a changed file",
        "its imports lead to a changed file from afar",
        "its imports lead to no changed file",
        "who imports the changed files is unknown",
    ),
    "cochange": Words(
        "its file often changes together with what changed",
        "its file seldom changes together with what changed",
        "its file never changed together with what changed",
        "the changed files have no history",
    ),
    "fail_rate": Words(
        "it failed of late", "it seldom fails", "it did not fail in its runs", "it has not run yet"
    ),
    "days_since_failure": Words(
        "it failed {:,.0f} days ago",
        "it failed {:,.0f} days ago",
        "it failed today",
        "it is not known to have failed",
    ),
    "runs": Words(
        "it has run {:,.0f} times", "it has run {:,.0f} times", "no run of it is recorded"
    ),
    "past": Words(
        "it or tests beside it failed of late, or it is new",
        "it and the tests beside it seldom failed of late",
        "nothing in its past speaks for a failure",
        "no run of it is recorded",
    ),
    "seconds": Words(
        "it takes {:.2g} s", "it takes {:.2g} s", "it takes no time", "its time is unknown"
    ),
    "test_words": Words(
        "it holds {:,.0f} words", "it holds {:,.0f} words", "it has no words", "its text is unknown"
    ),
    "change_files": Words(
        "of changed files there are {:,.0f}",
        "of changed files there are {:,.0f}",
        "no file changed",
    ),
    "change_symbols": Words(
        "of changed functions there are {:,.0f}",
        "of changed functions there are {:,.0f}",
        "no function changed",
    ),
    "change_unseen": Words(
        "no test enters {:.0%} of what changed",
        "no test enters {:.0%} of what changed",
        "tests enter all that changed",
        "no function changed",
    ),
    BASE: Words(
        "its evidence is strong taken together", "its evidence is weak taken together", "", ""
    ),
}  # fmt: skip


def clause(feature: str, value: float, effect: float) -> str:
    """What a feature with this value says that moved the score by `effect` (log-odds).

    >>> clause("coverage_share", 0.4, 0.5), clause("bm25", 0.0, -1.0)
    ('it enters 40% of what changed', 'it shares no word with the change')
    """
    words = WORDS[feature]
    if feature != BASE:
        if math.isnan(value):
            return words.missing
        if value == 0:
            return words.zero
        if math.isinf(value):
            return "its coverage is of a state that is not in this change's past"
    return (words.raised if effect > 0 else words.lowered).format(value)
