"""What every decoder promises, whichever its blocks."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import adana
from adana.models import EnokiConfig, Qwen3Config, build

DECODERS = {
    "enoki": EnokiConfig(heads=2, layers=2, vocab_size=50),
    "mixture": EnokiConfig(heads=2, layers=2, vocab_size=50, experts=4, active=2),
    "qwen3": Qwen3Config(heads=2, layers=2, head_dim=32, vocab_size=50),
    "odd sizes": EnokiConfig(heads=3, layers=1, head_dim=8, embedding_dim=20, mlp_dim=9, vocab_size=50),
}
decoders = pytest.mark.parametrize("config", DECODERS.values(), ids=DECODERS.keys())


@decoders
def test_no_token_sees_what_comes_after_it(config):
    model = build(config)
    tokens = torch.randint(50, (1, 12), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 7] = (changed[0, 7] + 1) % 50
    a, b = model(tokens), model(changed)
    torch.testing.assert_close(a[:, :7], b[:, :7])
    assert not torch.allclose(a[:, 7:], b[:, 7:])


@decoders
def test_attention_knows_the_order_of_tokens(config):
    """Without rotary positions, the last token's logits would ignore a swap of two earlier ones."""
    model = build(replace(config, layers=1))
    a, b = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[2, 1, 3, 4]])
    assert (model(a)[:, -1] - model(b)[:, -1]).abs().max() > 1e-5


@decoders
def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone(config):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = build(config, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    for a, b in zip(first.parameters(), build(config, seed=5).parameters()):
        assert torch.equal(a, b)
    assert not torch.equal(first.embedding.weight, build(config, seed=6).embedding.weight)


@decoders
def test_initial_values_can_be_had_one_by_one_without_the_model(config):
    """What a model spread over ranks is filled from: the same values as on one device."""
    with torch.device("meta"):
        model = build(config)
    values = dict(model.initial_values(3))
    assert all(value.device.type == "cpu" for value in values.values())
    expected = build(config, seed=3).state_dict()
    assert values.keys() == expected.keys()
    assert all(torch.equal(values[name], expected[name]) for name in expected)


@decoders
def test_initial_spreads_are_those_of_table_5(config):
    """Means of squares, against fan-in and depth; the tolerance is five standard errors of each."""
    for name, p in build(config, seed=0).named_parameters():
        if p.ndim < 2:
            assert (p == 1).all(), name
            continue
        residual = name.endswith("attention.out.weight") or name.endswith("down.weight")
        variance = 1 / (p.shape[1] * (2 * config.depth if residual else 1))
        assert p.square().mean().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / p.numel())), name


@decoders
def test_every_parameter_learns(config):
    model = build(config)
    tokens = torch.randint(50, (4, 33), generator=torch.Generator().manual_seed(0))
    F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@decoders
def test_the_loss_starts_near_chance_plus_the_spread_of_its_logits(config):
    """Logits of a fresh model have variance 1 each: cross-entropy is ln V + 1/2 in expectation."""
    model = build(config)
    tokens = torch.randint(50, (16, 65), generator=torch.Generator().manual_seed(0))
    loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(50) + 0.5, abs=0.15)


@decoders
def test_attention_gets_queries_keys_and_values_in_the_autocast_dtype(config, monkeypatch):
    """The norms before it return float32 there, and FlashAttention takes none of it."""
    dtypes = set()
    attention = F.scaled_dot_product_attention

    def spy(query, key, value, **options):
        dtypes.update((query.dtype, key.dtype, value.dtype))
        assert options == {"is_causal": True}
        return attention(query, key, value, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    model = build(config)
    tokens = torch.randint(50, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16), warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of a norm it cannot fuse
        low = model(tokens)
    assert dtypes == {torch.bfloat16}
    assert (low.float() - model(tokens)).abs().mean() < 0.05


@decoders
def test_parameters_are_grouped_by_kind_with_every_hidden_matrix_open_to_muon(config):
    model = build(config)
    names = {id(p): name for name, p in model.named_parameters()}
    kinds = {names[id(p)]: group["kind"] for group in adana.param_groups(model) for p in group["params"]}
    for name, p in model.named_parameters():
        expected = {"embedding.weight": "embedding", "head.weight": "head"}.get(
            name, "other" if p.ndim < 2 else "hidden"
        )
        assert kinds[name] == expected, name
        assert p.ndim <= 2, name


def test_a_layer_as_wide_as_the_vocabulary_is_not_taken_for_the_head():
    """One head of 64 and bytes: the feed-forward part's width is 256, as many as there are bytes."""
    model = build(EnokiConfig(heads=1, vocab_size=256))
    heads = [p for group in adana.param_groups(model) if group["kind"] == "head" for p in group["params"]]
    assert [id(p) for p in heads] == [id(model.head.weight)]


@pytest.mark.parametrize("kind", [EnokiConfig, Qwen3Config])
@pytest.mark.parametrize(
    "bad",
    [
        {"heads": 0},
        {"heads": 2.0},
        {"heads": True},
        {"heads": 2, "layers": 0},
        {"heads": 1, "head_dim": 7},
        {"heads": 1, "embedding_dim": -4},
        {"heads": 1, "mlp_dim": 0},
        {"heads": 1, "vocab_size": "many"},
        {"heads": 1, "rope_base": 0.5},
    ],
    ids=str,
)
def test_impossible_sizes_are_refused_by_name_with_the_value(kind, bad):
    name, value = next(reversed(bad.items()))
    with pytest.raises(ValueError, match=f"{name} must .*{value}"):
        kind(**bad)
