"""Where carried state lies: a folder, a bucket or refs of a git remote; one small contract."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from foretest.changes.runner import finish
from foretest.durable import atomic_write
from foretest.errors import BadConfiguration, BadStore, ExtraMissing, ReadOnlyTarget


class Place(Protocol):
    """A flat set of named blobs. Raises BadStore where it cannot be reached."""

    def names(self) -> list[str]: ...

    def get(self, name: str) -> bytes: ...

    def put(self, name: str, data: bytes) -> None:
        """Store whole or not at all. Raises ReadOnlyTarget where writing is not allowed."""

    def delete(self, names: Sequence[str]) -> None: ...


def place(target: str, root: Path, environment: Mapping[str, str]) -> Place:
    """The place that a target names: `s3://bucket/prefix`, `git:refs/...` or a folder."""
    if target.startswith("s3://"):
        return Bucket(target, environment)
    if target.startswith("git:"):
        return GitRefs(target.removeprefix("git:"), root)
    if "://" in target or not target:
        raise BadConfiguration(
            f"'{target}' is no place for state.",
            "Give a folder, s3://bucket/prefix or git:refs/foretest/state.",
        )
    return Folder(root / target)


class Folder:
    """A directory, such as a CI cache or an unpacked artifact."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        try:
            return [entry.name for entry in self._path.iterdir() if entry.is_file()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreachable(str(self._path), error.strerror or str(error)) from error

    def get(self, name: str) -> bytes:
        try:
            return (self._path / name).read_bytes()
        except OSError as error:
            raise _unreachable(str(self._path), error.strerror or str(error)) from error

    def put(self, name: str, data: bytes) -> None:
        try:
            atomic_write(self._path / name, data)
        except BadStore as error:
            cause = error.__cause__
            if isinstance(cause, PermissionError) or getattr(cause, "errno", 0) == 30:  # EROFS
                raise _read_only(str(self._path)) from error
            raise

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                (self._path / name).unlink(missing_ok=True)
            except OSError as error:
                raise _unreachable(str(self._path), error.strerror or str(error)) from error


_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


class Bucket:
    """A prefix of an S3-compatible bucket. Without credentials requests are not signed.

    Settings are the usual `AWS_...` variables, as handed over by the caller. A machine whose role
    comes from its instance says so by AWS_SKIP_SIGNATURE=false.
    """

    def __init__(self, target: str, environment: Mapping[str, str]) -> None:
        try:
            from obstore.exceptions import BaseError
            from obstore.store import S3Store
        except ImportError as error:
            raise ExtraMissing(
                "Object stores need the engine.", "Run `pip install foretest[engine]`."
            ) from error
        self._target, self._error = target, BaseError
        bucket, _, prefix = target.removeprefix("s3://").partition("/")
        config: Any = {
            name.lower(): value for name, value in environment.items() if name in _AWS and value
        }
        anonymous = not any(environment.get(name) for name in _CREDENTIALS)
        config.setdefault("aws_skip_signature", "true" if anonymous else "false")
        config.setdefault("aws_region", environment.get("AWS_DEFAULT_REGION") or "us-east-1")
        plain = config.get("aws_endpoint_url", "").startswith("http://")
        with self._honest():
            self._store = S3Store(
                bucket,
                prefix=prefix.strip("/") or None,
                config=config,
                client_options={"allow_http": plain, "timeout": "120s"},
                retry_config={"max_retries": 3},
            )

    def names(self) -> list[str]:
        with self._honest():
            return [entry["path"] for page in self._store.list() for entry in page]

    def get(self, name: str) -> bytes:
        with self._honest():
            return bytes(self._store.get(name).bytes())

    def put(self, name: str, data: bytes) -> None:
        with self._honest(writing=True):
            self._store.put(name, data)

    def delete(self, names: Sequence[str]) -> None:
        with self._honest(writing=True):
            for name in names:
                self._store.delete(name)

    @contextmanager
    def _honest(self, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except (self._error, OSError, ValueError) as error:
            text = str(error)
            if writing and re.search(r"\b40[13]\b|AccessDenied|Permission|Unauth", text):
                raise _read_only(self._target) from error
            raise _unreachable(self._target, next(iter(text.splitlines()), "")) from error


_AWS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_SKIP_SIGNATURE",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)

_MEMBER = "state"
_DENIED = re.compile(
    r"denied|forbidden|\b40[13]\b|authentication failed|could not read (?:username|password)"
    r"|read-only|not permitted|protected|hook declined|prohibited|unable to create temporary",
    re.IGNORECASE,
)
_TRIES = 4


class GitRefs:
    """Refs below a prefix in the repository's remote, each a commit without parents and one file.

    The user's repository gives the remote's address and credentials and nothing else: objects are
    written to a folder of our own, no ref, index or work tree is touched.
    """

    def __init__(self, prefix: str, root: Path, remote: str = "origin") -> None:
        if not re.fullmatch(r"refs(?:/\w[\w-]*(?:\.[\w-]+)*){2,}", prefix):
            raise BadConfiguration(
                f"'{prefix}' is no ref to keep state under.", "Give git:refs/foretest/state."
            )
        self._prefix, self._root, self._remote = prefix, root, remote
        self._target = f"git:{prefix}"

    def names(self) -> list[str]:
        return list(self._refs())

    def get(self, name: str) -> bytes:
        with self._quarantine() as environment:
            commit = self._refs().get(name)
            if commit is None:
                raise _unreachable(self._target, f"{name} is gone")
            options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
            ref = f"{self._prefix}/{name}"
            self._git(environment, "fetch", *options, self._remote, ref)
            return self._git(environment, "cat-file", "blob", f"{commit}:{_MEMBER}")

    def put(self, name: str, data: bytes) -> None:
        with self._quarantine() as environment:
            blob = self._git(environment, "hash-object", "-w", "--stdin", stdin=data).decode()
            entry = f"100644 blob {blob.strip()}\t{_MEMBER}\n".encode()
            tree = self._git(environment, "mktree", stdin=entry).decode().strip()
            message = b"State of foretest\n"
            commit = self._git(environment, "commit-tree", tree, stdin=message).decode().strip()
            self._push(environment, f"+{commit}:{self._prefix}/{name}")

    def delete(self, names: Sequence[str]) -> None:
        with self._quarantine() as environment:
            self._push(environment, *(f":{self._prefix}/{name}" for name in names))

    def _refs(self) -> dict[str, str]:
        out = self._git({}, "ls-remote", self._remote, f"{self._prefix}/*").decode()
        lines = (line.partition("\t") for line in out.splitlines())
        return {ref.removeprefix(f"{self._prefix}/"): commit for commit, _, ref in lines}

    def _push(self, environment: Mapping[str, str], *refs: str) -> None:
        command = ("push", "--quiet", "--no-verify", self._remote, *refs)
        for attempt in range(_TRIES):
            done = finish(self._root, command, ok=range(256), environment=environment)
            if not done.returncode:
                return
            said = done.stderr.decode("utf-8", "replace")
            if _DENIED.search(said):
                raise _read_only(self._target)
            if "lock" not in said or attempt + 1 == _TRIES:  # another pusher holds the ref
                raise _unreachable(self._target, _reason(said))

    def _git(self, environment: Mapping[str, str], *args: str, stdin: bytes = b"") -> bytes:
        done = finish(self._root, args, stdin, ok=range(256), environment=environment)
        if done.returncode:
            raise _unreachable(self._target, _reason(done.stderr.decode("utf-8", "replace")))
        return done.stdout

    @contextmanager
    def _quarantine(self) -> Iterator[Mapping[str, str]]:
        """Settings under which git reads the user's objects and writes only to a passing folder."""
        own = self._git({}, "rev-parse", "--git-path", "objects").decode().rstrip("\n")
        with tempfile.TemporaryDirectory(prefix="foretest-") as folder:
            yield {
                "GIT_OBJECT_DIRECTORY": folder,
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": str((self._root / own).resolve()),
                **{f"GIT_{who}_NAME": "foretest" for who in ("AUTHOR", "COMMITTER")},
                **{f"GIT_{who}_EMAIL": "foretest@localhost" for who in ("AUTHOR", "COMMITTER")},
            }


def _reason(said: str) -> str:
    lines = [line for line in said.splitlines() if line.startswith(("fatal:", "error:", " !"))]
    return (lines or said.splitlines() or ["git gave no reason"])[0].strip()


def _unreachable(target: str, reason: str) -> BadStore:
    return BadStore(f"State at {target} cannot be reached: {reason}.", "Check address and rights.")


def _read_only(target: str) -> ReadOnlyTarget:
    return ReadOnlyTarget(
        f"State at {target} may be read here but not written, as in a fork without secrets.",
        "Push from a run that has the rights; pulling works without them.",
    )
