"""``ADana(model.parameters(), lr=...)``: what no group speaks of decays in matrices alone."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

import adana
from tests.optim.cases import CLASSES
from tests.optim.tensors import MATRIX_RULES, assert_same, clones, set_gradients

T = 100
DECAYING = [name for name in CLASSES if name != "dana" and name not in MATRIX_RULES]
WAYS = {
    "loop": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "capturable": {"capturable": True, "foreach": False, "fused": False},
}
SHAPES = {
    "matrix": (4, 3),
    "stack": (2, 4, 3),
    "vector": (5,),
    "scalar": (),
    "token": (1, 1, 4),
    "positions": (1, 7, 4),
}
SPARED = ("vector", "scalar", "token", "positions")


def ones(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(shape))


def left(params: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """What a step without a gradient leaves of parameters that are 1."""
    for p in params.values():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p in params.values():
        assert torch.equal(p, p.flatten()[0].expand_as(p))
    return {name: float(p.detach().flatten()[0]) for name, p in params.items()}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", DECAYING)
def test_vectors_and_tables_do_not_decay_unless_their_group_says_so(name, way):
    params = {what: ones(*shape) for what, shape in SHAPES.items()}
    options: dict[str, Any] = {"lr": 1e-3, "total_steps": T, **WAYS[way]}
    found = left(params, CLASSES[name](params.values(), weight_decay=4.0, **options))
    assert [found[what] for what in SPARED] == [1.0] * len(SPARED)
    assert found["matrix"] == found["stack"] == pytest.approx(0.6)

    params = {what: ones(*shape) for what, shape in SHAPES.items()}
    groups = [{"params": list(params.values()), "weight_decay": 4.0}]
    assert list(left(params, CLASSES[name](groups, **options)).values()) == pytest.approx([0.6] * len(SHAPES))


@pytest.mark.parametrize("way", WAYS)
def test_what_is_spared_moves_as_without_decay_and_the_rest_as_with_it(way):
    """Both parts of a group take the step that two groups would take; rounding included."""
    for dtype in (torch.float32, torch.bfloat16):
        params = [nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in SHAPES.values()]
        twins = clones(params)
        spared = [what in SPARED for what in SHAPES]
        if dtype is torch.bfloat16:  # the random bits of a parameter hang on its place in the optimizer
            order = sorted(range(len(params)), key=lambda i: spared[i])
            params, twins, spared = ([x[i] for i in order] for x in (params, twins, spared))
        swap = adana.ADana(params, lr=0.01, total_steps=T, weight_decay=4.0, **WAYS[way])
        groups = [
            {"params": [p for p, out in zip(twins, spared) if out is which], "weight_decay": 0.0 if which else 4.0}
            for which in (False, True)
        ]
        by_hand = adana.ADana(groups, lr=0.01, total_steps=T, **WAYS[way])
        for step in range(3):
            for targets, optimizer in ((params, swap), (twins, by_hand)):
                set_gradients(targets, step)
                optimizer.step()
        assert_same([p.detach() for p in params], [p.detach() for p in twins])


def test_a_models_own_word_spares_a_matrix():
    p = ones(4, 3)
    p._no_weight_decay = True  # type: ignore[attr-defined]
    assert left({"A_log": p}, adana.ADana([p], lr=1e-3, total_steps=T)) == {"A_log": 1.0}


@pytest.mark.parametrize(
    "name", ["embedding.weight", "model.embed_tokens.weight", "transformer.wpe.weight", "pos_embed"]
)
def test_a_named_embedding_is_spared(name):
    table, matrix = ones(9, 4), ones(4, 4)
    optimizer = adana.ADana([(name, table), ("embed.proj.weight", matrix)], lr=1e-3, total_steps=T, weight_decay=4.0)
    assert left({"table": table, "matrix": matrix}, optimizer) == {"table": 1.0, "matrix": pytest.approx(0.6)}


def test_a_checkpoint_says_what_decays_and_one_of_before_decays_everything():
    def stepped(change: Any) -> float:
        p, q = ones(3), ones(3)
        optimizer = adana.ADana([p], lr=1e-3, total_steps=T)
        left({"p": p}, optimizer)
        saved = optimizer.state_dict()
        change(saved["param_groups"][0])
        other = adana.ADana([{"params": [q], "weight_decay": 4.0}], lr=1e-3, total_steps=T)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other.load_state_dict(saved)
        return left({"q": q}, other)["q"]

    assert stepped(lambda group: None) == 1.0
    assert stepped(lambda group: group.pop("decay_vectors")) < 1.0


class Tied(nn.Module):
    """A decoder with its head tied to its embedding, a scale and tables of its own kind."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(9, 6)
        self.places = nn.Parameter(torch.randn(4, 6))
        self.A_log = nn.Parameter(torch.randn(4, 6))
        self.mix = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 9, bias=False)
        self.head.weight = self.tokens.weight

    def no_weight_decay(self) -> set[str]:
        return {"places"}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.mix(self.tokens(x) + self.places + self.A_log.exp())))


