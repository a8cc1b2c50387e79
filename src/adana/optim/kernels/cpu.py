"""One call a group on the CPU: tables of addresses, and threads that take turns at ranges of elements.

The threads are torch's own where they can be had, else Python's, which run while LLVM's code holds no lock.
"""

from __future__ import annotations

import collections
import ctypes
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from adana import rules
from adana.optim import formats, places, randomness
from adana.optim.kernels.llvm import Kernel, compiled
from adana.optim.kernels.tables import Bucket, graph_of

__all__ = ["update"]

# The fewest elements that a thread takes at a time: enough to outweigh the taking, so few that threads end together.
RANGE = 1 << 15


def update(
    bucket: Bucket,
    steps: Sequence[Tensor],
    rule: rules.Rule,
    scalars: Callable[[float], Mapping[str, Any]],
    form: str,
    *,
    seed: int = 0,
    counts: Sequence[int] | None = None,
) -> None:
    """Update the parameters of a bucket in place.

    ``steps`` are their finished updates and ``counts`` their values, where these are known; ``seed`` is rounding's.
    """
    rows: dict[float, int] = {}
    if counts is None:
        counts = [step.item() for step in steps]  # type: ignore[misc]
    row_of = [rows.setdefault(count, len(rows)) for count in counts]
    numbers = [scalars(count) for count in rows]
    graph = graph_of(rule, bucket.averages, numbers, form)
    table = torch.tensor([graph.numbers(s) for s in numbers], dtype=torch.float64).to(bucket.real)
    places = [_place(seed, *each) for each in zip(counts, bucket.places, bucket.shapes)]
    _launch(bucket, compiled(graph, bucket.storage), row_of, table, places)


def _place(seed: int, step: float, at: places.Place | None, shape: torch.Size) -> list[int]:
    """What a kernel must know to round the elements of a tensor and to find its blocks."""
    if at is None:
        return []
    keys = (randomness.key(seed, at.parameter, step, stream) for stream in (0, 1))
    return [*itertools.chain.from_iterable(keys), at.first, math.prod(shape[1:])]


def _launch(bucket: Bucket, kernel: Kernel, rows: list[int], numbers: Tensor, places: list[list[int]]) -> None:
    unit, sizes = 1, [math.prod(shape) for shape in bucket.shapes]
    if bucket.storage.coded:  # threads part between blocks
        unit, sizes = formats.BLOCK, [math.prod(formats.scales_shape(shape)) for shape in bucket.shapes]
    ends = [0, *itertools.accumulate(sizes)]
    tables = (
        torch.tensor(bucket.addresses),
        torch.tensor(ends),
        torch.tensor(rows),
        numbers,
        torch.tensor(places),
    )
    pointers = [x.data_ptr() for x in tables]
    total, least = ends[-1], RANGE // unit
    threads = min(torch.get_num_threads(), -(-total // least))
    if threads == 1:
        kernel.run(*pointers, len(sizes), 0, total)
        return
    ranges = list(_ranges(total, threads, least))
    team = torchs_threads()
    if team is not None:
        words = [0, len(ranges), *pointers, len(sizes), *itertools.chain.from_iterable(ranges)]
        work = (ctypes.c_int64 * len(words))(*words)
        team(kernel.share, ctypes.addressof(work), threads, 0)
        return
    left = collections.deque(ranges)  # its popleft is safe among threads

    def take() -> None:
        while True:
            try:
                start, stop = left.popleft()
            except IndexError:
                return
            kernel.run(*pointers, len(sizes), start, stop)

    others = [_threads(threads - 1).submit(take) for _ in range(threads - 1)]
    take()
    for other in others:
        other.result()


def _ranges(total: int, threads: int, least: int) -> Iterator[tuple[int, int]]:
    """What threads take in turns: each time half of an equal share of what is left, so that all end together."""
    start = 0
    while start < total:
        stop = min(total, start + max(least, (total - start) // (2 * threads)))
        yield start, stop
        start = stop


_forked = False


def torchs_threads() -> Any:
    """``GOMP_parallel`` of the OpenMP that torch runs on; None where there is none, or after a fork.

    Threads of our own have to wait for it: those of OpenMP go on spinning for some milliseconds after every operation
    of torch, a backward pass for one, and hold the other cores.
    """
    return None if _forked else _gomp()


@functools.cache
def _gomp() -> Any:
    try:
        with open("/proc/self/maps") as maps:
            paths = {line.rstrip("\n").split(maxsplit=5)[-1] for line in maps if "/libgomp" in line}
    except OSError:
        return None
    own = [path for path in paths if path.startswith(os.path.dirname(torch.__file__) + os.sep)] or sorted(paths)
    if len(own) != 1:
        return None
    team = ctypes.CDLL(own[0]).GOMP_parallel
    team.argtypes, team.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return team


_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _threads(count: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size < count:
        _pool, _pool_size = ThreadPoolExecutor(count, thread_name_prefix="adana"), count
    return _pool


def _forget_threads() -> None:
    """A forked process has none of its parent's threads: waiting for them would never end."""
    global _pool, _forked
    _pool, _forked = None, True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
