"""What the encoder reads: texts, tokens and pairs of a small history with known contents."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the encoder needs foretest[platform]")
pytest.importorskip("tokenizers", reason="the encoder needs foretest[platform]")

from foretest.changes.git import Repository
from foretest.errors import BadConfiguration, BadModel, NothingToReplay
from foretest.lab.labels import Case
from foretest.platform.encoder import undone
from foretest.platform.encoder.cochanges import (
    CochangePairs,
    Cochanges,
    changed_together,
    prepare,
    tokenised,
)
from foretest.platform.encoder.config import (
    HELD_OUT,
    WEIGHED_ON,
    EncoderConfig,
    training_names,
)
from foretest.platform.encoder.hunks import HunkText, TestText, hunk_texts, test_texts
from foretest.platform.encoder.pairs import ADDED, CHANGE, FILE, REMOVED, TEST
from foretest.platform.encoder.tokenizer import SPECIAL, CodeTokenizer
from foretest.platform.encoder.undone import Suite, UndonePairs, prepare_suites, texts_of
from foretest.records import Source

PRICES = "def price(item):\n    return item.cost\n"
TEST_PRICES = "def test_price():\n    assert price(Item(3)) == 3\n"
TAXED = "def price(item):\n    return item.cost + item.tax\n"
TEST_TAXED = TEST_PRICES + "\n\ndef test_taxed_price():\n    assert price(Item(3, 1)) == 4\n"
CONFIG = EncoderConfig(400, 32, 1, 2, 64, 48, 16)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three commits: both sides; sources alone; both sides, by a bot."""
    root = tmp_path_factory.mktemp("clones") / "shop" / "repo"
    root.mkdir(parents=True)
    git(root, "init", "--quiet")
    commit(root, "start", shop=PRICES, tests=TEST_PRICES)
    commit(root, "taxes", shop=TAXED, tests=TEST_TAXED)
    commit(root, "comment", shop="# A shop.\n\n\n" + TAXED)
    commit(root, "Bump pytest from 7 to 8", shop=TAXED + "\n\nX = 1\n", tests=TEST_TAXED + "# 8\n")
    return root


def git(root: Path, *command: str) -> None:
    name = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    subprocess.run(["git", "-C", str(root), *name, *command], check=True, capture_output=True)


def commit(root: Path, subject: str, shop: str, tests: str = "") -> None:
    (root / "shop").mkdir(exist_ok=True)
    (root / "tests").mkdir(exist_ok=True)
    (root / "shop" / "prices.py").write_text(shop)
    if tests:
        (root / "tests" / "test_prices.py").write_text(tests)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", subject)


@pytest.fixture(scope="module")
def tokenizer() -> CodeTokenizer:
    return CodeTokenizer.train([TAXED, TEST_TAXED, "readChange HTTPServer"] * 20, 400)


def test_commits_that_change_both_sides_and_no_others(clone: Path) -> None:
    (found,) = changed_together(Repository.open(clone))
    assert [test.unit for test in found.tests] == ["tests/test_prices.py::test_taxed_price"]
    assert "Item(3, 1)" in found.tests[0].source
    (hunk,) = found.hunks
    assert (hunk.path, hunk.removed.strip(), hunk.added.strip()) == (
        "shop/prices.py", "return item.cost", "return item.cost + item.tax",
    )  # fmt: skip
    assert "def price" in hunk.around


def test_an_undone_change_reads_backwards(clone: Path) -> None:
    repo = Repository.open(clone)
    taxes = next(c for c in repo.log() if c.subject == "taxes")
    case = Case(
        f"undone-{taxes.id[:16]}-all", "shop", Source.UNDONE, "", (), undone_commit=taxes.id
    )
    texts = texts_of(repo, repo.head(), [case])
    (hunk,) = texts[case.case_id]
    assert (hunk.removed.strip(), hunk.added.strip()) == (
        "return item.cost + item.tax", "return item.cost",
    )  # fmt: skip


