"""The encoder's own tokenizer: byte-level BPE over the words of code, for changes and tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretest.durable import write_text
from foretest.errors import BadModel, ExtraMissing
from foretest.platform.encoder.hunks import HunkText, TestText
from foretest.platform.encoder.pairs import ADDED, CHANGE, FILE, REMOVED, TEST

SPECIAL = ("[pad]", "[change]", "[test]", "[removed]", "[added]", "[file]")
"""In the order of their numbers in `pairs`."""

Tokens = NDArray[np.int32]

_BEFORE_CAPITAL = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
_BETWEEN = r"[\s_()\[\]{},:;.\"'`\\@#]+"
_PIECE = r"[a-z]+|[0-9]{1,3}|[^a-z0-9]+"
_CHARACTERS = 6_000
"""Of one part of a sequence at most: far beyond any context, so that no huge hunk takes long."""


class CodeTokenizer:
    """Turns hunks and tests into tokens; `digest` names its vocabulary.

    Identifiers are split as in `changes/words.py`, on case and underscores, and lower-cased, so
    that `readChange` and `read_change` begin alike. Layout and brackets are dropped: a context of
    few tokens is better spent on words.
    """

    def __init__(self, data: str) -> None:
        try:
            self._bpe = _library().Tokenizer.from_str(data)
        except ExtraMissing:
            raise
        except Exception as error:  # the library raises a bare Exception for anything unreadable
            raise BadModel("This is no tokenizer.", "Train it: encoder pairs.") from error
        known = tuple(self._bpe.id_to_token(number) for number in range(len(SPECIAL)))
        if known != SPECIAL:
            raise BadModel("The tokenizer has other special tokens.", "Train it: encoder pairs.")

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int) -> CodeTokenizer:
        """Learn merges from source text (Sennrich et al., 2016), over bytes."""
        from tokenizers import Regex, normalizers, pre_tokenizers, trainers

        bpe: Any = _library().Tokenizer(_library().models.BPE())
        bpe.normalizer = normalizers.Sequence(
            [normalizers.Replace(Regex(_BEFORE_CAPITAL), "_"), normalizers.Lowercase()]
        )
        bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_BETWEEN), "removed"),
                pre_tokenizers.Split(Regex(_PIECE), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        bpe.train_from_iterator(map(plain, texts), trainer)
        return cls(bpe.to_str())

    @classmethod
    def read(cls, path: Path) -> CodeTokenizer:
        """Raises BadModel where the file is not there or is no tokenizer."""
        try:
            return cls(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise BadModel(
                f"There is no tokenizer at {path}.", "Make it: encoder pairs."
            ) from error

    def write(self, path: Path) -> None:
        write_text(path, self._bpe.to_str())

    @property
    def digest(self) -> str:
        return blake2b(self._bpe.to_str().encode(), digest_size=16).hexdigest()

    @property
    def size(self) -> int:
        return int(self._bpe.get_vocab_size())

    def words(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without special ones."""
        short = [plain(text[:_CHARACTERS]) for text in texts]
        return [found.ids for found in self._bpe.encode_batch(short, add_special_tokens=False)]

    def changes(self, hunks: Sequence[HunkText], context: int) -> list[Tokens]:
        """Each hunk: where it stands, what goes, what comes, and what room is left for around."""
        parts = self.words(
            [t for h in hunks for t in (f"{h.path} {h.within}", h.removed, h.added, h.around)]
        )
        return [_change(parts[at : at + 4], context) for at in range(0, len(parts), 4)]

    def tests(self, tests: Sequence[TestText], context: int) -> list[Tokens]:
        """Each test: its unit, then its source as far as there is room."""
        parts = self.words([t for test in tests for t in (test.unit, test.source)])
        return [
            _cut([TEST, *parts[at], FILE, *parts[at + 1]], context)
            for at in range(0, len(parts), 2)
        ]


def plain(text: str) -> str:
    """Text in which no special token can be spelt."""
    return re.sub(r"\[(?=[a-z]+\])", "[ ", text)


def _change(parts: Sequence[list[int]], context: int) -> Tokens:
    """A long side leaves a third of the context to the other one."""
    where, removed, added, around = parts
    room = max(context - len(where) - 4, 2)
    least = room // 3
    kept = removed[: max(room - len(added), least)]
    new = added[: max(room - len(kept), least)]
    return _cut([CHANGE, *where, REMOVED, *kept, ADDED, *new, FILE, *around], context)


def _cut(tokens: list[int], context: int) -> Tokens:
    return np.array(tokens[:context], np.int32)


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ExtraMissing(
            "The encoder's tokenizer is not installed.", "pip install 'foretest[platform]'"
        ) from error
    return tokenizers
