"""One call a group on the CPU: tables of addresses, and threads that take turns at ranges of elements."""

from __future__ import annotations

import collections
import itertools
import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from adana import rules
from adana.optim import storage
from adana.optim.kernels.llvm import Kernel, compiled
from adana.optim.kernels.tables import Bucket, graph_of

__all__ = ["update"]

# Elements a thread takes at a time: enough to outweigh the taking, few enough that threads end together.
RANGE = 1 << 17


def update(bucket: Bucket, rule: rules.Rule, scalars: Callable[[float], Mapping[str, Any]], form: str) -> None:
    """Update the parameters of a bucket in place."""
    rows: dict[float, int] = {}
    row_of = [rows.setdefault(step.item(), len(rows)) for step in bucket.steps]
    numbers = [scalars(step) for step in rows]
    graph = graph_of(rule, bucket.averages, numbers, form)
    table = torch.tensor([graph.numbers(s) for s in numbers], dtype=torch.float64).to(bucket.real)
    _launch(bucket, compiled(graph, bucket.storage), row_of, table)


def _place(randomness: storage.Randomness | None, shape: torch.Size) -> list[int]:
    """What a kernel must know to round the elements of a tensor and to find its blocks."""
    if randomness is None:
        return []
    seed, step, at = randomness
    keys = (storage.key(seed, at.parameter, step, stream) for stream in (0, 1))
    return [*itertools.chain.from_iterable(keys), at.first, math.prod(shape[1:])]


def _launch(bucket: Bucket, kernel: Kernel, rows: list[int], numbers: Tensor) -> None:
    arrays, unit = bucket.arrays, 1
    sizes = [each[0].numel() for each in arrays]
    if bucket.storage.coded:  # threads part between blocks
        unit, scale = storage.BLOCK, next(k for k, name in enumerate(bucket.names) if name.endswith("_scale"))
        sizes = [each[scale].numel() for each in arrays]
    ends = [0, *itertools.accumulate(sizes)]
    tables = (
        torch.tensor([[x.data_ptr() for x in each] for each in arrays]),
        torch.tensor(ends),
        torch.tensor(rows),
        numbers,
        torch.tensor([_place(source, each[0].shape) for source, each in zip(bucket.randomness, arrays)]),
    )
    pointers = [x.data_ptr() for x in tables]
    total, size = ends[-1], RANGE // unit

    def run(start: int, stop: int) -> None:
        kernel.run(*pointers, len(arrays), start, stop)

    threads = min(torch.get_num_threads(), -(-total // size))
    if threads == 1:
        run(0, total)
        return
    ranges = collections.deque(range(0, total, size))  # its popleft is safe among threads

    def work() -> None:
        while True:
            try:
                start = ranges.popleft()
            except IndexError:
                return
            run(start, min(total, start + size))

    others = [_threads(threads - 1).submit(work) for _ in range(threads - 1)]
    work()
    for other in others:
        other.result()


_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _threads(count: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size < count:
        _pool, _pool_size = ThreadPoolExecutor(count, thread_name_prefix="adana"), count
    return _pool


def _forget_threads() -> None:
    """A forked process has none of its parent's threads: waiting for them would never end."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
