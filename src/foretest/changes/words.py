"""The words of code and of changes: identifiers, whole and in parts, and the words of strings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from keyword import kwlist

from foretest.records import Change

_TOKEN = re.compile(r"[^\W\d]\w*|\d\d+")
_LOWER = r"[^\W\d_A-Z]"  # any letter but an ASCII capital
_PART = re.compile(rf"[A-Z]+(?!{_LOWER})|[A-Z]?{_LOWER}+|\d+")
_DROPPED = frozenset(keyword.lower() for keyword in kwlist)


@dataclass(frozen=True, slots=True)
class ChangeWords:
    """How often each word stands in a change's removed lines, its added lines and its paths."""

    removed: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)
    paths: Counter[str] = field(default_factory=Counter)

    @property
    def lines(self) -> Counter[str]:
        """Removed and added together."""
        return self.removed + self.added


def words(text: str) -> list[str]:
    """Words in the order of the text, in lower case: `readChange_2024` gives itself and its parts.

    Keywords of Python and words of one character are left out.
    """
    return list(chain.from_iterable(map(_split, _TOKEN.findall(text))))


def change_words(change: Change) -> ChangeWords:
    """The words of every hunk, and of the paths without their suffixes, old and new."""
    hunks = [hunk for file in change.files for hunk in file.hunks]
    return ChangeWords(
        removed=_count(line for hunk in hunks for line in hunk.removed),
        added=_count(line for hunk in hunks for line in hunk.added),
        paths=_count(re.sub(r"\.\w+$", "", path) for path in change.paths),
    )


def _count(lines: Iterable[str]) -> Counter[str]:
    return Counter(words("\n".join(lines)))


@lru_cache(maxsize=1 << 16)
def _split(token: str) -> tuple[str, ...]:
    whole = token.lower()
    parts = [part.lower() for part in _PART.findall(token)]
    found = (whole, *parts) if parts != [whole] else (whole,)
    return tuple(w for w in found if len(w) > 1 and w not in _DROPPED)
