"""A real repository to write in, made by git itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from foretest.changes.git import Repository


class Sandbox:
    """A repository to write in; `git` runs a plain git command there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        for setting in ("user.name=A", "user.email=a@example.org", "protocol.file.allow=always"):
            self.git("config", *setting.split("="))

    @property
    def repo(self) -> Repository:
        return Repository(self.root)

    def git(self, *args: str, ok: bool = True) -> str:
        command = ["git", "-C", str(self.root), *args]
        done = subprocess.run(command, capture_output=True, check=False)
        assert not ok or done.returncode == 0, done.stderr
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def write(self, path: str, text: str | bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    def commit(self, files: dict[str, str | bytes | None] | None = None, message: str = "m") -> str:
        """Write (None: delete) files, commit everything, give the commit's id."""
        for path, text in (files or {}).items():
            if text is None:
                (self.root / path).unlink()
            else:
                self.write(path, text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")
