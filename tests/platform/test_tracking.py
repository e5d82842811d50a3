"""Runs on MLflow: what is kept of them, what failing does, what waits while a server is away."""

from __future__ import annotations

import csv
import io
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pytest

from foretest.errors import BadConfiguration, BadStore
from foretest.features.catalogue import FEATURES
from foretest.features.frame import FeatureFrame
from foretest.models.formula import Formula
from foretest.platform.tracking.journal import Journal, left_over
from foretest.platform.tracking.lineage import Lineage, lineage
from foretest.platform.tracking.runs import Run, Tracker, open_tracker

LINEAGE = Lineage("facts:abc", "c" * 40 + "+d1", {"seed": 7})


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """MLflow's own tables are made once: that alone takes seconds."""
    pytest.importorskip(
        "mlflow", reason="MLflow is not installed: pip install 'foretest[platform]'"
    )
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'runs.db'}"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def tracker(database: str, tmp_path: Path, said: list[str]) -> Tracker:
    return open_tracker(database, spool=tmp_path / "spool", say=said.append)


def client(tracker: Tracker) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=tracker.address, registry_uri=tracker.address)


def frame(size: int = 6) -> FeatureFrame:
    rng = np.random.default_rng(3)
    columns = {name: rng.random(size).astype(np.float32) for name in FEATURES}
    columns["coverage_age"][::2] = np.nan
    return FeatureFrame(size, columns)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_without_an_address_nothing_is_kept_and_nothing_is_loaded(tmp_path: Path) -> None:
    program = """
import sys
from foretest.platform.tracking.lineage import Lineage
from foretest.platform.tracking.runs import open_tracker
with open_tracker("").run("e", "n", parameters={}, lineage=Lineage("", "", {})) as run:
    run.metric("all/loss", 1.0, 0)
    run.artifact(b"", "a/b.txt")
    run.figure(None, "curve")
    run.model(None, None)
    assert run.id == ""
assert not {"mlflow", "altair", "pandas"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_run_keeps_what_is_needed_to_repeat_and_to_read_it(tracker: Tracker) -> None:
    chart = alt.Chart(alt.Data(values=[{"x": 1}])).mark_point().encode(x="x:Q")
    model, features = Formula(), frame()
    stated = {"recipe": {"rounds": 5, "inputs": ["a", "b"]}, "why": "x" * 9000}
    with tracker.run("judging", "first", parameters=stated, lineage=LINEAGE) as run:
        for step, loss in enumerate((3.0, 2.0, float("nan"))):
            run.metric("new tests/loss", loss, step)
        run.metrics({"all/caught at 5%": 0.9})
        run.table("caught", {"share": [1, 2], "test": ["a,b", "ü"]})
        run.figure(chart, "curve")
        run.model(model, features)
        with tracker.run("judging", "trial", parameters={}, lineage=LINEAGE, parent=run) as child:
            pass
    kept = client(tracker).get_run(run.id)
    assert kept.info.status == "FINISHED"
    parameters = kept.data.params
    assert parameters["recipe.rounds"] == "5"
    assert parameters["recipe.inputs"] == '["a", "b"]'
    assert len(parameters["why"]) == 6000
    assert parameters["data_version"] == "facts:abc"
    assert parameters["seed.seed"] == "7"
    assert kept.data.tags["mlflow.source.git.commit"] == "c" * 40
    assert kept.data.tags["dirty"] == "true"
    assert kept.inputs.dataset_inputs[0].dataset.source == "facts:abc"
    assert kept.data.metrics["all/caught at 5_"] == 0.9
    assert kept.data.metrics["system/system_memory_usage_megabytes"] > 0
    curve = client(tracker).get_metric_history(run.id, "new tests/loss")
    assert [(m.step, m.value) for m in curve[:2]] == [(0, 3.0), (1, 2.0)]
    assert np.isnan(curve[2].value)
    assert client(tracker).get_run(child.id).data.tags["mlflow.parentRunId"] == run.id

    artifacts = Path(client(tracker).download_artifacts(run.id, ""))
    rows = csv.reader(io.StringIO((artifacts / "tables" / "caught.csv").read_text("utf-8")))
    assert list(rows) == [["share", "test"], ["1", "a,b"], ["2", "ü"]]
    assert (artifacts / "plots" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "vegaEmbed" in (artifacts / "plots" / "curve.html").read_text("utf-8")
    assert left_over(tracker.spool) == []
    assert list(tracker.spool.iterdir()) == []

    assert_model_comes_back(kept, tracker, model, features)


def assert_model_comes_back(
    kept: Any, tracker: Tracker, model: Formula, features: FeatureFrame
) -> None:
    import mlflow

    from foretest.platform.tracking.served import as_table

    logged = client(tracker).get_logged_model(kept.outputs.model_outputs[0].model_id)
    loaded = mlflow.pyfunc.load_model(logged.artifact_location)
    assert np.array_equal(loaded.predict(as_table(features)), model.predict(features))
    assert {c.name for c in loaded.metadata.signature.inputs.inputs} == set(FEATURES)
    assert loaded.metadata.saved_input_example_info is not None
    assert list(Path(logged.artifact_location.removeprefix("file://")).rglob("*.pkl")) == []


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_network_comes_back_with_equal_answers(tracker: Tracker, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    import mlflow
    from onnx import TensorProto, helper

    value = {
        name: helper.make_tensor_value_info(name, TensorProto.INT64, [None, 2])
        for name in ("tokens", "mask", "masked")
    }
    multiply = helper.make_node("Mul", ["tokens", "mask"], ["masked"])
    inputs = [value["tokens"], value["mask"]]
    graph = helper.make_graph([multiply], "mask", inputs, [value["masked"]])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "n.onnx")
    example = {"tokens": np.array([[3, 4]]), "mask": np.array([[1, 0]])}
    with tracker.run("judging", "network", parameters={}, lineage=LINEAGE) as run:
        run.network(tmp_path / "n.onnx", example)
    output = client(tracker).get_run(run.id).outputs.model_outputs[0]
    logged = client(tracker).get_logged_model(output.model_id)
    loaded = mlflow.pyfunc.load_model(logged.artifact_location)
    assert loaded.predict(example)["masked"].tolist() == [[3, 0]]
    assert {spec.name for spec in loaded.metadata.signature.inputs.inputs} == {"tokens", "mask"}


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_run_that_fails_says_why_and_hides_nothing(tracker: Tracker) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        tracker.run("judging", "bad", parameters={}, lineage=LINEAGE) as run,
    ):
        run.metric("all/loss", 1.0 / int(run.id == ""))
    with (
        pytest.raises(KeyboardInterrupt),
        tracker.run("judging", "stopped", parameters={}, lineage=LINEAGE) as stopped,
    ):
        raise KeyboardInterrupt
    kept = client(tracker).get_run(run.id)
    assert kept.info.status == "FAILED"
    assert kept.data.tags["error"] == "ZeroDivisionError: float division by zero"
    text = Path(client(tracker).download_artifacts(run.id, "error.txt")).read_text("utf-8")
    assert "Traceback" in text
    assert client(tracker).get_run(stopped.id).info.status == "KILLED"


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_what_a_server_refuses_holds_nothing_up(tracker: Tracker, said: list[str]) -> None:
    with tracker.run("judging", "odd", parameters={}, lineage=LINEAGE) as run:
        run.tags({"x" * 300: "too long a name"})
        run.metric("all/loss", 2.0)
        run.metric("y" * 300, 1.0)
        run.metric("all/share", 0.5)
    kept = client(tracker).get_run(run.id).data.metrics
    assert (kept["all/loss"], kept["all/share"]) == (2.0, 0.5)
    assert any("refused tags" in line for line in said)


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_run_without_its_server_is_kept_and_sent_later(
    tracker: Tracker, said: list[str], tmp_path: Path
) -> None:
    away = open_tracker(f"http://127.0.0.1:{closed_port()}", spool=tracker.spool, say=said.append)
    with away.run("judging", "away", parameters={"a": 1}, lineage=LINEAGE) as run:
        run.metric("all/loss", 2.0, 4)
        run.artifact(b"bytes", "notes/a.txt")
        (tmp_path / "folder" / "deep").mkdir(parents=True)
        (tmp_path / "folder" / "deep" / "b.txt").write_text("deep")
        run.artifact(tmp_path / "folder", "notes/all")
        assert left_over(away.spool) == []  # it goes on: nobody else may send it
    assert run.id == ""
    assert any("takes nothing" in line for line in said)
    assert any("tracking send" in line for line in said)

    assert tracker.send() == (1, 0)
    assert tracker.send() == (0, 0)
    assert list(tracker.spool.iterdir()) == []
    kept = the_run(tracker, "away")
    assert kept.info.status == "FINISHED"
    assert kept.info.end_time < kept.info.start_time + 600_000
    assert kept.data.metrics["all/loss"] == 2.0
    assert kept.data.params["a"] == "1"
    text = client(tracker).download_artifacts(kept.info.run_id, "notes/a.txt")
    assert Path(text).read_bytes() == b"bytes"
    folder = client(tracker).download_artifacts(kept.info.run_id, "notes/all")
    assert Path(folder, "deep", "b.txt").read_text("utf-8") == "deep"


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_killed_process_leaves_a_failed_run(tracker: Tracker) -> None:
    journal = Journal.begin(tracker.spool)
    journal.append(
        {"do": "start", "experiment": "judging", "name": "killed", "time": 1_700_000_000_000,
         "parameters": {}, "tags": {}, "data": "facts:abc"}
    )  # fmt: skip
    journal.append({"do": "metrics", "values": {"a": 1.0}, "step": 0, "time": 1_700_000_000_001})
    journal._lines.write(b'{"do": "metr')  # the line that it was killed in
    journal._lines.close()
    assert tracker.send() == (1, 0)
    kept = the_run(tracker, "killed")
    assert kept.info.status == "FAILED"
    assert kept.data.metrics == {"a": 1.0}
    assert "without a word" in kept.data.tags["error"]


def the_run(tracker: Tracker, name: str) -> Any:
    asked = client(tracker)
    experiment = asked.get_experiment_by_name("judging").experiment_id
    (found,) = asked.search_runs([experiment], f"attributes.run_name = '{name}'")
    return found


def test_the_settings_name_the_server_and_an_option_wins(
    monkeypatch: pytest.MonkeyPatch, database: str, tmp_path: Path
) -> None:
    monkeypatch.delenv("FORETEST_TRACKING", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert open_tracker(None).address is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert open_tracker(None).address == "http://127.0.0.1:1"
    monkeypatch.setenv("FORETEST_TRACKING", "http://127.0.0.1:2")
    assert open_tracker(None).address == "http://127.0.0.1:2"
    assert open_tracker("").address is None
    assert open_tracker(database).address == database
    with pytest.raises(BadConfiguration, match="no address"):
        open_tracker("nowhere://x")


def test_lineage_names_data_by_content_and_code_by_commit(tmp_path: Path) -> None:
    facts, copy = tmp_path / "a", tmp_path / "b"
    for folder in (facts, copy):
        folder.mkdir()
        (folder / "x.jsonl.gz").write_bytes(b"1")
    first = lineage(facts, 3)
    assert first.data_version == lineage(copy, 3).data_version
    assert first.seeds == {"seed": 3}
    (copy / "x.jsonl.gz").write_bytes(b"2")
    assert first.data_version != lineage(copy, {"order": 1}).data_version
    assert first.code_version
    with pytest.raises(BadStore, match="no facts"):
        lineage(tmp_path / "none", 0)


def test_the_data_of_a_training_are_the_files_in_its_folders_too(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    (folder / "undone").mkdir(parents=True)
    (folder / "tokenizer.json").write_text("{}")
    seen = set()
    for text in ("one", "other"):
        (folder / "undone" / "shop.npz").write_text(text)
        seen.add(lineage(folder, 0).data_version)
    (folder / "undone").rename(folder / "cochanges")
    seen.add(lineage(folder, 0).data_version)
    assert len(seen) == 3


def test_nothing_is_asked_of_a_run_that_is_not_kept() -> None:
    run = Run(None)
    run.tags({"a": "b"})
    run.table("t", {"a": [1]})
    assert run.id == ""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_the_documentation_imports_is_there() -> None:
    page = Path(__file__).parents[2] / "docs" / "tracking.md"
    lines = page.read_text("utf-8").splitlines()
    imports = [line for line in lines if line.startswith("from foretest.")]
    assert imports
    exec("\n".join(imports), {})
