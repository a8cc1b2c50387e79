"""Whether an optimizer gets weights that have been trained before, and what its weight decay would leave of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from adana.optim.group_checks import as_float
from adana.schedules import Decay

__all__ = ["left_in_words", "looks_trained", "strongest"]

LEAST_GAIN = 16  # elements: below, a bias that starts at random may be all positive
MOST_LOST = 0.1  # of the weights; AdamW's usual fine-tuning loses less than 1 %


def looks_trained(params: Iterable[Tensor]) -> bool:
    """Whether one of them is the gain of a norm that has been trained: a vector, all positive and not all equal.

    Gains start all equal, and biases that start at random have both signs.
    """
    gains = [
        p.detach()
        for p in params
        if p.ndim == 1
        and p.numel() >= LEAST_GAIN
        and p.is_floating_point()
        and type(p) in (Tensor, torch.nn.Parameter)
        and not p.is_meta
    ]
    devices = {p.device for p in gains}
    found = [
        torch.stack([(p.amin() > 0) & (p.amin() < p.amax()) for p in gains if p.device == device]).any()
        for device in devices
    ]
    return any(map(bool, found))


def strongest(groups: Iterable[Mapping[str, Any]]) -> Decay | None:
    """The decay of the group that loses most; None where none is on, or none has a horizon."""
    decays = []
    for group in groups:
        omega = as_float(group.get("weight_decay", 0.0))
        if omega and group["total_steps"] is not None:
            horizon, offset = as_float(group["total_steps"]), group["weight_decay_offset"]
            decays.append(Decay(omega, group["decay"], horizon, None if offset is None else as_float(offset)))
    return min(decays, key=lambda decay: decay.kept() or 0.0, default=None)


def left_in_words(decay: Decay) -> str:
    """What decay alone leaves.

    >>> left_in_words(Decay(weight_decay=1.0, total_steps=1000))
    'decay alone leaves 18 % of the starting weights by step 1000 (9.1 % at a constant learning rate)'
    """
    falling, constant = decay.kept(), decay.kept(cosine=False)
    if falling is None or constant is None:
        return ""
    return (
        f"decay alone leaves {100 * falling:.2g} % of the starting weights by step {decay.total_steps:.0f} "
        f"({100 * constant:.2g} % at a constant learning rate)"
    )
