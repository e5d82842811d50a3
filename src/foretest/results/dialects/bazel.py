"""Bazel: one test.xml a target; whatever wrote what is inside, the target is what can be run."""

from __future__ import annotations

import re
from pathlib import Path

from foretest.results.dialects.contract import Spelling

RUNNER = "bazel"
_PLACE = re.compile(
    r"/testlogs/(?P<target>.+?)"
    r"(?:/shard_\d+_of_\d+)?(?:/run_\d+_of_\d+)?(?:/test_attempts/attempt_\d+\.xml|/test\.xml)$"
)


def target_of(path: Path) -> str:
    """The target that a test log tells of: `bazel-testlogs/pkg/a_test/test.xml` is `//pkg:a_test`.

    Empty for other paths. A target's name may hold slashes; the last one is taken as the end of
    the package.
    """
    found = _PLACE.search(re.sub(r"(^|/)bazel-testlogs/", "/testlogs/", path.as_posix()))
    if found is None:
        return ""
    package, _, name = found["target"].rpartition("/")
    return f"//{package}:{name}"


def inside(target: str, spelling: Spelling) -> Spelling:
    """A test within a target: its parameter, since nothing smaller than a target is selected."""
    unit, parameters = spelling
    if unit.startswith(target.removeprefix("//").replace(":", "/")):
        return target, None  # written by Bazel itself, which knows nothing of what is inside
    return target, unit if parameters is None else f"{unit}[{parameters}]"
