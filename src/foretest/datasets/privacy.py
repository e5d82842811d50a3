"""People in imported data: e-mail addresses become keyed hashes before anything is stored."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from foretest.durable import refused

KEY_FILE = "people.key"
# The part before the @ has at most 64 characters, by the standard and so that no text takes long.
_EMAIL = re.compile(r"[\w.+%-]{1,64}@[^\W_](?:[\w-]*\.)+[^\W\d_]{2,}")


class Pseudonyms:
    """One name a person under one key: without the key nobody can test a guess."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.replaced = 0
        """Addresses met so far."""

    def of(self, email: str) -> str:
        """The pseudonym of an address, whatever its case."""
        whole = email.strip().lower().encode("utf-8", "backslashreplace")
        return f"person:{hashlib.blake2b(whole, key=self._key, digest_size=8).hexdigest()}"

    def scrub(self, text: str) -> str:
        """The text with every e-mail address replaced by its pseudonym."""
        if "@" not in text:
            return text
        text, found = _EMAIL.subn(lambda match: self.of(match[0]), text)
        self.replaced += found
        return text

    def people(self, text: str) -> list[str]:
        """The pseudonyms of the addresses in a text that is itself not kept, sorted."""
        found = {self.of(match[0]) for match in _EMAIL.finditer(text)}
        self.replaced += len(found)
        return sorted(found)


def read_key(state: Path) -> bytes:
    """The key in the state directory, drawn at the first call; only its owner may read it."""
    path = state / KEY_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    except OSError as error:
        raise refused(path, error) from error
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    return path.read_bytes()
