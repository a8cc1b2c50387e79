"""The models under transformers' names: nothing is lost, and its own classes give the same logits."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from adana.models import EnokiConfig, Qwen3Config, architecture, architecture_of, build

SIZES = {"layers": 2, "head_dim": 8, "vocab_size": 64}
CONFIGS = {
    "enoki": EnokiConfig(3, **SIZES),
    "enoki, another MLP and base": EnokiConfig(2, mlp_dim=24, rope_base=500.0, **SIZES),
    "qwen3": Qwen3Config(3, **SIZES),
    "qwen3, width not the heads'": Qwen3Config(2, embedding_dim=40, mlp_dim=24, **SIZES),
}


def _model(config):
    model = build(config)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():  # gains that are all 1 would hide a norm in the wrong place
            p.add_(torch.randn(p.shape, generator=draw) * 0.3)
    return model


def _exported(model, drop=()):
    weights = {name: p.detach() for name, p in model.named_parameters() if name not in drop}
    return architecture_of(model.config).exported(model.config, weights, 32)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_transformers_gives_the_same_logits(config):
    transformers = pytest.importorskip("transformers", minversion="5")
    model = _model(config)
    found = _exported(model)
    theirs = getattr(transformers, found.config["architectures"][0])
    other = theirs(transformers.AutoConfig.for_model(**found.config)).eval()
    other.load_state_dict(found.weights)
    tokens = torch.randint(0, 64, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(tokens)
        assert float((other(tokens).logits - logits).abs().max()) < 1e-5 * float(logits.abs().max())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_weight_is_written_once_and_is_no_view_of_another(config):
    model = _model(config)
    found = _exported(model)
    own = {name: p for name, p in found.weights.items() if not name.endswith(".bias")}
    assert not any(bool(p.any()) for name, p in found.weights.items() if name.endswith(".bias"))
    assert sum(p.numel() for p in own.values()) == sum(p.numel() for p in model.parameters())
    written = torch.cat([(p if p.ndim > 1 else p.float()).flatten() for p in own.values()])
    kept = torch.cat([p.detach().flatten() for p in model.parameters()])
    zero_centred = config.__class__ is Qwen3Config
    gains = sum(p.numel() for p in model.parameters() if p.ndim < 2) if zero_centred else 0
    moved = written.sort().values.double().sum() + gains
    assert torch.allclose(moved, kept.double().sum())


@pytest.mark.parametrize("name", ["enoki", "qwen3"])
def test_a_weight_that_has_no_place_or_is_missing_stops_the_export(name):
    model = _model(CONFIGS[name])
    with pytest.raises(KeyError, match=r"blocks\.0\.attention\.key"):
        _exported(model, drop=["blocks.0.attention.key.weight"])
    model.register_parameter("extra", torch.nn.Parameter(torch.ones(3)))
    with pytest.raises(ValueError, match="would lose the weights extra"):
        _exported(model)


@pytest.mark.parametrize("change", [{"experts": 2}, {"embedding_dim": 40}])
def test_an_enoki_that_transformers_does_not_have_is_refused(change):
    model = build(replace(CONFIGS["enoki"], **change))
    with pytest.raises(ValueError, match="cannot be exported: transformers has no such model"):
        _exported(model)


def test_every_size_of_a_configuration_is_in_the_export_or_refused():
    common = {"heads", "layers", "head_dim", "vocab_size", "rope_base", "embedding_dim", "mlp_dim"}
    assert {one.name for one in fields(EnokiConfig)} == common | {"experts", "active"}
    assert {one.name for one in fields(Qwen3Config)} == common
    assert architecture("enoki").exported is not None
