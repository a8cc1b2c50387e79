"""Somebody else's optimizer in a checkpoint: its own state dict, tensors apart from everything else.

Tensors are stored as all tensors are; what is left must be what JSON holds, and is put back as it was, numbers as keys
and tuples included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adana.train.checkpoint import Spec

__all__ = ["pack", "room", "unpack"]

_PREFIX = "optimizer."


def pack(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], Any]:
    """Its state dict as tensors by name, and the rest with a note where each tensor belongs.

    Raises:
        ValueError: it holds something that is neither.
    """
    tensors: dict[str, Tensor] = {}

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            tensors[_PREFIX + path] = value.detach()
            return {"tensor": path}
        if value is None or isinstance(value, bool | int | float | str):
            return {"value": value}
        if isinstance(value, Mapping):
            return {"pairs": [[plain(key, ""), plain(one, f"{path}.{key}".lstrip("."))] for key, one in value.items()]}
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [plain(one, f"{path}.{i}") for i, one in enumerate(value)]}
        raise ValueError(
            f"{type(optimizer).__module__}:{type(optimizer).__name__} keeps a {type(value).__name__} in its state dict "
            f"({path}), which a checkpoint cannot hold"
        )

    return tensors, plain(optimizer.state_dict(), "")


def room(packed: Any, specs: Mapping[str, Spec], params: Sequence[Tensor]) -> dict[str, Tensor]:
    """Room for the tensors of a packed state, laid out as the parameter is that they belong to.

    Args:
        packed: what :func:`pack` gave beside tensors.
        specs: of the checkpoint's tensors, by name.
        params: the optimizer's, in the order of its groups.
    """
    found: dict[str, Tensor] = {}
    for path in _paths(packed):
        spec, parts = specs[_PREFIX + path], path.split(".")
        p = params[int(parts[1])] if parts[0] == "state" and parts[1].isdigit() else None
        alike = p is not None and spec.shape == tuple(p.shape) and bool(spec.shape)
        found[_PREFIX + path] = (
            torch.zeros_like(p.detach(), dtype=spec.dtype)
            if alike and p is not None
            else torch.zeros(spec.shape, dtype=spec.dtype)
        )
    return found


def unpack(optimizer: torch.optim.Optimizer, packed: Any, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer the state that was packed, by its own ``load_state_dict``.

    Args:
        optimizer: over the same parameters, in the same groups.
        packed: what :func:`pack` gave beside tensors.
        tensors: those of the checkpoint, by name.
    """

    def whole(one: Any) -> Any:
        ((kind, value),) = one.items()
        if kind == "tensor":
            return tensors[_PREFIX + value]
        if kind == "pairs":
            return {whole(key): whole(inner) for key, inner in value}
        if kind in ("list", "tuple"):
            made = [whole(inner) for inner in value]
            return made if kind == "list" else tuple(made)
        return value

    optimizer.load_state_dict(whole(packed))


def _paths(one: Any) -> list[str]:
    ((kind, value),) = one.items()
    if kind == "tensor":
        return [value]
    if kind == "pairs":
        return [path for _, inner in value for path in _paths(inner)]
    return [path for inner in value for path in _paths(inner)] if kind in ("list", "tuple") else []
