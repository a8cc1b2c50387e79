"""What param_groups makes of other people's models: wrappers, convolutions, adapters, experts, tables and gates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.utils import parametrizations, weight_norm

import adana
from adana.catalog import OMEGA
from adana.optim.groups import groups_table
from adana.suggestions import omega_of
from tests.optim.tensors import set_gradients

WIDTH, VOCABULARY = 8, 11


def kinds(model: nn.Module, **options: Any) -> dict[str, str]:
    groups = adana.param_groups(model, named=True, **options)
    return {name: group["kind"] for group in groups for name in group["param_names"]}


def decays(model: nn.Module, **options: Any) -> dict[str, float]:
    groups = adana.param_groups(model, named=True, **options)
    return {name: group["weight_decay"] for group in groups for name in group["param_names"]}


def under_muon(model: nn.Module) -> set[str]:
    optimizer = adana.Muon(adana.param_groups(model, named=True), lr=1e-2, total_steps=100)
    return {name for group in optimizer.param_groups if group["rule"] == "muon" for name in group["param_names"]}


class Block(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)


class Bytes(nn.Module):
    """A byte model as wide as its vocabulary: every ``down`` looks like an output projection."""

    def __init__(self, blocks: int = 3, vocabulary: int = VOCABULARY, head: bool = True) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, vocabulary)
        self.blocks = nn.ModuleList(Block(vocabulary, 2 * vocabulary) for _ in range(blocks))
        self.norm = nn.LayerNorm(vocabulary)
        if head:
            self.head = nn.Linear(vocabulary, vocabulary, bias=False)


# --- the head -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_at_most_one_linear_is_the_head_however_wide_the_layers_are(blocks):
    found = kinds(Bytes(blocks))
    assert [name for name, kind in found.items() if kind == "head"] == ["head.weight"]
    assert sum(kind == "hidden" for kind in found.values()) == 2 * blocks


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_body_without_a_head_has_none(blocks):
    assert "head" not in kinds(Bytes(blocks, head=False)).values()


class Classifier(nn.Module):
    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, WIDTH)
        self.blocks = nn.ModuleList(Block(WIDTH, 2 * WIDTH) for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)
        self.classifier = head


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (nn.Linear(WIDTH, 3), "classifier.weight"),
        (
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Dropout(0.1), nn.Linear(WIDTH, 3)),
            "classifier.3.weight",
        ),
    ],
    ids=["linear", "two layers"],
)
def test_the_last_linear_of_a_classifier_is_its_head(head, name):
    model = Classifier(head)
    assert [key for key, kind in kinds(model).items() if kind == "head"] == [name]
    assert name not in under_muon(model)


# --- wrappers -------------------------------------------------------------------------------------------


@pytest.fixture
def process_group(tmp_path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def named_head(model: nn.Module) -> nn.Module:
    """With a method that a wrapper hides, and a head that nothing else would be taken for."""
    model.get_output_embeddings = lambda: model.blocks[0].up  # type: ignore[assignment]
    return model


@pytest.mark.parametrize("made", [Bytes, lambda: named_head(Bytes())], ids=["looked for", "named"])
@pytest.mark.parametrize("wrapper", ["ddp", "data parallel", "compiled", "compiled ddp", "fsdp"])
def test_wrappers_are_looked_through(made, wrapper, process_group):
    plain = made()
    expected = kinds(plain)
    wrapped: Any = plain
    if "ddp" in wrapper:
        wrapped = nn.parallel.DistributedDataParallel(wrapped)
    if "compiled" in wrapper:
        wrapped = torch.compile(wrapped)
    if wrapper == "data parallel":
        wrapped = nn.DataParallel(wrapped)
    if wrapper == "fsdp":
        wrapped = FullyShardedDataParallel(wrapped, use_orig_params=True, device_id=torch.device("cpu"))
    assert kinds(wrapped) == expected


def test_blocks_that_are_wrapped_one_by_one_are_looked_through(process_group):
    model = Bytes()
    expected, decay = kinds(model), decays(model)
    for index, block in enumerate(model.blocks):
        model.blocks[index] = FullyShardedDataParallel(block, use_orig_params=True, device_id=torch.device("cpu"))
    model.head = FullyShardedDataParallel(model.head, use_orig_params=True, device_id=torch.device("cpu"))
    wrapped = FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
    assert (kinds(wrapped), decays(wrapped)) == (expected, decay)


def test_weights_flattened_beyond_recognition_are_refused(process_group):
    wrapped = FullyShardedDataParallel(Bytes(), use_orig_params=False, device_id=torch.device("cpu"))
    with pytest.raises(ValueError, match=r"weights are flattened.*make the groups before wrapping"):
        adana.param_groups(wrapped)
    flat = nn.Linear(4, 4)
    flat.weight = nn.Parameter(torch.empty(0))
    with pytest.raises(ValueError, match=r"weights are flattened.*make the groups before wrapping"):
        adana.param_groups(flat)


def test_weights_of_zero_3_are_judged_by_what_they_were():
    """DeepSpeed leaves empty tensors with their shape beside."""
    model = Bytes()
    expected = decays(model)
    for p in model.parameters():
        p.ds_shape = p.shape  # type: ignore[attr-defined]
        p.data = torch.empty(0)
    assert decays(model) == expected


def test_muon_without_a_matrix_says_so(process_group):
    wrapped = FullyShardedDataParallel(Bytes(), use_orig_params=True, device_id=torch.device("cpu"))
    groups = adana.param_groups(wrapped)
    if any(p.ndim == 2 for group in groups for p in group["params"]):  # one rank leaves shapes as they are
        groups = [
            {**group, "params": [nn.Parameter(p.detach().flatten()) for p in group["params"]]} for group in groups
        ]
    with pytest.warns(UserWarning, match="none of Muon's groups holds a hidden matrix, so AdamW updates everything"):
        adana.Muon(groups, lr=1e-2, total_steps=100)


def test_a_matrix_that_was_flattened_after_muon_was_made_is_refused_in_one_line():
    w = nn.Parameter(torch.ones(4, 4))
    optimizer = adana.Muon([{"params": [w], "kind": "hidden"}], lr=1e-3, total_steps=1000)
    flat = nn.Parameter(torch.ones(16))
    flat.grad = torch.ones(16)
    optimizer.param_groups[0]["params"] = [flat]
    with pytest.raises(RuntimeError, match=r"Muon takes matrices.*shape \(16,\).*ZeRO"):
        optimizer.step()


def test_int16_state_that_a_flattened_weight_cannot_have_is_said_once():
    flat = [nn.Parameter(torch.ones(1 << 16)) for _ in range(2)]
    optimizer = adana.ADana([{"params": flat, "weight_decay": 4.0}], lr=1e-3, total_steps=1000, state_dtype="int16")
    for p in flat:
        p.grad = torch.ones_like(p)
    with pytest.warns(UserWarning, match="65,536 elements keeps its averages in float32") as caught:
        optimizer.step()
    assert len(caught) == 1


# --- convolutions, experts, recurrent layers ------------------------------------------------------------


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.stages = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ConvTranspose1d(4, 6, 5))
        self.depthwise = nn.Conv1d(4, 4, 3, groups=4)
        self.fc = nn.Linear(6, 10)


def test_convolutions_take_muon_and_the_classifier_does_not():
    model = Convolutional()
    assert under_muon(model) == {"stem.weight", "stages.0.weight", "stages.2.weight"}
    found = kinds(model)
    assert (found["depthwise.weight"], found["fc.weight"], found["stages.1.weight"]) == ("hidden", "head", "other")


class Experts(nn.Module):
    """As transformers stores them: a matrix for each expert, all in one parameter."""

    def __init__(self, experts: int = 3) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(experts, 2 * WIDTH, WIDTH))
        self.down_proj = nn.Parameter(torch.randn(experts, WIDTH, WIDTH))


def step_of(p: torch.Tensor, **group: Any) -> torch.Tensor:
    p = nn.Parameter(p.detach().clone())
    optimizer = adana.Muon(
        [{"params": [p], "kind": "hidden", **group}], lr=1e-2, total_steps=100, foreach=False, rounding_seed=0
    )
    for step in range(2):
        generator = torch.Generator().manual_seed(step)
        p.grad = torch.randn(4, 6, 3, generator=generator)[: p.shape[0]].view_as(p) if p.numel() == 72 else None
        if p.grad is None:
            p.grad = torch.randn(4, 6, 3, generator=generator)[int(group["which"])].view_as(p)
        optimizer.step()
    return p.detach()


def test_a_stack_of_matrices_is_stepped_as_each_of_them_alone():
    assert under_muon(nn.ModuleDict({"mlp": Experts()})) == {"mlp.gate_up_proj", "mlp.down_proj"}
    whole = torch.randn(4, 6, 3)
    stepped = step_of(whole, stacked=True)
    for index, matrix in enumerate(whole):
        torch.testing.assert_close(stepped[index], step_of(matrix, which=index))


def test_a_convolution_is_stepped_as_the_matrix_of_its_output_channels():
    whole = torch.randn(4, 6, 3)
    flat = nn.Parameter(whole.flatten(1).clone())
    optimizer = adana.Muon([{"params": [flat], "kind": "hidden"}], lr=1e-2, total_steps=100)
    for step in range(2):
        flat.grad = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(step)).flatten(1)
        optimizer.step()
    torch.testing.assert_close(step_of(whole, stacked=False).flatten(1), flat.detach())


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int16"])
@pytest.mark.parametrize("way", [{}, {"capturable": True}, {"differentiable": False, "foreach": True}], ids=str)
@pytest.mark.parametrize("stacked", [True, False])
def test_deeper_tensors_are_stored_and_stepped_like_matrices(stacked, way, state_dtype):
    p = nn.Parameter(torch.randn(4, 8, 3, 2)[..., 0] if stacked else torch.randn(4, 8, 3, 2))
    group = {"params": [p], "kind": "hidden", "stacked": stacked}
    optimizer = adana.Muon([group], lr=1e-2, total_steps=100, state_dtype=state_dtype, **way)
    before = p.detach().clone()
    for step in range(3):
        set_gradients([p], step)
        optimizer.step()
    assert optimizer.state[p]["momentum_buffer"].shape == p.shape
    assert torch.isfinite(p).all()
    assert not torch.equal(p, before)


def test_recurrent_and_attention_layers_are_hidden():
    found = kinds(nn.ModuleDict({"rnn": nn.LSTM(4, 5), "attention": nn.MultiheadAttention(4, 2, add_bias_kv=True)}))
    assert {name for name, kind in found.items() if kind == "hidden"} == {
        "rnn.weight_ih_l0",
        "rnn.weight_hh_l0",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    }


# --- tables, tokens, gates ------------------------------------------------------------------------------


class Vision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, 17, WIDTH))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 2))
        self.patches = nn.Conv2d(3, WIDTH, 4)
        self.blocks = nn.ModuleList(Block(WIDTH, 2 * WIDTH) for _ in range(2))
        self.layer_scale = nn.Parameter(torch.ones(WIDTH))
        self.A_log = nn.Parameter(torch.zeros(WIDTH, 4))
        self.logit_scale = nn.Parameter(torch.ones(()))
        self.raw = nn.Parameter(torch.zeros(WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, 3)


NEVER = ("cls_token", "pos_embed", "relative_position_bias_table", "layer_scale", "A_log", "logit_scale")


def test_tables_tokens_and_gates_never_decay_and_take_no_muon():
    model = Vision()
    found = decays(model)
    assert {name: found[name] for name in NEVER} == dict.fromkeys(NEVER, 0.0)
    assert under_muon(model).isdisjoint(NEVER)
    assert {"raw", "patches.weight", "blocks.0.up.weight"} <= under_muon(model)


class Sparing(Vision):
    """As timm's models say what must not decay."""

    def no_weight_decay(self) -> set[str]:
        return {"raw"}

    def no_weight_decay_keywords(self) -> set[str]:
        return {"1.up"}


