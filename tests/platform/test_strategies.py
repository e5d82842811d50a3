"""The table of strategies: fresh processes, honest gaps, and texts as uneven as they are said."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is missing: pip install 'foretest[platform]'")

from click.testing import CliRunner  # noqa: E402

from foretest.cli.platform.strategies import command  # noqa: E402
from foretest.platform.encoder import strategies  # noqa: E402
from foretest.platform.encoder.config import EncoderConfig  # noqa: E402
from foretest.platform.encoder.strategies import STRATEGIES, UnevenPairs  # noqa: E402

CONFIG = EncoderConfig(512, 32, 2, 2, 64, 64, 16)


def test_texts_are_uneven_and_drawn_again_alike():
    pairs = UnevenPairs(CONFIG)
    batch, again = (next(pairs.batches(64, 3, start=2)) for _ in range(2))
    assert torch.equal(batch.change_tokens, again.change_tokens)
    lengths = batch.change_mask.sum(1)
    assert lengths.min() >= strategies.SHORTEST - 1
    assert lengths.max() <= CONFIG.context
    assert lengths.float().std() > 8
    assert batch.positives.diagonal().all()


def test_one_command_measures_what_it_can_and_names_what_it_cannot(tmp_path, monkeypatch):
    few = {"float32 (baseline)", "fp16", "FSDP, 2 workers", "tuning a checkpoint, LoRA of rank 8"}
    monkeypatch.setattr(strategies, "STRATEGIES", [s for s in STRATEGIES if s.name in few])
    monkeypatch.setattr(strategies, "LADDER", {"tiny": CONFIG})
    monkeypatch.chdir(tmp_path)
    asked = ["--steps", "10", "--rounds", "1", "--batch", "8", "--limit", "3000"]
    asked += ["--out", "found.json"]
    result = CliRunner().invoke(command, asked, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["command"].endswith("--size tiny --steps 10 --rounds 1 --batch 8 --limit 3000")
    rows = {row["strategy"]: row for row in found["rows"]}
    assert set(rows) == few
    baseline, shared = rows["float32 (baseline)"], rows["FSDP, 2 workers"]
    lora = rows["tuning a checkpoint, LoRA of rank 8"]
    assert shared["loss"] == pytest.approx(baseline["loss"], rel=1e-3)
    assert shared["tokens"] == baseline["tokens"]
    assert baseline["learning"] == found["parameters"] > 3 * lora["learning"] > 0
    assert all(row["seconds"] > 0 for row in (baseline, shared, lora))
    if not torch.cuda.is_available():
        assert rows["fp16"] == {"strategy": "fp16", "not_measured": "needs CUDA"}
        assert "| fp16 | needs CUDA |" in result.output


def test_no_checkpoint_is_written_while_memory_is_measured(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(strategies, "peak_memory", lambda where: told.append("memory") or 1.0)
    kept = strategies.Folder.keep
    monkeypatch.setattr(
        strategies.Folder, "keep", lambda *given: told.append("checkpoint") or kept(*given)
    )
    settings = strategies.Settings(6, 8, warm_up=1)
    strategies.run(strategies.Task(CONFIG, settings, STRATEGIES[0], tmp_path))
    assert told == ["memory", "memory", "checkpoint"]


def test_every_strategy_asked_for_stands_in_the_table():
    changed = {name for strategy in STRATEGIES for name in strategy.change}
    assert changed == {"precision", "accumulate", "checkpoint_activations", "pack", "compile"}
    assert {strategy.sharding for strategy in STRATEGIES} == {"", "ddp", "fsdp"}
    assert {strategy.tunes for strategy in STRATEGIES} == {"", "all", "lora"}
