"""Inside jit on the CPU the rules run in another form: the same numbers to rounding, and no arrays between."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.optax import on_cpu
from tests.optax.family import ELEMENTWISE, PLAIN, build

CASES = [case for case in PLAIN if case[0] in ELEMENTWISE]
IDS = ["-".join([name, *map(str, options.values())]) for name, options in CASES]
SHAPE = (64, 96)
pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="the form is for the CPU")


def values(seed: int, *, signed: bool, scale: float) -> Any:
    """Numbers of many magnitudes, with zeros among them."""
    random = np.random.default_rng(seed)
    x = random.lognormal(sigma=3.0, size=SHAPE) * scale * random.integers(0, 2, SHAPE)
    return jnp.asarray(x * (random.choice((-1.0, 1.0), SHAPE) if signed else 1.0), jnp.float32)


def state_of(optimizer: Any, params: Any, seed: int, count: int) -> Any:
    """A state such as a run may have after some updates."""
    made = optimizer.init(params)
    kept = {"mu": (True, 1e-2), "mu_short": (True, 1e-2), "nu": (False, 1e-4)}
    for k, (name, (signed, scale)) in enumerate(kept.items()):
        if getattr(made, name) is not None:
            made = made._replace(**{name: values(seed + 10 + k, signed=signed, scale=scale)})
    if made.tau is not None:
        made = made._replace(tau=jnp.clip(values(seed + 20, signed=False, scale=0.1), 0.0, 1.0))
    return made._replace(count=jnp.asarray(count, jnp.int32))


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_a_jitted_update_is_that_of_the_rule_to_rounding(name, options):
    params, optimizer = values(0, signed=True, scale=0.02), build(name, **options)
    update = jax.jit(optimizer.update)

    @settings(max_examples=6, deadline=None)
    @given(seed=st.integers(0, 10_000), count=st.integers(0, 3_000))
    def agrees(seed, count):
        g, state = values(seed, signed=True, scale=1e-2), state_of(optimizer, params, seed, count)
        expected, before = optimizer.update(g, state, params)  # outside jit: the rule itself
        found, after = update(g, state, params)
        # Terms of opposite signs may cancel: what they come to with equal signs is the scale of their rounding.
        upwards = state._replace(mu=jnp.abs(state.mu))
        if state.mu_short is not None:
            upwards = upwards._replace(mu_short=jnp.abs(state.mu_short))
        scales = optimizer.update(jnp.abs(g), upwards, jnp.abs(params))
        trees = [(found, after), (expected, before), scales]
        for x, y, scale in zip(*map(jax.tree.leaves, trees), strict=True):
            assert bool(jnp.all(jnp.abs(x - y) <= 4e-6 * jnp.abs(scale) + 1e-30))

    agrees()


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_what_is_not_finite_is_so_in_either_form(name, options):
    g = jnp.asarray([[1e30, -1e30, 1e38, jnp.inf, -jnp.inf, jnp.nan, 0.0, 1e-40]], jnp.float32)
    params = jnp.ones_like(g)
    optimizer = build(name, **options)
    state = optimizer.init(params)
    expected, before = optimizer.update(g, state, params)
    found, after = jax.jit(optimizer.update)(g, state, params)
    for x, y in zip(jax.tree.leaves((found, after)), jax.tree.leaves((expected, before)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_a_step_stores_no_arrays_but_parameters_and_state(name, options):
    params = jnp.ones((256, 1024))
    optimizer = build(name, **options)

    def step(params: Any, state: Any, g: Any) -> Any:
        updates, state = optimizer.update(g, state, params)
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, optimizer.init(params), params).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < params.nbytes / 100


@pytest.mark.parametrize(
    ("kappa", "error"), [(0.85, 2.2e-7), *((kappa, 1.8e-6) for kappa in (0, 0.15, 0.5, 1.5, 2.5, 3))]
)
def test_powers_are_as_near_to_the_exact_ones_as_the_page_says(kappa, error):
    base = np.geomspace(1.0, 1e6, 1 << 18).astype(np.float32)
    exponent = np.float32(1 - kappa)
    found = np.asarray(jax.jit(on_cpu._power)(base, exponent), np.float64)
    assert np.abs(found / base.astype(np.float64) ** float(exponent) - 1).max() <= error


def test_float64_is_the_rule_itself_and_so_is_every_other_device(monkeypatch):
    def powers(dtype: Any) -> int:
        params = jnp.ones(8, dtype)
        optimizer = build("dana-star")
        text = jax.jit(optimizer.update).lower(params, optimizer.init(params), params).as_text()
        return text.count("stablehlo.power")

    assert powers(jnp.float32) == 0
    with jax.enable_x64(True):
        assert powers(jnp.float64) == 1
    monkeypatch.setattr(on_cpu.jax, "default_backend", lambda: "gpu")
    assert powers(jnp.float32) == 1
