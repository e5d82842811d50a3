"""The one way to start git: no pager, hooks, helpers or settings of the user's come between."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from foretest.config import child_environment
from foretest.errors import ForetestError, GitFailed, NotARepository

TIMEOUT = 120.0
"""Seconds after which a single git call is given up."""

_CHUNK = 1 << 16

# What a hook or an outer git call sets to point at *its* repository: ours is named by `-C` alone.
_FOREIGN = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIFF_OPTS", "GIT_DIR",
    "GIT_EXTERNAL_DIFF", "GIT_GLOB_PATHSPECS", "GIT_ICASE_PATHSPECS", "GIT_INDEX_FILE",
    "GIT_NAMESPACE", "GIT_NOGLOB_PATHSPECS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX",
    "GIT_WORK_TREE",
)  # fmt: skip

_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}

# A user's taste must not reach the output that we parse; nor may a repository run its programs.
# `git diff` would rewrite the index where it may refresh it, optional locks or not.
_SETTINGS = (
    "core.quotepath=off", "core.fsmonitor=false", "core.hooksPath=/dev/null",
    "core.untrackedCache=false", "core.abbrev=40", "color.ui=never", "diff.autoRefreshIndex=false",
    "diff.suppressBlankEmpty=false", "diff.orderFile=/dev/null", "diff.wsErrorHighlight=none",
    "i18n.logOutputEncoding=UTF-8", "diff.renameLimit=1000", "log.showRoot=true",
    "log.showSignature=false",
)  # fmt: skip


def finish(
    root: Path,
    args: Sequence[str],
    stdin: bytes = b"",
    ok: Sequence[int] = (0,),
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run one git command at `root` to its end; raises where it ends with a code not in `ok`.

    `environment` holds further variables of this one call.
    """
    try:
        done = subprocess.run(
            _command(root, args),
            input=stdin,
            capture_output=True,
            env=child_environment(_FOREIGN, {**_ENVIRONMENT, **(environment or {})}),
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError as error:
        raise _no_git() from error
    except subprocess.TimeoutExpired as error:
        raise GitFailed(
            f"git {args[0]} took longer than {TIMEOUT:.0f} s.", "Run `git gc`, then try again."
        ) from error
    if done.returncode not in ok:
        raise _failure(args[0], done.stderr, root)
    _refuse_place(done.stderr, root)
    return done


def stream(root: Path, args: Sequence[str]) -> Iterator[bytes]:
    """Output of one git command in chunks; where the reader stops early, the process ends."""
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(
                _command(root, args),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=child_environment(_FOREIGN, _ENVIRONMENT),
            )
        except FileNotFoundError as error:
            raise _no_git() from error
        with process:
            out: IO[bytes] = process.stdout  # type: ignore[assignment]
            try:
                while chunk := out.read(_CHUNK):
                    yield chunk
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            complaints.seek(0)
            raise _failure(args[0], complaints.read(), root)


def _command(root: Path, args: Sequence[str]) -> list[str]:
    settings = (part for setting in _SETTINGS for part in ("-c", setting))
    return ["git", "--no-pager", "-C", str(root), *settings, *args]


def _no_git() -> ForetestError:
    return GitFailed("git is not installed, or not on PATH.", "Install git 2.31 or newer.")


def _refuse_place(stderr: bytes, root: Path) -> None:
    if b"dubious ownership" in stderr:
        raise NotARepository(
            f"git does not trust {root}: another user owns it.",
            f"Run `git config --global --add safe.directory {root}`.",
        )
    if b"not a git repository" in stderr or b"must be run in a work tree" in stderr:
        raise NotARepository(
            f"{root} is not inside a git work tree.", "Run `git init`, or change directory."
        )


def _failure(command: str, stderr: bytes, root: Path) -> ForetestError:
    _refuse_place(stderr, root)
    said = stderr.decode("utf-8", "replace").strip().splitlines() or ["it gave no reason"]
    return GitFailed(f"git {command} failed: {said[-1]}.", "Run `git fsck`, then try again.")
