"""What all optimizers of the family share: groups, state, and the step around a rule.

The arithmetic is in :mod:`adana.rules`. Here groups are added (:mod:`~adana.optim.group_checks`), state is made
(:mod:`~adana.optim.state`), converted (:mod:`~adana.optim.state_conversion`) and loaded
(:mod:`~adana.optim.loading`), and each step carries groups and state to the rule (:mod:`~adana.optim.update`).
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import _use_grad_for_differentiable

from adana import rules
from adana.optim import state_conversion, storage
from adana.optim.group_checks import as_float, check_group, check_peak
from adana.optim.loading import load
from adana.optim.places import place
from adana.optim.state import dtype_name, make_state, without_state
from adana.optim.update import Batch, update
from adana.schedules import Decay

__all__ = ["FamilyOptimizer"]

Group = dict[str, Any]


class FamilyOptimizer(Optimizer):
    """Base of the family: everything but the rule.

    Subclasses set ``rule_name`` and pass their hyper-parameters as ``defaults``; all of them live in
    ``param_groups``, so ``state_dict()`` holds the whole optimizer and every group may have its own.
    """

    rule_name: ClassVar[str]

    def __init__(self, params: Any, defaults: Group) -> None:
        super().__init__(params, {**defaults, "state_dtype": dtype_name(defaults["state_dtype"])})

    # --- groups ---------------------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; it may override any hyper-parameter. Its ``lr`` now is its peak unless told otherwise."""
        super().add_param_group(copy.copy(param_group))
        group = self.param_groups[-1]
        try:
            group["state_dtype"] = dtype_name(group["state_dtype"])
            check_group(group, self._rule_name(group), self._warn_once)
        except Exception:
            self.param_groups.pop()
            raise
        group["lr_when_added"] = as_float(group["lr"])

    def _rule_name(self, group: Group) -> str:
        return self.rule_name

    def _rule(self, group: Group) -> rules.Rule:
        return rules.rule(self._rule_name(group), group.get("form", "paper"))

    def _averages(self, group: Group) -> tuple[str, ...]:
        return self._rule(group).state(group)

    def _warn_once(self, kind: str, message: str) -> None:
        """Warn of one kind of habit once per optimizer, however many groups have it."""
        said: set[str] = self.__dict__.setdefault("_said", set())
        if kind not in said:
            said.add(kind)
            warnings.warn(message, stacklevel=_stacklevel())

    def __repr__(self) -> str:
        shown = []
        groups = iter(self.param_groups)
        for line in super().__repr__().splitlines():
            shown.append(line)
            if line.startswith("Parameter Group"):
                group = next(groups)
                if "decay" in group:
                    decay = Decay.of(group)._replace(weight_decay=as_float(group["weight_decay"]))
                    shown.append(f"    decay in force: {decay.formula()}")
        return "\n".join(shown)

    # --- state ----------------------------------------------------------------------------------------

    def convert_state(self, state_dtype: torch.dtype | str | None) -> None:
        """Store the averages of all groups in another format from here on.

        Going to float32 or float64 is exact: the numbers are those the rule would have read. Everything else
        rounds once, to nearest, and says so. (``load_state_dict`` never converts: a loaded group is stored
        as it was when saved.)

        Args:
            state_dtype: as in the constructor.

        Raises:
            ValueError: no such format, or not one for complex parameters.
        """
        name = dtype_name(state_dtype)
        for group in self.param_groups:
            state_conversion.check_convertible(group, name)
        lost: set[str] = set()
        for group in self.param_groups:
            lost |= state_conversion.convert_group(group, self.state, self._averages(group), name)
        if lost:
            self._warn_once(
                "conversion",
                f"the averages were rounded to nearest {', '.join(sorted(lost))}, all of each parameter's but its "
                "step: the run goes on from the rounded numbers.",
            )

    def load_state_dict(self, state_dict: Any) -> None:
        """Load a whole optimizer: hyper-parameters, steps, and state as it was stored when saved.

        ``state_dtype`` is part of a checkpoint like every hyper-parameter, so the checkpoint's wins over the
        constructor's: ``convert_state`` changes it afterwards.

        Raises:
            ValueError: groups or parameters that do not fit, or averages not stored as their group says.
        """
        load(self, state_dict, super().load_state_dict, self._averages)

    # --- the step -------------------------------------------------------------------------------------

    def _init_group(
        self,
        group: Group,
        first: int,
        params: list[Tensor],
        grads: list[Tensor],
        steps: list[Tensor],
        places: list[Any],
        *buffers: list[Any],
    ) -> None:
        """Fill the lists of a :class:`~adana.optim.update.Batch`, making state where it is missing.

        ``first`` is the position of the group's first parameter in the optimizer.

        Named and shaped as torch's own: ``torch.compile`` runs a method of this name outside the trace.
        """
        # Reading a tensor lr each step would hold up the device; the first step can afford it.
        if not group["capturable"] or any(p.grad is not None and p not in self.state for p in group["params"]):
            check_peak(group)
        # List by list, not parameter by parameter: on a GPU the host's time is part of a small model's step.
        numbered = [(k, p) for k, p in enumerate(group["params"], first) if p.grad is not None]
        params += [p for _, p in numbered]
        grads += [p.grad for _, p in numbered]
        if any(grad.is_sparse for grad in grads):
            raise RuntimeError(
                f"{type(self).__name__} does not support sparse gradients: use a dense embedding "
                "(sparse=False), or give the sparse parameters to torch.optim.SparseAdam"
            )
        averages = self._averages(group)
        states = [self.state[p] for p in params]
        for p, state in without_state(group, params, states, averages):
            make_state(group, p, state, averages)
        if group["differentiable"] and any(state["step"].requires_grad for state in states):
            raise RuntimeError("`requires_grad` is not supported for `step` in differentiable mode")
        steps += [state["step"] for state in states]
        state_dtype, param_rounding = group["state_dtype"], group["param_rounding"]
        places += [place(p, k) if storage.rounds(p, state_dtype, param_rounding) else None for k, p in numbered]
        for name, buffer in zip(storage.names(averages, state_dtype, param_rounding), buffers):
            buffer += [state.get(name) for state in states]

    def _only_asks_for_state(self) -> bool:
        """Whether this call is torch's way of asking an optimizer without state to make it.

        ``get_optimizer_state_dict`` calls ``step()`` with lr = 0 and zero gradients. Counting that call
        would move every schedule by one; a warm-up step with lr = 0 and real gradients does count.
        """
        if self.state or any(as_float(group["lr"]) != 0 for group in self.param_groups):
            return False
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        return not any(grad.is_sparse or bool(torch.count_nonzero(grad)) for grad in grads)

    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; ``closure``, where given, recomputes the loss, which is returned."""
        self._check_capture()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        make_state_only = not torch.compiler.is_compiling() and self._only_asks_for_state()
        first = 0
        for group in self.param_groups:
            rule = self._rule(group)
            batch = Batch(storage.names(rule.state(group), group["state_dtype"], group["param_rounding"]))
            self._init_group(
                group, first, batch.params, batch.grads, batch.steps, batch.places, *batch.buffers.values()
            )
            first += len(group["params"])
            if batch.params and not make_state_only:
                update(batch, rule, group)
                _count(batch.steps, group)
        return loss

    def _check_capture(self) -> None:
        check = getattr(self, "_accelerator_graph_capture_health_check", None)
        if check is None:  # its name in torch before 2.9
            check = self._cuda_graph_capture_health_check
        check()


def _count(steps: list[Tensor], group: Group) -> None:
    if group["capturable"] or torch.compiler.is_compiling():
        torch._foreach_add_(steps, 1)
    else:  # on the CPU, where a Python number would be made a tensor for each of them
        torch._foreach_add_(steps, torch.ones(()), alpha=1.0)


def _stacklevel() -> int:
    """How many frames a warning must skip to point at the line that built the optimizer."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("adana", "torch"):
        frame = frame.f_back
        level += 1
    return level
