"""Git, asked through one runner that neither configuration nor environment can disturb."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from foretest.changes.runner import finish, stream
from foretest.config import STATE_DIRECTORY, Config
from foretest.errors import EmptyRepository, MissingBase, NotARepository, ShallowClone
from foretest.records import FileStatus

_BATCH = 1000
_CODE = (".py", ".pyi", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".tsx")

_DIFF = (
    "--no-ext-diff", "--no-textconv", "--no-color", "--no-color-moved", "--no-relative",
    "--full-index", "-M", "-p", "--diff-algorithm=myers", "--indent-heuristic",
    "--inter-hunk-context=0", "--submodule=short", "--ignore-submodules=untracked",
    "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip

_STATUS = {
    "A": FileStatus.ADDED,
    "C": FileStatus.COPIED,
    "D": FileStatus.DELETED,
    "M": FileStatus.MODIFIED,
    "R": FileStatus.RENAMED,
    "T": FileStatus.TYPE,
    "U": FileStatus.UNMERGED,
}


class FileTouch(NamedTuple):
    """One file of a commit in the log."""

    status: FileStatus
    path: str
    old_path: str | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of the log; `author_time` in seconds since 1970."""

    id: str
    author_time: int
    parents: tuple[str, ...]
    subject: str
    files: tuple[FileTouch, ...]


