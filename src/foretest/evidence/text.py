"""BM25 between a change's words and each test's words (Robertson and Zaragoza, 2009)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from foretest.evidence.rows import Arrays, Floats, Longs, SparseRows

K1 = 1.2
"""How soon the repetition of a word in one test stops to count."""
B = 0.75
"""How much long tests are held to have more words by chance."""

Document = Mapping[str, float]
"""Words of one test and how often each occurs; a fraction where a word counts lightly."""


@dataclass(frozen=True, eq=False)
class TextIndex:
    """An inverted index that holds each word's finished contribution to each test's score.

    A score is then a sum over the query's words, without any arithmetic on lengths or counts.
    """

    words: tuple[str, ...]
    rarity: Floats
    """Inverse document frequency of each word: ln(1 + (n - df + 0.5) / (df + 0.5))."""
    mean_length: float
    impacts: SparseRows
    """words x tests."""

    @classmethod
    def build(cls, documents: Sequence[Document]) -> TextIndex:
        words = sorted(set().union(*documents))
        counts = _counts(documents, {word: i for i, word in enumerate(words)})
        held = counts.column_counts()
        rarity = np.log1p((len(documents) - held + 0.5) / (held + 0.5)).astype(np.float32)
        lengths = _lengths(counts)
        mean = float(lengths.mean()) if len(lengths) else 0.0
        return cls(tuple(words), rarity, mean, _impacts(counts, rarity, mean).transpose())

    @classmethod
    def empty(cls, n_tests: int = 0) -> TextIndex:
        return cls.build([{}] * n_tests)

    @property
    def n_tests(self) -> int:
        return self.impacts.n_columns

    @cached_property
    def place(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def scores(self, query: Document) -> Floats:
        """BM25 of every test for weighted words; float32[n_tests], 0 where no word is shared."""
        places, weights = self._known(query)
        found = self.impacts.select(places)
        each = found.values() * np.repeat(weights, found.row_counts())
        total = np.bincount(found.indices, weights=each, minlength=self.n_tests)
        return np.asarray(total, np.float32)

    def upper_bound(self, query: Document) -> float:
        """No test can score more: as if one test were the best for each of the words."""
        places, weights = self._known(query)
        return float(self._largest[places] @ weights)

    def normalised(self, query: Document) -> Floats:
        """Scores in 0..1, comparable across changes; all 0 where no word is known."""
        bound = self.upper_bound(query)
        if bound <= 0:
            return np.zeros(self.n_tests, np.float32)
        return np.asarray(np.clip(self.scores(query) / bound, 0, 1), np.float32)

    def replace(self, tests: Sequence[int], documents: Sequence[Document]) -> TextIndex:
        """New words for some tests; `tests` may name ones beyond the last.

        Rarity and mean length stay those of the last build, so this fits few tests; a new word
        counts as the rarest. Linear in the index, without reading the other tests again.
        """
        new = sorted(set().union(*documents) - self.place.keys())
        words = (*self.words, *new)
        n_tests = max([self.n_tests, *(t + 1 for t in tests)])
        rarest = np.float32(np.log1p((n_tests - 0.5) / 1.5))
        rarity = np.concatenate((self.rarity, np.full(len(new), rarest, np.float32)))
        counts = _counts(documents, {word: i for i, word in enumerate(words)})
        mean = self.mean_length or float(_lengths(counts).mean())
        more = SparseRows.empty(n_tests - self.n_tests, len(words), weighted=True)
        wide = self.impacts.transpose().stack(more)
        merged = wide.replace(tests, _impacts(counts, rarity, mean))
        return TextIndex(words, rarity, mean, merged.transpose())

    @cached_property
    def _largest(self) -> Floats:
        return self.impacts.largest(np.ones(self.n_tests, np.float32))

    def _known(self, query: Document) -> tuple[Longs, Floats]:
        known = [(self.place[w], weight) for w, weight in query.items() if w in self.place]
        places = np.array([p for p, _ in known], np.int64)
        return places, np.array([weight for _, weight in known], np.float32)

    def to_arrays(self, prefix: str) -> Arrays:
        return {
            f"{prefix}.words": list(self.words),
            f"{prefix}.rarity": self.rarity,
            f"{prefix}.mean_length": np.array([self.mean_length], np.float64),
            **self.impacts.to_arrays(f"{prefix}.impacts"),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], prefix: str) -> TextIndex:
        return cls(
            tuple(arrays[f"{prefix}.words"]),
            np.asarray(arrays[f"{prefix}.rarity"], np.float32),
            float(arrays[f"{prefix}.mean_length"][0]),
            SparseRows.from_arrays(arrays, f"{prefix}.impacts"),
        )


def document(*parts: tuple[Iterable[str], float]) -> dict[str, float]:
    """Count words; each part's words count by its weight."""
    counts: dict[str, float] = {}
    for words, weight in parts:
        for word in words:
            counts[word] = counts.get(word, 0.0) + weight
    return counts


def _counts(documents: Sequence[Document], place: Mapping[str, int]) -> SparseRows:
    """tests x words, weighted by occurrences."""
    sizes = [len(d) for d in documents]
    words = np.fromiter((place[w] for d in documents for w in d), np.int32, sum(sizes))
    counts = np.fromiter((c for d in documents for c in d.values()), np.float32, sum(sizes))
    tests = np.repeat(np.arange(len(documents)), sizes)
    return SparseRows.from_pairs(tests, words, counts, (len(documents), len(place)))


def _lengths(counts: SparseRows) -> Floats:
    return counts.dot(np.ones(counts.n_columns, np.float32))


def _impacts(counts: SparseRows, rarity: Floats, mean_length: float) -> SparseRows:
    """tests x words, weighted by what the word gives to the test's score."""
    lengths = _lengths(counts) / max(mean_length, 1e-9)
    damping = np.repeat(K1 * (1 - B + B * lengths), counts.row_counts())
    often = counts.values()
    gained = rarity[counts.indices] * often * (K1 + 1) / (often + damping)
    return SparseRows(counts.indptr, counts.indices, gained.astype(np.float32), counts.n_columns)
