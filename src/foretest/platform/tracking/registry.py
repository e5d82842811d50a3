"""The registry of models: versions that passed the gate, and which of them stands where.

MLflow keeps it. A version is a folder: the model as `served.py` writes it, its card, and the bundle
where one was made; its description is the card.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foretest import bundle as bundles
from foretest.errors import BadModel, TrackingFailed
from foretest.features.frame import FeatureFrame
from foretest.models.contract import Model, identity
from foretest.platform.tracking import served
from foretest.platform.tracking.delivery import client_of, log_model, mlflow, shown, why
from foretest.platform.tracking.runs import Tracker

RANKER = "ranker"
"""The name under which rankers of tests are registered."""
STAGES = ("staging", "canary", "production")
"""Aliases of a version, on its way to everybody."""
CARD = "card.md"
_IDENTITY = "identity"


def register(
    tracker: Tracker,
    run_id: str,
    model: Model | Path,
    card: str,
    example: FeatureFrame,
    *,
    name: str = RANKER,
    alias: str = "staging",
) -> str:
    """Register a model, or a bundle's model with the bundle, as the outcome of a run.

    Gives the new version ("1", "2", ...), which stands at `alias`; "" where nothing is kept. The
    same model of the same run is registered once. Raises TrackingFailed, BadModel.
    """
    if tracker.address is None:
        return ""
    if not run_id:
        raise TrackingFailed(
            "The run is not on the tracking server, so nothing can be registered of it.",
            "Send it by `foretest platform tracking send`, then train again.",
        )
    bundle = model if isinstance(model, Path) else None
    scorer = bundles.read(model).model if isinstance(model, Path) else model
    with _asked(tracker) as client, tempfile.TemporaryDirectory() as scratch:
        version = _known(client, name, run_id, identity(scorer))
        if version is None:
            paper = Path(scratch, CARD)
            paper.write_text(card, encoding="utf-8")
            folder = Path(scratch, "model")
            beside = [paper] if bundle is None else [paper, bundle]
            served.save(scorer, example, folder, beside)
            version = _add(client, name, run_id, folder, scorer, card)
        client.set_registered_model_alias(name, _stage(alias), version)
    return version


def promote(tracker: Tracker, version: str, alias: str, *, name: str = RANKER) -> None:
    """Let a version stand at `alias`, where it takes another's place. Raises TrackingFailed."""
    with _asked(tracker) as client:
        client.set_registered_model_alias(name, _stage(alias), version)


def standing(tracker: Tracker, *, name: str = RANKER) -> dict[str, str]:
    """The version that stands at each alias; none where nothing was registered."""
    if tracker.address is None:
        return {}
    with _asked(tracker) as client:
        try:
            aliases = client.get_registered_model(name).aliases
            return {alias: str(version) for alias, version in aliases.items()}
        except mlflow().MlflowException as error:
            if _absent(error):
                return {}
            raise


def champion(tracker: Tracker, *, name: str = RANKER, alias: str = "production") -> Model | None:
    """The model that stands at `alias`; None where none does.

    Raises TrackingFailed, BadModel where the stored model is not the one that was registered.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = fetch(tracker, Path(scratch), name=name, alias=alias)
        return None if folder is None else served.read(folder)


def fetch(
    tracker: Tracker, into: Path, *, name: str = RANKER, alias: str = "production"
) -> Path | None:
    """Download the version at `alias` below `into`: its folder, None where there is none."""
    if tracker.address is None:
        return None
    with _asked(tracker) as client:
        try:
            version = client.get_model_version_by_alias(name, alias)
        except mlflow().MlflowException as error:
            if _absent(error):
                return None
            raise
        place = into / f"{name}-{version.version}"
        place.mkdir(parents=True, exist_ok=True)
        from mlflow.artifacts import download_artifacts

        source = client.get_model_version_download_uri(name, version.version)
        folder = Path(download_artifacts(source, dst_path=str(place), tracking_uri=tracker.address))
    if identity(served.read(folder)) != version.tags.get(_IDENTITY):
        raise BadModel(
            f"Version {version.version} of {name} is not the model that was registered.",
            "Train again, and look who can write to the store of artifacts.",
        )
    return folder


def _add(client: Any, name: str, run_id: str, folder: Path, model: Model, card: str) -> str:
    try:
        client.create_registered_model(name)
    except mlflow().MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = log_model(client, run_id, name, folder)
    source = client.get_logged_model(model_id).artifact_location
    tags = {_IDENTITY: identity(model)}
    made = client.create_model_version(
        name, source, run_id, tags=tags, description=card, model_id=model_id
    )
    return str(made.version)


def _known(client: Any, name: str, run_id: str, wanted: str) -> str | None:
    """The version that a run registered before with the same model."""
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.run_id == run_id and version.tags.get(_IDENTITY) == wanted:
            return str(version.version)
    return None


def _stage(alias: str) -> str:
    if alias not in STAGES:
        raise TrackingFailed(f"There is no stage '{alias}'.", f"Stages: {', '.join(STAGES)}.")
    return alias


def _absent(error: Any) -> bool:
    """Whether MLflow says that there is no such model, or none at that alias."""
    return error.error_code == "RESOURCE_DOES_NOT_EXIST" or (
        error.error_code == "INVALID_PARAMETER_VALUE" and "alias" in str(error)
    )


@contextmanager
def _asked(tracker: Tracker) -> Iterator[Any]:
    """MLflow's client; what it raises inside is TrackingFailed."""
    if tracker.address is None:
        raise TrackingFailed(
            "There is no registry without a tracking server.",
            "Name one by --tracking. In a folder of models the newest serves.",
        )
    client = client_of(tracker.address)
    try:
        yield client
    except mlflow().MlflowException as error:
        away = "Is the server up? `foretest platform tracking serve` starts one."
        raise TrackingFailed(
            f"The registry at {shown(tracker.address)} failed: {why(error)}.",
            "`foretest platform train` registers what passes." if _absent(error) else away,
        ) from error
