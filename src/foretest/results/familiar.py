"""Test cases with one child that holds text alone, which most are that did not pass."""

from __future__ import annotations

import re

from foretest.results.xmlstream import TEXT_LIMIT, Element

_VALUE = r'[\w.:-]+="[^"<]*"'
_ONE = re.compile(
    rf"""<testcase((?: {_VALUE})*) ?>\s*"""
    rf"""<(skipped|failure|error)((?: {_VALUE})*) ?(?:/>|>([^<]*)</\2>)\s*</testcase>\s*"""
)
_ATTRIBUTE = re.compile(r' ([\w.:-]+)="([^"]*)"')
_STRANGE = re.compile(r"&(?!(?:lt|gt|amp|quot|apos);)|[\x00-\x08\x0b-\x1f\ufffe\uffff]")
ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&"}


def familiar(text: str) -> list[Element]:
    """The test case that is all of a text, where it has one child that holds text alone.

    Most cases that are not plain failed and look like that. Empty for anything else, and for
    anything that only the parser can judge.
    """
    case = _ONE.fullmatch(text)
    if case is None or _STRANGE.search(text):
        return []
    child = Element(case[2], _attributes(case[3]), _unescaped(case[4] or "")[:TEXT_LIMIT])
    return [Element("testcase", _attributes(case[1]), "", [child])]


def _attributes(text: str) -> dict[str, str]:
    pairs = _ATTRIBUTE.findall(text)
    if "&" in text or "\n" in text or "\t" in text:
        return {n: _unescaped(v.replace("\n", " ").replace("\t", " ")) for n, v in pairs}
    return dict(pairs)


def _unescaped(text: str) -> str:
    if "&" in text:
        for entity, character in ENTITIES.items():
            text = text.replace(entity, character)
    return text
