"""What several verbs accept: shares, durations, and where the repository is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foretest.client import parse_bin, parse_duration, parse_share
from foretest.config import Config, load_config


class Share(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.3 on
    """A share of suite time."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return value if isinstance(value, float) else parse_share(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.3 on
    """A length of time."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return value if isinstance(value, float) else parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Bin(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.3 on
    """One shard of several, written `1/4`."""

    name = "bin"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        try:
            return parse_bin(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Key(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.3 on
    """What names a repository everywhere, written `HOST/ORG/NAME`."""

    name = "key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text.isprintable() or {"", ".", ".."} & set(text.split("/")):
            self.fail(f"{text!r} names no repository. Give HOST/ORG/NAME.", param, ctx)
        return text


def here(repository: Path | None = None) -> Config:
    """The settings of the repository that holds `repository` (the working directory by default)."""
    from foretest.changes.git import Repository

    return load_config(Repository.open(repository or Path.cwd()).root)


def anywhere(repository: Path | None = None) -> tuple[Config, bool]:
    """Settings of the repository here, or of the folder where a server has none; whether it has."""
    from foretest.changes.git import Repository
    from foretest.errors import NotARepository

    start = repository or Path.cwd()
    try:
        return load_config(Repository.open(start).root), True
    except NotARepository:
        return load_config(start.resolve()), False


def where_kept(repository: Path | None = None) -> Config:
    """Settings of the repository here, or of a server's folder that holds a state already.

    Raises NotARepository elsewhere: whoever is in a wrong folder is to be told.
    """
    config, git = anywhere(repository)
    return config if git or config.state.exists() else here(repository)


repository_option = click.option(
    "-C",
    "--repository",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The repository to work on (default: the one around the working directory).",
)
