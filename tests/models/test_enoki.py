from __future__ import annotations

import pytest
import torch

from adana.models.enoki import Enoki, EnokiConfig

# Table 7 (heads, D in M, P in M); the two of Table 1 that are not in it.
LADDER = [
    (6, 45.71, 7.08),
    (8, 70.39, 18.87),
    (12, 140.97, 63.70),
    (14, 186.48, 96.34),
    (16, 254.02, 150.99),
    (20, 423.69, 294.91),
    (24, 664.14, 509.61),
]


@pytest.mark.parametrize(("heads", "total", "non_embedding"), LADDER)
def test_sizes_are_the_papers(heads, total, non_embedding):
    config = EnokiConfig(heads=heads)
    assert config.total_parameters / 1e6 == pytest.approx(total, abs=0.006)
    assert config.non_embedding_parameters / 1e6 == pytest.approx(non_embedding, abs=0.006)


def test_the_real_model_has_the_formulas_parameters_and_its_norms():
    config = EnokiConfig(heads=3, vocab_size=100)
    model = Enoki(config)
    norms = sum(p.numel() for p in model.parameters() if p.ndim < 2)
    assert sum(p.numel() for p in model.parameters()) == config.total_parameters + norms
    assert norms == config.depth * (2 * config.width + 2 * config.head_dim) + config.width


def test_initial_spreads_are_those_of_table_5():
    config = EnokiConfig(heads=4, layers=3, vocab_size=512)
    width = config.width
    expected = {
        "embedding.weight": width**-0.5,
        "head.weight": width**-0.5,
        "blocks.1.attention.query.weight": width**-0.5,
        "blocks.1.attention.out.weight": (2 * width * 3) ** -0.5,
        "blocks.2.up.weight": width**-0.5,
        "blocks.2.down.weight": (2 * 4 * width * 3) ** -0.5,
    }
    parameters = dict(Enoki(config, seed=0).named_parameters())
    for name, std in expected.items():
        assert parameters[name].std().item() == pytest.approx(std, rel=0.02), name


def test_no_token_sees_what_comes_after_it():
    model = Enoki(EnokiConfig(heads=2, layers=2, vocab_size=50), seed=0)
    tokens = torch.randint(50, (1, 12), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 7] = (changed[0, 7] + 1) % 50
    a, b = model(tokens), model(changed)
    torch.testing.assert_close(a[:, :7], b[:, :7], rtol=0, atol=0)
    assert not torch.equal(a[:, 7:], b[:, 7:])


def test_attention_knows_the_order_of_tokens():
    """Without rotary positions, the last token's logits would ignore a swap of two earlier ones."""
    model = Enoki(EnokiConfig(heads=2, layers=1, vocab_size=50), seed=0)
    a, b = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[2, 1, 3, 4]])
    assert (model(a)[:, -1] - model(b)[:, -1]).abs().max() > 1e-4


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = Enoki(EnokiConfig(heads=1, vocab_size=9), seed=5)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    second = Enoki(EnokiConfig(heads=1, vocab_size=9), seed=5)
    for a, b in zip(first.parameters(), second.parameters()):
        assert torch.equal(a, b)
    other = Enoki(EnokiConfig(heads=1, vocab_size=9), seed=6)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


@pytest.mark.parametrize("bad", [{"heads": 0}, {"heads": 2, "layers": 0}, {"heads": 1, "head_dim": 7}])
def test_impossible_sizes_are_refused_with_the_value(bad):
    with pytest.raises(ValueError, match=str(next(reversed(bad.values())))):
        EnokiConfig(**bad)
