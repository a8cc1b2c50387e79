"""Groups with a learning rate by the module's role."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import adana
from adana.models import EnokiConfig, Qwen3Config, build
from adana.optim.group_checks import peak_lr
from adana.train.optimizers import build_optimizer
from tests.optim.tensors import clones, set_gradients


def roles(model: nn.Module, **options: Any) -> dict[str, str]:
    groups = adana.component_groups(model, named=True, **options)
    return {name: group["component"] for group in groups for name in group["param_names"]}


class CausalSelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.q_norm = nn.LayerNorm(4)


class ResidualAttentionBlock(nn.Module):
    """As CLIP and Whisper call their blocks: attention and a feed-forward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(4, 2)
        self.ln = nn.LayerNorm(4)
        self.mlp = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(9, 4)
        self.blocks = nn.ModuleList([ResidualAttentionBlock(), ResidualAttentionBlock()])
        self.extra = CausalSelfAttention()
        self.head = nn.Linear(4, 9)


def test_roles_are_found_by_the_classes_of_modules():
    found = roles(Model())
    expected = {
        "tokens.weight": "embedding",
        "blocks.1.attn.in_proj_weight": "attention",
        "blocks.1.attn.out_proj.bias": "attention",
        "blocks.1.ln.weight": "other",
        "blocks.1.mlp.0.weight": "feed_forward",
        "blocks.1.mlp.2.bias": "feed_forward",
        "extra.qkv.weight": "attention",
        "extra.q_norm.weight": "attention",
        "head.weight": "other",
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("config", [EnokiConfig, Qwen3Config])
def test_every_hidden_matrix_of_our_models_is_attention_or_feed_forward(config):
    model = build(config(heads=1, layers=2, vocab_size=64))
    kinds = {name: group["kind"] for group in adana.param_groups(model, named=True) for name in group["param_names"]}
    found = roles(model)
    assert {found[name] for name, kind in kinds.items() if kind == "hidden"} == {"attention", "feed_forward"}
    assert {found[name] for name, kind in kinds.items() if kind == "embedding"} == {"embedding"}
    attended = {name for name, role in found.items() if role == "attention"}
    assert attended == {name for name in found if ".attention." in name or ".attn." in name}


def test_the_groups_hold_what_param_groups_gives_once_each():
    model = Model()
    plain, split = (
        adana.param_groups(model, 3.0, named=True),
        adana.component_groups(model, weight_decay=3.0, named=True),
    )

    def by_name(groups: Any) -> dict[str, Any]:
        return {name: (g["kind"], g["weight_decay"]) for g in groups for name in g["param_names"]}

    assert by_name(plain) == by_name(split)
    assert sum(len(g["params"]) for g in split) == len(list(model.parameters()))


@pytest.mark.parametrize("kind", [adana.ADana, adana.AMCS, adana.Muon, adana.LogMuon])
def test_every_optimizer_takes_them_with_its_own_lr_and_peak(kind):
    groups = adana.component_groups(Model(), attention=1.5, embedding=0.5)
    optimizer = kind(groups, lr=0.02, peak_lr=0.04, total_steps=100)
    for group in optimizer.param_groups:
        scale = {"attention": 1.5, "embedding": 0.5}.get(group["component"], 1.0)
        assert group["lr"] == pytest.approx(0.02 * scale)
        assert peak_lr(group) == pytest.approx(0.04 * scale), "so that decay is that of the schedule, not of the role"


def test_the_fallbacks_own_lr_is_scaled_too():
    optimizer = adana.Muon(adana.component_groups(Model()), lr=0.02, fallback_lr=0.001, total_steps=100)
    lrs = {(group["component"], group["rule"]): group["lr"] for group in optimizer.param_groups}
    assert lrs["embedding", "adamw"] == pytest.approx(0.0008)
    assert lrs["attention", "adamw"] == pytest.approx(0.0012)
    assert lrs["attention", "muon"] == pytest.approx(0.024)


def test_torchs_optimizers_take_them_with_an_lr():
    optimizer = torch.optim.AdamW(adana.component_groups(Model(), lr=0.1))
    assert {group["component"]: round(group["lr"], 9) for group in optimizer.param_groups} == {
        "attention": 0.12, "feed_forward": 0.1, "embedding": 0.08, "other": 0.1,
    }  # fmt: skip


def test_an_lr_of_an_override_is_kept():
    groups = adana.component_groups(Model(), overrides={"tokens.*": {"lr": 0.5}})
    (embedding,) = [group for group in groups if group["component"] == "embedding"]
    assert embedding["lr"] == 0.5
    assert "lr_factor" not in embedding


def test_scaled_groups_are_two_optimizers_with_a_rate_each():
    params = [nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(3))]
    twins = clones(params)
    groups = [{"params": params[:1], "lr_factor": 1.2}, {"params": params[1:], "lr_factor": 0.8}]
    optimizer = adana.ADana(groups, lr=0.01, total_steps=60)
    apart = [
        adana.ADana(twins[:1], lr=0.01 * 1.2, total_steps=60),
        adana.ADana(twins[1:], lr=0.01 * 0.8, total_steps=60),
    ]
    for step in range(4):
        set_gradients(params, step)
        set_gradients(twins, step)
        optimizer.step()
        for one in apart:
            one.step()
    assert all(torch.equal(p, q) for p, q in zip(params, twins))


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_that_cannot_be_is_refused(bad):
    with pytest.raises(ValueError, match=r"feed_forward must be a finite number above 0"):
        adana.component_groups(Model(), feed_forward=bad)


def test_a_run_of_amcs_has_its_factors_and_any_other_those_it_is_given():
    model = Model()
    amcs = build_optimizer("amcs", model, lr=0.01, total_steps=9, options={})
    lrs = {group["component"]: group["lr"] for group in amcs.param_groups}
    assert (lrs["attention"], lrs["embedding"]) == (pytest.approx(0.012), pytest.approx(0.008))
    plain = build_optimizer("adana", model, lr=0.01, total_steps=9, options={})
    assert {group["lr"] for group in plain.param_groups} == {0.01}
    ours = build_optimizer("adana", model, lr=0.01, total_steps=9, options={"components": [2.0, 1.0, 1.0]})
    assert {group["lr"] for group in ours.param_groups} == {0.01, 0.02}
