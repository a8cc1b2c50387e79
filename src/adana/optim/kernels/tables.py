"""What launches on the CPU and on a GPU share: tensors sorted into kernels, each laid out as its parameter."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adana import rules
from adana.optim.kernels.trace import GRADIENT, PARAMETER, Graph, Storage, trace
from adana.optim.storage import COMPENSATION, NARROW, Randomness

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
    """Parameters whose arrays have the same names and dtypes: what one kernel serves.

    ``arrays[k]`` are the tensors of the k-th parameter in the order of ``names``; where one of them does not
    lie in memory as the parameter does, a copy stands in for it, and :meth:`put_back` copies the result home.
    Where anything is rounded, all lie row by row: random bits go by an element's number, scales by its row.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        dtypes: tuple[torch.dtype, ...],
        device: torch.device,
        rounded: bool = False,
        param_rounding: str = "nearest",
    ) -> None:
        self.names, self.dtypes, self.device, self.rounded = names, dtypes, device, rounded
        self.param_rounding = param_rounding if rounded and dtypes[0] in NARROW else "nearest"
        self.arrays: list[list[Tensor]] = []
        self.steps: list[Tensor] = []
        self.randomness: list[Randomness | None] = []
        self._away: list[tuple[Tensor, Tensor]] = []

    @property
    def averages(self) -> tuple[str, ...]:
        """The rule's own state; scales and compensations belong to how things are stored."""
        return tuple(name for name in self.names[2:] if name != COMPENSATION and not _is_scale(name))

    @property
    def real(self) -> torch.dtype:
        """What the arithmetic runs in: at least float32, wide enough for the parameter and its state."""
        _, _, *state = self.dtypes
        return functools.reduce(torch.promote_types, (self.dtypes[0], *state), torch.float32)

    @property
    def storage(self) -> Storage:
        arrays = tuple(zip(self.names, map(_dtype_name, self.dtypes)))
        return Storage(_dtype_name(self.real), arrays, self.param_rounding, self.rounded)

    def add(self, p: Tensor, g: Tensor, state: list[Tensor], step: Tensor, randomness: Randomness | None) -> None:
        home = p.contiguous() if self.rounded or not _dense(p) else p
        arrays = [home, _laid_out_as(home, g)]
        arrays += [
            x.contiguous() if _is_scale(name) else _laid_out_as(home, x) for name, x in zip(self.names[2:], state)
        ]
        self._away += [(x, copy) for x, copy in zip((p, *state), (home, *arrays[2:])) if copy is not x]
        self.arrays.append(arrays)
        self.steps.append(step)
        self.randomness.append(randomness)

    def put_back(self) -> None:
        torch.autograd.graph.increment_version([x for p, _, *state in self.arrays for x in (p, *state)])
        for x, copy in self._away:
            x.copy_(copy)


def buckets(
    params: list[Tensor],
    grads: list[Tensor],
    steps: list[Tensor],
    buffers: Mapping[str, list[Any]],
    randomness: Sequence[Randomness | None] | None = None,
    param_rounding: str = "nearest",
) -> list[Bucket]:
    """All parameters that have elements, sorted by device, state and dtypes.

    Args:
        params: as all lists, one for each parameter.
        grads: their gradients.
        steps: their finished updates.
        buffers: their state by name; None where a parameter has no such tensor.
        randomness: where their rounding takes random bits from, None for those that are plainly stored.
        param_rounding: how float16 and bfloat16 parameters are rounded that have a ``randomness``.
    """
    found: dict[Any, Bucket] = {}
    for i, (p, g) in enumerate(zip(params, grads)):
        if p.numel():
            state = {name: buffer[i] for name, buffer in buffers.items() if buffer[i] is not None}
            source = randomness[i] if randomness else None
            names = (PARAMETER, GRADIENT, *state)
            dtypes = tuple(x.dtype for x in (p, g, *state.values()))
            key = (names, dtypes, p.device, source is not None, param_rounding)
            if key not in found:
                found[key] = Bucket(*key)
            found[key].add(p, g, list(state.values()), steps[i], source)
    return list(found.values())


def _is_scale(name: str) -> bool:
    return name.endswith("_scale")


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
