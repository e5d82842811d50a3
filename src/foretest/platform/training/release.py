"""Where a model goes that passed: the tracking server's registry, or a folder without one."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foretest import bundle as bundles
from foretest.durable import lock, write_text
from foretest.features.frame import FeatureFrame
from foretest.platform.gate.exam import Candidate
from foretest.platform.gate.verdict import Verdict, as_text
from foretest.platform.training import card as cards
from foretest.platform.training.trained import bundle_of, candidate_of
from foretest.replay.table import Line

if TYPE_CHECKING:
    from foretest.platform.tracking.runs import Run, Tracker

NAME, BUNDLE, CARD, CARD_JSON, GATE = "ranker", "model.ftb", "card.md", "card.json", "gate.json"
LOCK, REGISTRY_LOCK = ".lock", "registry.lock"
PATIENCE = 300.0
"""Seconds to wait for another training that releases from the same folder."""
_VERSION = re.compile(rf"{NAME}-(\d+)")


def writable(tracker: Tracker, out: Path, registry: Path) -> None:
    """Raise BadStore where a model could not be kept, before hours are spent on it."""
    with lock(out / LOCK, PATIENCE):
        pass
    if tracker.address is None:
        with lock(registry / REGISTRY_LOCK):
            pass


@dataclass(frozen=True, slots=True)
class Released:
    """Where a candidate went."""

    version: str
    """Empty where the gate did not let it pass."""
    place: str

    def sentence(self) -> str:
        if not self.version:
            return f"It is not registered; what was made lies in {self.place}."
        return f"Registered as version {self.version} in {self.place}."


def release(
    candidate: Candidate,
    verdict: Verdict,
    lines: Sequence[Line],
    out: Path,
    *,
    tracker: Tracker,
    run: Run,
    example: FeatureFrame,
    registry: Path,
) -> Released:
    """Write the candidate with its card and the gate's answer to `out`; register it if it passed.

    With a tracking server the registry is its own, where the version begins at `staging`; without
    one it is the folder `registry`, whose newest version is the champion. Raises TrackingFailed.
    """
    with lock(out / LOCK, PATIENCE):  # what is registered is what this training wrote
        written(candidate, verdict, lines, out)
        for name in (CARD, CARD_JSON, GATE, BUNDLE):
            run.artifact(out / name, name)
        if not verdict.passed:
            return Released("", str(out))
        if tracker.address is None:
            return _shelved(out, registry)
        from foretest.platform.tracking.registry import register

        text = (out / CARD).read_text(encoding="utf-8")
        version = register(tracker, run.id, out / BUNDLE, text, example)
        return Released(version, tracker.address)


def written(candidate: Candidate, verdict: Verdict, lines: Sequence[Line], out: Path) -> None:
    """The bundle, the card in both forms, and the gate's answer."""
    out.mkdir(parents=True, exist_ok=True)
    told = cards.card(candidate, verdict, lines)
    bundles.write(out / BUNDLE, bundle_of(candidate))
    write_text(out / CARD, cards.as_markdown(told))
    write_text(out / CARD_JSON, cards.as_json(told))
    write_text(out / GATE, json.dumps(verdict.to_json(), indent=1) + "\n")
    write_text(out / "gate.txt", as_text(verdict) + "\n")


def champion_of(tracker: Tracker, registry: Path) -> Candidate | None:
    """The registered model that serves; None where none does, so that the formula is the champion.

    Raises TrackingFailed, BadBundle, BadModel.
    """
    if tracker.address is None:
        versions = _versions(registry)
        return read(registry / f"{NAME}-{versions[-1]}") if versions else None
    from foretest.platform.tracking.registry import fetch

    with tempfile.TemporaryDirectory() as scratch:
        folder = fetch(tracker, Path(scratch))
        return None if folder is None else read(folder)


def read(place: Path) -> Candidate:
    """The candidate of a bundle, or of a folder that `train` wrote. Raises NoBundle, BadBundle."""
    return candidate_of(bundles.read(place / BUNDLE if place.is_dir() else place))


def _shelved(out: Path, registry: Path) -> Released:
    with lock(registry / REGISTRY_LOCK):
        version = str(max(_begun(registry), default=0) + 1)
        place = registry / f"{NAME}-{version}"
        place.mkdir()
        for name in (CARD, CARD_JSON, GATE):
            write_text(place / name, (out / name).read_text(encoding="utf-8"))
        # Last: a version is one that holds its bundle.
        bundles.write(place / BUNDLE, bundles.read(out / BUNDLE))
    return Released(version, str(registry))


def _versions(registry: Path) -> list[int]:
    return [n for n in _begun(registry) if (registry / f"{NAME}-{n}" / BUNDLE).exists()]


def _begun(registry: Path) -> list[int]:
    """All numbers that are taken, those of registrations that were cut off among them."""
    found = (_VERSION.fullmatch(place.name) for place in registry.glob(f"{NAME}-*"))
    return sorted(int(match[1]) for match in found if match)
