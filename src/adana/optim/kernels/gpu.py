"""One launch a group on a GPU: tables of addresses on the device, written only when they change.

Where codes are kept, a program takes whole blocks of them: a block's scale is known when all of it has been
computed, in registers. Random sequences are chosen in the kernel from the step and a word that is a tensor's for
good, so nothing of them is written from the host, and a captured graph rounds as every step anew.
"""

from __future__ import annotations

import contextlib
import copy
import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary
from triton import language as tl

from adana import rules
from adana.optim import formats, randomness, storage
from adana.optim.kernels import generated
from adana.optim.kernels.generate import kernel_name
from adana.optim.kernels.tables import Bucket, graph_of
from adana.optim.kernels.trace import GRADIENT, PARAMETER, Graph, Storage
from adana.optim.kernels.triton_formats import FIRST_SCALE

__all__ = ["update"]


class Shape(NamedTuple):
    """How a launch is cut: elements a block, blocks that a program works on in turns, warps of a program."""

    block: int
    blocks: int
    warps: int


PLAIN = Shape(1024, 1, 4)
ROUNDED = Shape(1024, 4, 4)  # less memory an element, so what a program does once for all of them weighs more
CODED = Shape(formats.BLOCK, 8, 1)  # a warp a block of codes: all of it shares a scale


def shape_of(stored: Storage) -> Shape:
    return CODED if stored.coded else ROUNDED if stored.rounded else PLAIN


