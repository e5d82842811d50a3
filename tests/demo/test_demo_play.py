"""The whole demonstration on a small made-up project, without any package index."""

import sys
from pathlib import Path

import pytest
from test_demo_releases import archive

from foretest.demo import play
from foretest.demo.releases import Project

DOUBLE = "def double(n):\n    return n + n\n\n\n"
SPACE = "# apart\n" * 8
TESTS = """
import pytest
from shop import cart, price

@pytest.mark.parametrize("n", range(3))
def test_double(n):
    assert price.double(n) == 2 * n

def test_half():
    assert price.half(8) == 4

def test_total():
    assert cart.total([1, 2]) == 3

def test_empty():
    assert cart.total([]) == 0
"""

RELEASES = {
    "1": {"price.py": DOUBLE + SPACE + "def half(n):\n    return n\n", "cart.py": "total = sum\n"},
    "2": {
        "price.py": DOUBLE + SPACE + "def half(n):\n    return n // 2\n",
        "cart.py": "def total(items):\n    return None\n",
    },
    "3": {
        "price.py": DOUBLE + SPACE + "def half(n):\n    return n // 2\n",
        "cart.py": "def total(items):\n    return sum(items)\n",
    },
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    archives = [
        archive(
            tmp_path,
            f"shop-{version}",
            {f"src/shop/{name}": text for name, text in files.items()}
            | {"src/shop/__init__.py": "", "tests/test_shop.py": TESTS},
            1_600_000_000 + int(version) * 10_000_000,
        )
        for version, files in RELEASES.items()
    ]
    monkeypatch.setattr(play, "make_environment", lambda *_: Path(sys.executable))
    monkeypatch.setattr(play, "download", lambda *_: archives)
    return Project("shop", tuple(RELEASES), (), ())


def test_from_releases_to_table_and_page(project, tmp_path):
    stages = []
    out = tmp_path / "demo"
    shown = play.run_demo(out, lambda stage, *_: stages.append(stage), project=project, workers=1)
    failed = {case.trial.failed for case in shown.replayed.judgement.cases}
    assert frozenset({"tests/test_shop.py::test_half"}) in failed
    assert frozenset({"tests/test_shop.py::test_total", "tests/test_shop.py::test_empty"}) in failed
    assert shown.page == out / "report.html"
    assert shown.page.read_text().startswith("<!")
    for words in ("oracle", "--ff", "BM25", "random", "In your own repository", "foretest learn"):
        assert words in shown.text
    assert list(dict.fromkeys(stages)) == [
        "Preparing an environment",
        "Laying out the history",
        "Tracing the suite",
        "Looking for changes that still apply",
        "Undoing past changes",
        "Judging",
    ]
