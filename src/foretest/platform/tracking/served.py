"""A model as MLflow's `pyfunc` keeps it: its own JSON, never a pickle.

MLflow itself calls `_load_pyfunc` when such a model is loaded, here or on another machine that has
foretest.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import foretest
from foretest.features.frame import FeatureFrame
from foretest.models.contract import Model, predict
from foretest.models.registry import read_model

MODEL = "model.json"
_ROWS = 5
"""Rows of an input example: enough to see what goes in."""


class Served:
    """Scores for a table of features, one row a test."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, table: Any) -> Any:
        """float32[n] in 0..1 for a pandas table with a column a feature; NaN is unknown."""
        columns = {str(n): np.asarray(table[n], np.float32) for n in table.columns}
        return predict(self.model, FeatureFrame(len(table), columns))


def save(model: Model, example: FeatureFrame, folder: Path, beside: Iterable[Path] = ()) -> None:
    """Write `model` as a folder that `mlflow.pyfunc.load_model` reads, with the files `beside` it.

    Raises BadModel where the model does not read back as itself.
    """
    from mlflow import pyfunc
    from mlflow.models import infer_signature

    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    table, written = as_table(example), json.dumps(model.to_json())
    scores = predict(read_model(json.loads(written)), example)
    folder.parent.mkdir(parents=True, exist_ok=True)
    data = folder.parent / MODEL
    data.write_text(written, encoding="utf-8")
    pyfunc.save_model(
        folder,
        loader_module=__name__,
        data_path=data,
        signature=infer_signature(table, scores),
        input_example=table.head(_ROWS),
        pip_requirements=[f"foretest[engine]=={foretest.__version__}"],
    )
    data.unlink()
    for path in beside:
        shutil.copyfile(path, folder / path.name)


def save_network(network: Path, example: Mapping[str, NDArray[Any]], folder: Path) -> None:
    """Write an ONNX file as a folder that `mlflow.pyfunc.load_model` reads; it runs on the CPU.

    `example` has an array for each input of the network; what it answers is the signature's output.
    """
    import onnx
    import onnxruntime
    from mlflow import onnx as flavour
    from mlflow.models import infer_signature

    cpu = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(network), providers=cpu)
    names = [output.name for output in session.get_outputs()]
    answer = dict(zip(names, session.run(names, dict(example)), strict=True))
    flavour.save_model(
        onnx.load(str(network)),
        folder,
        signature=infer_signature(dict(example), answer),
        input_example=dict(example),
        onnx_execution_providers=cpu,
        pip_requirements=["onnxruntime", "onnx"],
    )


def read(folder: Path) -> Model:
    """The model that `save` wrote."""
    return read_model(json.loads((folder / "data" / MODEL).read_text("utf-8")))


def as_table(frame: FeatureFrame) -> Any:
    """The features as a pandas table, as MLflow's signatures want them."""
    import pandas

    return pandas.DataFrame(dict(frame.columns))


def _load_pyfunc(path: str) -> Served:
    return Served(read_model(json.loads(Path(path).read_text("utf-8"))))
