"""Averages from one storage format to another."""

from __future__ import annotations

import functools
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


def check_convertible(group: Group, said: Group) -> None:
    """Refuse a format that the group's parameters cannot keep their averages in."""
    changed = {**group, **said}
    for name in averages_of(group):
        for p in group["params"]:
            average_dtype(changed, p, name)


def convert_group(group: Group, states: Any, said: Group) -> set[str]:
    """Store a group's averages in another format, exactly where it can be, else rounded to nearest once.

    Args:
        group: which then says what ``said`` says.
        states: the optimizer's state, by parameter.
        said: the new formats' names: ``state_dtype``, and ``tau_dtype`` where the group has one.

    Returns:
        The conversions that rounded, in words.
    """
    lost: set[str] = set()
    averages = averages_of(group)
    held = [p for p in group["params"] if p in states and averages[0] in states[p]]
    for p in held:
        check_stored(group, p, states[p])
    group.update(said)
    for p in held:
        state = states[p]
        old = {key: state.pop(key) for key in list(state) if key.removesuffix("_scale") in averages}
        make_state(group, p, state)
        own = {key: shard(x, x) for key, x in old.items()}
        widest = functools.reduce(torch.promote_types, (_wider(old[name].dtype) for name in averages))
        values: dict[str, Tensor] = own if p.is_complex() else storage.decode(own, widest)
        storage.encode({key: shard(x, x) for key, x in state.items()}, values, to_nearest)
        for found, target in {(old[name].dtype, state[name].dtype) for name in averages}:
            if found != target and torch.promote_types(_wider(found), target) != target:
                lost.add(f"from {name_of(found)} to {name_of(target)}")
    return lost


def _wider(stored: torch.dtype) -> torch.dtype:
    """A dtype of arithmetic that holds what is stored exactly."""
    return torch.promote_types(stored, torch.float32)