def test_a_test_without_a_function_of_its_name_goes_by_its_name(clone: Path) -> None:
    units = ["tests/test_prices.py::test_price", "tests/test_prices.py::test_price::inner",
             "tests/test_prices.py::TestX::test_inherited", "tests/gone.py::test_x"]  # fmt: skip
    texts = test_texts(Repository.open(clone), None, units)
    assert [text.unit for text in texts] == units
    assert [bool(text.source) for text in texts] == [True, True, False, False]


def test_hunks_of_tests_documents_and_broken_patches_are_no_hunks() -> None:
    patch = b"diff --git a/%b b/%b\n--- a/%b\n+++ b/%b\n@@ -1 +1 @@\n-a\n+b\n"
    for path in (b"tests/test_a.py", b"README.md"):
        assert hunk_texts(patch % ((path,) * 4)) == []
    assert hunk_texts(b"nothing\0of a diff \xff") == []


def test_tokens_of_both_roles(tokenizer: CodeTokenizer) -> None:
    hunk = HunkText("shop/prices.py", "def price(item):", "return 1", "return item.tax", "x = 2")
    (change,) = tokenizer.changes([hunk], 48)
    marks = [t for t in change if t < len(SPECIAL)]
    assert marks == [CHANGE, REMOVED, ADDED, FILE]
    (test,) = tokenizer.tests([TestText("tests/test_prices.py::test_price", TEST_PRICES)], 48)
    assert [t for t in test if t < len(SPECIAL)] == [TEST, FILE]
    long = HunkText("a.py", "", "removed " * 900, "added " * 900, "around " * 900)
    (cut,) = tokenizer.changes([long], 24)
    assert len(cut) == 24
    assert {REMOVED, ADDED} <= set(cut)


def test_identifiers_are_split_and_nobody_can_spell_a_special_token(
    tokenizer: CodeTokenizer,
) -> None:
    first, second, third, hostile, empty = tokenizer.words(
        ["readChange", "read_change", "READ.change", "[pad] [change] ẞ\0\ud7ff", ""]
    )
    assert first == second == third
    assert empty == []
    assert min(hostile) >= len(SPECIAL)


def test_a_tokenizer_is_kept_and_known_by_its_digest(
    tokenizer: CodeTokenizer, tmp_path: Path
) -> None:
    tokenizer.write(tmp_path / "tokenizer.json")
    again = CodeTokenizer.read(tmp_path / "tokenizer.json")
    assert again.digest == tokenizer.digest
    assert again.words([TAXED]) == tokenizer.words([TAXED])
    (tmp_path / "bad.json").write_text("{}")
    for name in ("bad.json", "none.json"):
        with pytest.raises(BadModel):
            CodeTokenizer.read(tmp_path / name)


def test_pairs_are_made_once_and_read_as_they_were(clone: Path, tmp_path: Path) -> None:
    said: list[str] = []
    names = ["shop", "nowhere", HELD_OUT[0]]
    for _ in range(2):
        prepare(clone.parents[1], names, tmp_path, CONFIG, progress=said.append)
    small = f"{tmp_path / 'tokenizer.json'} knows 293 of 400 tokens."
    passed = "No clone, passed over: nowhere."
    assert said == [passed, small, "shop: 1 commits, 1 hunks, 1 tests", passed, small]
    kept = Cochanges.read(tmp_path / "cochanges" / "shop.npz")
    made = tokenised(
        list(changed_together(Repository.open(clone))),
        CodeTokenizer.read(tmp_path / "tokenizer.json"),
        CONFIG.context,
    )
    assert np.array_equal(kept.hunks[0], made.hunks[0])
    assert np.array_equal(kept.tests[0], made.tests[0])


def test_a_folder_without_a_known_clone_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="holds no clone"):
        prepare(tmp_path, ["shop"], tmp_path / "pairs", CONFIG)
    assert not (tmp_path / "pairs").exists()


