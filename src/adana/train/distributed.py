"""One process or many: what the loop needs to know of it, and the model laid out over the ranks.

Everything here is PyTorch's own: ``torchrun`` starts the processes, DDP or FSDP2 spreads the model.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from adana.models import Decoder, DecoderConfig, build

__all__ = ["RunningModel", "World", "join", "leave", "usable"]

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """Who I am among how many.

    Attributes:
        device: of this process.
        mode: ``"single"``, ``"ddp"`` or ``"fsdp"``.
        rank: number of this process.
        ranks: how many there are.
        saving: process group that checkpoints talk on, None in a single process.
    """

    device: torch.device
    mode: Literal["single", "ddp", "fsdp"] = "single"
    rank: int = 0
    ranks: int = 1
    saving: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def total(self, values: list[float]) -> list[float]:
        """Sums over the ranks, the same on each."""
        if self.ranks == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        summed: list[float] = tensor.tolist()
        return summed

    def once(self, work: Callable[[], T]) -> T:
        """What the first rank's ``work()`` returns or raises, on every rank: nobody waits for one that gave up."""
        if self.ranks == 1:
            return work()
        box: list[Any] = [None, None]
        if self.first:
            try:
                box[0] = work()
            except Exception as error:
                box[1] = error
        dist.broadcast_object_list(box, src=0)
        if box[1] is not None:
            raise box[1]
        result: T = box[0]
        return result


@contextlib.contextmanager
def join(device: str | None, parallel: Literal["auto", "ddp", "fsdp"]) -> Iterator[World]:
    """The layout ``torchrun`` asks for, or a single process.

    Raises:
        ValueError: a device that cannot be used, or more processes on this machine than GPUs.
    """
    under_torchrun = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if not under_torchrun:
        if parallel == "fsdp":
            raise ValueError(
                "fsdp shards over processes: start them with torchrun --nproc-per-node 2 -m adana train ..."
            )
        yield World(usable(kind))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if kind == "cuda":
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"torchrun started a process number {local} on this machine, which has {torch.cuda.device_count()} "
                "GPUs: use a smaller --nproc-per-node, or --device cpu"
            )
        kind = f"cuda:{local}"
        torch.cuda.set_device(local)
    where = usable(kind)
    mine = not dist.is_initialized()
    if mine:
        # Small facts travel over gloo whatever the device: they need no stream.
        dist.init_process_group("cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo")
    try:
        mode: Literal["ddp", "fsdp"] = "fsdp" if parallel == "fsdp" else "ddp"
        yield World(where, mode, dist.get_rank(), dist.get_world_size(), dist.new_group(backend="gloo"))
    finally:
        if mine:
            leave()


def leave() -> None:
    """Leaves the process group such that the interpreter can end.

    A thread of gloo drops the tensors of its last collective after the collective has returned, and takes the
    interpreter's lock to do so. If the interpreter is ending by then the process dies of SIGABRT, its work done
    (pytorch issue 38228), and torchrun calls the run failed. torch has no call that waits for these threads, and
    its caches of distributed tensors keep them alive past the group: so they are given time.
    """
    dist.destroy_process_group()
    time.sleep(0.2)


def usable(device: str) -> torch.device:
    """The device, if it can be used.

    Raises:
        ValueError: it cannot.
    """
    try:
        torch.empty((), device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from None
    return torch.device(device)


class RunningModel:
    """A model as it is laid out: the same initial weights, names and losses whatever the world.

    Args:
        config: sizes.
        seed: of the initial weights.
        world: where it runs.
        compile: whether to ``torch.compile`` it.
    """

    def __init__(self, config: DecoderConfig, seed: int, world: World, *, compile: bool) -> None:
        self.world = world
        self.model = _sharded(config, seed, world) if world.mode == "fsdp" else build(config, seed=seed)
        if world.mode != "fsdp":
            self.model.to(world.device)
        if compile:
            self.model.compile()
        self._forward: nn.Module = self.model
        if world.mode == "ddp":
            from torch.nn.parallel import DistributedDataParallel

            on = [world.device.index] if world.device.type == "cuda" else None
            self._forward = DistributedDataParallel(self.model, device_ids=on)

    def __call__(self, tokens: Tensor, **options: Any) -> Any:
        # DDP's own forward synchronises; without gradients there is nothing to synchronise.
        return (self._forward if torch.is_grad_enabled() else self.model)(tokens, **options)

    @contextlib.contextmanager
    def accumulating(self, *, last: bool) -> Iterator[None]:
        """Around one micro-batch: gradients are summed over the ranks after the last one only."""
        if self.world.mode == "fsdp":
            self.model.set_requires_gradient_sync(last)  # type: ignore[operator]
        if self.world.mode == "ddp" and not last:
            with self._forward.no_sync():  # type: ignore[operator]
                yield
            return
        yield

    def norm(self) -> float:
        """Global norm of the gradients, over all shards."""
        self._norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        if hasattr(self._norm, "full_tensor"):
            self._norm = self._norm.full_tensor()
        return float(self._norm)

    def clip(self, most: float) -> None:
        """Scale gradients down to a global norm, by the one that :meth:`norm` has just found."""
        torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), most, self._norm)


def _sharded(config: DecoderConfig, seed: int, world: World) -> Decoder:
    """Shards of a model that nobody ever held whole."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, distribute_tensor

    mesh = init_device_mesh(world.device.type, (world.ranks,))
    with torch.device("meta"):
        model = build(config)
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model.to_empty(device=world.device)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in model.initial_values(seed):
            p = parameters[name]
            assert isinstance(p, DTensor), name
            p.copy_(distribute_tensor(value.to(world.device), mesh, p.placements))
    return model