def test_what_a_model_says_must_not_decay_does_not():
    model = nn.ModuleDict({"backbone": Sparing()})
    found = decays(model)
    assert [found[f"backbone.{name}"] for name in ("raw", "blocks.1.up.weight", "blocks.0.up.weight")] == [
        0.0,
        0.0,
        OMEGA,
    ]
    assert under_muon(model).isdisjoint({"backbone.raw", "backbone.blocks.1.up.weight"})


def test_a_parameter_marked_as_mamba_marks_its_own_does_not_decay():
    model = Vision()
    model.raw._no_weight_decay = True  # type: ignore[attr-defined]
    assert decays(model)["raw"] == 0.0


def test_omega_follows_the_tokens_that_are_given_and_the_models_own_parameters():
    model = Vision()
    parameters = sum(p.numel() for p in model.parameters())
    for ratio in (0.1, 20.0, 45.0, 1e4):
        decaying = {g["weight_decay"] for g in adana.param_groups(model, tokens=ratio * parameters)} - {0.0}
        assert decaying == {omega_of(ratio, 1.0)}
    assert {g["weight_decay"] for g in adana.param_groups(model)} == {0.0, OMEGA}


@pytest.mark.parametrize("other", [{"weight_decay": 1.0}, {"pretrained": True}])
def test_tokens_beside_what_decides_weight_decay_are_refused(other):
    with pytest.raises(ValueError, match="tokens=1000 would decide weight decay"):
        adana.param_groups(Vision(), tokens=1000, **other)


