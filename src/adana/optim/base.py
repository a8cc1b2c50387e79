"""What all optimizers of the family share: groups, state, and the step around a rule.

The arithmetic is in :mod:`adana.rules`. Here groups are added (:mod:`~adana.optim.group_checks`), state is made
(:mod:`~adana.optim.state`), converted (:mod:`~adana.optim.state_conversion`) and loaded
(:mod:`~adana.optim.loading`), and each step carries groups and state to the rule (:mod:`~adana.optim.update`).
"""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import _use_grad_for_differentiable

from adana.optim import state_conversion, storage
from adana.optim.group_checks import (
    Group,
    as_float,
    check_group,
    check_horizon,
    check_peak,
    check_started,
    waits_for_horizon,
)
from adana.optim.loading import load
from adana.optim.places import place
from adana.optim.prepared import Prepared, prepare
from adana.optim.pretrained import MOST_LOST, left_in_words, looks_trained, strongest
from adana.optim.spared import LARGE_VECTOR, decay_overruled, flattened, mark, spared
from adana.optim.state import STEP_DTYPE, averages_of, make_state, with_names, without_state
from adana.optim.update import Batch, Taken, capturing, update
from adana.option_checks import Meant
from adana.schedules import Decay

__all__ = ["FamilyOptimizer", "options_of"]


LATE = 0.1  # of the run, after which a parameter's first gradient is late


