"""A checkpoint into an optimizer: hyper-parameters, steps, and state as it was stored when saved."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from adana.optim.state import check_stored

__all__ = ["load"]

Group = dict[str, Any]


def load(
    optimizer: Optimizer,
    state_dict: Any,
    torchs_own: Callable[[Any], None],
    averages: Callable[[Group], tuple[str, ...]],
) -> None:
    """Load a checkpoint by torch's own function and put the saved tensors back as they were.

    Torch casts every state tensor to the parameter's dtype on the way, codes too.

    Args:
        optimizer: to load into.
        state_dict: of an optimizer.
        torchs_own: ``torch.optim.Optimizer.load_state_dict`` of the optimizer.
        averages: what the rule of a group averages, by name.

    Raises:
        ValueError: groups or parameters that do not fit, or averages not stored as their group says.
    """
    seen: dict[str, Any] = {}

    def remember(_: Optimizer, final: dict[str, Any]) -> None:
        seen.update(final)
        for group, own in zip(final["param_groups"], optimizer.param_groups):
            for key, p in zip(group["params"], own["params"]):
                check_stored(group, p, final["state"].get(key, {}), averages(group))

    def restore(_: Optimizer) -> None:
        saved = itertools.chain.from_iterable(group["params"] for group in seen["param_groups"])
        own = ((group, p) for group in optimizer.param_groups for p in group["params"])
        for key, (group, p) in zip(saved, own, strict=True):
            for name, value in seen["state"].get(key, {}).items():
                if isinstance(value, Tensor):
                    device = p.device if name != "step" or group["capturable"] else "cpu"
                    optimizer.state[p][name] = value.detach().to(device=device, copy=True)

    before = optimizer.register_load_state_dict_pre_hook(remember)
    after = optimizer.register_load_state_dict_post_hook(restore, prepend=True)
    try:
        torchs_own(state_dict)
    finally:
        before.remove()
        after.remove()
