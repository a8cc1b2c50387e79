"""Which elements of which parameter a tensor holds: all that this rank has of it, or some rows."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Place", "place", "real_place", "shard", "sharded", "signed"]


def signed(word: int) -> int:
    """The int32 of the same bits."""
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >> 31 else word


class Place(NamedTuple):
    """Which elements of which parameter a tensor holds.

    Attributes:
        parameter: position of the parameter in the optimizer.
        first: number of the tensor's first element among those of the whole parameter, row by row.
        strides: elements between neighbours along each dimension, where the tensor is not a run of rows.
    """

    parameter: int
    first: int = 0
    strides: tuple[int, ...] | None = None

    def elements(self, shape: torch.Size, device: torch.device) -> Tensor:
        first = signed(self.first)
        if self.strides is None:
            return torch.arange(math.prod(shape), dtype=torch.int32, device=device).view(shape) + first
        numbers = torch.full(shape, first, dtype=torch.int32, device=device)
        for dim, (size, stride) in enumerate(zip(shape, self.strides)):
            steps = torch.arange(size, dtype=torch.int32, device=device) * signed(stride)
            numbers += steps.view(-1, *[1] * (len(shape) - 1 - dim))
        return numbers


def place(p: Any, parameter: int) -> Place:
    """Where the elements that this rank holds of a parameter stand in the whole of it."""
    if not sharded(p):
        return Place(parameter)
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    shape, offsets = compute_local_shape_and_global_offset(p.shape, p.device_mesh, p.placements)
    strides = tuple(math.prod(p.shape[dim + 1 :]) for dim in range(p.ndim))
    first = sum(offset * stride for offset, stride in zip(offsets, strides))
    return Place(parameter, first, None if tuple(shape[1:]) == tuple(p.shape[1:]) else strides)


def real_place(at: Place, p: Tensor) -> Place:
    """The place of a complex tensor's real view."""
    if not p.is_complex():
        return at
    strides = None if at.strides is None else (*(2 * stride for stride in at.strides), 1)
    return Place(at.parameter, 2 * at.first, strides)


def sharded(x: Any) -> bool:
    """Whether this rank may hold but a part of a tensor."""
    return hasattr(x, "to_local")


def shard(x: Any, like: Any) -> Tensor:
    """What this rank holds of a distributed tensor, laid out as another: all that elementwise rules need."""
    if not sharded(x):
        return x  # type: ignore[no-any-return]
    if x.placements != like.placements:
        x = x.redistribute(like.device_mesh, like.placements)
    return x.to_local()  # type: ignore[no-any-return]
