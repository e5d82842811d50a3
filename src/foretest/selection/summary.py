"""Markdown for a pull request or a job summary: what ran, why, and what was left out."""

from __future__ import annotations

import re
from collections import Counter

from foretest.records import Choice, Selection, Why
from foretest.selection.promise_wording import sentence

LONGEST = 60_000
"""Characters; GitHub refuses a comment of more than 65,536."""
MOST_ROWS = 20
MOST_NOTICES = 10
LONGEST_CELL = 200

LABELS = {
    Why.CHANGED: "changed with this change",
    Why.NEW: "new",
    Why.MUST_RUN: "always run by configuration",
    Why.RECENTLY_FAILED: "failed recently",
    Why.SCORE: "chosen by evidence",
    Why.WIDENED: "added by caution",
    Why.EXPLORED: "drawn at random",
    Why.RUN_ALL: "everything runs",
    Why.OVER_BUDGET: "left out",
    Why.OTHER_SHARD: "runs in another shard",
}


def summary(selection: Selection, *, rows: int = MOST_ROWS) -> str:
    """Markdown of bounded length; names and reasons are escaped."""
    parts = [_headline(selection), *_run_time(selection)]
    if selection.notices:
        shown = [f"> - {escape(notice)}" for notice in selection.notices[:MOST_NOTICES]]
        hidden = len(selection.notices) - len(shown)
        more = [f"> - and {hidden:,} more"] if hidden > 0 else []
        parts.append("\n".join(["> [!NOTE]", *shown, *more]))
    if selection.chosen:
        parts.append(_counts(selection))
        parts.append(_table("What runs first, and why", selection.chosen, rows))
    if selection.rest:
        parts.append(_table("Left out, the most deserving first", selection.rest, min(rows, 10)))
    parts.append(_confidence(selection))
    text = "\n\n".join(parts) + "\n"
    if len(text) <= LONGEST:
        return text
    return summary(selection, rows=rows // 2) if rows else text[:LONGEST]


def _headline(selection: Selection) -> str:
    n, total = len(selection.chosen), len(selection.chosen) + len(selection.rest)
    runs, suite = selection.chosen_seconds, selection.suite_seconds
    if selection.run_all:
        return f"### foretest: all {total:,} tests run ({duration(suite)})"
    saved = f", {duration(suite - runs)} saved ({1 - runs / suite:.0%})" if suite > 0 else ""
    return (
        f"### foretest: {n:,} of {total:,} tests run, {duration(runs)} of {duration(suite)}{saved}"
    )


def _run_time(selection: Selection) -> list[str]:
    high, budget = selection.chosen_seconds_high, selection.budget
    if high is None:
        return []
    usual = duration(selection.chosen_seconds)
    told = f"Run time: {usual} expected (p50), {duration(high)} if every test takes its p90."
    if budget.seconds is not None and budget.share is None and not selection.run_all:
        told += f" The budget of {duration(budget.seconds)} was filled with the latter."
    return [told]


def _counts(selection: Selection) -> str:
    counts = Counter(choice.why for choice in selection.chosen)
    seconds: Counter[Why] = Counter()
    for choice in selection.chosen:
        seconds[choice.why] += choice.seconds  # type: ignore[assignment]  # typeshed: int counts
    lines = ["| Why | Tests | Time |", "|---|---:|---:|"]
    lines += [
        f"| {LABELS[why]} | {counts[why]:,} | {duration(seconds[why])} |"
        for why in Why
        if counts[why]
    ]
    return "\n".join(lines)


def _table(title: str, choices: tuple[Choice, ...], rows: int) -> str:
    shown = choices[:rows]
    lines = [f"<details><summary>{title} ({len(choices):,})</summary>", ""]
    lines += ["| Test | Why | Score | Time |", "|---|---|---:|---:|"]
    lines += [
        f"| {escape(c.test)} | {escape(c.reason or LABELS[c.why])} | {c.score:.2f} "
        f"| {duration(c.seconds)} |"
        for c in shown
    ]
    if len(choices) > len(shown):
        lines += ["", f"and {len(choices) - len(shown):,} more"]
    return "\n".join([*lines, "", "</details>"])


def _confidence(selection: Selection) -> str:
    if promised := sentence(selection):
        told = escape(promised[0].upper() + promised[1:])
        later = "" if selection.run_all else " The tests left out should run after the merge."
        return f"{told}{later} Decision {escape(selection.decision_id)}."
    if selection.run_all:
        return "Confidence: nothing is left out."
    decision = escape(selection.decision_id)
    return (
        "Confidence: **unknown**. No bound on missed failures has been measured for this "
        f"repository yet; the tests left out should run after the merge. Decision {decision}."
    )


def escape(text: str) -> str:
    """Text that Markdown and HTML show as it is, on one line, not endlessly long."""
    line = " ".join(text.split())
    if len(line) > LONGEST_CELL:
        line = f"{line[: LONGEST_CELL - 1]}…"
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # `@` and `#` would call people and issues by name.
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", line).replace("@", "&#64;").replace("#", "&#35;")


def duration(seconds: float) -> str:
    """
    >>> duration(0.25), duration(75), duration(7300)
    ('0.25 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"