def plain() -> nn.Module:
    return nn.Sequential(nn.Embedding(9, 6), nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 9))


def compiled() -> nn.Module:
    return torch.compile(Tied(), backend="eager")  # type: ignore[return-value]


@pytest.mark.parametrize("make", [plain, Tied, compiled])
def test_the_literal_swap_takes_the_steps_of_param_groups_to_the_bit(make):
    torch.manual_seed(0)
    one, other = make(), make()
    other.load_state_dict(one.state_dict())
    literal = adana.ADana(one.parameters(), lr=0.01, total_steps=T)
    grouped = adana.ADana(adana.param_groups(other), lr=0.01, total_steps=T)
    x = torch.randint(9, (3, 4))
    for _ in range(5):
        for model, optimizer in ((one, literal), (other, grouped)):
            model(x).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert_same([p.detach() for p in one.parameters()], [p.detach() for p in other.parameters()])


@pytest.mark.parametrize("given", [list, lambda params: (p for p in params)])
def test_where_the_model_cannot_be_seen_an_embedding_decays_as_the_matrix_that_it_is(given):
    table = nn.Embedding(9, 4)
    nn.init.ones_(table.weight)
    optimizer = adana.ADana(given(table.parameters()), lr=1e-3, total_steps=T, weight_decay=4.0)
    assert left({"table": table.weight}, optimizer) == {"table": pytest.approx(0.6)}


def test_a_vector_that_may_be_flattened_weights_says_once_that_it_does_not_decay():
    flat = [ones(1 << 16), ones(1 << 17), ones(9)]
    for p in flat:
        p.grad = torch.ones_like(p)
    optimizer = adana.ADana(flat, lr=1e-3, total_steps=T)
    with pytest.warns(UserWarning, match="a vector of 65,536 elements does not decay.*param_groups") as caught:
        optimizer.step()
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        adana.ADana([{"params": flat, "weight_decay": 1.0}], lr=1e-3, total_steps=T).step()
        adana.ADana(flat, lr=1e-3, weight_decay=0.0).step()


def test_repr_says_that_only_matrices_decay():
    assert "of matrices only" in repr(adana.ADana([ones(3)], lr=1e-3, total_steps=T))
    said = repr(adana.ADana([{"params": [ones(3)], "weight_decay": 4.0}], lr=1e-3, total_steps=T))
    assert "lambda(t) = 4 / (10 + t)" in said
    assert "matrices" not in said


def _two_groups(**first):
    one, other = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    return [
        {"params": one.parameters(), "weight_decay": 0.0, **first},
        {"params": other.parameters(), "weight_decay": 0.0},
    ]


@pytest.mark.parametrize(
    ("groups", "decay", "said"),
    [
        (_two_groups(), {}, True),
        (_two_groups(), {"weight_decay": 4.0}, True),
        (_two_groups(), {"weight_decay": 0.0}, False),
        (_two_groups(lr=1e-4), {}, False),
        (_two_groups()[:1], {}, False),
        (adana.param_groups(torch.nn.Linear(4, 4), pretrained=True), {}, False),
    ],
)
def test_groups_that_overrule_the_decay_of_the_optimizer_are_said(groups, decay, said, recwarn):
    adana.ADana(groups, lr=1e-3, total_steps=100, **decay)
    assert any("is not used: every parameter group says 0" in str(one.message) for one in recwarn) is said
