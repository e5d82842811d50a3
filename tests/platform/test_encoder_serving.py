"""An encoder as it is handed on and asked: ONNX, likeness, beside the formula, and its judge."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="the encoder needs foretest[platform]")
pytest.importorskip("onnxruntime", reason="the encoder needs foretest[platform]")
pytest.importorskip("onnxscript", reason="the encoder needs foretest[platform]")

from foretest import bundle as bundles
from foretest.bundle import Bundle
from foretest.cli.platform.encoder import command
from foretest.errors import BadConfiguration, BadModel
from foretest.evidence.collect import with_results
from foretest.evidence.renumber import on_tests
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import empty
from foretest.evidence.text import TextIndex
from foretest.features.build import build
from foretest.features.query import FileFacts, Query
from foretest.lab.labels import Case, CaseFile
from foretest.models.contract import predict
from foretest.models.formula import Formula
from foretest.platform.corpus.facts import FRESH
from foretest.platform.encoder import config as sizes
from foretest.platform.encoder import curriculum
from foretest.platform.encoder.checkpoints import Progress, Step
from foretest.platform.encoder.cochanges import Together, tokenised
from foretest.platform.encoder.config import EncoderConfig, parameters
from foretest.platform.encoder.curriculum import COCHANGES, UNDONE, read_encoder, teach
from foretest.platform.encoder.distributed import Fitted, Workers
from foretest.platform.encoder.evaluation import (
    ALONE,
    JOINED,
    NOTHING,
    UNTRACED,
    Encoded,
    EncodedQuery,
    columns_of,
    encoder_alone,
    joined,
    judge_encoder,
    weights_tried,
)
from foretest.platform.encoder.export import FP32, INT8, compare, export
from foretest.platform.encoder.hunks import HunkText, TestText
from foretest.platform.encoder.model import CodeEncoder
from foretest.platform.encoder.published import read_published
from foretest.platform.encoder.scoring import Encoder, Joined, Weight, likeness
from foretest.platform.encoder.settings import Settings
from foretest.platform.encoder.tokenizer import CodeTokenizer
from foretest.platform.encoder.undone import Suite
from foretest.records import FileStatus, Source
from foretest.replay.judge import ADDED, ALL, Setting, Trial, judge
from foretest.replay.strategies import ORACLE, OURS, STRATEGIES

CONFIG = EncoderConfig(300, 32, 1, 2, 64, 32, 16)
WORDS = ("tax", "item", "cost", "price", "order", "stock")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs that share one word."""
    folder = tmp_path_factory.mktemp("pairs")
    tokenizer = CodeTokenizer.train([" ".join(WORDS)] * 20, CONFIG.vocabulary)
    tokenizer.write(folder / "tokenizer.json")
    found = [
        Together(
            (HunkText("a.py", "", word, f"{word} + 1", ""),),
            (TestText(f"t.py::test_{word}", word),),
        )
        for word in WORDS
    ]
    kept = tokenised(found, tokenizer, CONFIG.context)
    kept.write(folder / COCHANGES / "shop.npz")
    failed = np.eye(len(WORDS), dtype=bool)
    Suite("shop", WORDS, kept.hunks, kept.hunk_commits, kept.tests, failed).write(
        folder / UNDONE / "shop.npz"
    )
    return folder


