"""A text of JUnit XML in pieces, each of which begins with a case or with a tag of a suite."""

from __future__ import annotations

import numpy as np
import polars as pl

from foretest.results.tags import Mask, Places, Tags

_LOGS = ((b"<system-out>", b"</system-out>"), (b"<system-err>", b"</system-err>"))
LONGEST = 16
"""Bytes of the longest text that is looked for here."""


class Pieces:
    """Pieces by number; positions count from 1, since something may stand before all of them."""

    def __init__(self, tags: Tags) -> None:
        self.tags = tags
        case = tags.stand(b"testcase", tags.begins + 1)
        logs = _logs(tags, np.flatnonzero(~case))
        if len(logs):
            tags.leave_out(logs)
            case = np.delete(case, logs)
        head, rest = case.copy(), np.flatnonzero(~case)
        begins = tags.begins[rest] + 1
        head[rest] = tags.stand(b"testsuit", begins) | tags.stand(b"/testsui", begins)
        self.heads = np.flatnonzero(head)
        """The tags with which they begin."""
        self.sizes = np.diff(self.heads, append=len(tags))
        """The tags in each, without logs."""
        self.of_suites = ~case[self.heads]

    def followed(self, by: bytes) -> Mask:
        """Whether their second tags begin like that."""
        found = self.sizes > 1
        found[found] = self.tags.stand(by, self.tags.begins[self.heads[found] + 1])
        return found

    def texts(self, which: Mask) -> list[tuple[int, str]]:
        """Their positions and texts."""
        begins = self.tags.begins[self.heads]
        ends = np.append(begins[1:], self.tags.size)
        numbers = np.flatnonzero(which)
        places = zip(
            numbers.tolist(), begins[numbers].tolist(), ends[numbers].tolist(), strict=True
        )
        return [(number + 1, self.tags.text(begin, end)) for number, begin, end in places]

    def before(self) -> str:
        """What stands before all of them."""
        return self.tags.text(
            0, int(self.tags.begins[self.heads[0]]) if len(self.heads) else self.tags.size
        )


def positions(which: Mask) -> pl.Series:
    """Positions of the pieces that are meant."""
    return pl.Series("position", np.flatnonzero(which) + 1, pl.UInt32)


def _logs(tags: Tags, among: Places) -> Places:
    """Tags that open and close a log, which tells nothing of a plain case."""
    among = among[tags.stand(b"<system-", tags.begins[among])]
    among = among[among + 1 < len(tags)]
    opened = [
        among[tags.stand(begin, tags.begins[among]) & tags.only(end, among + 1)]
        for begin, end in _LOGS
    ]
    both = np.concatenate(opened)
    return np.concatenate((both, both + 1))
