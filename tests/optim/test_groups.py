"""Every parameter in one group, by what its module is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import adana
from tests.optim.tensors import set_gradients

VOCABULARY, WIDTH, CONTEXT = 11, 4, 16


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2)
        self.up = nn.Linear(WIDTH, CONTEXT)
        self.down = nn.Linear(CONTEXT, WIDTH, bias=False)
        self.mix = nn.Conv1d(WIDTH, WIDTH, 3)
        self.batch_norm = nn.BatchNorm1d(WIDTH)


class Transformer(nn.Module):
    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(CONTEXT // 4, WIDTH)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.scale = nn.Parameter(torch.ones(()))
        self.raw = nn.Parameter(torch.ones(WIDTH, WIDTH))
        self.norm = nn.RMSNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)
        if tied:
            self.head.weight = self.tokens.weight


def kinds(model: nn.Module, **options: Any) -> dict[str, str]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group["kind"] for group in adana.param_groups(model, **options) for p in group["params"]}


def assert_whole(model: nn.Module) -> None:
    grouped = [id(p) for group in adana.param_groups(model) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("tied", [False, True])
def test_every_parameter_is_in_exactly_one_group(tied):
    assert_whole(Transformer(tied))


def test_kinds_follow_the_modules():
    found = kinds(Transformer())
    block = {
        "norm.weight": "other",
        "norm.bias": "other",
        "attention.in_proj_weight": "hidden",
        "attention.in_proj_bias": "other",
        "attention.out_proj.weight": "hidden",
        "attention.out_proj.bias": "other",
        "up.weight": "hidden",
        "up.bias": "other",
        "down.weight": "hidden",
        "mix.weight": "hidden",
        "mix.bias": "other",
        "batch_norm.weight": "other",
        "batch_norm.bias": "other",
    }
    assert found == {
        "tokens.weight": "embedding",
        "positions.weight": "embedding",
        **{f"blocks.{i}.{name}": kind for i in (0, 1) for name, kind in block.items()},
        "scale": "other",
        "raw": "hidden",
        "norm.weight": "other",
        "head.weight": "head",
        "head.bias": "other",
    }


def test_decay_is_on_hidden_and_head_only():
    for group in adana.param_groups(Transformer(), weight_decay=2.5):
        assert group["weight_decay"] == (2.5 if group["kind"] in ("hidden", "head") else 0.0)


def test_a_tied_head_is_an_embedding_without_decay():
    model = Transformer(tied=True)
    groups = {id(p): group for group in adana.param_groups(model) for p in group["params"]}
    assert groups[id(model.head.weight)]["kind"] == "embedding"
    assert groups[id(model.head.weight)]["weight_decay"] == 0.0


class WithOutput(nn.Module):
    """Answers as Hugging Face models do, with a head that nothing but the model's word points to."""

    def __init__(self, output: str | None) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(VOCABULARY, WIDTH)
        self.looks_like_one = nn.Linear(WIDTH, VOCABULARY)
        self.output = nn.Linear(WIDTH, 7)
        self._name = output

    def get_output_embeddings(self) -> Any:
        return getattr(self, self._name) if self._name else None


def test_a_model_that_names_its_head_is_believed():
    found = kinds(WithOutput("output"))
    assert (found["output.weight"], found["looks_like_one.weight"]) == ("head", "hidden")


def test_a_model_that_names_no_head_is_looked_at():
    found = kinds(WithOutput(None))
    assert (found["output.weight"], found["looks_like_one.weight"]) == ("hidden", "head")


