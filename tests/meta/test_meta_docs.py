"""The documents against the code: errors, options, links, the tree of modules."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from foretest import errors
from foretest.cli.main import cli


def _error_classes() -> dict[str, type[errors.ForetestError]]:
    found: dict[str, type[errors.ForetestError]] = {}
    waiting = list(errors.ForetestError.__subclasses__())
    while waiting:
        error = waiting.pop()
        if error.__module__ == errors.__name__:
            assert error.name not in found, f"two errors are called {error.name}"
            found[error.name] = error
        waiting += error.__subclasses__()
    return found


def _headings(text: str) -> list[str]:
    return re.findall(r"^## (?:`)?([^`\n]+)(?:`)?$", text, re.M)


def _anchor(heading: str) -> str:
    plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return plain.replace(" ", "-")


def test_every_error_has_an_entry_and_every_entry_an_error(root: Path) -> None:
    headings = _headings((root / "docs" / "errors.md").read_text("utf-8"))
    assert sorted(headings) == sorted(_error_classes())


def test_every_entry_says_what_to_do(root: Path) -> None:
    text = (root / "docs" / "errors.md").read_text("utf-8")
    entries = re.split(r"^## ", text, flags=re.M)[1:]
    assert [entry.split("\n")[0] for entry in entries if "**What to do.**" not in entry] == []


def test_every_error_is_called_by_its_own_name() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in _error_classes())
    assert "error" not in _error_classes()


def test_rooms_and_modules_are_shown_as_they_are(root: Path, tree_script: ModuleType) -> None:
    package = root / "src" / "foretest"
    for page, lines in (
        ("README.md", tree_script.rooms(package)),
        ("docs/map.md", tree_script.tree(package)),
    ):
        text = (root / page).read_text("utf-8")
        assert tree_script.replaced(text, "\n".join(lines)) == text, "run: make format"


def test_cli_page_is_current(root: Path, cli_script: ModuleType) -> None:
    page = "\n".join(cli_script.page(cli)) + "\n"
    assert page == (root / "docs" / "cli.md").read_text("utf-8"), "run: make format"


def test_cli_page_names_every_option(root: Path) -> None:
    text = (root / "docs" / "cli.md").read_text("utf-8")
    context = click.Context(cli, info_name="foretest")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert f"## `foretest {name}`" in text
        options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
        assert [
            o.opts for o in options if not any(f"`{n}" in text or f", {n}" in text for n in o.opts)
        ] == []


def test_an_option_without_a_help_text_is_refused(cli_script: ModuleType) -> None:
    command = click.Command("verb", params=[click.Option(["--silent"])])
    with pytest.raises(ValueError, match="--silent has no help text"):
        list(cli_script.section(command, click.Context(command, info_name="verb"), 2))


def test_links_lead_somewhere(root: Path, texts: dict[str, str]) -> None:
    broken = []
    for name, text in texts.items():
        if not name.endswith(".md"):
            continue
        prose = re.sub(r"```.*?```", "", text, flags=re.S)
        for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = ((root / name).parent / path).resolve() if path else root / name
            if not file.exists():
                broken.append(f"{name}: {target}")
            elif anchor and file.suffix == ".md":
                headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.M)
                if anchor not in map(_anchor, headings):
                    broken.append(f"{name}: {target}")
    assert broken == []


def test_decisions_are_numbered_without_gaps(root: Path) -> None:
    numbers = [int(file.name[:4]) for file in sorted((root / "docs" / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("part", ["**Context.**", "**Decision.**", "**Consequences.**"])
def test_decisions_say_why_what_and_at_what_price(root: Path, part: str) -> None:
    files = sorted((root / "docs" / "decisions").glob("*.md"))
    assert files
    assert [file.name for file in files if part not in file.read_text("utf-8")] == []
