"""JAX and torch compute the same thing: every rule, option and form, on the same gradients."""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import adana
import adana.optax
from adana import schedules
from adana.catalog import OMEGA
from tests.optax.family import OPTIMIZERS, PARITY, PARITY_IDS, PLAIN, PLAIN_IDS
from tests.optim import cases, tensors

STEPS = 100
LR = 0.02
# The torch optimizer's names of the buffers against the fields of the state here.
FIELDS = {"exp_avg": "mu", "momentum_buffer": "mu", "exp_avg_sq": "nu", "exp_avg_short": "mu_short", "tau": "tau"}


def gamma(t: Any) -> Any:
    return schedules.gamma(t, cases.T)


# Compilation is what these tests spend their time on: one leaf of each width for every option, all shapes for a rule.
FEW = slice(-1, None)
ALL = slice(None)


@functools.cache
def gradients(kind: str, dtype: torch.dtype, few: bool) -> list[torch.Tensor]:
    """All gradients of a run, parameter by parameter, stacked along a first axis of steps."""
    params = tensors.parameters(kind, dtype)[FEW if few else ALL]
    return [torch.stack([tensors.gradient(p, i, step) for step in range(STEPS)]) for i, p in enumerate(params)]


def kind_of(name: str) -> str:
    return "muon" if name in tensors.MATRIX_RULES else "elementwise"


def in_torch(name: str, options: dict[str, Any], dtype: torch.dtype, few: bool = False) -> tuple[Any, list[Any]]:
    params = tensors.parameters(name, dtype)[FEW if few else ALL]
    optimizer = cases.build(name, params, lr=LR, foreach=False, **options)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LR * gamma(step)
        for p, grads in zip(params, gradients(kind_of(name), dtype, few), strict=True):
            p.grad = grads[step]
        optimizer.step()
    return optimizer, params


def in_jax(name: str, options: dict[str, Any], *dtypes: torch.dtype, few: bool = False) -> tuple[Any, Any]:
    """The same run, as one scan under jit, over the parameters of each dtype in one tree."""
    peak = {} if name == "dana" else {"peak_learning_rate": LR, "mask": None}  # cases decay vectors too
    optimizer = OPTIMIZERS[name](lambda t: LR * gamma(t), **peak, **options)

    def step(carry, grads):
        params, state = carry
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = [
        jnp.asarray(p.detach().numpy())
        for dtype in dtypes
        for p in tensors.parameters(name, dtype)[FEW if few else ALL]
    ]
    grads = [jnp.asarray(g.numpy()) for dtype in dtypes for g in gradients(kind_of(name), dtype, few)]
    run = jax.jit(lambda start, grads: jax.lax.scan(step, (start, optimizer.init(start)), grads)[0])
    return run(start, grads)


