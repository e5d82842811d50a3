"""A store is built from a real repository and kept up to date run by run."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foretest.changes.git import Repository
from foretest.evidence.collect import build_store, refresh, stale_tests, with_results
from foretest.evidence.store import EvidenceStore
from foretest.evidence.traced import TracedRun, write_traced
from foretest.records import Change, FileChange, FileStatus

FILES = {
    "src/lib.py": (
        "LIMIT = 3\n\ndef area(x):\n    return x * LIMIT\n\ndef name():\n    return 'shape'\n"
    ),
    "tests/test_area.py": (
        "from lib import area\n\n"
        "class TestArea:\n    def test_square(self):\n        assert area(2) == 6\n\n"
        "class TestMore(TestArea):\n    pass\n"
    ),
    "tests/test_name.py": "import lib\n\ndef test_name():\n    assert lib.name() == 'shape'\n",
}
SQUARE = "tests/test_area.py::TestArea::test_square"
INHERITED = "tests/test_area.py::TestMore::test_square"
NAME = "tests/test_name.py::test_name"


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return Repository.open(tmp_path)


def traced(units: dict[str | None, list[str]], commit: str | None = None) -> TracedRun:
    names = sorted({name for found in units.values() for name in found})
    files = sorted({name.partition("::")[0] for name in names})
    symbols = tuple(
        (files.index(file), qualname) for file, _, qualname in (n.partition("::") for n in names)
    )
    return TracedRun(
        tuple(files), symbols, {u: [names.index(n) for n in f] for u, f in units.items()}, commit
    )


def entered(store: EvidenceStore, unit: str) -> set[str]:
    return {store.symbols[i] for i in store.coverage.row(store.test_index[unit])}


FULL: dict[str | None, list[str]] = {
    None: ["src/lib.py::<module>"],
    SQUARE: ["src/lib.py::area", "tests/test_area.py::TestArea.test_square"],
    INHERITED: ["src/lib.py::area", "tests/test_area.py::TestArea.test_square"],
    NAME: ["src/lib.py::name", "tests/test_name.py::test_name"],
}


@pytest.fixture
def store(repo: Repository, tmp_path_factory: pytest.TempPathFactory) -> EvidenceStore:
    folder = tmp_path_factory.mktemp("coverage")
    head = repo.head()
    parts = [{k: FULL[k] for k in (None, SQUARE)}, {k: FULL[k] for k in (NAME, INHERITED)}]
    paths = []
    for i, part in enumerate(parts):  # as two workers of xdist leave them
        paths.append(folder / f"coverage-{i}.jsonl.gz")
        write_traced(paths[-1], traced(part), head)
    return build_store(repo, head, paths, durations={SQUARE: 0.25, "gone": 1.0})


def test_build(store: EvidenceStore, repo: Repository) -> None:
    store.check()
    assert set(store.tests) == {SQUARE, INHERITED, NAME}
    assert store.commit == repo.head()
    assert entered(store, NAME) == {"src/lib.py::name", "tests/test_name.py::test_name"}
    assert store.has_coverage.all()
    assert store.coverage_commits == (repo.head(),)
    assert "src/lib.py::<module>" in {store.symbols[i] for i in np.flatnonzero(store.import_time)}
    assert not store.import_time[store.symbol_index["src/lib.py::area"]]
    assert store.files == tuple(sorted(FILES))
    seconds = dict(zip(store.tests, store.seconds.tolist(), strict=True))
    assert seconds[SQUARE] == 0.25
    assert np.isnan(seconds[NAME])
    assert np.isnan(store.last_failed_at).all()


def test_build_links_by_text_import_and_names(store: EvidenceStore) -> None:
    by_text = dict(zip(store.tests, store.text.normalised({"area": 1.0}).tolist(), strict=True))
    assert by_text[SQUARE] > by_text[NAME] == 0
    lib = store.file_index["src/lib.py"]
    assert store.imports.transpose().row(lib).tolist() == [0, 1, 2]
    assert (store.cochange.transpose().row_weights(lib) > 0).all()
    limit = store.graph.readers.row(store.graph.name_index["LIMIT"])
    assert [store.symbols[i] for i in limit] == ["src/lib.py::area"]


def test_digests(store: EvidenceStore) -> None:
    digests = dict(zip(store.tests, store.test_symbols_digest, strict=True))
    assert digests[SQUARE]
    assert digests[INHERITED] == digests[SQUARE] != digests[NAME]


def test_build_again_keeps_old_coverage_with_its_commit(
    repo: Repository, store: EvidenceStore, tmp_path: Path
) -> None:
    source = repo.root / "src/lib.py"
    source.write_text("def first(): pass\n" + source.read_text().replace("def name", "def label"))
    git(repo.root, "commit", "-qam", "second")
    path = tmp_path / "out" / "coverage.jsonl"
    write_traced(path, traced({SQUARE: ["src/lib.py::first", "src/lib.py::area"]}), repo.head())
    newer = build_store(repo, repo.head(), [path], previous=store)
    newer.check()
    assert entered(newer, SQUARE) == {"src/lib.py::first", "src/lib.py::area"}
    assert entered(newer, NAME) == {"tests/test_name.py::test_name"}, "its function is gone"
    commits = {
        t: newer.coverage_commits[c]
        for t, c in zip(newer.tests, newer.coverage_commit, strict=True)
    }
    assert commits == {SQUARE: repo.head(), INHERITED: store.commit, NAME: store.commit}
    assert newer.seconds[newer.test_index[SQUARE]] == 0.25


def test_refresh_replaces_traced_tests_only(store: EvidenceStore) -> None:
    new = "tests/test_area.py::test_new"
    run = traced({NAME: ["src/lib.py::area", "src/lib.py::fresh"], new: ["src/lib.py::area"]}, "c2")
    fresh = refresh(store, [run])
    fresh.check()
    assert entered(fresh, NAME) == {"src/lib.py::area", "src/lib.py::fresh"}
    assert entered(fresh, SQUARE) == entered(store, SQUARE)
    assert fresh.coverage_commits[fresh.coverage_commit[fresh.test_index[NAME]]] == "c2"
    assert fresh.coverage_commits[fresh.coverage_commit[fresh.test_index[SQUARE]]] == store.commit
    beside, of_new = fresh.test_index[SQUARE], fresh.test_index[new]
    assert fresh.imports.row(of_new).tolist() == fresh.imports.row(beside).tolist()
    assert fresh.runs[of_new] == 0
    assert np.isnan(fresh.seconds[of_new])
    for name in store.graph.names:
        assert name in fresh.graph.name_index
    limit = fresh.graph.readers.row(fresh.graph.name_index["LIMIT"])
    assert [fresh.symbols[i] for i in limit] == ["src/lib.py::area"]


def test_refresh_can_empty_a_row(store: EvidenceStore) -> None:
    fresh = refresh(store, [traced({NAME: []}, "c2")])
    assert entered(fresh, NAME) == set()
    assert fresh.has_coverage[fresh.test_index[NAME]]


def test_only_a_complete_collection_drops_tests(store: EvidenceStore) -> None:
    run = traced({SQUARE: ["src/lib.py::area"]}, "c2")
    assert set(refresh(store, [run]).tests) == set(store.tests)
    fresh = refresh(store, [run], collected=[SQUARE, "tests/test_area.py::test_unrun"])
    fresh.check()
    assert fresh.tests == (SQUARE, "tests/test_area.py::test_unrun")
    assert fresh.has_coverage.tolist() == [True, False]
    assert fresh.coverage_commit[1] == -1


def test_refresh_reads_new_words_from_the_work_tree(repo: Repository, store: EvidenceStore) -> None:
    path = repo.root / "tests/test_name.py"
    path.write_text(path.read_text().replace("lib.name()", "lib.zebra()"))
    fresh = refresh(store, [traced({NAME: ["src/lib.py::name"]})], repo=repo)
    scores = dict(zip(fresh.tests, fresh.text.scores({"zebra": 1.0}).tolist(), strict=True))
    assert scores[NAME] > 0 == scores[SQUARE]
    assert (
        fresh.test_symbols_digest[fresh.test_index[NAME]]
        != store.test_symbols_digest[store.test_index[NAME]]
    )
    assert commit_of(fresh, NAME) == store.commit


def change(*paths: str) -> Change:
    return Change("r", "base", None, tuple(FileChange(p, FileStatus.MODIFIED) for p in paths))


def test_stale_tests(store: EvidenceStore) -> None:
    assert stale_tests(store, change("src/lib.py")) == set(store.tests)
    assert stale_tests(store, change("tests/test_name.py")) == {NAME}
    assert stale_tests(store, change("README.md")) == set()
    new = "tests/test_area.py::test_new"
    assert stale_tests(store, change("README.md"), [SQUARE, new]) == {new}
    assert stale_tests(store, change("src/lib.py"), [SQUARE, new]) == {SQUARE, new}
    unknown = refresh(store, [], collected=[SQUARE, "tests/test_name.py::test_unrun"])
    assert stale_tests(unknown, change("README.md")) == {"tests/test_name.py::test_unrun"}


def test_results_of_history(store: EvidenceStore) -> None:
    known = with_results(store, failures={NAME: 2.0, "gone": 1.0}, last_failed_at={NAME: 9.0})
    assert known.failures[known.test_index[NAME]] == 2.0
    assert known.last_failed_at[known.test_index[NAME]] == 9.0
    assert known.failures.sum() == 2.0
    assert store.failures.sum() == 0.0


def test_a_repository_without_tests(repo: Repository) -> None:
    store = build_store(repo, repo.head())
    store.check()
    assert store.tests == ()
    assert "src/lib.py::area" in store.symbol_index


def commit_of(store: EvidenceStore, unit: str) -> str:
    return str(store.coverage_commits[store.coverage_commit[store.test_index[unit]]])


def failed(units: dict[str | None, list[str]], commit: str | None) -> TracedRun:
    return replace(traced(units, commit), partial=frozenset(u for u in units if u))


def test_a_test_that_did_not_pass_keeps_what_it_entered_before(store: EvidenceStore) -> None:
    fresh = refresh(store, [failed({NAME: ["src/lib.py::area"]}, "c2")])
    assert entered(fresh, NAME) == entered(store, NAME) | {"src/lib.py::area"}
    assert commit_of(fresh, NAME) == store.commit
    new = "tests/test_name.py::test_new"
    fresh = refresh(store, [failed({new: ["src/lib.py::area"]}, "c2")])
    assert (entered(fresh, new), commit_of(fresh, new)) == ({"src/lib.py::area"}, "c2")


def test_a_test_that_ends_where_it_always_did_is_up_to_date(store: EvidenceStore) -> None:
    same = [name for name in FULL[NAME] if name]
    assert commit_of(refresh(store, [failed({NAME: same}, "c2")]), NAME) == "c2"


def test_coverage_of_an_edited_tree_adds_and_keeps_its_age(store: EvidenceStore) -> None:
    same = [*FULL[NAME], "src/lib.py::area"]
    for seen in ([], same):
        fresh = refresh(store, [traced({NAME: seen})])
        assert entered(fresh, NAME) == entered(store, NAME) | set(seen)
        assert commit_of(fresh, NAME) == store.commit
        assert entered(fresh, SQUARE) == entered(store, SQUARE)
