"""Whether a run can fit into memory at all, told before anything is built."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

import torch

from adana.train.distributed import World
from adana.train.recipe import Execution, Recipe

__all__ = ["TooLarge", "available", "check_memory", "least_bytes", "micro_batches"]

_FLOAT32 = 4
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class TooLarge(ValueError):
    """A run that cannot fit into the memory of this machine, and may well fit into another's."""


def least_bytes(recipe: Recipe, rows: int, world: World) -> int:
    """Bytes that a run holds at least on one device: weights, gradients, and the logits of a micro-batch.

    What the optimizer stores, activations and copies come on top.

    >>> least_bytes(Recipe(heads=2, vocab_size=256), 4, World(torch.device("cpu")))
    3145728
    """
    config = recipe.model_config()
    parameters = 2 * _FLOAT32 * config.total_parameters
    if world.mode == "fsdp":
        parameters //= world.ranks
    return parameters + _FLOAT32 * rows * recipe.seq_len * config.vocab_size


def available(device: torch.device) -> int | None:
    """Bytes of memory of a device; on a CPU those that this process may have. None where it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type != "cpu":
        return None
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(1024 * sum(int(lines[name].split()[0]) for name in ("MemTotal", "SwapTotal")))
    for limit in _LIMITS:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(limit.read_text()))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        found.append(soft)
    return min(found, default=None)


def check_memory(recipe: Recipe, rows: int, world: World) -> None:
    """Refuse a run that cannot fit.

    Raises:
        TooLarge: with the bytes it takes at least, and those there are.
    """
    least, there = least_bytes(recipe, rows, world), available(world.device)
    if world.device.type == "cpu":
        least *= int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world.ranks > 1 else 1
    if there is not None and least > there:
        raise TooLarge(
            f"{recipe.model_config().total_parameters:,} parameters and {rows:,} sequences of {recipe.seq_len:,} "
            f"tokens at a time take {_gib(least)} or more (weights, gradients and logits in float32); {world.device} "
            f"has {_gib(there)}: choose a smaller model or --micro-batch-size"
        )


def micro_batches(recipe: Recipe, execution: Execution, ranks: int) -> tuple[int, int]:
    """Sequences that a rank takes at a time, and how often per step.

    Raises:
        ValueError: a batch that cannot be shared equally.
    """
    share, rest = divmod(recipe.batch_size, ranks)
    if rest or not share:
        raise ValueError(f"a batch of {recipe.batch_size} sequences cannot be shared equally by {ranks} ranks")
    rows = execution.micro_batch_size or share
    if share % rows:
        raise ValueError(
            f"{share} sequences per rank and step cannot be taken {rows} at a time: choose a micro_batch_size that "
            f"divides {share}"
        )
    return rows, share // rows


def _gib(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count < 1 << 60 else f"{count:.3g} bytes"