class WithClassifiers(nn.Module):
    """Answers as timm's models do, which may have several heads, or none."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, WIDTH, 3)
        self.convolution.gain = nn.Parameter(torch.ones(WIDTH, 1, 1, 1))
        self.heads = nn.ModuleList(nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 7)) for _ in range(heads))
        self.last = nn.Linear(WIDTH, 7)

    def get_classifier(self) -> Any:
        return tuple(self.heads) if len(self.heads) else nn.Identity()


@pytest.mark.parametrize("heads", [0, 1, 2])
def test_a_model_that_names_its_classifiers_is_believed(heads):
    found = kinds(WithClassifiers(heads))
    assert [name for name, kind in found.items() if kind == "head"] == [f"heads.{k}.1.weight" for k in range(heads)]
    assert (found["last.weight"], found["convolution.weight"], found["convolution.gain"]) == (
        "hidden",
        "hidden",
        "other",
    )


@pytest.mark.parametrize("positions", [WIDTH, 4 * WIDTH], ids=["as wide as the model", "as wide as its hidden layer"])
def test_layers_as_wide_as_the_context_is_long_are_not_heads(positions):
    """GPT-2 medium has 1,024 positions and layers of 1,024."""
    model = nn.ModuleDict(
        {
            "tokens": nn.Embedding(50, WIDTH),
            "positions": nn.Embedding(positions, WIDTH),
            "up": nn.Linear(WIDTH, 4 * WIDTH),
            "down": nn.Linear(4 * WIDTH, WIDTH),
            "head": nn.Linear(WIDTH, 50),
        }
    )
    assert {name: kind for name, kind in kinds(model).items() if "weight" in name} == {
        "tokens.weight": "embedding",
        "positions.weight": "embedding",
        "up.weight": "hidden",
        "down.weight": "hidden",
        "head.weight": "head",
    }


class Conv1D(nn.Module):
    """As Hugging Face writes a linear layer for GPT-2: a matrix in a module that torch does not know."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(nx, nf))
        self.bias = nn.Parameter(torch.zeros(nf))


def test_the_conv1d_of_hugging_face_is_hidden():
    model = nn.ModuleDict({"tokens": nn.Embedding(VOCABULARY, WIDTH), "layer": Conv1D(VOCABULARY, WIDTH)})
    assert kinds(model) == {"tokens.weight": "embedding", "layer.weight": "hidden", "layer.bias": "other"}


def test_frozen_parameters_are_left_out():
    model = Transformer()
    model.tokens.requires_grad_(False)
    model.blocks[0].requires_grad_(False)
    found = kinds(model)
    assert "tokens.weight" not in found
    assert not [name for name in found if name.startswith("blocks.0")]
    assert "blocks.1.up.weight" in found
    assert_whole(model)


def test_a_module_used_twice_counts_once():
    shared = nn.Linear(WIDTH, WIDTH)
    assert_whole(nn.Sequential(nn.Embedding(VOCABULARY, WIDTH), shared, shared))


def test_no_group_is_empty_and_a_model_without_embeddings_ends_in_its_head():
    groups = adana.param_groups(nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 5, bias=False)))
    assert [(group["kind"], len(group["params"])) for group in groups] == [("hidden", 1), ("head", 1)]
    groups = adana.param_groups(nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)))
    assert [(group["kind"], len(group["params"])) for group in groups] == [("hidden", 2)]


@pytest.mark.parametrize("tied", [False, True])
def test_muon_takes_the_groups_as_they_are(tied):
    model = Transformer(tied)
    optimizer = adana.Muon(adana.param_groups(model), lr=1e-3, total_steps=1000)
    for group in optimizer.param_groups:
        matrices = all(p.ndim == 2 for p in group["params"]) or "stacked" in group
        assert group["rule"] == ("muon" if group["kind"] == "hidden" and matrices else "adamw")
    before = [p.detach().clone() for p in model.parameters()]
    set_gradients(model.parameters(), 0)
    optimizer.step()
    assert not any(torch.equal(p, old) for p, old in zip(model.parameters(), before) if p.ndim)
    assert "momentum_buffer" in optimizer.state[model.raw]
    assert "exp_avg" in optimizer.state[model.tokens.weight]
    assert "momentum_buffer" in optimizer.state[model.blocks[0].mix.weight], "output channels by all else"


def test_the_elementwise_optimizers_take_the_groups_as_they_are():
    model = Transformer()
    optimizer = adana.ADana(adana.param_groups(model), lr=1e-3, total_steps=1000)
    set_gradients(model.parameters(), 0)
    optimizer.step()
    assert [group["kind"] for group in optimizer.param_groups] == ["hidden", "hidden", "embedding", "head", "other"]
