"""One launch a group on a GPU: tables of addresses on the device, written only when they change."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary
from triton import language as tl

from adana import rules
from adana.optim.kernels import generated
from adana.optim.kernels.generate import kernel_name
from adana.optim.kernels.tables import Bucket, graph_of
from adana.optim.kernels.trace import Graph

__all__ = ["update"]

BLOCK = 1024
WARPS = 4


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
    """Which tensor every block belongs to, the tensors' lines, and the numbers of a step."""

    def __init__(self, sizes: list[int], arrays: int, device: torch.device) -> None:
        self.sizes = sizes
        blocks = [-(-size // BLOCK) for size in sizes]
        self.blocks = sum(blocks)
        self.first = [sum(blocks[:i]) for i in range(len(blocks))]
        owner = torch.repeat_interleave(torch.arange(len(sizes), dtype=torch.int32), torch.tensor(blocks))
        self.owner = owner.to(device)
        self.lines = _Words(len(sizes) * (arrays + 3), device)
        self.numbers: dict[int, _Words] = {}


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
        table = _table(bucket, device)
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
            columns = zip(*(graph.numbers(s) for s in each))
            words = [struct.unpack("q", struct.pack("d", x))[0] for column in columns for x in column]
            numbers = _held(table, words, device)
        lines = []
        for arrays, size, first, row in zip(bucket.arrays, table.sizes, table.first, rows):
            lines += [*(x.data_ptr() for x in arrays), size, first, row]
        table.lines.set(lines)
        width = len(bucket.names) + 3
        whole = all(word % 16 == 0 for k, word in enumerate(lines) if k % width < width - 2)
        storage = bucket.storage
        getattr(generated, kernel_name(graph))[(table.blocks,)](
            table.lines.tensor,
            table.owner,
            numbers,
            len(bucket.steps) if capturable else len(known),
            real=getattr(tl, storage.real),
            **{f"{name}_type": getattr(tl, stored) for name, stored in storage.arrays},
            WHOLE=whole,
            BLOCK=BLOCK,
            num_warps=WARPS,
        )


def _table(bucket: Bucket, device: torch.device) -> _Table:
    """The bucket's table of the step before, or a new one.

    A graph being captured gets one of its own, in its own memory and written whenever it is replayed:
    later steps outside of the graph would change the addresses under it.
    """
    sizes = [arrays[0].numel() for arrays in bucket.arrays]
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        owner = _tables.get(bucket.steps[0])
        table = _Table.__new__(_Table)
        if owner is None or owner.sizes != sizes:
            raise RuntimeError("take a step before capturing one: what is captured must have been set up by then")
        table.sizes, table.blocks, table.first, table.owner = owner.sizes, owner.blocks, owner.first, owner.owner
        table.lines, table.numbers = _Words(len(sizes) * (len(bucket.names) + 3), device), {}
        _captured.append(table.owner)
        return table
    table = _tables.get(bucket.steps[0])
    if table is None or table.sizes != sizes or len(table.lines.known) < len(sizes) * (len(bucket.names) + 3):
        table = _tables[bucket.steps[0]] = _Table(sizes, len(bucket.names), device)
    return table


def _held(table: _Table, words: list[int], device: torch.device) -> Tensor:
    if len(words) not in table.numbers:
        table.numbers[len(words)] = _Words(len(words), device)
    table.numbers[len(words)].set(words)
    return table.numbers[len(words)].tensor.view(torch.float64)


def _on_device(graph: Graph, scalars: Mapping[str, Any], steps: Tensor) -> Tensor:
    """The graph's numbers for every parameter, computed from the steps on the device."""
    return torch.stack(
        [
            x.to(torch.float64).expand_as(steps) if isinstance(x, Tensor) else torch.full_like(steps, x)
            for x in graph.numbers(scalars)
        ]
    )
