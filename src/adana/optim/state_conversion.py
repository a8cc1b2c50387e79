"""Averages from one storage format to another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adana.optim import storage
from adana.optim.formats import name_of
from adana.optim.places import shard
from adana.optim.randomness import to_nearest
from adana.optim.state import average_dtype, averages_of, check_stored, make_state

__all__ = ["check_convertible", "convert_group"]

Group = dict[str, Any]


def check_convertible(group: Group, state_dtype: str | None) -> None:
    """Refuse a format that the group's parameters cannot keep their averages in."""
    if state_dtype in ("bfloat16", "int16") and any(p.is_complex() for p in group["params"]):
        raise ValueError(f"complex parameters cannot keep their state in {state_dtype}: use float32 or float64")


def convert_group(group: Group, states: Any, state_dtype: str | None) -> set[str]:
    """Store a group's averages in another format, exactly where it can be, else rounded to nearest once.

    Args:
        group: whose ``state_dtype`` becomes the new one.
        states: the optimizer's state, by parameter.
        state_dtype: the new format's name.

    Returns:
        The conversions that rounded, in words.
    """
    lost: set[str] = set()
    averages, before = averages_of(group), group["state_dtype"]
    held = [p for p in group["params"] if p in states and averages[0] in states[p]]
    for p in held:
        check_stored(group, p, states[p])
    group["state_dtype"] = state_dtype
    for p in held:
        state = states[p]
        old = {key: state.pop(key) for key in list(state) if key.removesuffix("_scale") in averages}
        found, target = old[averages[0]].dtype, average_dtype(group, p)
        make_state(group, p, state)
        own = {key: shard(x, x) for key, x in old.items()}
        values: dict[str, Tensor] = own if p.is_complex() else storage.decode(own, _wider(found))
        storage.encode({key: shard(x, x) for key, x in state.items()}, values, to_nearest)
        if found != target and torch.promote_types(_wider(found), target) != target:
            lost.add(f"from {before or name_of(found)} to {name_of(target)}")
    return lost


def _wider(stored: torch.dtype) -> torch.dtype:
    """A dtype of arithmetic that holds what is stored exactly."""
    return torch.promote_types(stored, torch.float32)