def largest_difference(found: Any, expected: Any) -> float:
    """Relative to the largest element: differences of large terms may cancel."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if expected.size == 0:
        return 0.0
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))


@pytest.mark.parametrize(("name", "options"), PARITY, ids=PARITY_IDS)
def test_a_hundred_steps_agree_with_torch_in_float64_and_to_rounding_in_float32(name, options):
    with jax.enable_x64(True):
        # One tree of both widths, the narrow first: float64 leaves given the float32 leaves' schedules are found out.
        found, state = in_jax(name, options, torch.float32, torch.float64, few=True)
        tolerances = {torch.float64: 1e-12, torch.float32: 2e-5}
        for dtype, at in ((torch.float32, 0), (torch.float64, len(found) // 2)):
            optimizer, expected = in_torch(name, options, dtype, few=True)
            for i, p in enumerate(expected):
                # The float32 leaves had other gradients than torch's run gives them only if the index differed.
                assert largest_difference(found[at + i], p.detach()) <= tolerances[dtype]
                for buffer, value in optimizer.state[p].items():
                    if buffer != "step":
                        stored = getattr(state, FIELDS[buffer])[at + i]
                        assert largest_difference(stored, value) <= tolerances[dtype], buffer


def test_above_its_peak_the_learning_rate_does_not_strengthen_decay_as_in_torch():
    start, g = np.array([[1.0, -2.0]]), np.array([[0.5, 0.25]])
    p = torch.nn.Parameter(torch.tensor(start))
    inner = adana.ADana([{"params": [p], "weight_decay": 4.0}], lr=3 * LR, peak_lr=LR, total_steps=100)
    p.grad = torch.tensor(g)
    inner.step()
    with jax.enable_x64(True):
        optimizer = adana.optax.adana(lambda t: 3 * LR, peak_learning_rate=LR, total_steps=100, weight_decay=4.0)
        updates, _ = optimizer.update(jnp.asarray(g), optimizer.init(jnp.asarray(start)), jnp.asarray(start))
        np.testing.assert_allclose(start + updates, p.detach(), rtol=1e-12)


@pytest.mark.parametrize(("name", "options"), PLAIN, ids=PLAIN_IDS)
def test_schedules_in_float32_are_good_enough(name, options):
    """Without x64 the step itself is float32, as it is for most users."""
    options = {"total_steps": cases.T, **options}
    torchs_name, torchs = ("adamw", options | {"nesterov": True}) if name == "nadamw" else (name, options)
    _, exact = in_torch(torchs_name, torchs, torch.float64)
    _, expected = in_torch(torchs_name, torchs, torch.float32)
    found, _ = in_jax(name, options, torch.float32)
    for p, q, r in zip(found, expected, exact, strict=True):
        if q.numel():
            scale = float(r.detach().abs().max())
            its = float((q.detach().double() - r.detach()).abs().max()) / scale
            ours = float(np.abs(np.asarray(p, dtype=np.float64) - r.detach().numpy()).max()) / scale
            assert ours <= 4 * its + 5e-6


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in tensors.MATRIX_RULES and name != "nadamw"])
def test_complex_leaves_are_pairs_of_reals_as_in_torch(name):
    options = {"total_steps": cases.T}
    with jax.enable_x64(True):
        found, _ = in_jax(name, options, torch.complex128)
        _, expected = in_torch(name, options, torch.complex128)
        for p, q in zip(found, expected, strict=True):
            assert largest_difference(p, q.detach()) <= 1e-12


def test_muon_gives_matrices_to_newton_schulz_and_the_rest_to_the_fallback_as_torch_does():
    generator = torch.Generator().manual_seed(3)
    kinds = {"embedding": (9, 4), "hidden": (4, 6), "other": (5,)}
    start = {kind: torch.randn(shape, generator=generator, dtype=torch.float64) for kind, shape in kinds.items()}
    params = {kind: torch.nn.Parameter(value.clone()) for kind, value in start.items()}
    optimizer = adana.Muon(
        [
            {"params": [p], "kind": kind, "weight_decay": 0.0 if kind == "embedding" else OMEGA}
            for kind, p in params.items()
        ],
        lr=LR,
        total_steps=cases.T,
        fallback=partial(adana.AdamW, betas=(0.8, 0.95)),
        fallback_lr=0.005,
    )
    with jax.enable_x64(True):
        ours = adana.optax.muon(
            lambda t: LR * gamma(t),
            peak_learning_rate=LR,
            total_steps=cases.T,
            fallback=partial(adana.optax.adamw, betas=(0.8, 0.95)),
            fallback_learning_rate=0.005,
            weight_dimension_numbers={
                "embedding": None,
                "hidden": optax.contrib.MuonDimensionNumbers(),
                "other": None,
            },
            mask={"embedding": False, "hidden": True, "other": True},
        )
        found = {kind: jnp.asarray(value.numpy()) for kind, value in start.items()}
        state = ours.init(found)
        update = jax.jit(ours.update)
        peaks = [group["lr"] for group in optimizer.param_groups]
        for step in range(STEPS):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * gamma(step)
            tensors.train(optimizer, list(params.values()), [step])
            grads = {kind: jnp.asarray(p.grad.numpy()) for kind, p in params.items()}
            updates, state = update(grads, state, found)
            found = optax.apply_updates(found, updates)
        for kind, p in params.items():
            assert largest_difference(found[kind], p.detach()) <= 1e-12, kind


@pytest.mark.slow
def test_muon_takes_stacked_matrices_along_any_axes():
    """Scanned layers and attention kernels: a batch of matrices is as many matrices, one by one."""
    with jax.enable_x64(True):
        stacked = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))  # heads of (5, 4) maps 3 -> 2 x ...
        spec = optax.contrib.MuonDimensionNumbers(reduction_axis=(1,), output_axis=(0, 3))
        u, _ = _muon_direction(stacked, spec)
        for i in range(stacked.shape[2]):
            one = stacked[:, :, i, :].transpose(1, 0, 2).reshape(3, 8)
            expected, _ = _muon_direction(one, optax.contrib.MuonDimensionNumbers())
            got = u[:, :, i, :].transpose(1, 0, 2).reshape(3, 8)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def _muon_direction(g: Any, spec: Any) -> Any:
    rule = adana.optax.scale_by_muon(weight_dimension_numbers=spec)
    return rule.update(g, rule.init(g))
