"""One environment a peer: a venv that sees the project's packages and holds the pinned tool."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foretest.config import Config, child_environment
from foretest.durable import lock, write_text
from foretest.errors import PeerUnavailable
from foretest.peers.tools import Tool

_PATIENCE = 600.0
"""Seconds for pip: the tools and what they need are a few megabytes."""

_SITES = """
import json, os, site, sys, sysconfig
names = ("site-packages", "dist-packages")
found = [p for p in sys.path if os.path.basename(p) in names and os.path.isdir(p)]
print(json.dumps({"version": sys.version, "sites": found}))
"""
_VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
_REMOVED = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONWARNINGS", "PIP_TARGET")


@dataclass(frozen=True, slots=True)
class Environment:
    """The interpreter that runs a tool beside the project's own packages."""

    python: str
    version: str
    """Of the tool."""


def prepare(tool: Tool, config: Config) -> Environment:
    """The tool's environment, made at the first call and kept in foretest's cache.

    The project's packages are seen through a `.pth` file and never written to: where the tool needs
    another version of one, pip puts it into the tool's own environment, which comes first on the
    path. Raises PeerUnavailable where an interpreter or pip fails.
    """
    python = _runnable(config.python)
    if not tool.requirement:
        return Environment(python, _asked([python, "-c", _VERSION, tool.name], tool).strip())
    facts = json.loads(_asked([python, "-c", _SITES], tool))
    key = repr((tool.requirement, python, facts["version"], facts["sites"]))
    digest = hashlib.blake2b(key.encode(), digest_size=6).hexdigest()
    place = config.cache_path.resolve() / "peers" / f"{tool.name}-{tool.version}-{digest}"
    # `bin` on every system that the lab runs on.
    own = place / "bin" / "python"
    with lock(place.with_name(f"{place.name}.lock"), timeout=_PATIENCE):
        if not (place / "bare").exists():
            shutil.rmtree(place, ignore_errors=True)
            _asked([python, "-m", "venv", str(place)], tool)
            _see(place, facts["sites"])
            write_text(place / "bare", key + "\n")
        if not (place / "made").exists():
            pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _asked([*pip, tool.requirement], tool)
            write_text(place / "made", key + "\n")
    return Environment(str(own), _asked([str(own), "-c", _VERSION, tool.name], tool).strip())


def _see(place: Path, sites: Sequence[str]) -> None:
    """Let the venv see the project's packages, those installed in place included."""
    for folder in place.glob("lib*/python*/site-packages"):
        lines = (f"import site; site.addsitedir({site!r})\n" for site in sites)
        write_text(folder / "_project.pth", "".join(lines))


def _runnable(python: str) -> str:
    """The interpreter by its full path; links are kept, for they tell one venv from another."""
    found = shutil.which(python)
    return str(Path(found).absolute()) if found else python


def _asked(command: Sequence[str], tool: Tool) -> str:
    """What a command prints. Raises PeerUnavailable with its last words where it fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PATIENCE,
            stdin=subprocess.DEVNULL,
            env=child_environment(_REMOVED, {"PIP_NO_INPUT": "1"}),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unavailable(tool, f"{command[0]}: {error}") from error
    if done.returncode:
        raise _unavailable(tool, last_words(done.stderr or done.stdout))
    return done.stdout


def _unavailable(tool: Tool, said: str) -> PeerUnavailable:
    wanted = tool.requirement or f"{tool.name} of the project's environment"
    return PeerUnavailable(
        f"{wanted} could not be set up. It said: {said}",
        "Check that pip reaches a package index, and that `python` in the settings names the "
        "interpreter of the project's tests.",
    )


def last_words(output: str) -> str:
    """The line of an output that tells most: the last that speaks of an error, else the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip(" =\t")]
    telling = [line for line in lines if "error" in line.lower()]
    line = (telling or lines or ["nothing"])[-1]
    return line.removeprefix("INTERNALERROR>").strip()[:300]