class _Words:
    """64-bit words on the device, set by launches: in order, without waiting, and in a captured graph as well."""

    def __init__(self, count: int, device: torch.device) -> None:
        few, many = generated.WORDS
        self._width, self._write = (few, generated.write_few) if count <= few else (many, generated.write_many)
        self.tensor = torch.empty(-(-count // self._width) * self._width, dtype=torch.int64, device=device)
        self._known: list[Any] = []

    def set(self, words: list[int]) -> None:
        if words == self._known:
            return
        width = self._width
        for start in range(0, len(words), width):
            part = words[start : start + width]
            if part != self._known[start : start + width]:
                self._write[(1,)](self.tensor[start:], *part, *[0] * (width - len(part)), num_warps=1)
        self._known = words


class _Table:
    """Which tensor every program belongs to, the tensors' lines and places, and the numbers of a step."""

    def __init__(self, bucket: Bucket) -> None:
        self.made_for = _layout(bucket)
        self.shape = shape_of(bucket.storage)
        blocks = [_blocks(shape, self.shape, bool(bucket.storage.coded)) for shape in bucket.shapes]
        programs = [-(-count // self.shape.blocks) for count in blocks]
        self.programs = sum(programs)
        self.first = [sum(programs[:i]) for i in range(len(programs))]
        owner = torch.repeat_interleave(torch.arange(len(programs), dtype=torch.int32), torch.tensor(programs))
        self.owner = owner.to(bucket.device)
        self._make_words(bucket)

    def _make_words(self, bucket: Bucket) -> None:
        tensors, averages = len(bucket.shapes), len(bucket.averages)
        self.lines = _Words(tensors * (2 + averages + 3), bucket.device)
        self.places = _Words(tensors * (FIRST_SCALE.value + averages), bucket.device) if bucket.rounded else self.lines
        self.numbers: dict[int, _Words] = {}
        self._written: Any = None

    def fits(self, bucket: Bucket) -> bool:
        return self.made_for == _layout(bucket)

    def with_own_words(self, bucket: Bucket) -> _Table:
        other = copy.copy(self)
        other._make_words(bucket)
        return other

    def write(self, bucket: Bucket, rows: list[int], seed: int) -> None:
        """Have the tensors' lines and places on the device."""
        if self._written == (bucket, rows, seed):  # the very bucket: nothing of it has moved
            return
        lines: list[int] = []
        places: list[int] = []
        coded, block = bool(bucket.storage.coded), self.shape.block
        whole = even = True
        own = [bucket.names.index(name) for name in (PARAMETER, GRADIENT, *bucket.averages)]
        beside = [
            bucket.names.index(name) if name in bucket.names else None
            for name in (randomness.COMPENSATION, *map(storage.scale_name, bucket.averages))
        ]
        for addresses, shape, place, first, row in zip(
            bucket.addresses, bucket.shapes, bucket.places, self.first, rows
        ):
            line = [*(addresses[k] for k in own), math.prod(shape)]
            lines += [*line, first, row]
            whole &= all(word % 16 == 0 for word in line)
            if place is not None:
                length = math.prod(shape[1:])
                compensation, *scales = (0 if k is None else addresses[k] for k in beside)
                places += [randomness.start(seed, place.parameter), place.first, length, compensation, *scales]
                whole &= compensation % 16 == 0 and (length % 16 == 0 or not coded)
                even &= place.first % block == 0 and (length % block == 0 or not coded)
        self.lines.set(lines)
        if bucket.rounded:
            self.places.set(places)
        self.whole, self.even = whole, even
        self._written = (bucket, rows, seed)


def _layout(bucket: Bucket) -> tuple[Any, ...]:
    return bucket.storage, bucket.averages, bucket.shapes


def _blocks(tensor: torch.Size, shape: Shape, coded: bool) -> int:
    return math.prod(formats.scales_shape(tensor)) if coded else -(-math.prod(tensor) // shape.block)


# By the step of a bucket's first parameter, which lives as long as the optimizer's state.
_tables: Any = WeakIdKeyDictionary()
_captured: list[Tensor] = []  # what graphs read and have not allocated themselves: it must outlive them


def update(
    bucket: Bucket,
    steps: list[Tensor],
    rule: rules.Rule,
    scalars: Callable[[Any], Mapping[str, Any]],
    form: str,
    *,
    capturable: bool,
    seed: int = 0,
    counts: Sequence[int] | None = None,
) -> None:
    """Update the parameters of a bucket in place.

    Args:
        bucket: what to update.
        steps: their finished updates.
        rule: how.
        scalars: the rule's numbers at a step.
        form: the rule's form.
        capturable: leave the steps on the device.
        seed: ``rounding_seed`` of the group.
        counts: the values of ``steps``, where they are known without reading them.
    """
    device = bucket.device
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        table = _table(bucket, steps[0])
        if capturable:
            on_device = torch.stack(steps).to(torch.float64)
            s = scalars(on_device)
            graph = graph_of(rule, bucket.averages, [s], form)
            numbers, rows, columns = _on_device(graph, s, on_device), list(range(len(steps))), len(steps)
        else:
            known: dict[float, int] = {}
            values = [step.item() for step in steps] if counts is None else counts
            rows = [known.setdefault(count, len(known)) for count in values]
            each = [scalars(step) for step in known]
            graph = graph_of(rule, bucket.averages, each, form)
            numbers = _held(table, zip(*([*graph.numbers(s), step] for s, step in zip(each, known))), device)
            columns = len(known)
        table.write(bucket, rows, seed)
        types = bucket.types
        getattr(generated, kernel_name(graph))[(table.programs,)](
            table.lines.tensor,
            table.places.tensor,
            table.owner,
            numbers,
            columns,
            real=getattr(tl, bucket.storage.real),
            **{f"{name}_type": getattr(tl, types[name]) for name in (PARAMETER, GRADIENT, *bucket.averages)},
            rounded=bucket.rounded,
            rounding=bucket.param_rounding,
            WHOLE=table.whole,
            EVEN=table.even,
            BLOCK=table.shape.block,
            BLOCKS=table.shape.blocks,
            num_warps=table.shape.warps,
            enable_fp_fusion=False,  # a product and a sum in one would round otherwise than the rule's two
        )


def _table(bucket: Bucket, first: Tensor) -> _Table:
    """The bucket's table of the step before, or a new one.

    A graph being captured gets one of its own, in its own memory and written whenever it is replayed:
    later steps outside of the graph would change the addresses under it.
    """
    known = _tables.get(first)
    fits = known is not None and known.fits(bucket)
    if bucket.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        if not fits:
            raise RuntimeError("take a step before capturing one: what is captured must have been set up by then")
        _captured.append(known.owner)
        return known.with_own_words(bucket)  # type: ignore[no-any-return]
    if not fits:
        known = _tables[first] = _Table(bucket)
    return known  # type: ignore[no-any-return]


def _held(table: _Table, columns: Iterable[Sequence[float]], device: torch.device) -> Tensor:
    """The numbers of a step, a column of the rows' values after another, on the device."""
    values = [float(x) for column in columns for x in column]
    words = list(struct.unpack(f"{len(values)}q", struct.pack(f"{len(values)}d", *values)))
    if len(words) not in table.numbers:
        table.numbers[len(words)] = _Words(len(words), device)
    table.numbers[len(words)].set(words)
    return table.numbers[len(words)].tensor.view(torch.float64)


def _on_device(graph: Graph, scalars: Mapping[str, Any], steps: Tensor) -> Tensor:
    """The graph's numbers for every parameter and its step, computed on the device."""
    numbers = (
        x.to(torch.float64).expand_as(steps) if isinstance(x, Tensor) else torch.full_like(steps, x)
        for x in graph.numbers(scalars)
    )
    return torch.stack([*numbers, steps])
