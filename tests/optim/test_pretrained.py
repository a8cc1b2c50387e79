"""What decay leaves of starting weights is shown, and said once where they have been trained before."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn

import adana
from adana import schedules
from tests.optim.cases import CLASSES
from tests.optim.tensors import MATRIX_RULES

T = 1000
DECAYING = [name for name in CLASSES if name != "dana" and name not in MATRIX_RULES]


def model(*, trained: bool) -> nn.Module:
    made = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.Linear(32, 4))
    if trained:
        with torch.no_grad():
            made[1].weight += torch.linspace(-0.1, 0.1, 32)
    return made


def step(optimizer: torch.optim.Optimizer, made: nn.Module) -> None:
    made(torch.ones(2, 32)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", DECAYING)
def test_decay_of_trained_weights_is_said_once_with_what_it_leaves(name):
    made = model(trained=True)
    optimizer = CLASSES[name](made.parameters(), lr=1e-5, total_steps=T, weight_decay=4.0)
    said = "trained before.*leaves 0.11 % of the starting weights by step 1000.*pretrained=True"
    with pytest.warns(UserWarning, match=said) as caught:
        step(optimizer, made)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(optimizer, made)


QUIET: dict[str, Any] = {
    "fresh": lambda: (model(trained=False), {"weight_decay": 4.0}),
    "no decay": lambda: (model(trained=True), {"weight_decay": 0.0}),
    "converted": lambda: (model(trained=True), {"weight_decay": adana.omega_from_adamw(0.1, 1e-2, T)}),
    "no horizon": lambda: (model(trained=True), {"weight_decay_offset": 100.0, "total_steps": None}),
}


@pytest.mark.parametrize("case", QUIET)
def test_nothing_is_said_where_nothing_is_lost_or_it_was_meant(case):
    made, options = QUIET[case]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(adana.ADana(made.parameters(), lr=1e-5, **{"total_steps": T, **options}), made)


def test_nothing_is_said_of_a_run_that_goes_on():
    made = model(trained=True)
    optimizer = adana.ADana(made.parameters(), lr=1e-5, total_steps=T, weight_decay=0.0)
    step(optimizer, made)
    state = copy.deepcopy(optimizer.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed = adana.ADana(made.parameters(), lr=1e-5, total_steps=T, weight_decay=0.0)
        resumed.load_state_dict(state)
        resumed.param_groups[0]["weight_decay"] = 4.0
        step(resumed, made)


@pytest.mark.parametrize(("omega", "decay"), [(4.0, "log"), (1.0, "log"), (1.0, "constant")])
@pytest.mark.parametrize("cosine", [True, False])
def test_what_is_kept_is_what_the_steps_leave(omega, decay, cosine):
    settings = schedules.Decay(omega, decay, 5000)
    kept = 1.0
    for t in range(5000):
        kept *= 1 - (schedules.gamma(t, 5000) if cosine else 1.0) * settings.at(t)
    assert settings.kept(cosine=cosine) == pytest.approx(kept, rel=0.02)


def test_parameters_that_come_late_are_said_once_with_their_decay():
    early, late, later = (nn.Parameter(torch.ones(3, 3)) for _ in range(3))
    optimizer = adana.ADana([early, late, later], lr=1e-3, total_steps=20)
    for _ in range(3):
        early.grad = torch.ones_like(early)
        optimizer.step()
    late.grad = torch.ones_like(late)
    with pytest.warns(
        UserWarning, match=r"1 parameters have their first gradient after 3 steps.*0.5 / \(2 \+ t\)"
    ) as caught:
        optimizer.step()
    assert len(caught) == 1
    later.grad = torch.ones_like(later)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()


def test_parameters_that_come_late_and_do_not_decay_are_not_spoken_of():
    early, late = (nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    optimizer = adana.ADana([{"params": [early]}, {"params": [late], "weight_decay": 0.0}], lr=1e-3, total_steps=20)
    for _ in range(3):
        early.grad = torch.ones_like(early)
        optimizer.step()
    late.grad = torch.ones_like(late)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()


def test_repr_shows_what_decay_leaves():
    shown = repr(adana.ADana(model(trained=False).parameters(), lr=1e-3, total_steps=T, weight_decay=1.0))
    assert "decay alone leaves 18 % of the starting weights by step 1000 (9.1 % at a constant learning rate)" in shown
    assert "leaves" not in repr(adana.ADana(model(trained=False).parameters(), lr=1e-3, weight_decay=0.0))
