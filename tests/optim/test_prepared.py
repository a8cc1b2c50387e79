"""A fused step taken again as the one before gives the same bits as one that looks at everything anew."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

import adana
from adana.optim.base import FamilyOptimizer
from adana.optim.prepared import Prepared

pytest.importorskip("llvmlite")
SHAPES = [(6, 4), (4,), (3, 5), (2, 3, 2), (7,)]


def built(name: str = "ADana", **options: Any) -> tuple[Any, list[torch.nn.Parameter]]:
    generator = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    return getattr(adana, name)(params, lr=0.01, total_steps=50, fused=True, **options), params


def new_gradients(params: list[torch.nn.Parameter], step: int) -> None:
    for k, p in enumerate(params):
        p.grad = torch.empty_like(p) if p.grad is None else p.grad  # in the same memory
        p.grad.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + k)))


def elsewhere(optimizer: Any) -> None:
    """All state in other memory, as those do who take it off the device for a while."""
    for held in optimizer.state.values():
        for name, x in held.items():
            held[name] = x.clone()


def reloaded(optimizer: Any) -> None:
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def one_replaced(optimizer: Any) -> None:
    held = optimizer.state[optimizer.param_groups[0]["params"][0]]
    held["exp_avg"] = held["exp_avg"] * 2


def parameters_moved(optimizer: Any) -> None:
    for p in optimizer.param_groups[0]["params"]:
        p.data = p.data.clone() + 0.5


def transposed(optimizer: Any) -> None:
    p = optimizer.param_groups[0]["params"][0]
    p.data = p.data.t().contiguous().t()


def frozen(optimizer: Any) -> None:
    optimizer.param_groups[0]["params"][2].grad = None


def clock_set(optimizer: Any) -> None:
    for held in optimizer.state.values():
        held["step"].fill_(30)


def clock_replaced(optimizer: Any) -> None:
    for held in optimizer.state.values():
        held["step"] = torch.tensor(30)


def state_forgotten(optimizer: Any) -> None:
    del optimizer.state[optimizer.param_groups[0]["params"][1]]


def group_added(optimizer: Any) -> None:
    p = torch.nn.Parameter(torch.ones(3, 3))
    p.grad = torch.ones(3, 3)
    optimizer.add_param_group({"params": [p]})


def option(**options: Any) -> Callable[[Any], None]:
    def change(optimizer: Any) -> None:
        optimizer.param_groups[0].update(options)

    change.__name__ = "-".join(options)
    return change


EVENTS = [
    elsewhere, reloaded, one_replaced, parameters_moved, transposed, frozen, clock_set, clock_replaced, state_forgotten,
    group_added, option(lr=0.003), option(weight_decay=0.0), option(decay_vectors=True), option(kappa=1.2),
    option(total_steps=200), option(maximize=True), option(fused=False), option(form="released"), option(eps=1e-3),
    lambda optimizer: optimizer.convert_state("bfloat16"), lambda optimizer: optimizer.set_horizon(70),
]  # fmt: skip


def trained(event: Callable[[Any], None], name: str, **options: Any) -> list[torch.Tensor]:
    optimizer, params = built(name, **options)
    for step in range(9):
        new_gradients(params, step)
        if step in (4, 6):
            event(optimizer)
        optimizer.step()
    kept = [x for p in params for x in (p.detach(), *optimizer.state[p].values())]
    return [x.clone() for x in kept]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize(("name", "options"), [("ADana", {}), ("DanaStarMK4", {"state_dtype": "int16"})])
@pytest.mark.filterwarnings("ignore")
def test_whatever_happens_between_steps_the_bits_are_those_of_steps_that_look_anew(event, name, options, monkeypatch):
    found = trained(event, name, **options)
    monkeypatch.setattr(FamilyOptimizer, "_take_again", lambda self, number, group: False)
    expected = trained(event, name, **options)
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_a_step_like_the_one_before_is_taken_again(monkeypatch):
    taken: list[Any] = []
    take = Prepared.take
    optimizer, params = built()
    monkeypatch.setattr(Prepared, "take", lambda self, *a: (taken.append(take(self, *a)), taken[-1])[1])
    for p in params:
        p.grad = torch.ones_like(p)
    for _ in range(4):
        optimizer.step()
    assert len(taken) == 3
    assert all(steps is not None for steps in taken)
    assert {int(held["step"]) for held in optimizer.state.values()} == {4}


def test_nothing_is_held_of_gradients_and_of_state_that_was_moved():
    optimizer, params = built()
    new_gradients(params, 0)
    optimizer.step()
    optimizer.step()
    held = [weakref.ref(params[0].grad), weakref.ref(optimizer.state[params[0]]["exp_avg"])]
    elsewhere(optimizer)
    for p in params:
        p.grad = None
    gc.collect()
    assert [ref() for ref in held] == [None, None]


def test_a_copy_of_an_optimizer_steps_its_own_parameters():
    optimizer, params = built()
    new_gradients(params, 0)
    optimizer.step()
    twins, other = copy.deepcopy((params, optimizer))
    for p, twin in zip(params, twins):
        twin.grad = p.grad.clone()
    before = [p.detach().clone() for p in params]
    other.step()
    assert all(torch.equal(p, q) for p, q in zip(params, before))
    optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(params, twins))
