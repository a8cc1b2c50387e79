"""Small parameters of every shape, and gradients worth testing with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from adana.catalog import OPTIMIZERS

MATRIX_RULES = {entry.rule for entry in OPTIMIZERS.values() if entry.rule and not entry.elementwise}
SHAPES = ((), (0,), (7,), (3, 5), (4, 6))
MATRICES = ((3, 5), (6, 4), (4, 6))

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
every_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])


def parameters(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[torch.nn.Parameter]:
    """0-d, empty, 1-d, 2-d and non-contiguous parameters; matrices alone for the rules that take no others."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    shapes = MATRICES if name in MATRIX_RULES else SHAPES
    values = [torch.randn(shape, generator=generator, dtype=wide) for shape in shapes]
    values[-1] = values[-1].t()
    return [torch.nn.Parameter(value.to(dtype)) for value in values]


def clones(params: Iterable[torch.Tensor]) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(p.detach().clone()) for p in params]


def gradient(p: torch.Tensor, index: int, step: int) -> torch.Tensor:
    """Noise around a mean over four decades of scale, a fifth of it exactly zero: the same for equal arguments."""
    generator = torch.Generator().manual_seed(1_000_003 * index + step)
    shape = (*p.shape, 2) if p.is_complex() else p.shape
    scale = 10 ** (4 * torch.rand(shape, generator=torch.Generator().manual_seed(index), dtype=torch.float64) - 3)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64) + 0.3
    present = torch.rand(shape, generator=generator, dtype=torch.float64) > 0.2
    value = scale * noise * present
    return (torch.view_as_complex(value) if p.is_complex() else value).to(p.device, p.dtype)


def set_gradients(params: Iterable[torch.Tensor], step: int) -> None:
    for index, p in enumerate(params):
        p.grad = gradient(p, index, step)


def train(
    optimizer: Any,
    params: list[torch.nn.Parameter],
    steps: Iterable[int],
    gradients: Callable[[Iterable[torch.Tensor], int], None] = set_gradients,
) -> None:
    for step in steps:
        gradients(params, step)
        optimizer.step()


def state_of(optimizer: Any, params: Iterable[torch.Tensor]) -> list[dict[str, Any]]:
    """A copy of the state, parameter by parameter."""
    return [copy.deepcopy(dict(optimizer.state[p])) if p in optimizer.state else {} for p in params]


def assert_same(found: Iterable[torch.Tensor], expected: Iterable[torch.Tensor]) -> None:
    """Bit for bit, dtype and shape included."""
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def assert_agree(found: Iterable[torch.Tensor], expected: Iterable[torch.Tensor], tolerance: float) -> None:
    """To rounding: relative to each tensor's largest element, so that differences of large terms may cancel."""
    for a, b in zip(found, expected, strict=True):
        largest = float(b.detach().abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * largest)
