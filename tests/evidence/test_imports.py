"""Test files reach the sources that they import, nearer ones first."""

from __future__ import annotations

from foretest.changes.symbols import outline
from foretest.evidence.imports import FARTHEST, MOST_FILES, ImportGraph, import_weights


def graph(files: dict[str, str]) -> ImportGraph:
    return ImportGraph({path: outline(path, source) for path, source in files.items()})


def weights(files: dict[str, str], test: str) -> dict[str, float]:
    return import_weights({p: outline(p, s) for p, s in files.items()}, [test])[test]


def test_steps_through_a_src_layout() -> None:
    files = {
        "src/pkg/__init__.py": "",
        "src/pkg/a.py": "from .b import g\n",
        "src/pkg/b.py": "from pkg.deep import c\n",
        "src/pkg/deep/__init__.py": "",
        "src/pkg/deep/c.py": "",
        "src/pkg/other.py": "",
        "tests/test_a.py": "from pkg.a import f\n",
    }
    found = weights(files, "tests/test_a.py")
    assert found["tests/test_a.py"] == 1.0
    assert found["src/pkg/a.py"] == 1.0
    assert found["src/pkg/b.py"] == 0.5
    assert found["src/pkg/deep/c.py"] == 1 / 3
    assert "src/pkg/other.py" not in found


def test_a_re_exported_name_leads_to_its_definer() -> None:
    files = {
        "pkg/__init__.py": "from .a import f\nfrom .b import g\nfrom .stars import *\n",
        "pkg/a.py": "def f(): pass\n",
        "pkg/b.py": "def g(): pass\n",
        "pkg/stars.py": "def h(): pass\n",
        "tests/test_f.py": "from pkg import f\n",
        "tests/test_g.py": "import pkg\ndef test(): pkg.g()\n",
        "tests/test_h.py": "from pkg import h\n",
    }
    f = weights(files, "tests/test_f.py")
    assert (f["pkg/a.py"], f["pkg/__init__.py"]) == (1.0, 1.0)
    assert f["pkg/b.py"] < 0.5
    g = weights(files, "tests/test_g.py")
    assert g["pkg/b.py"] == 1.0
    assert g["pkg/a.py"] < 0.5
    assert weights(files, "tests/test_h.py")["pkg/stars.py"] == 1.0


def test_conftest_counts_as_imported() -> None:
    files = {
        "conftest.py": "import top\n",
        "top.py": "",
        "tests/conftest.py": "from lib import x\n",
        "tests/unit/test_a.py": "",
        "lib.py": "",
        "other/conftest.py": "",
    }
    found = weights(files, "tests/unit/test_a.py")
    assert found["tests/conftest.py"] == found["conftest.py"] == 1.0
    assert found["lib.py"] == 0.5
    assert "other/conftest.py" not in found


def test_the_nearest_of_equal_names_is_meant() -> None:
    files = {
        "a/helpers.py": "",
        "b/helpers.py": "",
        "b/test_b.py": "import helpers\n",
    }
    found = weights(files, "b/test_b.py")
    assert "b/helpers.py" in found
    assert "a/helpers.py" not in found


def test_relative_imports_of_packages_of_tests() -> None:
    files = {
        "pkg/__init__.py": "",
        "pkg/core.py": "",
        "pkg/tests/__init__.py": "",
        "pkg/tests/tools.py": "",
        "pkg/tests/test_a.py": "from ..core import x\nfrom . import tools\nfrom .... import no\n",
    }
    assert graph(files).imported("pkg/tests/test_a.py") >= {"pkg/core.py", "pkg/tests/tools.py"}


def test_cycles_and_long_chains_end() -> None:
    chain = {f"m{i}.py": f"import m{i + 1}\n" for i in range(10)}
    files = {**chain, "m10.py": "import m0\n", "test_m.py": "import m0\n"}
    assert len(weights(files, "test_m.py")) == FARTHEST + 1


def test_files_are_limited() -> None:
    many = {f"m{i}.py": "" for i in range(MOST_FILES + 50)}
    test = "".join(f"import m{i}\n" for i in range(MOST_FILES + 50))
    assert len(weights({**many, "test_m.py": test}, "test_m.py")) == MOST_FILES + 1


def test_broken_and_foreign_imports_lead_nowhere() -> None:
    files = {
        "test_m.py": "import os, numpy\nfrom . import *\nfrom x.y import z\n",
        "bad.py": "def (",
    }
    assert weights(files, "test_m.py") == {"test_m.py": 1.0}
