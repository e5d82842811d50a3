"""The encoder's tower, loss and batches: shapes, invariances, and that it learns at all."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch", reason="the encoder needs foretest[platform]")

from foretest.errors import BadConfiguration  # noqa: E402
from foretest.platform.encoder.config import LADDER, EncoderConfig, parameters  # noqa: E402
from foretest.platform.encoder.loss import info_nce  # noqa: E402
from foretest.platform.encoder.model import CodeEncoder  # noqa: E402
from foretest.platform.encoder.pairs import SyntheticPairs, packed  # noqa: E402

SMALL = EncoderConfig(200, 32, 2, 2, 64, 64, 16)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return CodeEncoder(SMALL).eval()


def first(source):
    return next(source.batches(8, 3))


def test_the_ladder_counts_what_is_built():
    for config in (LADDER["tiny"], SMALL):
        built = sum(p.numel() for p in CodeEncoder(config).parameters())
        assert built == parameters(config)
    sizes = [parameters(config) / 1e6 for config in LADDER.values()]
    assert sizes == sorted(sizes)
    assert 1.5 < sizes[0] < 2.5


def test_a_shape_that_cannot_be_built_is_refused_in_words():
    with pytest.raises(BadConfiguration, match="multiple"):
        EncoderConfig(200, 32, 2, 3, 64, 64, 16)


def test_vectors_have_length_one_and_padding_changes_nothing(model):
    batch = first(SyntheticPairs(SMALL))
    with torch.no_grad():
        vectors = model(batch.change_tokens, batch.change_mask)
        wider = torch.nn.functional.pad(batch.change_tokens, (0, 17))
        mask = torch.nn.functional.pad(batch.change_mask, (0, 17))
        same = model(wider, mask)
    assert vectors.shape == (8, SMALL.out)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(8), atol=1e-5)
    assert torch.allclose(vectors, same, atol=1e-5)


def test_packed_sequences_give_the_same_vectors(model):
    batch = first(SyntheticPairs(SMALL))
    tokens, mask, segments = packed(batch.test_tokens, batch.test_mask, SMALL.context)
    assert len(tokens) < len(batch.test_tokens)
    with torch.no_grad():
        alone = model(batch.test_tokens, batch.test_mask)
        together = model(tokens, mask, segments)
    assert torch.allclose(alone, together, atol=1e-5)


def test_the_role_and_the_order_of_tokens_matter(model):
    tokens = torch.tensor([[1, 10, 11, 12], [2, 10, 11, 12], [1, 12, 11, 10]])
    with torch.no_grad():
        change, test, backwards = model(tokens, torch.ones_like(tokens, dtype=torch.bool))
    assert not torch.allclose(change, test, atol=1e-4)
    assert not torch.allclose(change, backwards, atol=1e-6)


def test_forgetting_activations_changes_no_gradient(model):
    batch = first(SyntheticPairs(SMALL))
    gradients = []
    for forget in (False, True):
        model.train().zero_grad()
        model.checkpoint_activations = forget
        model(batch.change_tokens, batch.change_mask).sum().backward()
        gradients.append(model.blocks[0].up.weight.grad.clone())
    assert torch.allclose(*gradients, atol=1e-6)


def test_the_loss_by_hand_and_its_edges():
    eye = torch.eye(3)
    own = torch.eye(3, dtype=torch.bool)
    e = torch.e
    assert info_nce(eye, eye, 1.0, own).item() == pytest.approx(
        -(1 - torch.log(torch.tensor(e + 2))).item()
    )
    everything = torch.ones(3, 3, dtype=torch.bool)
    assert info_nce(eye, eye, 1.0, own) < info_nce(eye, eye, 1.0, everything)
    # A test that belongs to no change tells apart, and has no say of its own.
    more = torch.cat((eye, eye[:1]))
    wide = torch.cat((own, torch.zeros(3, 1, dtype=torch.bool)), dim=1)
    assert info_nce(eye, more, 1.0, wide) > info_nce(eye, eye, 1.0, own)
    nothing = info_nce(eye, eye, 1.0, torch.zeros(3, 3, dtype=torch.bool))
    assert nothing.item() == 0


def test_batches_go_on_where_they_were():
    source = SyntheticPairs(SMALL)
    run = [b.change_tokens for b in itertools.islice(source.batches(4, 1), 6)]
    again = [b.change_tokens for b in itertools.islice(source.batches(4, 1, start=3), 3)]
    assert all(torch.equal(a, b) for a, b in zip(run[3:], again, strict=True))
    assert not torch.equal(run[0], run[1])


def test_a_small_encoder_learns_a_small_lesson():
    torch.manual_seed(0)
    model = CodeEncoder(SMALL).train()
    steps = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for batch in itertools.islice(SyntheticPairs(SMALL, subjects=8).batches(16, 0), 30):
        loss = info_nce(
            model(batch.change_tokens, batch.change_mask),
            model(batch.test_tokens, batch.test_mask),
            0.1,
            batch.positives,
        )
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < sum(losses[:10]) / 10 - 0.3
