"""A finite gradient never makes a weight that is not finite; one that is not finite is never hidden."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.optim.cases import CASES, CLASSES, IDS, T, build
from tests.optim.tensors import MATRIX_RULES, assert_agree, clones

WAYS: dict[str, dict[str, Any]] = {
    "loop": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "capturable": {"capturable": True, "foreach": False, "fused": False},
    "capturable foreach": {"capturable": True, "foreach": True},
}
STATES = [None, "int16", "bfloat16"]
# About the root of the largest float32, near the largest, and the same of float64.
HUGE = {torch.float32: (1.9e19, 1e20, 3.4e38), torch.float64: (1.4e154, 1.7e308), torch.bfloat16: (1e20, 3.38e38)}
PER_RULE = {name: {"total_steps": T} for name in CLASSES}


def run(optimizer: Any, params: list[Any], huge: float, signs: tuple[int, int] = (1, 1)) -> None:
    generator = torch.Generator().manual_seed(3)
    for step in range(6):
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
            if step in (2, 3):
                p.grad[0, :2] = huge * signs[step - 2]
                p.grad[-1, -1] = -huge
        optimizer.step()


def weights(dtype: torch.dtype) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(torch.randn(4, 300, generator=generator, dtype=torch.float64).to(dtype))]


@pytest.mark.parametrize("signs", [(1, 1), (1, -1)], ids=["steady", "turning"])
@pytest.mark.parametrize("dtype", HUGE, ids=str)
@pytest.mark.parametrize("state_dtype", STATES)
@pytest.mark.parametrize("name", CLASSES)
def test_finite_gradients_make_finite_weights_on_every_way(name, state_dtype, dtype, signs):
    options = {**PER_RULE[name], "state_dtype": state_dtype, "param_rounding": "nearest"}
    for huge in HUGE[dtype]:
        loop = None
        for way, how in WAYS.items():
            if name in MATRIX_RULES and way == "fused":
                continue
            params = weights(dtype)
            run(build(name, params, **options, **how), params, huge, signs)
            assert torch.isfinite(params[0]).all(), (way, huge)
            if loop is None:
                loop = clones(params)
            elif dtype != torch.bfloat16 and state_dtype is None:
                # A second moment of 2^126 stays with its element: nothing else may differ between the ways.
                assert_agree(params, loop, 1e-4)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_every_option_keeps_weights_finite_near_the_largest_float32(name, options):
    for way in ("loop", "foreach"):
        params = weights(torch.float32)
        run(build(name, params, **options, **WAYS[way]), params, 3.4e38, (1, -1))
        assert torch.isfinite(params[0]).all(), way


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("state_dtype", STATES)
@pytest.mark.parametrize("name", CLASSES)
def test_a_gradient_that_is_not_finite_shows_on_every_way(name, state_dtype, bad):
    for way, how in WAYS.items():
        if name in MATRIX_RULES and way == "fused":
            continue
        params = weights(torch.float32)
        optimizer = build(name, params, **PER_RULE[name], state_dtype=state_dtype, **how)
        params[0].grad = torch.ones_like(params[0])
        params[0].grad[1, 7] = bad
        optimizer.step()
        assert not torch.isfinite(params[0][1, 7]), way


@pytest.mark.parametrize("name", CLASSES)
def test_the_gradients_themselves_are_left_as_they_are(name):
    for how in WAYS.values():
        params = weights(torch.float32)
        params[0].grad = torch.full_like(params[0], 3e38)
        try:
            optimizer = build(name, params, maximize=True, **PER_RULE[name], **how)
            optimizer.step()
        except RuntimeError:
            assert name in MATRIX_RULES
        assert (params[0].grad == torch.tensor(3e38)).all()
