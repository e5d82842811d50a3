"""The lines that a run prints, as plain sentences; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from foretest.plugin.observing import Observation
from foretest.plugin.plan import Mode
from foretest.records import Choice, Selection, Why
from foretest.selection.promise_wording import sentence

MOST_NOTICES = 5
MOST_MISSED = 20


def header(mode: Mode, selection: Selection) -> list[str]:
    """What is about to happen."""
    told = [f"foretest: {promised}"] if (promised := sentence(selection)) else []
    told += notices(selection.notices)
    if selection.run_all:
        return [f"foretest: {mode}, all tests run", *told]
    chosen, total = len(selection.chosen), len(selection.chosen) + len(selection.rest)
    share = _share(selection)
    amount = f"{chosen:,} of {total:,} tests" + (f" ({share} of suite time)" if share else "")
    base = f", base {selection.base[:10]}" if selection.base else ""
    line = {
        Mode.ORDER: f"foretest: order, all tests run, the likeliest failures first{base}",
        Mode.OBSERVE: f"foretest: observe, all tests run, select would run {amount}{base}",
    }.get(mode, f"foretest: {mode}, {amount}{base}")
    return [f"{line}; `foretest explain TEST` says why", *told]


def notices(sentences: Sequence[str]) -> list[str]:
    """One line each, the first few."""
    lines = [f"foretest: {' '.join(s.split())}" for s in dict.fromkeys(sentences)]
    more = len(lines) - MOST_NOTICES
    return lines if more <= 0 else [*lines[:MOST_NOTICES], f"foretest: and {more} more notices"]


def ran_all(selection: Selection) -> list[str]:
    """Why nothing was left out, once more, where the eye rests at the end."""
    reasons = notices(selection.notices) if selection.notices else []
    return ["foretest: all tests ran, nothing was left out", *reasons]


def left_out(deselected: int, collected: int, selection: Selection, *, emptied: bool) -> str:
    """What a selection has done, in the end; counts parameters one by one, as pytest does."""
    if emptied:
        return (
            f"foretest: the selection left out all {collected:,} collected tests;"
            " nothing to run, exit 0"
        )
    saved = span(sum(known(c for c in selection.rest if c.why is not Why.OTHER_SHARD)))
    ran = collected - deselected
    return f"foretest: {ran:,} of {collected:,} tests in the run, about {saved} saved"


def quarantined(failed: Sequence[str], why: Mapping[str, str]) -> list[str]:
    """Which failures did not count, and until when."""
    if not failed:
        return []
    one = len(failed) == 1
    lines = [
        f"foretest: {len(failed):,} quarantined test{'' if one else 's'} FAILED;"
        f" {'it does' if one else 'they do'} not fail the run:"
    ]
    lines += [f"foretest:   {unit}, {why.get(unit, '')}" for unit in failed[:MOST_MISSED]]
    more = len(failed) - MOST_MISSED
    return [*lines, f"foretest:   and {more:,} more"] if more > 0 else lines


def observed(observation: Observation) -> list[str]:
    """What an observed run tells."""
    share = observation.rested_seconds / observation.seconds if observation.seconds else 0.0
    lines = [
        f"foretest: select would have left out {observation.rested:,} of {observation.units:,}"
        f" tests, {span(observation.rested_seconds)} of {span(observation.seconds)} ({share:.0%})"
    ]
    if observation.missed:
        colour = "red all the same" if observation.caught else "green"
        lines.append(
            f"foretest: NOT SAFE, {len(observation.missed):,} of {len(observation.failed):,} failed"
            f" tests would have been left out; the run would have been {colour}:"
        )
        lines += [f"foretest:   {unit}" for unit in observation.missed[:MOST_MISSED]]
        more = len(observation.missed) - MOST_MISSED
        lines += [f"foretest:   and {more:,} more"] if more > 0 else []
    elif not observation.complete:
        lines.append("foretest: the run broke off, so whether that was safe is unknown")
    elif observation.failed:
        lines.append(f"foretest: safe, all {len(observation.failed):,} failed tests would have run")
    else:
        lines.append("foretest: safe, no test failed")
    return lines


def span(seconds: float) -> str:
    """A length of time for people: 0.4 s, 12 s, 3 min, 2.1 h."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def known(choices: Iterable[Choice]) -> list[float]:
    """The durations that are known."""
    return [c.seconds for c in choices if math.isfinite(c.seconds)]


def _share(selection: Selection) -> str:
    chosen, rest = sum(known(selection.chosen)), sum(known(selection.rest))
    return f"{chosen / (chosen + rest) * 100:.1f} %" if chosen + rest > 0 else ""