class FamilyOptimizer(Optimizer):
    """Base of the family: everything but the rule.

    Subclasses set ``rule_name`` and pass their hyper-parameters as ``defaults``; all of them live in
    ``param_groups``, so ``state_dict()`` holds the whole optimizer and every group may have its own.
    """

    rule_name: ClassVar[str]

    def __init__(self, params: Any, defaults: Group) -> None:
        mark(params)
        super().__init__(params, with_names(defaults))
        if self.defaults["rounding_seed"] is None:
            seed = _seed_of(self.param_groups)
            for options in (self.defaults, *(g for g in self.param_groups if g["rounding_seed"] is None)):
                options["rounding_seed"] = seed
        if decay_overruled(self.param_groups, self.defaults.get("weight_decay", 0)):
            self._warn_once(
                "overruled",
                f"weight_decay={self.defaults['weight_decay']:g} is not used: every parameter group says 0, as those "
                "of transformers' Trainer do unless args.weight_decay is set. Use **adana.hf.arguments(...) there; "
                "pass weight_decay=0 where no decay is meant.",
            )

    @classmethod
    def __subclasses__(cls) -> list[type[FamilyOptimizer]]:
        """Those whose names torch has not taken.

        Command lines made of classes (jsonargparse, LightningCLI) ask for all optimizers and refuse a short name that
        two have: ``--optimizer=AdamW`` must go on to mean torch's. Ours is ``--optimizer=adana.AdamW``.
        """
        found: list[type[FamilyOptimizer]] = []
        for kind in type.__subclasses__(cls):
            found += kind.__subclasses__() if hasattr(torch.optim, kind.__name__) else [kind]
        return found

    # --- groups ---------------------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; it may override any hyper-parameter. Its ``lr`` now is its peak unless told otherwise.

        Vectors of a group without a ``weight_decay`` of its own do not decay; ``decay_vectors`` in the group is what
        was decided. A group with ``lr_factor`` and no ``lr`` has the optimizer's times that
        (:func:`adana.component_groups`).
        """
        own_decay = "weight_decay" in param_group
        if isinstance(param_group.get("weight_decay", self.defaults.get("weight_decay")), Meant):
            self._said().update(("coupled", "pretrained"))
        param_group = _scaled(param_group, self.defaults)
        super().add_param_group({**param_group, "rule": self._rule_name(param_group)})
        group = self.param_groups[-1]
        if "weight_decay" in group:
            group.setdefault("decay_vectors", own_decay)
        try:
            group.update(with_names(group))
            check_group(group, self._warn_once)
        except Exception:
            self.param_groups.pop()
            raise
        group["lr_when_added"] = as_float(group["lr"])

    def _rule_name(self, param_group: Group) -> str:
        """The rule of a group that is being added, to be kept as ``group["rule"]``."""
        return self.rule_name

    def _option_names(self, group: Group) -> set[str]:
        """The keys of a group that are this optimizer's, not a scheduler's or a user's."""
        return {"rule", "lr_when_added", *self.defaults}

    def _takes_rule(self, group: Group, rule: str) -> bool:
        """Whether a group may become one that was saved by a rule."""
        return bool(rule == group["rule"])

    def set_horizon(self, total_steps: float) -> None:
        """Make the run longer or shorter from here on, or say its length before the first step.

        Sets ``total_steps`` of all groups and of those to come: weight decay (and ``"linear"`` damping and
        AdEMAMix's warm-ups) follow the new horizon from the next step on; averages and clocks stay.

        Args:
            total_steps: horizon T in optimizer steps, those already done included.

        Raises:
            ValueError: no number above 0, or one that a group's schedules cannot be computed with.

        >>> import torch
        >>> from adana import ADana
        >>> optimizer = ADana([torch.nn.Parameter(torch.ones(3))], lr=0.1, total_steps=100)
        >>> optimizer.set_horizon(200)
        >>> optimizer.param_groups[0]["total_steps"]
        200
        """
        for group in self.param_groups:
            check_horizon(group, total_steps, self._warn_once)
        for options in (*self.param_groups, self.defaults):
            options["total_steps"] = total_steps
        self._said().discard("horizon")

    def _warn_once(self, kind: str, message: str) -> None:
        """Warn of one kind of habit once per optimizer, however many groups have it."""
        if kind not in self._said():
            self._said().add(kind)
            warnings.warn(message, stacklevel=_stacklevel())

    def _said(self) -> set[str]:
        said: set[str] = self.__dict__.setdefault("_kinds_said", set())
        return said

    def __repr__(self) -> str:
        shown = []
        groups = iter(self.param_groups)
        for line in super().__repr__().splitlines():
            shown.append(line)
            if line.startswith("Parameter Group"):
                group = next(groups)
                if waits_for_horizon(group):
                    shown.append("    total_steps is not known yet: set_horizon(total_steps) before the first step")
                elif "decay" in group:
                    decay = Decay.of(group)._replace(weight_decay=as_float(group["weight_decay"]))
                    matrices = (
                        "" if group.get("decay_vectors", True) or not decay.weight_decay else ", of matrices only"
                    )
                    shown.append(f"    decay in force: {decay.formula()}{matrices}")
                    if decay.weight_decay and decay.total_steps is not None:
                        shown.append(f"    {left_in_words(decay._replace(total_steps=as_float(decay.total_steps)))}")
        return "\n".join(shown)

    # --- state ----------------------------------------------------------------------------------------

    def convert_state(
        self, state_dtype: torch.dtype | str | None, *, tau_dtype: torch.dtype | str | None = None
    ) -> None:
        """Store the averages of all groups in another format from here on.

        Going to float32 or float64 is exact: the numbers are those the rule would have read. Everything else
        rounds once, to nearest, and says so. (``load_state_dict`` never converts: a loaded group is stored
        as it was when saved.)

        Args:
            state_dtype: as in the constructor.
            tau_dtype: as in the constructor of the Star rules; by default as ``state_dtype``.

        Raises:
            ValueError: no such format, not one for complex parameters, or ``tau_dtype`` of rules without tau.
        """
        said = with_names({"state_dtype": state_dtype, "tau_dtype": tau_dtype})
        if tau_dtype is not None and not any("tau_dtype" in group for group in self.param_groups):
            raise ValueError(f"tau_dtype={tau_dtype!r}: {type(self).__name__} has no tau, only the Star rules have")
        each = [{key: name for key, name in said.items() if key in group} for group in self.param_groups]
        for group, own in zip(self.param_groups, each):
            state_conversion.check_convertible(group, own)
        lost: set[str] = set()
        for group, own in zip(self.param_groups, each):
            lost |= state_conversion.convert_group(group, self.state, own)
        if lost:
            self._warn_once(
                "conversion",
                f"the averages were rounded to nearest {', '.join(sorted(lost))}, all of each parameter's but its "
                "step: the run goes on from the rounded numbers.",
            )

    def load_state_dict(self, state_dict: Any) -> None:
        """Load a whole optimizer: hyper-parameters, steps, and state as it was stored when saved.

        Every hyper-parameter is part of a checkpoint, ``state_dtype`` too, and the checkpoint's wins over the
        constructor's. Where they differ, one warning names them and how to change them afterwards
        (``set_horizon``, ``convert_state``). Options that are missing in an older checkpoint are the
        constructor's. Parameters are matched by name where both sides have names, else by their order.

        Raises:
            ValueError: the state of another rule, of ``torch.optim.AdamW`` (see :func:`adana.from_adamw`) or of
                other groups or shapes, an average that is missing in mid-run or not stored as its group says.
                Nothing has changed then.
        """
        self._prepared_steps().clear()
        load(self, state_dict, super().load_state_dict)

    # --- the step -------------------------------------------------------------------------------------

    def _init_group(
        self,
        group: Group,
        first: int,
        params: list[Tensor],
        grads: list[Tensor],
        steps: list[Tensor],
        places: list[Any],
        spares: list[bool],
        *buffers: list[Any],
    ) -> None:
        """Fill the lists of a :class:`~adana.optim.update.Batch`, making state where it is missing.

        ``first`` is the position of the group's first parameter in the optimizer.

        Named and shaped as torch's own: ``torch.compile`` runs a method of this name outside the trace.
        """
        # Reading a tensor lr each step would hold up the device; the first step can afford it.
        if not group["capturable"] or any(p.grad is not None and p not in self.state for p in group["params"]):
            check_peak(group, self._warn_once)
        # List by list, not parameter by parameter: on a GPU the host's time is part of a small model's step.
        numbered = [(k, p) for k, p in enumerate(group["params"], first) if p.grad is not None]
        params += [p for _, p in numbered]
        grads += [p.grad for _, p in numbered]
        if any(grad.is_sparse for grad in grads):
            raise RuntimeError(
                f"{type(self).__name__} does not support sparse gradients: use a dense embedding "
                "(sparse=False), or give the sparse parameters to torch.optim.SparseAdam"
            )
        states = [self.state[p] for p in params]
        new = without_state(group, params, states)
        if new:
            check_started(group, self._warn_once)
        self._say_late(group, sum("step" not in state for _, state in new))
        for p, state in new:
            make_state(group, p, state)
            if not group.get("decay_vectors", True) and group["weight_decay"] != 0 and flattened(p):
                self._warn_once(
                    "flattened",
                    f"a vector of {p.numel():,} elements does not decay, nor does any vector here, as the group has no "
                    "weight_decay of its own. If a wrapper flattened the model's weights (DeepSpeed's ZeRO, FSDP1), "
                    "make the groups before it: adana.param_groups(model). Else say it in the group: "
                    "{'params': ..., 'weight_decay': ...}.",
                )
            if group["state_dtype"] == "int16" and p.ndim == 1 and p.numel() >= LARGE_VECTOR:
                self._warn_once(
                    "vector",
                    f"a vector of {p.numel():,} elements keeps its averages in float32: int16 codes rows of "
                    "matrices. Weights that a wrapper flattened (DeepSpeed's ZeRO, FSDP1) save nothing: use "
                    "state_dtype='bfloat16'.",
                )
        if group["differentiable"] and any(state["step"].requires_grad for state in states):
            raise RuntimeError("`requires_grad` is not supported for `step` in differentiable mode")
        steps += [state["step"] for state in states]
        rounding = group["param_rounding"]
        places += [place(p, k) if storage.rounds(p, group, rounding) else None for k, p in numbered]
        spares += spared(group, [(k - first, p) for k, p in numbered])
        for name, buffer in zip(_names(group), buffers):
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
        if not self.state and not torch.compiler.is_compiling() and not make_state_only:
            self._say_what_decay_leaves()
        first = 0
        for number, group in enumerate(self.param_groups):
            if not self._take_again(number, group):
                taken = self._step_group(group, first, make_state_only)
                if taken and not torch.compiler.is_compiling():
                    self._prepared_steps()[number] = prepare(group, self.state, taken)
            first += len(group["params"])
        if not self.state and not torch.compiler.is_compiling():
            self._say_idle()
        return loss

    def _prepared_steps(self) -> dict[int, Prepared | None]:
        known: dict[int, Prepared | None] = self.__dict__.setdefault("_prepared", {})
        return known

    def _take_again(self, number: int, group: Group) -> bool:
        """Take a group's step as the one before it, if nothing has changed but numbers."""
        if torch.compiler.is_compiling() or capturing():
            return False
        prepared = self._prepared_steps().pop(number, None)
        if prepared is None:
            return False
        check_peak(group, self._warn_once)
        steps = prepared.take(group, self.state, self._warn_once)
        if steps is None:
            return False
        _count(steps, group)
        prepared.counted()
        self._prepared_steps()[number] = prepared
        return True

    def _step_group(self, group: Group, first: int, make_state_only: bool = False) -> list[Taken]:
        """Update what of a group has a gradient; ``first`` is the position of its first parameter in the optimizer."""
        batch = Batch(_names(group))
        self._init_group(
            group, first, batch.params, batch.grads, batch.steps, batch.places, batch.spared, *batch.buffers.values()
        )
        if not batch.params or make_state_only:
            return []
        taken = update(batch, group, self._warn_once)
        _count(batch.steps, group)
        return taken

    def _say_late(self, group: Group, count: int) -> None:
        """Warn where parameters have their first gradient in mid-run and decay as at the start of one."""
        if not count or not self.state or group.get("weight_decay", 0) == 0 or "late" in self._said() or capturing():
            return
        decay = strongest([group])
        if decay is None or decay.total_steps is None:
            return
        done = max((as_float(state["step"]) for state in self.state.values() if "step" in state), default=0.0)
        if done > max(1.0, LATE * decay.total_steps):  # at the first step, another group may be a step ahead
            self._warn_once(
                "late",
                f"{count} parameters have their first gradient after {done:.0f} steps of others. Their clock begins at "
                f"0, and with it weight decay at its strongest: {decay.formula()}. If they are trained weights, give "
                "them a group with weight_decay=0.",
            )

    def _say_what_decay_leaves(self) -> None:
        """Warn where weights that have been trained before would be lost to decay."""
        decay = strongest(self.param_groups)
        lost = decay is not None and (decay.kept() or 0.0) < 1 - MOST_LOST
        if decay is None or not lost or "pretrained" in self._said() or capturing():
            return
        if looks_trained(p for group in self.param_groups for p in group["params"]):
            self._warn_once(
                "pretrained",
                "these weights have been trained before (the gains of a norm are not all equal), and "
                f"{left_in_words(decay)}. To fine-tune, pass adana.param_groups(model, pretrained=True), "
                "weight_decay=0, or weight_decay=adana.omega_from_adamw(weight_decay, lr, total_steps), which is never "
                "warned about.",
            )

    def _say_idle(self) -> None:
        """Warn where no parameter has ever had a gradient; one such step may be meant, as for a scheduler's sake."""
        self._idle_steps = getattr(self, "_idle_steps", 0) + 1
        if self._idle_steps > 1:
            self._warn_once(
                "idle",
                f"no parameter of this {type(self).__name__} has had a gradient in {self._idle_steps} steps, so "
                "nothing is trained: are the model's parameters others than those it was given (adapters or "
                "shards that were made later), or frozen?",
            )

    def _check_capture(self) -> None:
        check = getattr(self, "_accelerator_graph_capture_health_check", None)
        if check is None:  # its name in torch before 2.9
            check = self._cuda_graph_capture_health_check
        check()