# --- parametrizations -----------------------------------------------------------------------------------


def test_parametrized_weights_are_what_the_weight_of_their_module_is():
    model = nn.ModuleDict(
        {
            "tokens": parametrizations.spectral_norm(nn.Embedding(VOCABULARY, WIDTH)),
            "old": weight_norm(nn.Linear(WIDTH, WIDTH)),
            "new": parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH)),
            "convolution": parametrizations.weight_norm(nn.Conv1d(WIDTH, WIDTH, 3)),
            "orthogonal": parametrizations.orthogonal(nn.Linear(WIDTH, WIDTH, bias=False)),
        }
    )
    found = kinds(model)
    assert {name for name, kind in found.items() if kind == "embedding"} == {"tokens.parametrizations.weight.original"}
    assert {name for name, kind in found.items() if kind == "hidden"} == {
        "old.weight_v",
        "new.parametrizations.weight.original1",
        "convolution.parametrizations.weight.original1",
        "orthogonal.parametrizations.weight.original",
    }
    assert kinds(parametrizations.weight_norm(nn.Linear(4, 4)))["parametrizations.weight.original0"] == "other"


# --- adapters -------------------------------------------------------------------------------------------


class Lora(nn.Module):
    """A layer as peft wraps it."""

    adapter_layer_names = ("lora_A", "lora_embedding_A", "ia3_l", "modules_to_save")

    def __init__(self) -> None:
        super().__init__()
        self.base_layer = nn.Linear(WIDTH, WIDTH)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(WIDTH, 2, bias=False)})
        self.lora_embedding_A = nn.ParameterDict({"default": nn.Parameter(torch.zeros(2, WIDTH))})
        self.ia3_l = nn.ParameterDict({"default": nn.Parameter(torch.ones(WIDTH, 1))})
        self.modules_to_save = nn.ModuleDict({"default": nn.Linear(WIDTH, VOCABULARY, bias=False)})


