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
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary
from triton import language as tl

from adana import rules
from adana.optim import storage
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
CODED = Shape(storage.BLOCK, 8, 1)  # a warp a block of codes: all of it shares a scale


def shape_of(stored: Storage) -> Shape:
    return CODED if stored.coded else ROUNDED if stored.rounded else PLAIN


class _Words:
    """64-bit words on the device, set by launches: in order, without waiting, and in a captured graph as well."""

    def __init__(self, count: int, device: torch.device) -> None:
        launches = -(-count // generated.WORDS)
        self.tensor = torch.empty(launches * generated.WORDS, dtype=torch.int64, device=device)
        self.known: list[Any] = [None] * (launches * generated.WORDS)

    def set(self, words: list[int]) -> None:
        words = words + [0] * (len(self.known) - len(words))
        for start in range(0, len(words), generated.WORDS):
            part = words[start : start + generated.WORDS]
            if part != self.known[start : start + generated.WORDS]:
                generated.write[(1,)](self.tensor[start:], *part, num_warps=1)
        self.known = words


class _Table:
    """Which tensor every program belongs to, the tensors' lines and places, and the numbers of a step."""

    def __init__(self, bucket: Bucket) -> None:
        self.made_for = _layout(bucket)
        self.shape = shape_of(bucket.storage)
        blocks = [_blocks(arrays[0].shape, self.shape, bool(bucket.storage.coded)) for arrays in bucket.arrays]
        programs = [-(-count // self.shape.blocks) for count in blocks]
        self.programs = sum(programs)
        self.first = [sum(programs[:i]) for i in range(len(programs))]
        owner = torch.repeat_interleave(torch.arange(len(programs), dtype=torch.int32), torch.tensor(programs))
        self.owner = owner.to(bucket.device)
        self._make_words(bucket)

    def _make_words(self, bucket: Bucket) -> None:
        tensors, averages = len(bucket.arrays), len(bucket.averages)
        self.lines = _Words(tensors * (2 + averages + 3), bucket.device)
        self.places = _Words(tensors * (FIRST_SCALE.value + averages), bucket.device) if bucket.rounded else self.lines
        self.numbers: dict[int, _Words] = {}

    def fits(self, bucket: Bucket) -> bool:
        return self.made_for == _layout(bucket)

    def with_own_words(self, bucket: Bucket) -> _Table:
        other = copy.copy(self)
        other._make_words(bucket)
        return other


def _layout(bucket: Bucket) -> tuple[Any, ...]:
    return bucket.storage, bucket.averages, [arrays[0].shape for arrays in bucket.arrays]


def _blocks(tensor: torch.Size, shape: Shape, coded: bool) -> int:
    return math.prod(storage.scales_shape(tensor)) if coded else -(-math.prod(tensor) // shape.block)


# By the step of a bucket's first parameter, which lives as long as the optimizer's state.
_tables: Any = WeakIdKeyDictionary()
_captured: list[Tensor] = []  # what graphs read and have not allocated themselves: it must outlive them


def update(
    bucket: Bucket,
    rule: rules.Rule,
    scalars: Callable[[Any], Mapping[str, Any]],
    form: str,
    *,
    capturable: bool,
) -> None:
    """Update the parameters of a bucket in place; ``capturable`` leaves their steps on the device."""
    device = bucket.device
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        table = _table(bucket)
        if capturable:
            steps = torch.stack(bucket.steps).to(torch.float64)
            s = scalars(steps)
            graph = graph_of(rule, bucket.averages, [s], form)
            numbers, rows = _on_device(graph, s, steps), list(range(len(bucket.steps)))
        else:
            known: dict[float, int] = {}
            rows = [known.setdefault(step.item(), len(known)) for step in bucket.steps]
            each = [scalars(step) for step in known]
            graph = graph_of(rule, bucket.averages, each, form)
            columns = zip(*([*graph.numbers(s), step] for s, step in zip(each, known)))
            words = [struct.unpack("q", struct.pack("d", x))[0] for column in columns for x in column]
            numbers = _held(table, words, device)
        named = [dict(zip(bucket.names, arrays)) for arrays in bucket.arrays]
        stored = bucket.storage
        own = (PARAMETER, GRADIENT, *bucket.averages)
        lines: list[int] = []
        places: list[int] = []
        shape = table.shape
        whole = even = True
        for arrays, randomness, first, row in zip(named, bucket.randomness, table.first, rows):
            line = [*(arrays[name].data_ptr() for name in own), arrays[PARAMETER].numel()]
            lines += [*line, first, row]
            whole &= all(word % 16 == 0 for word in line)
            if randomness is not None:
                _, first_element, length, compensation, *_ = place = _place(arrays, randomness, bucket.averages)
                places += place
                whole &= compensation % 16 == 0 and (length % 16 == 0 or not stored.coded)
                even &= first_element % shape.block == 0 and (length % shape.block == 0 or not stored.coded)
        table.lines.set(lines)
        if bucket.rounded:
            table.places.set(places)
        types = dict(stored.arrays)
        getattr(generated, kernel_name(graph))[(table.programs,)](
            table.lines.tensor,
            table.places.tensor,
            table.owner,
            numbers,
            len(bucket.steps) if capturable else len(known),
            real=getattr(tl, stored.real),
            **{f"{name}_type": getattr(tl, types[name]) for name in own},
            rounded=stored.rounded,
            rounding=stored.rounding,
            WHOLE=whole,
            EVEN=even,
            BLOCK=shape.block,
            BLOCKS=shape.blocks,
            num_warps=shape.warps,
            enable_fp_fusion=False,  # a product and a sum in one would round otherwise than the rule's two
        )


def _place(arrays: Mapping[str, Tensor], randomness: storage.Randomness, averages: tuple[str, ...]) -> list[int]:
    """A tensor's line of places, in the order that :mod:`~adana.optim.kernels.triton_formats` says."""
    seed, _, at = randomness
    beside = (arrays.get(name) for name in (storage.COMPENSATION, *map(storage.scale_name, averages)))
    return [
        storage.start(seed, at.parameter),
        at.first,
        math.prod(arrays[PARAMETER].shape[1:]),
        *(0 if x is None else x.data_ptr() for x in beside),
    ]


def _table(bucket: Bucket) -> _Table:
    """The bucket's table of the step before, or a new one.

    A graph being captured gets one of its own, in its own memory and written whenever it is replayed:
    later steps outside of the graph would change the addresses under it.
    """
    known = _tables.get(bucket.steps[0])
    fits = known is not None and known.fits(bucket)
    if bucket.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        if not fits:
            raise RuntimeError("take a step before capturing one: what is captured must have been set up by then")
        _captured.append(known.owner)
        return known.with_own_words(bucket)  # type: ignore[no-any-return]
    if not fits:
        known = _tables[bucket.steps[0]] = _Table(bucket)
    return known  # type: ignore[no-any-return]


def _held(table: _Table, words: list[int], device: torch.device) -> Tensor:
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
