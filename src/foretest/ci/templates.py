"""The ready templates: where each lies in the package, and where it belongs in a repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from foretest.errors import BadConfiguration

PLACES: Mapping[str, tuple[str, str]] = {
    "github": ("github.yml", ".github/workflows/tests.yml"),
    "gitlab": ("gitlab.yml", ".gitlab-ci.yml"),
    "jenkins": ("Jenkinsfile", "Jenkinsfile"),
    "circleci": ("circleci.yml", ".circleci/config.yml"),
    "azure": ("azure.yml", "azure-pipelines.yml"),
    "buildkite": ("buildkite.yml", ".buildkite/pipeline.yml"),
    "bitbucket": ("bitbucket.yml", "bitbucket-pipelines.yml"),
    "teamcity": ("teamcity.kts", ".teamcity/settings.kts"),
    "buildbot": ("buildbot.cfg", "master.cfg"),
}
"""Of each system: the template's name, and the path that the system reads."""


def template(system: str) -> str:
    """The template of one of PLACES, as it stands in docs/ci."""
    packed = Path(__file__).with_name("templates")
    folder = packed if packed.is_dir() else Path(__file__).parents[3] / "docs" / "ci"
    return (folder / PLACES[system][0]).read_text(encoding="utf-8")


def write(system: str, root: Path) -> Path:
    """Write a system's template where it belongs below `root`; the path, relative to it.

    Raises BadConfiguration where a file stands there: it is never replaced.
    """
    path = Path(PLACES[system][1])
    target = root / path
    there = BadConfiguration(
        f"{path} is there already and stays as it is.",
        f"`foretest ci print {system}` prints the template: take over what you need.",
    )
    if target.exists() or target.is_symlink():
        raise there
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(template(system))
    except OSError as error:
        raise BadConfiguration(
            f"{path} cannot be written: {error.strerror}.", "Check the folder's permissions."
        ) from error
    return path
