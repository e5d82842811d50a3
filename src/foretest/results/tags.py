"""A text of markup as a table of its tags: where each begins, and where its quotes stand.

In markup without comments and sections a `<` begins a tag wherever it stands, or is an error.
Nothing is made of a tag until it is asked for: all that is kept of it are places in the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_QUOTE, _TAG = ord('"'), ord("<")
_INDENTS = 3


class Tags:
    """The tags of a text, by number."""

    def __init__(self, text: str, longest: int) -> None:
        """No text that `stand` looks for may have more than `longest` bytes."""
        data = text.encode()
        self.size = len(data)
        self._longest = longest
        self._data = data + bytes(longest)  # a look at the last place stays within
        signs = np.frombuffer(self._data, np.uint8, self.size)
        marked = signs == _QUOTE
        marked |= signs == _TAG
        self._marks = np.flatnonzero(marked)
        self._first = np.flatnonzero(signs[self._marks] == _TAG)
        self.begins = self._marks[self._first]
        self.ends = np.append(self.begins[1:], self.size)
        """Where what follows a tag ends, which is where the next one begins."""
        self.quotes = np.diff(self._first, append=len(self._marks)) - 1
        """How many stand in a tag and in what follows it."""
        self.odd = (
            (self.size > 0 and signs.min() < ord(" ")) or "\ufffe" in text or "\uffff" in text
        )
        """Whether there is any sign that the parser may change."""

    def __len__(self) -> int:
        return len(self.begins)

    def leave_out(self, numbers: Places) -> None:
        """Leave out tags of that number, and what follows them."""
        self._first = np.delete(self._first, numbers)
        self.begins, self.ends = np.delete(self.begins, numbers), np.delete(self.ends, numbers)
        self.quotes = np.delete(self.quotes, numbers)

    def quote(self, tags: Places, number: int) -> Places:
        """Where the quotes of that number stand in the tags, which have as many."""
        return self._marks[self._first[tags] + 1 + number]

    def holding(self, sign: str) -> Places:
        """The tags with such a sign in them, or in what follows them."""
        signs = np.frombuffer(self._data, np.uint8, self.size)
        places = np.flatnonzero(signs == ord(sign))
        return np.unique(np.searchsorted(self.begins, places, side="right") - 1)

    def stand(self, text: bytes, places: Places) -> Mask:
        """Whether the text stands at each of the places."""
        count = len(self._data) - len(text) + 1
        windows = np.ndarray((count,), f"S{len(text)}", self._data, strides=(1,))
        return np.asarray(windows[places] == text)

    def only(self, text: bytes, tags: Places) -> Mask:
        """Whether the tags are this text, and have blanks at most behind them."""
        found = self.stand(text, self.begins[tags])
        tags = tags[found]
        found[found] = self.blank(self.begins[tags] + len(text), self.ends[tags])
        return found

    def blank(self, begins: Places, ends: Places) -> Mask:
        """Whether there are but blanks from each beginning to its end."""
        sizes = ends - begins
        found: Mask = sizes == 0
        rest = np.flatnonzero(~found)
        for _ in range(_INDENTS):  # most are indented as their neighbours are
            if len(rest) and sizes[rest[0]] <= self._longest:
                text = self._data[begins[rest[0]] : ends[rest[0]]]
                alike = rest[sizes[rest] == len(text)]
                found[alike] = self.stand(text, begins[alike]) & text.isspace()
                rest = rest[~found[rest]]
        if len(rest):
            texts = self.texts({"text": (begins[rest], ends[rest])})["text"]
            found[rest] = (texts.str.strip_chars() == "").to_numpy()
        return found

    def texts(self, columns: Mapping[str, tuple[Places, Places]]) -> pl.DataFrame:
        """The texts from beginnings to ends, by column."""
        places = pl.DataFrame(
            {f"{name} {part}": at[part] for name, at in columns.items() for part in (0, 1)}
        )
        return places.select(
            self._whole.bin.slice(pl.col(f"{name} 0"), pl.col(f"{name} 1") - pl.col(f"{name} 0"))
            .cast(pl.String)
            .alias(name)
            for name in columns
        )

    @cached_property
    def _whole(self) -> pl.Expr:
        return pl.lit(pl.Series([self._data]))

    def text(self, begin: int, end: int) -> str:
        """What stands there."""
        return self._data[begin:end].decode()
