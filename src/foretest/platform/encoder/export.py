"""The encoder as ONNX: exported, shrunk to 8-bit integers, and held against what it came from."""

from __future__ import annotations

import logging
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretest.errors import ExtraMissing
from foretest.platform.encoder.checkpoints import Progress
from foretest.platform.encoder.curriculum import read_encoder
from foretest.platform.encoder.model import CodeEncoder
from foretest.platform.encoder.pairs import padded
from foretest.platform.encoder.published import CARD, TOKENIZER, WEIGHTS, write_weights
from foretest.platform.encoder.scoring import Encoder
from foretest.platform.encoder.tables import learning_chart
from foretest.platform.encoder.tokenizer import Tokens
from foretest.platform.tracking.runs import Run

FP32, INT8 = "encoder.onnx", "encoder.int8.onnx"
OPSET = 20

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Parity:
    """How one exported form compares with the model in torch, over the same sequences."""

    form: str
    bytes: int
    most_apart: float
    """The largest difference of a cosine between two sequences."""
    agreement: float
    """Share of (sequence, sequence, sequence): the nearer of the latter two to the first is one."""
    milliseconds: float
    """Median of one sequence alone, on one thread."""


def export(folder: Path, out: Path) -> tuple[Path, Path]:
    """Publish the encoder of a training folder: card, tokenizer, weights, fp32 and int8 ONNX.

    8-bit: weights in advance, activations as they come (dynamic quantisation); the layers that
    normalise stay in floating point.
    """
    model, _ = read_encoder(folder)
    out.mkdir(parents=True, exist_ok=True)
    for name in (CARD, TOKENIZER):
        shutil.copyfile(folder / name, out / name)
    write_weights(model, out / WEIGHTS)
    write_onnx(model, out / FP32)
    quantise(out / FP32, out / INT8)
    return out / FP32, out / INT8


def tell(run: Run, folder: Path, done: Mapping[str, Progress]) -> None:
    """Give a tracked run the encoder of a training folder as ONNX, and its curves as a plot."""
    model, _ = read_encoder(folder)
    tokens = np.full((2, 16), 7)
    run.figure(learning_chart(done), "loss")
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / FP32
        write_onnx(model, path)
        run.network(path, {"tokens": tokens, "mask": np.ones_like(tokens, bool)}, "encoder")


def write_onnx(model: CodeEncoder, path: Path) -> None:
    """Batch and length stay open; inputs `tokens` int64[B, T] and `mask` bool[B, T]."""
    import torch

    _needed("onnxscript")
    rows, length = torch.export.Dim("rows"), torch.export.Dim("length", max=model.config.context)
    shape = {0: rows, 1: length}
    tokens = torch.full((2, 16), 7, dtype=torch.int64)
    with _quietly("torch.onnx"):
        program = torch.onnx.export(
            model.eval().cpu(),
            (tokens, torch.ones_like(tokens, dtype=torch.bool)),
            input_names=["tokens", "mask"],
            output_names=["vectors"],
            dynamic_shapes={"tokens": shape, "mask": shape},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    program.save(str(path), external_data=False)


def quantise(fp32: Path, int8: Path) -> None:
    _needed("onnx")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quietly(None):  # it advises to prepare the graph, which torch has done
        quantize_dynamic(fp32, int8, per_channel=True, weight_type=QuantType.QInt8)


@contextmanager
def _quietly(logger: str | None) -> Iterator[None]:
    """Without what these libraries say about themselves."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def compare(model: CodeEncoder, path: Path, sequences: Sequence[Tokens]) -> Parity:
    """Hold one exported form against the model it came from."""
    import torch

    with torch.no_grad():
        reference = model(*padded(sequences)).numpy()
    encoder = Encoder(path)
    own = encoder.vectors(sequences)
    apart = own @ own.T, reference @ reference.T
    seconds = []
    for sequence in sequences[:200]:
        started = time.perf_counter()
        encoder.vectors([sequence])
        seconds.append(time.perf_counter() - started)
    return Parity(
        form=path.name,
        bytes=path.stat().st_size,
        most_apart=float(np.abs(apart[0] - apart[1]).max()),
        agreement=agreement(*apart),
        milliseconds=1000 * float(np.median(seconds)),
    )


def agreement(one: Vectors, other: Vectors, draws: int = 20_000) -> float:
    """Share of drawn triples of which both likenesses call the same one nearer."""
    random = np.random.default_rng(0)
    of, a, b = random.integers(0, len(one), (3, draws))
    told = (a != b) & (of != a) & (of != b) & (other[of, a] != other[of, b])
    of, a, b = of[told], a[told], b[told]
    return float(np.mean((one[of, a] > one[of, b]) == (other[of, a] > other[of, b])))


def _needed(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise ExtraMissing(
            f"Exporting an encoder needs {name}.", "pip install 'foretest[platform]'"
        ) from error
