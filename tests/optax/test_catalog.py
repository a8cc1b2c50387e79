"""The Optax functions are what the catalogue says, and a rule added to it from a test is one of them."""

from __future__ import annotations

import inspect
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import adana.optax
from adana.catalog import OPTIMIZERS
from adana.optax.engine import optimizer
from adana.optax.muon import TWO_AXES
from tests.test_catalog import Signum, beyond, own_rule, signature, stated

__all__ = ["own_rule"]  # a fixture


@pytest.mark.parametrize("name", [name for name, entry in OPTIMIZERS.items() if entry.optax])
def test_an_optax_function_has_the_options_and_defaults_of_the_catalogue(name):
    entry = OPTIMIZERS[name]
    function = getattr(adana.optax, entry.optax)
    # An option that the function's own name decides, as nadamw's does, it need not have.
    decided = {key for key in entry.fixed if key not in signature(function)}
    expected = {key: value for key, value in stated(entry).items() if key not in decided}
    assert {key: value for key, value in signature(function).items() if key in entry.options} == expected
    assert decided <= {"nesterov"}
    common = {"mu_dtype": None} | ({"peak_learning_rate": None, "mask": "matrices"} if entry.decay else {})
    fallback = {"weight_dimension_numbers": TWO_AXES, "fallback": entry.fallback, "fallback_learning_rate": None}
    assert beyond(entry, function) == common | (fallback if entry.fallback else {})
    bare = getattr(adana.optax, f"scale_by_{entry.optax}")
    known = stated(entry) | common | fallback
    assert {key: known[key] for key in signature(bare)} == signature(bare)


def test_every_optax_function_is_in_the_catalogue():
    public = {name: getattr(adana.optax, name) for name in adana.optax.__all__}
    functions = {name for name, one in public.items() if "learning_rate" in inspect.signature(one).parameters}
    assert functions == {entry.optax for entry in OPTIMIZERS.values() if entry.optax}


def optax_signum(learning_rate: Any, **arguments: Any) -> Any:
    defaults = OPTIMIZERS["signum"].defaults() | {"mu_dtype": None}
    return optimizer("signum", defaults | {"learning_rate": learning_rate} | arguments)


def test_a_rule_added_from_a_test_is_an_optax_transformation_of_the_same_numbers(own_rule):
    start = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    p = torch.nn.Parameter(torch.tensor(start))
    mine = Signum([p], lr=0.01, total_steps=100, weight_decay=1.0, foreach=False, fused=False)
    theirs = optax_signum(0.01, total_steps=100, weight_decay=1.0)
    params = jnp.asarray(start)
    state = theirs.init(params)
    for step in range(3):
        g = np.cos(start + step)
        p.grad = torch.tensor(g)
        mine.step()
        updates, state = theirs.update(jnp.asarray(g), state, params)
        params = params + updates
    np.testing.assert_allclose(np.asarray(params), p.detach().numpy(), rtol=1e-6, atol=1e-8)
