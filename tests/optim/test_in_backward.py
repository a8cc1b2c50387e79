"""The step within the backward pass moves weights exactly as the step after it does, and keeps no gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import adana
from tests.optim.cases import CLASSES, STORED, STORED_IDS
from tests.optim.tensors import assert_same


def model(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    tied = nn.Linear(6, 9, bias=False)
    net = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 300), nn.LayerNorm(300), nn.Linear(300, 6), tied)
    net[0].weight = tied.weight
    return net.to(dtype)


def build(name: str, net: nn.Module, **options: Any) -> Any:
    groups = adana.param_groups(net, named=True)
    if name == "dana":
        groups = list(net.named_parameters())
    return CLASSES[name](groups, lr=0.02, **options)


def backward(net: nn.Module, step: int) -> None:
    tokens = torch.randint(0, 9, (4, 5), generator=torch.Generator().manual_seed(step))
    net(tokens).float().logsumexp(-1).sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "options"), STORED, ids=STORED_IDS)
def test_weights_and_state_are_those_of_the_step_after_it_bit_for_bit(name, options, dtype):
    """bfloat16 parameters are rounded stochastically: each with its own random bits, either way."""
    net = model(dtype)
    twin = copy.deepcopy(net)
    after, within = build(name, net, **options), build(name, twin, **options)
    adana.step_in_backward(within)
    schedules = [torch.optim.lr_scheduler.ExponentialLR(x, 0.9) for x in (after, within)]
    for step in range(4):
        backward(net, step)
        backward(twin, step)
        assert all(p.grad is None for p in twin.parameters())
        after.step()
        after.zero_grad()
        within.step()  # finds no gradients
        for schedule in schedules:
            schedule.step()
    assert_same(list(twin.parameters()), list(net.parameters()))
    for p, q in zip(net.parameters(), twin.parameters()):
        assert_same(within.state[q].values(), after.state[p].values())


def test_a_checkpoint_of_one_way_goes_on_the_other():
    net = model()
    optimizer = build("adana", net, total_steps=20)
    handle = adana.step_in_backward(optimizer)
    backward(net, 0)
    handle.remove()
    twin = copy.deepcopy(net)
    other = build("adana", twin, total_steps=20)
    adana.step_in_backward(other)
    other.load_state_dict(optimizer.state_dict())
    backward(net, 1)
    assert net[1].weight.grad is not None, "removed"
    optimizer.step()
    backward(twin, 1)
    assert_same(list(twin.parameters()), list(net.parameters()))


def test_what_needs_all_gradients_is_refused_where_it_can_be_seen():
    net = model()
    with pytest.raises(TypeError, match="one per parameter"):
        adana.step_in_backward(torch.optim.AdamW(net.parameters()))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="differentiable"):
        adana.step_in_backward(build("adana", net, total_steps=9, differentiable=True))
    optimizer = build("adana", net, total_steps=9)
    net.requires_grad_(False)
    adana.step_in_backward(optimizer).remove()
