"""The entry point: finds a verb, loads only that verb, and turns errors into plain words."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from foretest import __version__
from foretest.cli.crash import crash_message
from foretest.cli.verbs import ReaderGoneError, Verbs
from foretest.errors import ForetestError

VERBS = (
    "learn",
    "select",
    "explain",
    "record",
    "ingest",
    "blame",
    "replay",
    "summary",
    "stats",
    "import",
    "forget",
    "flaky",
    "doctor",
    "state",
    "ci",
    "platform",
    "demo",
)


@click.group(
    cls=Verbs,
    package="foretest.cli",
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `foretest doctor`, then `foretest learn`, then `pytest --foretest=observe`.",
)
@click.version_option(__version__, prog_name="foretest")
def cli() -> None:
    """Run the tests a change can break, first; know what was left out, and why."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 (done), 1 (a finding), 2 (an error) or 130 (Ctrl-C)."""
    try:
        color = False if os.environ.get("NO_COLOR") else None
        status = cli.main(args=args, prog_name="foretest", standalone_mode=False, color=color)
        sys.stdout.flush()  # a full disk or a reader that went away shows here, not at exit
        return status if isinstance(status, int) else 0
    except ForetestError as error:
        click.echo(f"foretest: {error.message}", err=True)
        if error.remedy:
            click.echo(f"  -> {error.remedy}", err=True)
        return 2
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 0
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("foretest: interrupted; what was finished is kept.", err=True)
        return 130
    except (BrokenPipeError, ReaderGoneError):
        _drop_output()
        return 0
    except BaseException as error:  # native libraries panic with what is no Exception
        if isinstance(error, OSError):  # perhaps the disk that the output goes to is full
            _drop_output()
        click.echo(crash_message(error), err=True)
        return 2


def _drop_output() -> None:
    """Let what is left unwritten go nowhere, so that nothing complains once more at exit."""
    with suppress(OSError, ValueError):  # not a file of its own, as under a test's capture
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
