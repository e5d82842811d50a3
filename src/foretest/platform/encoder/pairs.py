"""Pairs of changes and tests as batches of tokens, and the sources that give them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from foretest.platform.encoder.config import EncoderConfig

PAD, CHANGE, TEST, REMOVED, ADDED, FILE = range(6)
"""Special tokens: padding; what a sequence is; what lines and paths in it begin with."""

PAD_TO = 32
"""Rows are padded to a multiple of this: few different shapes for compilers and allocators."""


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Row i of the tests belongs to row i of the changes; `positives` says what else does."""

    change_tokens: Tensor
    """int64[B, T]"""
    change_mask: Tensor
    """bool[B, T]"""
    test_tokens: Tensor
    """int64[M, T'], M >= B: rows beyond B are tests that belong to none of the changes."""
    test_mask: Tensor
    positives: Tensor
    """bool[B, M]"""

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return int(self.change_mask.sum() + self.test_mask.sum())

    def to(self, device: torch.device | str) -> PairBatch:
        return PairBatch(
            self.change_tokens.to(device),
            self.change_mask.to(device),
            self.test_tokens.to(device),
            self.test_mask.to(device),
            self.positives.to(device),
        )


class PairSource(Protocol):
    """Where training takes its batches."""

    def batches(self, size: int, seed: int, start: int = 0) -> Iterator[PairBatch]:
        """Batches of `size` changes without end, from number `start` on.

        The same seed and number give the same batch everywhere: a training that was cut off goes
        on where it was, and workers each take their part of one batch.
        """
        ...


def draws(seed: int, start: int) -> Iterator[np.random.Generator]:
    """A generator of random numbers for each batch, which depends on its number alone."""
    return (np.random.default_rng((seed, number)) for number in count(start))


def padded(sequences: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Rows of tokens and their mask, as wide as the longest needs."""
    longest = max(len(s) for s in sequences)
    width = -(-longest // PAD_TO) * PAD_TO
    tokens = np.full((len(sequences), width), PAD, dtype=np.int64)
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence)] = sequence
    lengths = np.array([len(s) for s in sequences])
    mask = np.arange(width) < lengths[:, None]
    return torch.from_numpy(tokens), torch.from_numpy(mask)


def batch_of(
    changes: Sequence[np.ndarray], tests: Sequence[np.ndarray], positives: np.ndarray
) -> PairBatch:
    return PairBatch(*padded(changes), *padded(tests), torch.from_numpy(positives))


def packed(tokens: Tensor, mask: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same sequences with several to a row of `length`: tokens, mask, segments.

    First fit, longest first. Segments keep the rows' old numbers, so that the model's answer has
    the order of the rows. No sequence may be longer than `length`.
    """
    lengths = mask.sum(1).tolist()
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((r for r, free in enumerate(room) if free >= lengths[number]), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(length)
        rows[place].append(number)
        room[place] -= lengths[number]
    new = tokens.new_full((len(rows), length), PAD)
    segments = tokens.new_full((len(rows), length), -1)
    for row, numbers in enumerate(rows):
        at = 0
        for number in numbers:
            end = at + lengths[number]
            new[row, at:end] = tokens[number][mask[number]]
            segments[row, at:end] = number
            at = end
    return new, segments >= 0, segments


@dataclass(frozen=True, slots=True)
class SyntheticPairs:
    """Pairs that share a subject, drawn from nothing: a lesson that any encoder can learn.

    A subject is a handful of tokens; change and test of a pair are random words with some of
    their subject's among them.
    """

    config: EncoderConfig
    subjects: int = 64
    length: int = 32

    def batches(self, size: int, seed: int, start: int = 0) -> Iterator[PairBatch]:
        first, last = FILE + 1, self.config.vocabulary
        known = np.random.default_rng(seed).integers(first, last, (self.subjects, 8))

        def sequence(role: int, subject: int) -> np.ndarray:
            noise = random.integers(first, last, random.integers(4, self.length // 2))
            own = random.choice(known[subject], self.length // 2 - 1)
            return np.concatenate(([role], random.permutation(np.concatenate((own, noise)))))

        for random in draws(seed, start):
            about = random.integers(0, self.subjects, size)
            changes = [sequence(CHANGE, subject) for subject in about]
            tests = [sequence(TEST, subject) for subject in about]
            yield batch_of(changes, tests, about[:, None] == about[None, :])
