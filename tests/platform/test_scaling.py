"""Scaling: one command measures, holds its model to it, and draws what is predicted apart."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is missing: pip install 'foretest[platform]'")

from click.testing import CliRunner  # noqa: E402

from foretest.cli.platform.scaling import command  # noqa: E402
from foretest.errors import BadConfiguration  # noqa: E402
from foretest.platform.encoder import scaling  # noqa: E402
from foretest.platform.encoder.config import EncoderConfig  # noqa: E402
from foretest.platform.encoder.tables import scaling_chart  # noqa: E402
from foretest.report.charts import png  # noqa: E402

CONFIG = EncoderConfig(512, 32, 2, 2, 64, 64, 16)


def test_the_goal_is_reached_by_a_mean_not_by_luck():
    assert scaling.reached([9, 9, 9, 9, 0.1, 9, 9], 1.0) is None
    assert scaling.reached([9, 1, 1, 1, 1, 1, 1], 1.0) == 6
    assert scaling.reached([1, 1], 1.0) is None


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scaling")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "LADDER", {**scaling.LADDER, "tiny": CONFIG})
        patch.chdir(folder)
        asked = ["--goal", "99", "--steps", "12", "--batch", "8", "--rounds", "2"]
        kept = ["--out", "found.json", "--plot", "plot.svg"]
        result = CliRunner().invoke(command, [*asked, *kept], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output, json.loads((folder / "found.json").read_text()), folder


def test_each_way_reaches_the_goal_by_the_same_steps(measured):
    output, found, folder = measured
    assert [(row["way"], row["workers"]) for row in found["measured"]] == [
        ("one", 1), ("ddp", 2), ("fsdp", 2),
    ]  # fmt: skip
    runs = [run for row in found["measured"] for run in row["runs"]]
    assert len(runs) == 6
    assert {run["steps"] for run in runs} == {scaling.SMOOTH}
    assert max(run["loss"] for run in runs) == pytest.approx(min(run["loss"] for run in runs), 1e-3)
    assert {row["way"] for row in found["back_test"]} == {"ddp", "fsdp"}
    assert found["constants"]["bandwidth"] > 0
    assert "off by" in output
    assert (folder / "plot.svg").read_text().startswith("<svg")


def test_predictions_are_made_anew_from_what_was_measured(measured, tmp_path):
    _, found, _ = measured
    older = {**found, "predicted": [], "back_test": []}
    (tmp_path / "older.json").write_text(json.dumps({**older, "size": "small"}))
    asked = ["--measured", str(tmp_path / "older.json"), "--out", str(tmp_path / "new.json")]
    result = CliRunner().invoke(command, asked, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    new = json.loads((tmp_path / "new.json").read_text())
    assert new["measured"] == found["measured"]
    assert new["command"] == found["command"]
    assert new["predicted"] == found["predicted"]
    assert new["back_test"][0]["measured"] == found["back_test"][0]["measured"]
    for nothing in ("{}", "[]", "no JSON"):
        (tmp_path / "none.json").write_text(nothing)
        result = CliRunner().invoke(command, ["--measured", str(tmp_path / "none.json")])
        assert isinstance(result.exception, BadConfiguration)


def test_predictions_are_said_and_drawn_apart(measured):
    output, found, _ = measured
    assert "Predicted, not measured" in output
    assert {row["gpus"] for row in found["predicted"]} == {1, 2, 4, 8}
    here, there = scaling_chart(found).to_dict()["hconcat"]
    marks = [layer["mark"] for layer in here["layer"] + there["layer"]]
    filled = [mark["filled"] for mark in marks if mark["type"] == "point"]
    assert filled == [True, False, False]
    assert "not measured" in there["title"]
    assert png(scaling_chart(found)).startswith(b"\x89PNG")  # as a tracked run keeps it