def _names(group: Group) -> tuple[str, ...]:
    """What the state of a group's parameters may hold, ``step`` aside."""
    return storage.names(averages_of(group), group["state_dtype"], group["param_rounding"])


def _scaled(group: Group, defaults: Group) -> Group:
    """A new group with its learning rate and peak, where it has but a factor on the optimizer's."""
    scale = group.get("lr_factor")
    if scale is None or "lr" in group:
        return group
    known = {name: defaults[name] * scale for name in ("lr", "peak_lr") if defaults[name] is not None}
    return {**known, **group}


# Seeds of optimizers of one parameter, as hooks in the backward pass have them: their parameters all stand first in
# their optimizer and at the same step, so with one seed all would be rounded with the same random bits.
_SEEDS = itertools.count()


def _seed_of(groups: list[Group]) -> int:
    """The rounding seed of an optimizer that was given none."""
    params = [(p, group) for group in groups for p in group["params"]]
    if len(params) != 1:
        return 0
    ((p, group),) = params
    return next(_SEEDS) if storage.rounds(p, group, group["param_rounding"]) else 0


def _count(steps: list[Tensor], group: Group) -> None:
    if group["capturable"] or torch.compiler.is_compiling():
        torch._foreach_add_(steps, 1)
    else:  # on the CPU, where a Python number would be made a tensor for each of them
        torch._foreach_add_(steps, torch.ones((), dtype=STEP_DTYPE), alpha=1)


def _stacklevel() -> int:
    """How many frames a warning must skip to point at the line that built the optimizer."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("adana", "torch"):
        frame = frame.f_back
        level += 1
    return level


def options_of(arguments: dict[str, Any]) -> Group:
    """A constructor's keyword arguments, from its ``locals()``, as the defaults of its groups."""
    return {name: value for name, value in arguments.items() if name not in ("self", "params", "__class__")}
