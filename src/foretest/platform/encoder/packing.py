"""Sequence packing: several short texts in one row, so that no step is spent on padding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Packed(NamedTuple):
    """Texts laid end to end: `segments[row, place]` is the text's number, -1 where nothing is."""

    tokens: Tensor  # int64[R, T]
    mask: Tensor  # bool[R, T]
    segments: Tensor  # int64[R, T]


def fill(lengths: list[int], room: int) -> list[list[int]]:
    """Share texts out to rows of `room` tokens by first fit, longest first: [[text, ...], ...].

    At most 11/9 of the fewest rows possible, and 6/9 more (Dosa 2007). A text longer than `room`
    raises ValueError.
    """
    if lengths and max(lengths) > room:
        raise ValueError(f"a text of {max(lengths)} tokens does not fit into a row of {room}")
    rows: list[list[int]] = []
    left: list[int] = []
    for text in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        row = next((row for row, free in enumerate(left) if free >= lengths[text]), len(rows))
        if row == len(rows):
            rows.append([])
            left.append(room)
        rows[row].append(text)
        left[row] -= lengths[text]
    return rows


def pack(texts: list[tuple[Tensor, Tensor]]) -> Packed:
    """Pack the rows of `(tokens int64[B, T], mask bool[B, T])` pairs, numbered in their order.

    A packed row is as long as the longest text, so it never costs more attention than padding did.
    """
    pieces = [row[held] for tokens, mask in texts for row, held in zip(tokens, mask, strict=True)]
    lengths = [len(piece) for piece in pieces]
    room = max(lengths)
    rows = fill(lengths, room)
    tokens = pieces[0].new_zeros(len(rows), room)
    segments = tokens.new_full(tokens.shape, -1)
    for number, row in enumerate(rows):
        used = sum(lengths[text] for text in row)
        tokens[number, :used] = torch.cat([pieces[text] for text in row])
        segments[number, :used] = torch.cat(
            [tokens.new_full((lengths[text],), text) for text in row]
        )
    return Packed(tokens, segments >= 0, segments)
