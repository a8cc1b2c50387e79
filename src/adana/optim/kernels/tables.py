"""What launches on the CPU and on a GPU share: tensors sorted into kernels, each laid out as its parameter."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adana import rules
from adana.optim.formats import name_of
from adana.optim.kernels.trace import GRADIENT, PARAMETER, Graph, Storage, trace
from adana.optim.places import Place
from adana.optim.randomness import COMPENSATION
from adana.optim.storage import NARROW

__all__ = ["Bucket", "Layout", "graph_of"]

# A number that is 1 for good where a rule has no such part; the rest are 1 only now and then.
PARTS = ("correction_sq",)

_DTYPE, _SHAPE, _LAYOUT = map(operator.attrgetter, ("dtype", "shape", "layout"))


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

    Attributes:
        names: of the arrays: the parameter, its gradient, what is kept of it.
        dtypes: theirs.
        device: theirs.
        rounded: whether storing takes more than a plain copy. Then all lie row by row: random bits go by an
            element's number, scales by its row.
        param_rounding: of float16 and bfloat16 parameters that are rounded.
        members: which of the layout's parameters these are.
        places: what of them is held here, None where nothing is rounded.
        shapes: theirs.
        addresses: of every parameter's arrays, in the order of ``names``.
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
        self.members: list[int] = []
        self.places: list[Place | None] = []
        self.shapes: list[torch.Size] = []
        self.addresses: list[list[int]] = []

    @functools.cached_property
    def averages(self) -> tuple[str, ...]:
        """The rule's own state; scales and compensations belong to how things are stored."""
        return tuple(name for name in self.names[2:] if name != COMPENSATION and not _is_scale(name))

    @functools.cached_property
    def real(self) -> torch.dtype:
        """What the arithmetic runs in: at least float32, wide enough for the parameter and its state."""
        _, _, *state = self.dtypes
        return functools.reduce(torch.promote_types, (self.dtypes[0], *state), torch.float32)

    @functools.cached_property
    def largest_gradient(self) -> float:
        """Beyond which a gradient's square could not be stored."""
        return rules.largest_gradient(self.types[name] for name in self.averages)

    @functools.cached_property
    def types(self) -> dict[str, str]:
        """The names of the dtypes, by array."""
        return dict(zip(self.names, map(name_of, self.dtypes)))

    @functools.cached_property
    def storage(self) -> Storage:
        return Storage(name_of(self.real), tuple(self.types.items()), self.param_rounding, self.rounded)


class Layout:
    """A group's parameters that have elements, sorted by device, state and dtypes into buckets.

    Where an array does not lie in memory as its parameter does, a copy stands in for it, and :meth:`put_back` copies
    the result home. A layout without such copies is lasting: it serves every later step that finds all tensors where
    they lay, and holds none of them, so that gradients can be freed and state be moved.

    Args:
        params: as all lists, one for each parameter.
        grads: their gradients.
        buffers: their state by name; None where a parameter has no such tensor.
        places: what is held of parameters that are rounded; None for those that are plainly stored.
        param_rounding: how float16 and bfloat16 parameters are rounded that have a place.
    """

    def __init__(
        self,
        params: list[Tensor],
        grads: list[Tensor],
        buffers: Mapping[str, list[Any]],
        places: Sequence[Place | None],
        param_rounding: str = "nearest",
    ) -> None:
        found: dict[Any, Bucket] = {}
        self._away: list[tuple[Tensor, Tensor]] = []
        self._copies: list[Tensor] = []
        for i, (p, g, place) in enumerate(zip(params, grads, places)):
            if p.numel():
                state = {name: buffer[i] for name, buffer in buffers.items() if buffer[i] is not None}
                key = (
                    (PARAMETER, GRADIENT, *state),
                    tuple(x.dtype for x in (p, g, *state.values())),
                    p.device,
                    place is not None,
                    param_rounding,
                )
                if key not in found:
                    found[key] = Bucket(*key)
                self._add(found[key], i, [p, g, *state.values()], place)
        self.buckets = list(found.values())
        self.lasting = not self._copies
        self._known = self._marks(params, grads, buffers, places, param_rounding)

    def _add(self, bucket: Bucket, member: int, tensors: list[Tensor], place: Place | None) -> None:
        p, g, *state = tensors
        home = p.contiguous() if bucket.rounded or not _dense(p) else p
        arrays = [home, _laid_out_as(home, g)]
        arrays += [
            x.contiguous() if _is_scale(name) else _laid_out_as(home, x) for name, x in zip(bucket.names[2:], state)
        ]
        copies = [(x, copy) for x, copy in zip(tensors, arrays) if copy is not x]
        self._copies += [copy for _, copy in copies]
        self._away += [(x, copy) for x, copy in copies if x is not g]
        bucket.members.append(member)
        bucket.places.append(place)
        bucket.shapes.append(p.shape)
        bucket.addresses.append([x.data_ptr() for x in arrays])

    @staticmethod
    def _marks(
        params: list[Tensor],
        grads: list[Tensor],
        buffers: Mapping[str, list[Any]],
        places: Sequence[Place | None],
        param_rounding: str,
    ) -> Any:
        """All that a layout is made from."""
        each = (*params, *grads, *itertools.chain(*buffers.values()))
        given = [x for x in each if x is not None]
        return (
            # In loops of C: this is a good part of what a step takes on the host.
            list(map(Tensor.data_ptr, given)),
            list(map(Tensor.stride, given)),
            list(map(_DTYPE, given)),
            list(map(type, each)),
            list(map(_SHAPE, params)),
            list(buffers),
            list(places),
            param_rounding,
        )

    def serves(
        self,
        params: list[Tensor],
        grads: list[Tensor],
        buffers: Mapping[str, list[Any]],
        places: Sequence[Place | None],
        param_rounding: str,
    ) -> bool:
        """Whether a layout made of these would be this one."""
        if set(map(_LAYOUT, grads)) != {torch.strided}:
            return False
        return self.lasting and bool(self._known == self._marks(params, grads, buffers, places, param_rounding))

    def put_back(self) -> None:
        for x, copy in self._away:
            x.copy_(copy)


def _is_scale(name: str) -> bool:
    return name.endswith("_scale")


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
