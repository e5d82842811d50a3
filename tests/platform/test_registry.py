"""The registry of models: versions, aliases, and that what is loaded is what was registered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foretest import bundle as bundles
from foretest.errors import BadModel, TrackingFailed
from foretest.evidence.store import EvidenceStore
from foretest.features.catalogue import FEATURES
from foretest.features.frame import FeatureFrame
from foretest.models.formula import Constants, Formula
from foretest.platform.tracking import registry
from foretest.platform.tracking.lineage import Lineage
from foretest.platform.tracking.runs import Tracker, open_tracker

LINEAGE = Lineage("facts:abc", "0.1", {"seed": 1})
OTHER = Formula(replace(Constants(), text=0.5))


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    pytest.importorskip(
        "mlflow", reason="MLflow is not installed: pip install 'foretest[platform]'"
    )
    folder = tmp_path_factory.mktemp("registry")
    return open_tracker(f"sqlite:///{folder / 'runs.db'}", spool=folder / "spool")


@pytest.fixture
def features() -> FeatureFrame:
    rng = np.random.default_rng(5)
    return FeatureFrame(8, {name: rng.random(8).astype(np.float32) for name in FEATURES})


def test_without_an_address_there_is_nothing_to_register_with(
    features: FeatureFrame, tmp_path: Path
) -> None:
    nowhere = open_tracker("", spool=tmp_path)
    assert registry.register(nowhere, "", Formula(), "# Card", features) == ""
    assert registry.champion(nowhere) is None
    assert registry.standing(nowhere) == {}
    with pytest.raises(TrackingFailed, match="no registry"):
        registry.promote(nowhere, "1", "production")


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_version_goes_from_staging_to_production(
    tracker: Tracker, features: FeatureFrame, store: EvidenceStore, tmp_path: Path
) -> None:
    assert registry.champion(tracker, name="a") is None
    assert registry.standing(tracker, name="a") == {}
    bundle = tmp_path / "bundle.ftb"
    bundles.write(bundle, bundles.Bundle(store, OTHER))
    with tracker.run("training", "one", parameters={}, lineage=LINEAGE) as run:
        first = registry.register(tracker, run.id, Formula(), "# First", features, name="a")
        again = registry.register(tracker, run.id, Formula(), "# First", features, name="a")
        second = registry.register(tracker, run.id, bundle, "# Second", features, name="a")
    assert (first, again, second) == ("1", "1", "2")
    assert registry.standing(tracker, name="a") == {"staging": "2"}
    assert registry.champion(tracker, name="a") is None

    registry.promote(tracker, first, "production", name="a")
    assert registry.champion(tracker, name="a") == Formula()
    registry.promote(tracker, second, "production", name="a")
    assert registry.champion(tracker, name="a") == OTHER
    assert registry.standing(tracker, name="a") == {"staging": "2", "production": "2"}

    folder = registry.fetch(tracker, tmp_path / "there", name="a")
    assert folder is not None
    assert (folder / registry.CARD).read_text("utf-8") == "# Second"
    assert bundles.read(folder / bundle.name).model == OTHER
    with pytest.raises(TrackingFailed, match="no stage"):
        registry.promote(tracker, first, "somewhere", name="a")
    with pytest.raises(TrackingFailed, match="99") as none:
        registry.promote(tracker, "99", "canary", name="a")
    assert "server up" not in none.value.remedy


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_model_that_was_exchanged_in_the_store_is_refused(
    tracker: Tracker, features: FeatureFrame
) -> None:
    with tracker.run("training", "two", parameters={}, lineage=LINEAGE) as run:
        registry.register(
            tracker, run.id, Formula(), "# Card", features, name="b", alias="production"
        )
    assert tracker.address is not None
    database = Path(tracker.address.removeprefix("sqlite:///"))
    stored = database.parent.glob("runs-artifacts/models/*/artifacts/data/model.json")
    newest = max(stored, key=lambda path: path.stat().st_mtime_ns)
    newest.write_text(json.dumps(OTHER.to_json()), encoding="utf-8")
    with pytest.raises(BadModel, match="not the model that was registered"):
        registry.champion(tracker, name="b")
