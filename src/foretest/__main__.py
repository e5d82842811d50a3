"""The process `foretest`: Ctrl-C is heeded from before the first import until the last moment."""

from __future__ import annotations

import io
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs


def main() -> int:
    """Run the command line as a process of its own; returns its exit status."""
    sys.unraisablehook = _heed
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # Names that this terminal cannot spell are shown escaped; they must not end the run.
            sys.stdout.reconfigure(errors="backslashreplace")
        from foretest.cli.main import main as command_line

        status = command_line()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: nothing is left to interrupt
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("foretest: interrupted.", file=sys.stderr)  # noqa: T201
        return 130
    return status


def _heed(what: UnraisableHookArgs) -> None:
    """Raise a Ctrl-C again that came where Python can only report and drop it, as in `__del__`."""
    if issubclass(what.exc_type, KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    else:
        sys.__unraisablehook__(what)


if __name__ == "__main__":
    sys.exit(main())
