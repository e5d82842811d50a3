"""Write docs/cli.md from the command line's own help; `--check` only says whether it is current."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"


def main() -> int:
    from foretest.cli.main import cli

    new = "\n".join(page(cli)) + "\n"
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != new)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def page(group: click.Group) -> Iterator[str]:
    """The whole page, line by line: an introduction and a section a verb."""
    yield "# Command line"
    yield ""
    yield "Written by `scripts/cli_reference.py` from the help texts."
    yield "Exit status: 0 done, 1 a finding, 2 an error (see [errors](errors.md)), 130 interrupted."
    context = click.Context(group, info_name="foretest")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield from section(command, click.Context(command, context, info_name=name), level=2)


def section(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    """One verb: what it does, how it is called, a table of its options; then its own verbs."""
    yield ""
    yield f"{'#' * level} `{context.command_path}`"
    yield ""
    yield _paragraphs(command.help or "")
    yield ""
    yield "```"
    yield " ".join((context.command_path, *command.collect_usage_pieces(context)))
    yield "```"
    options = [option for option in command.params if isinstance(option, click.Option)]
    if shown := [option for option in options if not option.hidden]:
        yield ""
        yield "| option | meaning |"
        yield "|---|---|"
        yield from (row(option, context) for option in shown)
    if command.epilog:
        yield from ("", "```", _paragraphs(command.epilog), "```")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            verb = command.get_command(context, name)
            if verb is not None and not verb.hidden:
                inner = click.Context(verb, context, info_name=name)
                yield from section(verb, inner, level + 1)


def row(option: click.Option, context: click.Context) -> str:
    """One option as a row of the table. Raises ValueError for an option without a help text."""
    record = option.get_help_record(context)
    if record is None or not record[1].strip():
        raise ValueError(f"{context.command_path} {option.opts[0]} has no help text")
    names, meaning = (text.replace("|", "\\|") for text in record)
    return f"| `{names}` | {' '.join(meaning.split())} |"


def _paragraphs(text: str) -> str:
    # click marks a paragraph whose line breaks stay with a backspace on a line of its own.
    return inspect.cleandoc(text.replace("\b\n", ""))


if __name__ == "__main__":
    sys.exit(main())