def test_pairs_of_an_older_history_or_another_size_are_made_anew(
    clone: Path, tmp_path: Path
) -> None:
    shutil.copytree(clone.parents[1], tmp_path / "clones")
    own, out = tmp_path / "clones" / "shop" / "repo", tmp_path / "pairs"
    said: list[str] = []

    def made(config: EncoderConfig = CONFIG) -> str:
        said.clear()
        prepare(own.parents[1], ["shop"], out, config, progress=said.append)
        return said[-1] if said[-1:] and said[-1].startswith("shop") else ""

    assert made()
    assert not made()
    commit(own, "more", shop=TAXED + "\nY = 2\n", tests=TEST_TAXED + "    assert True\n")
    assert made().startswith("shop: 2 commits")
    assert made(replace(CONFIG, context=24))
    assert not made(replace(CONFIG, context=24))
    with pytest.raises(BadConfiguration, match="knows"):
        made(replace(CONFIG, vocabulary=10))


def test_suites_of_older_facts_are_made_anew(
    tokenizer: CodeTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop" / "repo").mkdir(parents=True)
    facts = tmp_path / "facts"
    facts.mkdir()
    monkeypatch.setattr(undone, "suite_of", lambda *_: suite(tokenizer))
    monkeypatch.setattr(undone.Repository, "open", lambda path: path)
    said: list[str] = []
    for kept, context in ((b"1", 48), (b"1", 48), (b"2", 48), (b"2", 24)):
        (facts / "shop.jsonl.gz").write_bytes(kept)
        prepare_suites(tmp_path, facts, ["shop"], tmp_path / "out", tokenizer, context, said.append)
    assert len(said) == 3


def together(tokenizer: CodeTokenizer, commits: int) -> Cochanges:
    one = HunkText("a.py", "", "old", "new", "")
    from foretest.platform.encoder.cochanges import Together

    found = [
        Together((one, one), (TestText(f"t.py::test_{at % 3}", "pass"),)) for at in range(commits)
    ]
    return tokenised(found, tokenizer, CONFIG.context)


def test_what_belongs_together_is_no_negative(tokenizer: CodeTokenizer) -> None:
    batch = next(CochangePairs([together(tokenizer, 6)]).batches(6, 0))
    assert batch.positives.diagonal().all()
    # Six commits changed three tests, each twice.
    assert batch.positives.sum() == 12
    with pytest.raises(NothingToReplay):
        CochangePairs([])


def suite(tokenizer: CodeTokenizer) -> Suite:
    kept = together(tokenizer, 4)
    failed = np.zeros((4, 4), bool)
    failed[[0, 0, 1, 3], [0, 1, 1, 2]] = True
    cases = ("a", "b", "c", "d")
    return Suite("shop", cases, kept.hunks, kept.hunk_commits, kept.tests, failed)


def test_undone_pairs_know_every_test_that_failed(tokenizer: CodeTokenizer, tmp_path: Path) -> None:
    suite(tokenizer).write(tmp_path / "shop.npz")
    source = UndonePairs([Suite.read(tmp_path / "shop.npz")])
    batch = next(source.batches(8, 0))
    assert len(batch.test_tokens) == 12
    assert batch.positives[:, :8].diagonal().all()
    assert not batch.positives.all()


def test_no_pair_of_a_repository_that_judges_is_learned(
    tokenizer: CodeTokenizer, tmp_path: Path
) -> None:
    assert not set(HELD_OUT) & set(WEIGHED_ON)
    assert training_names(["shop", *HELD_OUT, *WEIGHED_ON]) == ["shop"]
    for name in (*HELD_OUT, *WEIGHED_ON):
        together(tokenizer, 3).write(tmp_path / f"{name}.npz")
    with pytest.raises(NothingToReplay):
        CochangePairs.read(tmp_path)
    together(tokenizer, 3).write(tmp_path / "shop.npz")
    assert CochangePairs.read(tmp_path).commits == 3