def test_adapters_are_of_a_kind_of_their_own_without_decay_and_without_muon():
    model = nn.Sequential(Lora(), Lora())
    found = kinds(model)
    adapters = {name for name in found if "base_layer" not in name}
    assert {name for name, kind in found.items() if kind == "adapter"} == adapters
    assert {decays(model)[name] for name in adapters} == {0.0}
    assert under_muon(model) == {"0.base_layer.weight", "1.base_layer.weight"}


# --- what the caller knows better -----------------------------------------------------------------------


def test_overrides_by_pattern_and_by_module_change_kind_and_options():
    model = Bytes()
    found = adana.param_groups(
        model,
        named=True,
        overrides={"blocks.0.*": "other", model.blocks[1]: {"lr": 0.5}, "*.1.norm.*": {"lr": 0.7, "weight_decay": 9.0}},
    )
    by_name = {name: group for group in found for name in group["param_names"]}
    assert (by_name["blocks.0.up.weight"]["kind"], by_name["blocks.0.up.weight"]["weight_decay"]) == ("other", 0.0)
    assert (by_name["blocks.1.up.weight"]["kind"], by_name["blocks.1.up.weight"]["lr"]) == ("hidden", 0.5)
    assert (by_name["blocks.1.norm.bias"]["lr"], by_name["blocks.1.norm.bias"]["weight_decay"]) == (0.7, 9.0)
    assert "lr" not in by_name["blocks.2.up.weight"]
    assert sorted(by_name) == sorted(name for name, _ in model.named_parameters())


def test_an_override_that_fits_nothing_or_has_no_such_kind_is_refused():
    with pytest.raises(ValueError, match=r"fits 'blocks\.9\.\*' in overrides"):
        adana.param_groups(Bytes(), overrides={"blocks.9.*": "other"})
    with pytest.raises(ValueError, match="fits the module Linear"):
        adana.param_groups(Bytes(), overrides={nn.Linear(2, 2): "other"})
    with pytest.raises(ValueError, match=r"kind must be one of .*'adapter'.* got 'norm'"):
        adana.param_groups(Bytes(), overrides={"head.*": "norm"})


def test_a_pretrained_model_keeps_its_weights():
    assert set(decays(Bytes(), pretrained=True).values()) == {0.0}


def test_names_are_kept_where_they_are_asked_for_and_without_wrappers():
    model = Bytes()
    optimizer = adana.ADana(adana.param_groups(torch.compile(model), named=True), lr=1e-3, total_steps=100)
    names = [name for group in optimizer.param_groups for name in group["param_names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert "param_names" not in adana.param_groups(model)[0]


def test_verbose_prints_every_group(capsys):
    adana.param_groups(Convolutional(), verbose=True)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["kind", "decay", "tensors", "elements", "names"]
    assert [line.split()[0] for line in printed[1:]] == ["hidden", "hidden", "head", "other"]
    assert "hidden (convolutions)" in printed[1] or "hidden (convolutions)" in printed[2]
    assert "stem.weight, stages.0.weight" in "\n".join(printed)


def test_the_table_counts_every_element():
    model = Bytes()
    table = groups_table(adana.param_groups(model, named=True)).splitlines()[1:]
    counted = sum(int(line.split()[3].replace(",", "")) for line in table)
    assert counted == sum(p.numel() for p in model.parameters())