class Repository:
    """A git repository at `root`. Paths are str (surrogateescape), contents bytes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, path: Path) -> Repository:
        """Find the work tree that holds `path`; raises NotARepository."""
        start = path if path.is_dir() else path.parent
        if not start.is_dir():
            raise NotARepository(
                f"{path} does not exist.", "Name a directory inside a git work tree."
            )
        top = cls(start).run("rev-parse", "--show-toplevel").removesuffix(b"\n")
        return cls(Path(_text(top)))

    def run(self, *args: str, stdin: bytes = b"", ok: Sequence[int] = (0,)) -> bytes:
        """Output of one git command; raises GitFailed where its exit code is not in `ok`."""
        return finish(self.root, args, stdin, ok).stdout

    def head(self) -> str:
        """The commit that is checked out; raises EmptyRepository where there is none yet."""
        done = finish(
            self.root, ("rev-parse", "--verify", "--quiet", "HEAD^{commit}"), ok=(0, 1, 128)
        )
        if done.returncode:
            raise EmptyRepository(f"{self.root} has no commit yet.", "Commit once, then try again.")
        return done.stdout.decode().strip()

    def resolve(self, ref: str) -> str:
        """The id of the commit that `ref` names; raises MissingBase."""
        commit = self._resolve(ref)
        if commit is None:
            raise MissingBase(f"'{ref}' names no commit here.", self._fetch_remedy(ref))
        return commit

    def key(self) -> str:
        """What names this repository everywhere: `host/org/name`, else `root:<first commit>`."""
        return self._key

    def is_shallow(self) -> bool:
        return self.run("rev-parse", "--is-shallow-repository").strip() == b"true"

    def merge_base(self, a: str, b: str) -> str:
        """The newest commit that both descend from; ShallowClone where the clone lacks it."""
        commits = [self._resolve(ref) for ref in (a, b)]
        if None not in commits:
            found = self.run("merge-base", *map(str, commits), ok=(0, 1)).decode().strip()
            if found:
                return found
        if self.is_shallow():
            raise self._too_shallow(f"The clone is too shallow to join '{a}' and '{b}'.")
        for ref in (a, b):
            self.resolve(ref)
        raise MissingBase(f"'{a}' and '{b}' have no common history.", "Name another base.")

    def default_base(self, commit: str | None = None) -> str:
        """Where a commit (HEAD) left the main line, else the one before it; raises MissingBase."""
        head = commit or self.head()
        fork = self.fork_point(head)
        if fork is not None:
            return fork
        parent = self._resolve(f"{head}~1")
        if parent is None and self.is_shallow():
            raise self._too_shallow("The clone holds one commit alone.")
        if parent is None:
            raise MissingBase("There is no commit before HEAD.", "Name a base: --base REF.")
        return parent

    def fork_point(self, commit: str) -> str | None:
        """Where a commit left the main line; None where it lies on it, or no main line is known."""
        for ref in ("origin/HEAD", "origin/main", "origin/master", "main", "master"):
            tip = self._resolve(ref)
            found = tip and self.run("merge-base", tip, commit, ok=(0, 1)).decode().strip()
            if found:
                return found if found != commit else None
        return None

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `old` is `new` or lies in its past; False where either is not at hand."""
        first, second = self._resolve(old), self._resolve(new)
        if first is None or second is None:
            return False
        done = finish(self.root, ("merge-base", "--is-ancestor", first, second), ok=(0, 1))
        return not done.returncode

    def state(self, commit: str | None) -> str:
        """What names a state: its commit, and for the work tree (None) what was not committed.

        Of the untracked files those that hold code count: reports, lists and caches come and go.
        """
        if commit is not None:
            return self.resolve(commit)
        head = self.head()
        parts = [self.diff_bytes(head, None)]
        new = sorted(path for path in self.untracked() if path.endswith(_CODE))
        for path, content in self.read_many(None, new).items():
            parts += (os.fsencode(path), content)
        if not any(parts):
            return head
        digest = blake2b(digest_size=16)
        for part in parts:
            digest.update(b"%d:" % len(part) + part)
        return f"{head}+{digest.hexdigest()}"

    def distance(self, a: str, b: str) -> int | None:
        """Commits that lie between `a` and `b`, on either side; None where that cannot be known."""
        first, second = self._resolve(a), self._resolve(b)
        if first is None or second is None:
            return None
        if not self.run("merge-base", first, second, ok=(0, 1)):
            return None
        return int(self.run("rev-list", "--count", f"{first}...{second}"))

    def ancestors(self, commit: str, limit: int) -> list[str]:
        """`commit` and what came before it, newest first, at most `limit`."""
        return self.run("rev-list", f"--max-count={limit}", self.resolve(commit)).decode().split()

    def is_dirty(self) -> bool:
        """True where the work tree differs from HEAD, untracked files included, our state apart."""
        entries = self.run("status", "--porcelain", "-z", "--untracked-files=normal").split(b"\0")
        ours = f"?? {STATE_DIRECTORY}/".encode()
        return any(entry and not entry.startswith(ours) for entry in entries)

    def read(self, commit: str | None, path: str) -> bytes | None:
        """Contents of a file in a commit or (None) the work tree; None where it is not there."""
        if commit is None:
            return self._read_work_tree(path)
        done = finish(self.root, ("cat-file", "blob", f"{commit}:{path}"), ok=(0, 128))
        return None if done.returncode else done.stdout

    def read_many(self, commit: str | None, paths: Iterable[str]) -> dict[str, bytes]:
        """Contents of those of `paths` that are files there, by one process a thousand paths."""
        found: dict[str, bytes] = {}
        if commit is None:
            contents = ((path, self._read_work_tree(path)) for path in paths)
            return {path: data for path, data in contents if data is not None}
        wanted = iter(dict.fromkeys(paths))
        while batch := list(islice(wanted, _BATCH)):
            plain = [path for path in batch if "\n" not in path]
            found.update(self._cat(commit, plain))
            for path in set(batch).difference(plain):
                data = self.read(commit, path)
                if data is not None:
                    found[path] = data
        return found

    def files(self, commit: str | None) -> tuple[str, ...]:
        """Paths of the files in a commit or (None) the work tree, sorted, submodules left out."""
        if commit is not None:
            return tuple(sorted(self.blob_ids(commit)))
        known = self.run("ls-files", "-z", "--cached").split(b"\0")
        paths = {_text(path) for path in known if path}.union(self.untracked())
        return tuple(sorted(path for path in paths if self._is_file(path)))

    def untracked(self) -> tuple[str, ...]:
        """Files that git neither tracks nor ignores, nested repositories and our state left out."""
        out = self.run("ls-files", "-z", "--others", "--exclude-standard")
        paths = (_text(path) for path in out.split(b"\0") if path)
        ours = f"{STATE_DIRECTORY}/"
        return tuple(p for p in paths if not p.startswith(ours) and self._is_file(p))

    def unmerged(self) -> frozenset[str]:
        """Files whose merge is not settled."""
        entries = self.run("ls-files", "-z", "--unmerged").split(b"\0")
        return frozenset(_text(e.partition(b"\t")[2]) for e in entries if e)

    def blob_ids(self, commit: str) -> dict[str, str]:
        """Path to blob id of every file in a commit: equal ids mean equal contents."""
        ids = {}
        for entry in self.run("ls-tree", "-r", "-z", commit).split(b"\0"):
            facts, _, path = entry.partition(b"\t")
            if b" blob " in facts:
                ids[_text(path)] = facts.split()[2].decode()
        return ids

    def diff_bytes(self, base: str, head: str | None, context: int = 0) -> bytes:
        """The difference between two commits, or (head None) a commit and the tracked work tree."""
        ends = [base] if head is None else [base, head]
        return self.run("diff", *_DIFF, f"-U{context}", *ends, "--")

    def diff_paths(self, base: str, head: str | None) -> tuple[str, ...]:
        """Paths that differ between two states (`head` None: the work tree, untracked included)."""
        ends = [base] if head is None else [base, head]
        listed = self.run("diff", "--name-only", "--no-renames", "-z", *ends, "--")
        found = [_text(path) for path in listed.split(b"\0") if path]
        return tuple(dict.fromkeys((*found, *(self.untracked() if head is None else ()))))

    def show_patch(self, commit: str) -> bytes:
        """What a commit changed (a merge: against its first parent), fit for `git apply`."""
        command = ("show", "--format=", "--diff-merges=first-parent", *_DIFF, "-U3", "--binary")
        return self.run(*command, commit, "--")

    def log(
        self,
        paths: Sequence[str] | None = None,
        limit: int | None = None,
        no_merges: bool = True,
        start: str = "HEAD",
    ) -> Iterator[Commit]:
        """Commits that `start` holds, newest first, read from one process as it prints them.

        Only the files within `paths` are named where paths are given.
        """
        command = ["log", "-z", "--name-status", "-M", "--no-ext-diff", "--no-color"]
        command += ["--format=%H%x00%at%x00%P%x00%s", "--ignore-submodules=none"]
        command += ["--no-merges"] if no_merges else ["--diff-merges=first-parent"]
        command += [] if limit is None else [f"--max-count={limit}"]
        command += [self.resolve(start), "--", *(paths or ())]
        return _commits(stream(self.root, command))

    # The rest serves the above.

    @cached_property
    def _key(self) -> str:
        out = self.run("config", "--get", "remote.origin.url", ok=(0, 1))
        named = origin_key(_text(out).strip())
        if named:
            return named
        head = self.head()
        if self.is_shallow():
            raise self._too_shallow("A shallow clone without an origin has no first commit.")
        root = self.run("rev-list", "--first-parent", "--max-parents=0", head).decode().split()[-1]
        return f"root:{root}"

    def _resolve(self, ref: str) -> str | None:
        if not ref or ref.startswith("-") or "\0" in ref:
            return None
        done = finish(
            self.root, ("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"), ok=(0, 1, 128)
        )
        if done.returncode:
            return None
        return done.stdout.decode().strip()

    def _fetch_remedy(self, ref: str) -> str:
        if self.is_shallow():
            return "The clone is shallow: run `git fetch --unshallow`, or fetch that commit."
        if ref.startswith("origin/"):
            return f"Run `git fetch origin {ref.removeprefix('origin/')}`."
        return "Name a commit, branch or tag that `git log` shows, or fetch it first."

    def _too_shallow(self, message: str) -> ShallowClone:
        return ShallowClone(
            message, "Run `git fetch --unshallow`, or `git fetch --deepen=100` and try again."
        )

    def _is_file(self, path: str) -> bool:
        try:
            mode = (self.root / path).lstat().st_mode
        except (OSError, ValueError):
            return False
        return stat.S_ISREG(mode) or stat.S_ISLNK(mode)

    def _read_work_tree(self, path: str) -> bytes | None:
        file = self.root / path
        try:
            mode = file.lstat().st_mode
            if stat.S_ISLNK(mode):  # as git does: a link's content is where it points
                return os.fsencode(file.readlink())
            return file.read_bytes() if stat.S_ISREG(mode) else None
        except (OSError, ValueError):
            return None

    def _cat(self, commit: str, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        asked = b"".join(os.fsencode(f"{commit}:{path}\n") for path in paths)
        out = self.run("cat-file", "--batch", stdin=asked)
        at = 0
        for path in paths:
            end = out.index(b"\n", at)
            facts = out[at:end].split(b" ")
            at = end + 1
            if facts[-1] in (b"missing", b"ambiguous"):
                continue
            size = int(facts[-1])
            if facts[-2] == b"blob":
                yield path, out[at : at + size]
            at += size + 1


def origin_key(address: str) -> str | None:
    """`host/org/name` of a remote's address; None for a path, which names no place of its own."""
    scheme, found, rest = address.partition("://")
    if found:
        if scheme == "file":
            return None
        authority, _, path = rest.partition("/")
        host = authority.rpartition("@")[2].partition(":")[0]
    else:  # the short form of ssh: user@host:path; a single letter before the colon is a drive
        authority, _, path = address.partition(":")
        host = authority.rpartition("@")[2]
        if "/" in authority or len(host) < 2:
            return None
    path = path.strip("/").removesuffix(".git")
    return f"{host.lower()}/{path}" if host and path else None


def _commits(chunks: Iterator[bytes]) -> Iterator[Commit]:
    tokens = _tokens(chunks)
    token = next(tokens, b"")
    while token:
        commit, time, parents, subject = (token, next(tokens), next(tokens), next(tokens))
        files: list[FileTouch] = []
        token = next(tokens, b"").lstrip(b"\n")
        while token and len(token) < 40:  # a status letter with its score, not the next commit's id
            status = _STATUS.get(chr(token[0]), FileStatus.MODIFIED)
            path, old = _text(next(tokens)), None
            if token[0] in b"RC":
                path, old = _text(next(tokens)), path
            files.append(FileTouch(status, path, old))
            token = next(tokens, b"").lstrip(b"\n")
        yield Commit(
            commit.decode(),
            int(time or 0),
            tuple(parents.decode().split()),
            subject.decode("utf-8", "replace"),
            tuple(files),
        )


def _tokens(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
    if rest:
        yield rest


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def repository_key(config: Config, repo: Repository) -> str:
    """What everything recorded about a repository stands under: what is set, else what git says."""
    return config.repository or repo.key()
