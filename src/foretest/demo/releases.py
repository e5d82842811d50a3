"""Source releases of one project, fetched through pip and laid out as a git history."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from foretest.errors import DemoFailed

Done = Callable[[int], None]
"""Called with the number of releases that are finished."""

DAY = 86_400
OLDEST = 946_684_800
"""1 January 2000. Generated files carry a time stamp of 0, which says nothing of the release."""


@dataclass(frozen=True, slots=True)
class Project:
    """What the demonstration runs on."""

    name: str
    versions: tuple[str, ...]
    """Oldest first; each becomes one commit."""
    requires: tuple[str, ...]
    """What its tests import beside itself."""
    build: tuple[str, ...]
    """What pip needs to read the metadata of its source releases."""
    tests: tuple[str, ...] = ("tests",)


MARSHMALLOW = Project(
    name="marshmallow",
    versions=(
        "3.21.0", "3.21.1", "3.21.3", "3.22.0", "3.23.0", "3.23.1", "3.23.3", "3.24.1",
        "3.25.1", "3.26.1", "4.0.0", "4.0.1", "4.1.0", "4.2.0", "4.2.2", "4.3.0", "4.4.0",
    ),
    requires=("pytest>=8,<10", "coverage>=7.6", "simplejson"),
    build=("flit_core>=3.12,<4",),
)  # fmt: skip
"""Pure Python without dependencies: 647 test functions in 2 seconds, so 1 % holds several tests."""


def make_environment(directory: Path, project: Project) -> Path:
    """A virtual environment for the project's tests; returns its interpreter."""
    python = directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(directory)], "A virtual environment")
    packages = [*project.requires, *project.build]
    _run([*_pip(python), "install", "--quiet", *packages], "Installing what the tests need")
    return python


def download(python: Path, project: Project, into: Path, done: Done) -> list[Path]:
    """The source releases, oldest first; those that are there already are not fetched again.

    pip does it, so that its configuration (index, proxy, certificates) holds. It reads each
    release's metadata with the build back end of the environment, which saves making one a release.
    """
    into.mkdir(parents=True, exist_ok=True)
    archives: list[Path] = []
    with ThreadPoolExecutor(4) as pool:
        for archive in pool.map(lambda v: _fetch(python, project, v, into), project.versions):
            archives.append(archive)
            done(len(archives))
    return archives


def lay_out(archives: Sequence[Path], root: Path, done: Done) -> None:
    """Make `root` a git repository with one commit a release, dated by the release's files."""
    if root.exists():
        shutil.rmtree(root)
    root.mkdir(parents=True)
    _git(root, "init", "--quiet", "--initial-branch=main")
    moment = 0
    for count, archive in enumerate(archives, 1):
        _empty(root)
        # A release may be dated before its forerunner: a branch that was kept alive beside it.
        moment = max(_unpack(archive, root), moment + DAY)
        _git(root, "add", "--all", "--force")
        _git(root, "commit", "--quiet", "--allow-empty", "-m", _stem(archive), moment=moment)
        done(count)


def _fetch(python: Path, project: Project, version: str, into: Path) -> Path:
    name = f"{project.name}-{version}"
    archive = into / f"{name}.tar.gz"
    if not archive.exists():
        what = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
        partial = into / f".{name}"
        command = [
            "download",
            "--quiet",
            *what,
            "--dest",
            str(partial),
            f"{project.name}=={version}",
        ]
        _run([*_pip(python), *command], f"Fetching {name}")
        found = next(partial.glob("*.tar.gz"), None)
        if found is None:
            raise DemoFailed(
                f"The index has no source release {name}.",
                "Let pip use an index that has it.",
            )
        found.replace(archive)
        shutil.rmtree(partial)
    return archive


def _unpack(archive: Path, root: Path) -> int:
    """Put the release's files into `root`; the time of its latest file."""
    latest = OLDEST
    with tarfile.open(archive) as release:
        for member in _members(release):
            latest = max(latest, int(member.mtime))
            release.extract(member, root, filter="data")
    return latest


def _members(release: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Files and folders without the directory that holds them all."""
    for member in release.getmembers():
        _, _, inside = member.name.partition("/")
        if inside and (member.isfile() or member.isdir()):
            yield member.replace(name=inside, deep=False)


def _empty(root: Path) -> None:
    for path in root.iterdir():
        if path.name == ".git":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _stem(archive: Path) -> str:
    return archive.name.removesuffix(".tar.gz")


def _git(root: Path, *arguments: str, moment: int | None = None) -> None:
    """git as nobody in particular: no identity, hook, filter or signature of the user's."""
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "foretest demo"), ("EMAIL", "demo@foretest.invalid"))
    }
    dates = (
        {}
        if moment is None
        else dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), f"{moment} +0000")
    )
    nowhere = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "-C", str(root), "-c", "core.autocrlf=false", *arguments]
    _run(command, "Writing the history", inherited | identity | dates | nowhere)


def _pip(python: Path) -> list[str]:
    return [str(python), "-m", "pip", "--disable-pip-version-check"]


def _run(command: Sequence[str], what: str, environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise DemoFailed(f"{what} failed: {error}.", "Install the program it names.") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        last = next((line for line in lines if "error" in line.lower()), (lines or [""])[-1])
        raise DemoFailed(
            f"{what} failed: {last.strip()}",
            "The demonstration needs git, and a package index that pip can reach.",
        )
