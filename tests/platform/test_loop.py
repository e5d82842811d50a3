"""The training loop: it learns, goes on bit for bit, and its savings change no result."""

from __future__ import annotations

import dataclasses
import functools

import pytest

torch = pytest.importorskip("torch", reason="torch is missing: pip install 'foretest[platform]'")

from foretest.errors import BadConfiguration  # noqa: E402
from foretest.platform.encoder.adapters import adapt  # noqa: E402
from foretest.platform.encoder.checkpoints import (  # noqa: E402
    Folder,
    Progress,
    Training,
    weights,
)
from foretest.platform.encoder.config import EncoderConfig  # noqa: E402
from foretest.platform.encoder.loop import train  # noqa: E402
from foretest.platform.encoder.model import CodeEncoder  # noqa: E402
from foretest.platform.encoder.pairs import SyntheticPairs  # noqa: E402
from foretest.platform.encoder.settings import Settings  # noqa: E402

CONFIG = EncoderConfig(512, 32, 2, 2, 64, 64, 16)
PAIRS = SyntheticPairs(CONFIG, subjects=16)
SETTINGS = Settings(steps=6, batch=12, warm_up=2, keep_every=2)


def encoder(config=CONFIG):
    torch.manual_seed(7)
    return CodeEncoder(config)


def trained(settings=SETTINGS, model=None, checkpoints=None):
    model = model or encoder()
    progress = train(model, PAIRS, settings, checkpoints=checkpoints)
    return model, progress


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_it_learns_and_counts_what_it_read():
    _, progress = trained(dataclasses.replace(SETTINGS, steps=60, keep_every=0))
    assert progress.curve[-1].loss < progress.curve[0].loss - 1
    assert [step.number for step in progress.curve] == list(range(1, 61))
    batch = next(PAIRS.batches(12, 0))
    assert progress.curve[0].tokens == batch.tokens
    assert all(step.seconds > 0 and step.memory > 1 for step in progress.curve)


class Cut(Exception):
    pass


def test_a_training_cut_off_goes_on_to_the_same_weights(tmp_path):
    whole, curve = trained()
    model = encoder()

    def cut(step):
        if step.number == 5:
            raise Cut

    with pytest.raises(Cut):
        train(model, PAIRS, SETTINGS, cut, Folder(tmp_path))
    assert not same(model, whole)
    resumed, again = trained(checkpoints=Folder(tmp_path))
    assert same(resumed, whole)
    assert [step[:4] for step in again.curve] == [step[:4] for step in curve.curve]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000004", "step-00000006"]
    read = CodeEncoder(CONFIG)
    assert weights(read, Folder(tmp_path).newest()).curve == again.curve
    assert same(read, whole)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    trained(dataclasses.replace(SETTINGS, steps=1), checkpoints=Folder(tmp_path))
    other = encoder(dataclasses.replace(CONFIG, width=48))
    with pytest.raises(BadConfiguration, match="not one of this model"):
        train(other, PAIRS, SETTINGS, checkpoints=Folder(tmp_path))


def test_the_scale_of_fp16_goes_on_where_it_was(tmp_path):
    def training(scale):
        model = encoder()
        optimiser = torch.optim.AdamW(model.parameters())
        return Training(model, optimiser, Progress(), torch.amp.GradScaler("cpu", scale))

    before, after = training(32.0), training(65536.0)
    before.scaler.scale(torch.ones(1))  # a scaler begins with its first loss
    Folder(tmp_path).keep(before)
    Folder(tmp_path).restore(after)
    assert after.scaler.get_scale() == 32


@pytest.mark.parametrize(
    "change",
    [{"accumulate": 3}, {"accumulate": 5}, {"checkpoint_activations": True}, {"pack": True}],
    ids=str,
)
def test_what_saves_memory_or_time_changes_no_result(change):
    _, plain = trained()
    _, saving = trained(dataclasses.replace(SETTINGS, **change))
    assert [s.loss for s in saving.curve] == pytest.approx([s.loss for s in plain.curve], rel=1e-3)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch looks at its own tensors
def test_compiled_blocks_share_a_graph_and_change_no_result(monkeypatch):
    from torch._dynamo.testing import CompileCounter

    graphs = CompileCounter()  # a compiler that runs each graph as it is
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=graphs))
    _, plain = trained()
    model, progress = trained(dataclasses.replace(SETTINGS, compile=True))
    torch.compiler.reset()
    assert len(model.blocks) == 2
    assert graphs.frame_count == 1, graphs.frame_count
    assert [s.loss for s in progress.curve] == pytest.approx([s.loss for s in plain.curve])


def test_half_precision_is_near_and_fp16_is_not_made_up():
    _, plain = trained()
    _, half = trained(dataclasses.replace(SETTINGS, precision="bf16"))
    assert half.curve[0].loss == pytest.approx(plain.curve[0].loss, rel=0.05)
    assert half.curve[0].loss != plain.curve[0].loss
    if not torch.cuda.is_available():
        with pytest.raises(BadConfiguration, match="needs CUDA"):
            trained(dataclasses.replace(SETTINGS, precision="fp16"))


def test_the_rate_rises_then_falls_to_a_tenth():
    settings = Settings(steps=100, rate=1.0, warm_up=10)
    rates = [settings.rate_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.1)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"accumulate": 0}, {"batch": 2, "accumulate": 3}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(BadConfiguration):
        Settings(**{"steps": 1, **bad})


def test_adapters_begin_as_the_model_and_learn_alone():
    model = encoder()
    batch = next(PAIRS.batches(4, 1))
    read = (batch.change_tokens, batch.change_mask)
    before = model.eval()(*read)
    frozen = {name: value.clone() for name, value in model.state_dict().items()}
    adapt(model, rank=4)
    torch.testing.assert_close(model(*read), before)
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert 0 < learning < sum(p.numel() for p in model.parameters()) / 3
    trained(model=model)
    assert torch.equal(model.embedding.weight, frozen["embedding.weight"])
    assert not torch.allclose(model(*read), before, atol=1e-3)
