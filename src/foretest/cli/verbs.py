"""A group of verbs, each in a module of its own that is loaded when it is called."""

from __future__ import annotations

import importlib
import keyword
from collections.abc import Sequence
from typing import Any

import click


class ReaderGoneError(Exception):
    """Who read our output went away (`foretest select | head`), which is no error."""


class Verbs(click.Group):
    """A group that imports `<package>.<verb>` only when that verb is called."""

    def __init__(self, package: str, verbs: Sequence[str], **settings: Any) -> None:
        super().__init__(**settings)
        self.package, self.verbs = package, tuple(verbs)

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.verbs)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.verbs:
            return None
        word = cmd_name.replace("-", "_")
        word = f"{word}_" if keyword.iskeyword(word) else word
        command = importlib.import_module(f"{self.package}.{word}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click itself would make it exit status 1
            raise ReaderGoneError from error
