"""The step within the backward pass: every parameter moves as soon as its gradient is there, which is then freed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from adana.optim.base import FamilyOptimizer

__all__ = ["StepInBackward", "step_in_backward"]


class StepInBackward:
    """What :func:`step_in_backward` has registered; :meth:`remove` ends it."""

    def __init__(self, handles: list[RemovableHandle]) -> None:
        self._handles = handles

    def remove(self) -> None:
        """Leave gradients in place again, for ``step()`` after the backward pass."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


def step_in_backward(optimizer: FamilyOptimizer) -> StepInBackward:
    """Have ``loss.backward()`` move every parameter as soon as its gradient is there, and free the gradient.

    So no more than some gradients exist at a time. The weights are those of ``step()`` after ``backward()``, bit for
    bit, random bits of rounding too: a step is a function of a parameter, its gradient and its state. A scheduler sets
    the learning rate of the next backward pass. ``step()`` and ``zero_grad()`` may stay in the loop: they find no
    gradients.

    What needs all gradients at once is impossible: **clipping by the global norm** (``clip_grad_norm_`` finds no
    gradients and clips nothing), gradient accumulation over several backward passes, ``GradScaler``.

    Args:
        optimizer: one of this package, with all its groups. Parameters that need no gradient now are left out.

    Returns:
        A handle; its ``remove()`` ends it.

    Raises:
        TypeError: an optimizer of another library.
        RuntimeError: ``differentiable`` groups, or several processes: a gradient is there before it is averaged over
            them.

    Example:
        >>> import torch
        >>> from adana import ADana, step_in_backward
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = ADana(model.parameters(), lr=0.1, total_steps=100)
        >>> handle = step_in_backward(optimizer)
        >>> before = model.weight.detach().clone()
        >>> model(torch.ones(3, 2)).sum().backward()
        >>> model.weight.grad is None, torch.equal(model.weight, before)
        (True, False)
    """
    from adana.optim.base import FamilyOptimizer

    if not isinstance(optimizer, FamilyOptimizer):
        raise TypeError(
            f"step_in_backward takes an optimizer of adana, got {type(optimizer).__name__}: for others make one per "
            "parameter and call its step() in the parameter's register_post_accumulate_grad_hook"
        )
    if any(group["differentiable"] for group in optimizer.param_groups):
        raise RuntimeError("`differentiable` needs the gradients after the backward pass: it excludes step_in_backward")
    if (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    ):
        raise RuntimeError(
            f"step_in_backward in one of {torch.distributed.get_world_size()} processes: a gradient is there before it "
            "is averaged over them. Call optimizer.step() after the backward pass"
        )
    handles = [
        p.register_post_accumulate_grad_hook(_hook(optimizer, index, position))
        for index, group in enumerate(optimizer.param_groups)
        for position, p in enumerate(group["params"])
        if p.requires_grad
    ]
    return StepInBackward(handles)


def _hook(optimizer: FamilyOptimizer, index: int, position: int) -> Any:
    def step(p: Tensor) -> None:
        # Looked up each time: a checkpoint brings new groups.
        group = optimizer.param_groups[index]
        names = group.get("param_names")
        own = {**group, "params": [p]} | ({"param_names": [names[position]]} if names else {})
        first = sum(len(group["params"]) for group in optimizer.param_groups[:index]) + position
        with torch.no_grad():
            optimizer._step_group(own, first)
        p.grad = None

    return step
