"""Whose a report is, before anybody has read it."""

from __future__ import annotations

import json
import re

from foretest.ingest.stream import UNKNOWN, About, Meta

_NAMED = re.compile(rb'"repository"\s*:\s*("(?:[^"\\]|\\.)*")')
_OWN = re.compile(rb'\s*\{\s*"format"')
"""How reports begin that may name their repository themselves."""


def repository_of(meta: Meta, report: bytes) -> str:
    """The key of a report's repository; empty where neither it nor its sender names one."""
    line = report.partition(b"\n")[0] if _OWN.match(report) else b""
    found = _NAMED.search(line)
    return (_plain(found[1]) if found else "") or meta.origin.repository


def about(repository: str) -> About:
    """Tells the reports of a repository; of unreadable bytes, whether they name it anywhere."""

    def meant(meta: Meta, report: bytes) -> bool:
        if meta == UNKNOWN:
            return any(_plain(name) == repository for name in _NAMED.findall(report))
        return repository_of(meta, report) == repository

    return meant


def _plain(quoted: bytes) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return ""
