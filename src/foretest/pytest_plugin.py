"""pytest's entry point: the options, and nothing else until one of them is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

LIMITS = ("target", "time", "confidence", "base", "bin")
"""Options that say what to select: without a mode nothing is selected, and they do nothing."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("foretest", "predictive test selection")
    # Each mode is an option string of its own: with an optional value instead, argparse would take
    # the path in `pytest --foretest tests/` for the mode.
    for mode, names, text in (
        ("select", ("--foretest", "--foretest=select"), "run the tests the change can break"),
        ("order", ("--foretest=order",), "run all tests, the likeliest failures first"),
        ("observe", ("--foretest=observe",), "run all tests; say what select would have left out"),
    ):
        group.addoption(*names, action="store_const", const=mode, dest="foretest", help=text)
    for name, metavar, text in (
        ("target", "SHARE", "share of suite time that may run, e.g. 10%%"),
        ("time", "TIME", "time that may run, e.g. 90s or 5m"),
        ("confidence", "SHARE", "run what it takes to catch this share of faults, e.g. 95%%"),
        ("base", "REF", "what to compare with (default: where the branch began)"),
        ("bin", "I/N", "one shard of several, e.g. 1/4"),
        ("selection", "FILE", "use the selection that `foretest select --format json` wrote"),
        ("report", "FILE", "write each attempt of each test as a line of JSON"),
        ("coverage", "FILE", "write which functions each test enters"),
    ):
        group.addoption(f"--foretest-{name}", dest=f"foretest_{name}", metavar=metavar, help=text)
    text = "honour the quarantine (`foretest flaky quarantine`) in a run without a selection"
    group.addoption("--foretest-quarantine", action="store_true", help=text)


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    if early_config.known_args_namespace.foretest_coverage:
        # Before conftest files are imported: what they import runs once and belongs to no test.
        from foretest.plugin.tracing import start_early

        start_early(early_config)


def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    wishes = (option.foretest, option.foretest_selection, option.foretest_report)
    if any(wishes) or option.foretest_coverage or option.foretest_quarantine:
        from foretest.plugin.session import register

        register(config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which options did nothing: who forgot --foretest believes in a selection."""
    option = terminalreporter.config.option
    if option.foretest or option.foretest_selection:
        return
    idle = [f"--foretest-{name}" for name in LIMITS if getattr(option, f"foretest_{name}")]
    if idle:
        verb = "does" if len(idle) == 1 else "do"
        told = f"{' and '.join(idle)} {verb} nothing without --foretest: nothing was left out."
        terminalreporter.write_line(f"foretest: {told}", yellow=True)
