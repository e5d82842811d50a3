"""An encoder as it is handed on: card, tokenizer and weights in a folder, or behind an address."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import torch

from foretest.durable import writing
from foretest.errors import BadModel
from foretest.platform.encoder.config import EncoderConfig
from foretest.platform.encoder.model import CodeEncoder
from foretest.platform.encoder.tokenizer import CodeTokenizer

CARD, TOKENIZER, WEIGHTS = "encoder.json", "tokenizer.json", "weights.pt"
TIMEOUT = 60.0
"""Seconds without an answer after which an address counts as out of reach."""


def write_weights(model: CodeEncoder, path: Path) -> None:
    with writing(path) as part:
        torch.save(model.state_dict(), part)


def read_published(place: str) -> tuple[CodeEncoder, CodeTokenizer]:
    """The encoder in a folder, or below an address (`https://host/encoders/small`).

    Weights are read as numbers alone: a file cannot run code. Raises BadModel where a part is out
    of reach or does not belong to the others.
    """
    try:
        card = json.loads(_part(place, CARD))
        model = CodeEncoder(EncoderConfig.from_json(card["config"]))
        tokenizer = CodeTokenizer(_part(place, TOKENIZER).decode("utf-8"))
        state = torch.load(BytesIO(_part(place, WEIGHTS)), map_location="cpu", weights_only=True)
        model.load_state_dict(state)
        whole = tokenizer.digest == card["tokenizer"]
    except BadModel:
        raise
    except Exception as error:  # torch has many ways to say that a file is not what it should be
        raise BadModel(f"The encoder at {place} cannot be read.", "Export it again.") from error
    if not whole:
        raise BadModel(f"The encoder at {place} has another's tokenizer.", "Export it again.")
    return model.eval(), tokenizer


def _part(place: str, name: str) -> bytes:
    try:
        if place.startswith(("http://", "https://")):
            with urlopen(f"{place.rstrip('/')}/{name}", timeout=TIMEOUT) as answer:
                found: bytes = answer.read()
                return found
        return (Path(place) / name).read_bytes()
    except (OSError, URLError, ValueError) as error:
        raise BadModel(
            f"There is no {name} at {place}: {error}.",
            "Name a folder that `foretest platform encoder export` wrote, or do without it.",
        ) from error
