"""A run that was read at the producer, where its checkout is, as one report: its results by column.

Other formats than the plugin's spread a run over many files, and name tests by paths that only the
machine that ran them can place. So they are gathered there, as `record` does, and travel in this
form; what no reader could make sense of travels as it is, to be set aside.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from foretest.errors import BadReport
from foretest.history.rows import OWN, RunRows
from foretest.ingest.columns import sound
from foretest.records import TestRun
from foretest.results import report as reports
from foretest.results.normalise import clean

FORMAT = "foretest-run"
VERSION = 1
_BEGIN = re.compile(rb'\{"format":"foretest-run"')


def packed(rows: RunRows) -> bytes:
    """The run as JSON: what is said of all results, and the columns of `rows.OWN`."""
    run = rows.run
    place = run.configuration
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "run_id": run.run_id,
        "attempt": run.attempt,
        "shard": run.shard,
        "decision_id": run.decision_id,
        "repository": run.repository,
        "commit": run.commit,
        "configuration": {"os": place.os, "python": place.python, "flags": list(place.flags)},
        "started_at": run.occurred_at.isoformat(),
        "complete": run.complete,
        "columns": {name: list(rows.columns[name]) for name in OWN},
    }
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()


def is_parcel(report: bytes) -> bool:
    return _BEGIN.match(report) is not None


def unpacked(report: bytes) -> RunRows:
    """The rows of a run. Raises BadReport where anything in it is not as `packed` writes it."""
    try:
        whole = json.loads(report)
        if whole["version"] != VERSION:
            raise BadReport(
                f"A run came in version {whole['version']}; this foretest reads {VERSION}.",
                "Use the same foretest for producers and consumer.",
            )
        run = _head(whole)
        columns = {name: whole["columns"][name] for name in OWN}
        lengths = {len(values) for values in columns.values()}
        if len(lengths) != 1 or not all(type(values) is list for values in columns.values()):
            raise ValueError("columns differ in length")
        own = sound(columns) if lengths != {0} else columns
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadReport("A run came damaged.", "Send its reports again.") from error
    if own is None:
        raise BadReport("A run came with impossible results.", "Send its reports again.")
    return RunRows(run, own)


def _head(whole: dict[str, Any]) -> TestRun:
    named = {**whole, "format": reports.FORMAT, "version": reports.VERSION}
    return clean(replace(reports.header("The run", named), complete=bool(whole["complete"])))
