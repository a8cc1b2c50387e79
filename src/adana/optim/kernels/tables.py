"""What launches on the CPU and on a GPU share: tensors sorted into kernels, each laid out as its parameter."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adana import rules
from adana.optim.kernels.trace import GRADIENT, PARAMETER, Graph, Storage, trace

__all__ = ["Bucket", "buckets", "graph_of"]

# A number that is 1 for good where a rule has no such part; the rest are 1 only now and then.
PARTS = ("correction_sq",)


def graph_of(rule: rules.Rule, buffers: tuple[str, ...], scalars: Sequence[Mapping[str, Any]], form: str) -> Graph:
    """The traced rule for the numbers of all steps that its parameters are at."""
    ones = frozenset(name for name in PARTS if all(isinstance(s.get(name), float) and s[name] == 1.0 for s in scalars))
    names = tuple(sorted(name for name in scalars[0] if name not in ("lr", "decay")))  # one graph whatever their order
    return _traced(rule.direction, buffers, names, ones, form)


@functools.cache
def _traced(*arguments: Any) -> Graph:
    return trace(*arguments)


class Bucket:
    """Parameters whose arrays have the same dtypes: what one kernel serves.

    ``arrays[k]`` are the tensors of the k-th parameter in the order of ``names``; where one of them does not
    lie in memory as the parameter does, a copy stands in for it, and :meth:`put_back` copies the result home.
    """

    def __init__(self, names: tuple[str, ...], dtypes: tuple[torch.dtype, ...], device: torch.device) -> None:
        self.names, self.dtypes, self.device = names, dtypes, device
        self.arrays: list[list[Tensor]] = []
        self.steps: list[Tensor] = []
        self._away: list[tuple[Tensor, Tensor]] = []

    @property
    def real(self) -> torch.dtype:
        """What the arithmetic runs in: at least float32, wide enough for the parameter and its state."""
        _, _, *state = self.dtypes
        return functools.reduce(torch.promote_types, (self.dtypes[0], *state), torch.float32)

    @property
    def storage(self) -> Storage:
        return Storage(_dtype_name(self.real), tuple(zip(self.names, map(_dtype_name, self.dtypes))))

    def add(self, p: Tensor, g: Tensor, state: list[Tensor], step: Tensor) -> None:
        home = p if _dense(p) else p.contiguous()
        arrays = [home, *(_laid_out_as(home, x) for x in (g, *state))]
        self._away += [(x, copy) for x, copy in zip((p, *state), (home, *arrays[2:])) if copy is not x]
        self.arrays.append(arrays)
        self.steps.append(step)

    def put_back(self) -> None:
        torch.autograd.graph.increment_version([x for p, _, *state in self.arrays for x in (p, *state)])
        for x, copy in self._away:
            x.copy_(copy)


def buckets(
    params: list[Tensor], grads: list[Tensor], steps: list[Tensor], buffers: Mapping[str, list[Tensor]]
) -> list[Bucket]:
    """All parameters that have elements, sorted by device and dtypes."""
    found: dict[Any, Bucket] = {}
    names = (PARAMETER, GRADIENT, *buffers)
    for i, (p, g) in enumerate(zip(params, grads)):
        if p.numel():
            state = [buffer[i] for buffer in buffers.values()]
            dtypes = tuple(x.dtype for x in (p, g, *state))
            if (p.device, dtypes) not in found:
                found[p.device, dtypes] = Bucket(names, dtypes, p.device)
            found[p.device, dtypes].add(p, g, state, steps[i])
    return list(found.values())


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dense(x: Tensor) -> bool:
    """Whether its elements fill one run of memory, each once, in whatever order."""
    if x.is_contiguous():
        return True
    expected = 1
    for stride, size in sorted(zip(x.stride(), x.shape)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _laid_out_as(p: Tensor, x: Tensor) -> Tensor:
    """``x``, or a copy of it whose elements lie in the order of ``p``'s."""
    if x.stride() == p.stride() or (x.is_contiguous() and p.is_contiguous()):
        return x
    return torch.empty_strided(p.shape, p.stride(), dtype=x.dtype, device=x.device).copy_(x)
