"""cargo-nextest."""

from __future__ import annotations

from collections.abc import Mapping

from foretest.results.dialects.contract import Dialect, Scene


def _tells(scene: Scene, _: Mapping[str, str]) -> bool:
    return scene.root.get("name", "").startswith("nextest") or "uuid" in scene.root


def _prefix(_: Scene, classname: str, __: str) -> str:
    """The binary, its `::` as `/`, which keeps it apart from the modules: `krate/it::`."""
    return f"{classname.replace('::', '/', 1)}::" if classname else ""


NEXTEST = Dialect("nextest", _tells, _prefix)