@pytest.fixture(scope="module")
def published(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder taught in two short stages, and exported."""
    model, out = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("onnx")
    stages = {name: Settings(30, batch=6, rate=5e-3, warm_up=2) for name in (COCHANGES, UNDONE)}
    steps: list[str] = []
    teach(CONFIG, pairs, model, stages, lambda stage, step: steps.append(stage), threads=1)
    assert steps == [COCHANGES] * 30 + [UNDONE] * 30
    # It goes on where it was: with nothing left to do, nothing is done.
    steps.clear()
    teach(CONFIG, pairs, model, stages, lambda stage, step: steps.append(stage))
    assert steps == []
    export(model, out)
    return out


SHORT = {name: Settings(2, batch=6, warm_up=1) for name in (COCHANGES, UNDONE)}


def test_a_folder_belongs_to_one_training(pairs: Path, tmp_path: Path) -> None:
    own, model = tmp_path / "pairs", tmp_path / "model"
    shutil.copytree(pairs, own)
    steps: list[str] = []

    def taught(stages: dict[str, Settings], config: EncoderConfig = CONFIG) -> None:
        teach(config, own, model, stages, lambda stage, step: steps.append(stage), threads=1)

    taught(SHORT)
    taught({name: replace(each, keep_every=1) for name, each in SHORT.items()})
    assert len(steps) == 4
    with pytest.raises(BadConfiguration, match="with other seed of cochanges, seed of undone"):
        taught({name: replace(each, seed=1) for name, each in SHORT.items()})
    with pytest.raises(BadConfiguration, match="with other width"):
        taught(SHORT, replace(CONFIG, width=64))
    with pytest.raises(BadConfiguration, match="size 100"):
        taught(SHORT, replace(CONFIG, vocabulary=100))
    suite = Suite.read(own / UNDONE / "shop.npz")
    replace(suite, failed=~suite.failed).write(own / UNDONE / "shop.npz")
    with pytest.raises(BadConfiguration, match="with other pairs"):
        taught(SHORT)
    (model / "training.json").unlink()
    with pytest.raises(BadConfiguration, match="of which nothing is known"):
        taught(SHORT)
    assert len(steps) == 4


def test_trainings_by_workers_share_a_storage_and_never_a_name(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def fit(config, source, settings, workers, storage, name, start):
        names.append(name)
        progress = Progress([Step(at + 1, 1.0, 0.1, 1, 1.0, 1.0) for at in range(settings.steps)])
        return Fitted(CodeEncoder(config), progress)

    monkeypatch.setattr(curriculum, "fit", fit)
    told: list[int] = []
    for folder, seed in (("a", 0), ("a", 0), ("b", 1), ("c", 0)):
        stages = {name: replace(each, seed=seed) for name, each in SHORT.items()}
        teach(
            CONFIG, pairs, tmp_path / folder, stages, lambda _, step: told.append(step.number),
            workers=Workers(2), storage="s3://models/encoders",
        )  # fmt: skip
    first, other, again = names[:2], names[2:4], names[4:]  # `a` was finished the second time
    assert first == again
    assert not set(first) & set(other)
    assert told == [1, 2] * 6


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_training_leaves_its_model_and_its_plot_on_the_server(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="MLflow is missing: pip install 'foretest[platform]'")
    monkeypatch.setattr(sizes, "LADDER", {"tiny": CONFIG})
    monkeypatch.chdir(tmp_path)
    asked = ["train", "--pairs", str(pairs), "--steps", "2", "--then", "2", "--batch", "6"]
    where = ["--threads", "1", "--tracking", f"sqlite:///{tmp_path}/runs.db"]
    result = CliRunner().invoke(command, [*asked, *where], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    client = open_tracker_client(tmp_path)
    (run,) = client.search_runs([client.get_experiment_by_name("encoder").experiment_id])
    assert run.info.status == "FINISHED"
    (output,) = run.outputs.model_outputs
    assert client.get_logged_model(output.model_id).name == "encoder"
    plots = {file.path for file in client.list_artifacts(run.info.run_id, "plots")}
    assert plots == {"plots/loss.html", "plots/loss.png"}


def open_tracker_client(folder: Path):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{folder}/runs.db")


def test_the_card_says_what_was_trained_and_the_weights_are_those(published: Path) -> None:
    card = json.loads((published / "encoder.json").read_text())
    assert card["parameters"] == parameters(CONFIG)
    loss = card["stages"][COCHANGES]["loss"]
    assert loss[-1] < loss[0] / 2
    model, tokenizer = read_published(str(published))
    assert card["tokenizer"] == tokenizer.digest
    assert model.config == CONFIG


def test_both_exported_forms_answer_as_the_model_does(published: Path, pairs: Path) -> None:
    model, _ = read_published(str(published))
    random = np.random.default_rng(0)
    sequences = [
        np.concatenate(([1 + at % 2], random.integers(6, 40, 1 + at % 31))).astype(np.int32)
        for at in range(60)
    ]
    exact, small = (compare(model, published / form, sequences) for form in (FP32, INT8))
    assert exact.most_apart < 1e-5
    assert exact.agreement == 1.0
    assert small.most_apart < 0.3
    assert small.agreement > 0.95


def test_what_was_taught_is_told_apart(published: Path, pairs: Path) -> None:
    suite = Suite.read(pairs / UNDONE / "shop.npz")
    encoder = Encoder(published / FP32)
    hunks = encoder.vectors([suite.hunks[at] for at in range(len(suite.hunks))])
    tests = encoder.vectors([suite.tests[at] for at in range(len(suite.tests))])
    found = likeness(hunks, suite.hunk_cases, tests)
    assert (found.argmax(axis=1) == np.arange(len(WORDS))).mean() > 0.8


def test_a_change_is_as_like_a_test_as_its_likest_hunk() -> None:
    hunks = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    tests = np.array([[1, 0], [0.6, 0.8]], np.float32)
    found = likeness(hunks, np.array([0, 0, 1]), tests)
    assert found == pytest.approx(np.array([[1, 0.8], [0, 0.8]], np.float32))


def test_an_encoder_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    for place in (str(tmp_path), "http://127.0.0.1:9/encoder"):
        with pytest.raises(BadModel, match=r"There is no encoder\.json"):
            read_published(place)
    with pytest.raises(BadModel, match="no encoder"):
        Encoder(tmp_path / FP32)
    with pytest.raises(BadModel, match="no encoder"):
        read_encoder(tmp_path)


def test_weights_that_would_run_code_are_refused(published: Path, tmp_path: Path) -> None:
    for name in ("encoder.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((published / name).read_bytes())
    (tmp_path / "weights.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(BadModel, match="cannot be read"):
        read_published(str(tmp_path))


# --- beside the formula ---

TESTS = tuple(f"t.py::test_{word}" for word in WORDS)


def store():
    known = replace(
        on_tests(empty("shop"), TESTS),
        commit="c0",
        text=TextIndex.build([{word: 1.0} for word in WORDS]),
        imports=SparseRows.empty(len(TESTS), 0, weighted=True),
        cochange=SparseRows.empty(len(TESTS), 0, weighted=True),
    )
    return with_results(known, seconds=dict.fromkeys(TESTS, 1.0))


def column(*likest: int) -> np.ndarray:
    found = np.zeros(len(TESTS), np.float32)
    found[list(likest)] = 0.9
    return found


def test_the_encoder_adds_to_a_score_and_never_takes() -> None:
    frame = build(Query((FileFacts("a.py"),), removed={"tax": 1.0}), store(), 0.0)
    before = Formula().predict(frame)
    model = Joined(Formula(), column(3), Weight())
    after = predict(model, frame)
    assert (after >= before).all()
    assert after[3] > before[3]
    rows = frame.take(np.array([3]))
    assert model.terms(rows).keys() == Formula().terms(rows).keys()
    missing = Joined(Formula(), np.full(len(TESTS), np.nan, np.float32), Weight())
    assert missing.predict(frame) == pytest.approx(before)


def lesson(likest: int) -> Encoded:
    query = EncodedQuery((FileFacts("a.py"),), column=column(likest))
    trial = Trial("x", "shop", "x", 1000.0, query, frozenset({TESTS[4]}))
    strategies = {OURS: STRATEGIES[OURS], ALONE: encoder_alone, JOINED: joined(Weight())}
    return Encoded((trial,), store(), Setting(model=Formula(), strategies=strategies))


def test_the_judge_hears_the_encoder_and_silence_adds_nothing() -> None:
    right = lesson(4)
    found = {
        v.strategy: v.score.first
        for v in judge(right.trials, right.store, right.setting).verdicts
        if v.slice == ALL
    }
    assert found[ALONE] == found[JOINED] == found[ORACLE] < found[OURS]
    plain = tuple(replace(t, query=Query(t.query.files)) for t in right.trials)
    silent = {
        v.strategy: v.score.first
        for v in judge(plain, right.store, right.setting).verdicts
        if v.slice == ALL
    }
    assert silent[JOINED] == silent[OURS]


def test_an_encoder_that_misleads_gets_no_weight() -> None:
    assert next(iter(weights_tried([lesson(4)]))) != NOTHING
    assert next(iter(weights_tried([lesson(5)]))) == NOTHING


def test_the_judge_reads_facts_and_says_which_slices_are_empty(
    tmp_path: Path, published: Path, pairs: Path
) -> None:
    facts = tmp_path / "facts"
    lineage = {"ages": [], "age": 0.0}
    bundles.write(facts / "shop.fresh.ftb", Bundle(store(), lineage=lineage))
    cases = [
        Case(word, "shop", Source.UNDONE, "c0", (CaseFile("a.py", FileStatus.MODIFIED),),
             undone_commit=word, author_time=1000 + at, failed=(TESTS[at],), removed={word: 1})
        for at, word in enumerate((*WORDS[:3], "unheard"))
    ]  # fmt: skip
    lines = "".join(case.to_line() for case in cases)
    (facts / "shop.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    columns = columns_of(pairs / UNDONE, ["shop", "nowhere"], Encoder(published / FP32))
    assert list(columns) == ["shop"]
    for kind in (FRESH, UNTRACED):
        judged = judge_encoder(facts, columns, kind, Weight())
        assert {v.strategy for v in judged.verdicts} >= {OURS, ALONE, JOINED, ORACLE, "BM25"}
        assert judged.without_text == 1
        page = "\n".join(judged.lines())
        assert f"{ADDED}: no faulty change." in page
        assert "other languages: no faulty change" in page
