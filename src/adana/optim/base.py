"""What all optimizers of the family share: groups, state, checkpoints and the step around a rule.

The arithmetic is in :mod:`adana.rules`, what is stored between steps in :mod:`adana.optim.storage`; this
file turns parameter groups into the rules' scalars and carries one to the other.
"""

from __future__ import annotations

import copy
import itertools
import math
import numbers
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import _default_to_fused_or_foreach, _use_grad_for_differentiable

from adana import options as checks
from adana import rules, schedules
from adana.optim import storage
from adana.optim.foreach import foreach_update
from adana.optim.kernels import fused_update, has_layout, lay_out, missing

if TYPE_CHECKING:
    from adana.optim.kernels.tables import Layout

Group = dict[str, Any]

# What weights are compared with where only lr, decay and dtype are known: the usual scale of an initialisation.
TYPICAL_WEIGHT = 0.02

_NARROW_STATE = (torch.bfloat16, torch.int16)

COMPLEX_OF = {torch.float64: torch.complex128, torch.float32: torch.complex64, torch.float16: torch.complex32}


def dtype_name(dtype: torch.dtype | str | None) -> str | None:
    """A storage format by name, as groups keep it: ``torch.load(weights_only=True)`` reads plain strings."""
    if dtype is None:
        return None
    name = str(dtype).removeprefix("torch.")
    if name not in storage.FORMATS:
        raise ValueError(f"state_dtype must be None or one of {', '.join(storage.FORMATS)}, got {dtype!r}")
    return name


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _wider(stored: torch.dtype) -> torch.dtype:
    """A dtype of arithmetic that holds what is stored exactly."""
    return torch.promote_types(stored, torch.float32)


def _float(value: Any) -> float:
    """A number or one-element tensor as a Python number; torch warns where the tensor asks for gradients."""
    return float(value.detach() if isinstance(value, Tensor) else value)


def _known(value: Any) -> float:
    return _float(value) if isinstance(value, (Tensor, numbers.Real)) else math.nan


# What the arithmetic takes as plain Python numbers: a tensor here would hold up the device at every step.
_PLAIN = ("beta2", "beta3", "momentum")


def _stacklevel() -> int:
    """How many frames a warning must skip to point at the line that built the optimizer."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("adana", "torch"):
        frame = frame.f_back
        level += 1
    return level


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
            self._check_group(group)
        except Exception:
            self.param_groups.pop()
            raise
        group["lr_when_added"] = _float(group["lr"])

    def _rule_name(self, group: Group) -> str:
        return self.rule_name

    def _check_group(self, group: Group) -> None:
        if group["differentiable"] and (group["foreach"] or group["fused"]):
            raise RuntimeError("`differentiable` runs the single-tensor loop: it excludes `foreach` and `fused`")
        if group["foreach"] and group["fused"]:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together")
        if group["fused"]:
            self._check_fused(group)
        for name, value in group.items():
            if isinstance(value, numbers.Real) and type(value) not in (bool, int, float):  # type: ignore[comparison-overlap]
                group[name] = float(value)  # NumPy's would keep `torch.load(weights_only=True)` from reading it
        checks.one_of("param_rounding", group["param_rounding"], storage.PARAM_ROUNDINGS)
        seed = group["rounding_seed"]
        if not isinstance(seed, int) or not 0 <= seed < 1 << 32:
            raise ValueError(f"rounding_seed must be a whole number in [0, 2**32), got {seed!r}")
        if group["differentiable"] and group["state_dtype"] in ("bfloat16", "int16"):
            raise RuntimeError(
                f"`differentiable` cannot see through state_dtype={group['state_dtype']!r}, which rounds the averages"
            )
        lr = group["lr"]
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must have one element, got shape {tuple(lr.shape)}")
        checks.number("lr", lr, _known, least=0.0)
        if group["peak_lr"] is not None:
            checks.number("peak_lr", group["peak_lr"], _known, above=0.0)
        for name in _PLAIN:
            if isinstance(group.get(name), Tensor):
                raise ValueError(f"{name} must be a number in [0, 1), got {group[name]!r}")
        checks.check(self._rule_name(group), group, _known)
        if "betas" in group:
            group["betas"] = tuple(map(float, group["betas"]))
        if "decay" in group:
            self._check_decay(group)
        self._check_resolution(group)

    def _check_fused(self, group: Group) -> None:
        for device in {p.device for p in group["params"]}:
            lack = missing(device)
            if lack:
                raise RuntimeError(f"fused=True cannot be had: {lack}")

    def _check_decay(self, group: Group) -> None:
        peak = group["peak_lr"] if group["peak_lr"] is not None else group["lr"]
        checks.check_decay(group, _known, self._warn_once, peak=_float(peak))
        if _float(group["weight_decay"]) != 0 and _float(peak) == 0:
            raise ValueError(
                f"lr={group['lr']!r} cannot serve as the peak learning rate that scales weight decay: pass peak_lr "
                "(the schedule's highest lr), or weight_decay=0"
            )

    def _check_resolution(self, group: Group) -> None:
        """Warn where steps are too small for the parameters' own dtype, from what the group says alone."""
        lr = _float(group["peak_lr"] if group["peak_lr"] is not None else group["lr"])
        if lr == 0:
            return
        for dtype in {p.dtype for p in group["params"] if p.is_floating_point()}:
            if dtype in storage.NARROW and group["param_rounding"] != "nearest":
                continue
            half = torch.finfo(dtype).eps / 4  # least half spacing, relative to the number
            lost = []
            if lr < half * TYPICAL_WEIGHT:
                lost.append(f"an update of lr={lr:g} rounds to nothing on weights above {lr / half:.1g}")
            if group.get("weight_decay", 0) != 0:
                decay = schedules.lambda_(
                    0.0,
                    weight_decay=_float(group["weight_decay"]),
                    decay=group["decay"],
                    total_steps=group["total_steps"],
                    weight_decay_offset=group["weight_decay_offset"],
                )
                if decay < half:
                    lost.append(f"a weight decay of at most {decay:.1g} a step alone rounds to nothing on any weight")
            if lost:
                narrow = dtype in storage.NARROW
                self._warn_once(
                    "resolution",
                    f"{' and '.join(lost)}, the parameters being {_name(dtype)} and rounded to "
                    + (
                        "nearest: use param_rounding='stochastic' or 'kahan', or float32 parameters."
                        if narrow
                        else "nearest: use a larger lr or a wider dtype."
                    ),
                )

    def _warn_once(self, kind: str, message: str) -> None:
        """Warn of one kind of habit once an optimizer, however many groups have it."""
        said: set[str] = self.__dict__.setdefault("_said", set())
        if kind not in said:
            said.add(kind)
            warnings.warn(message, stacklevel=_stacklevel())

    @staticmethod
    def _peak_lr(group: Group) -> float:
        """The lr that gamma(t) is measured against; see the class docstrings for where it comes from."""
        for name in ("peak_lr", "max_lr"):  # OneCycleLR writes max_lr; its `initial_lr` is the lowest lr, not the peak
            if group.get(name) is not None:
                return _float(group[name])
        return _float(group["lr_when_added"])

    @classmethod
    def _check_peak(cls, group: Group) -> None:
        """Refuse to guess the peak where a scheduler shows that the lr of the start was not it."""
        if group.get("weight_decay", 0) == 0 or group["peak_lr"] is not None or "max_lr" in group:
            return
        peak = cls._peak_lr(group)
        initial, lr = _float(group.get("initial_lr", peak)), _float(group["lr"])
        if initial != peak or lr > peak * (1 + 1e-6):
            raise ValueError(
                f"the peak learning rate is unclear: the group was added with lr={peak:g}, but a scheduler "
                f"(CyclicLR, for one) now starts from {initial:g} and has set lr={lr:g}. Weight decay is scaled "
                "by lr/peak_lr, so pass peak_lr (the schedule's highest lr) to the optimizer or its group."
            )

    def __repr__(self) -> str:
        lines = super().__repr__().splitlines()
        shown = []
        groups = iter(self.param_groups)
        for line in lines:
            shown.append(line)
            if line.startswith("Parameter Group"):
                group = next(groups)
                if "decay" in group:
                    formula = schedules.decay_formula(
                        weight_decay=_float(group["weight_decay"]),
                        decay=group["decay"],
                        total_steps=group["total_steps"],
                        weight_decay_offset=group["weight_decay_offset"],
                    )
                    shown.append(f"    decay in force: {formula}")
        return "\n".join(shown)

    # --- state ----------------------------------------------------------------------------------------

    def _state_dtype(self, group: Group, p: Tensor) -> torch.dtype:
        """The dtype in which an average of this parameter is stored."""
        wide = p.dtype in (torch.float64, torch.complex128)
        name = group["state_dtype"]
        if name == "int16" and not p.is_complex() and not storage.coded(name, p.shape):
            name = None
        real = getattr(torch, name) if name else (torch.float64 if wide else torch.float32)
        if not p.is_complex():
            return real
        if real not in COMPLEX_OF:
            raise ValueError(f"complex parameters cannot keep their state in {real}: use float32 or float64")
        return COMPLEX_OF[real]

    def _names(self, group: Group) -> tuple[str, ...]:
        """What a parameter's state may hold beside ``step``."""
        return storage.names(self._averages(group), group["state_dtype"], group["param_rounding"])

    def _make_state(self, group: Group, p: Tensor, names: Iterable[str]) -> None:
        """Zeros for what of a parameter's state is missing."""
        state = self.state[p]
        self._check_stored(group, p, state)
        if "step" not in state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=p.device if group["capturable"] else "cpu")
        dtype = self._state_dtype(group, p)
        for name in names:
            if name in state:
                continue
            if name == storage.COMPENSATION:
                if p.dtype in storage.NARROW:
                    state[name] = torch.zeros_like(p, dtype=torch.bfloat16)
            elif name.endswith("_scale"):
                if dtype == torch.int16:
                    state[name] = storage.new_scales(p)
            else:
                layout = torch.contiguous_format if dtype == torch.int16 else torch.preserve_format
                state[name] = torch.zeros_like(p, dtype=dtype, memory_format=layout)

    def _without_state(self, group: Group, params: list[Tensor], states: list[Any]) -> list[Tensor]:
        """The parameters whose state lacks something or is not stored as their group says."""
        averages, kahan = self._averages(group), group["param_rounding"] == "kahan"
        needed = frozenset(averages)
        plain = not kahan and group["state_dtype"] is None and all(needed <= state.keys() for state in states)
        if plain and {state[averages[0]].dtype for state in states}.isdisjoint(_NARROW_STATE):
            return []
        found = []
        for p, state in zip(params, states):
            left = kahan and p.dtype in storage.NARROW and storage.COMPENSATION not in state
            if left or not needed <= state.keys() or not self._as_said(group, p, state[averages[0]]):
                found.append(p)
        return found

    def _averages(self, group: Group) -> tuple[str, ...]:
        return rules.rule(self._rule_name(group), group.get("form", "paper")).state(group)

    def _as_said(self, group: Group, p: Tensor, average: Tensor) -> bool:
        """Whether an average is stored as its group says; None leaves float64 averages as they are."""
        if group["state_dtype"] is None:
            return average.dtype not in _NARROW_STATE
        return average.dtype == self._state_dtype(group, p)

    def _check_stored(self, group: Group, p: Tensor, state: Mapping[str, Any]) -> None:
        """Refuse averages that are not stored as their group says: codes read as numbers would be noise."""
        for name in self._averages(group):
            if not isinstance(state.get(name), Tensor):
                continue
            found = state[name].dtype
            scales = state.get(storage.scale_name(name))
            whole = found != torch.int16 or (
                scales is not None
                and scales.dtype == torch.float32
                and scales.shape == torch.Size(storage.scales_shape(p.shape))
            )
            if state[name].shape != p.shape or not whole or not self._as_said(group, p, state[name]):
                raise ValueError(
                    f"{name} of a parameter of shape {tuple(p.shape)} is stored as {found}, shape "
                    f"{tuple(state[name].shape)}{'' if whole else ', without its scales'}, and its group says "
                    f"state_dtype={group['state_dtype']!r}: load a checkpoint into an optimizer with the state_dtype "
                    "it was saved with, then call convert_state()"
                )

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
            if name in ("bfloat16", "int16") and any(p.is_complex() for p in group["params"]):
                raise ValueError(f"complex parameters cannot keep their state in {name}: use float32 or float64")
        lost: set[str] = set()
        for group in self.param_groups:
            averages, before = self._averages(group), group["state_dtype"]
            held = [p for p in group["params"] if p in self.state and averages[0] in self.state[p]]
            for p in held:
                self._check_stored(group, p, self.state[p])
            group["state_dtype"] = name
            for p in held:
                state = self.state[p]
                old = {key: state.pop(key) for key in list(state) if key.removesuffix("_scale") in averages}
                found, target = old[averages[0]].dtype, self._state_dtype(group, p)
                self._make_state(group, p, self._names(group))
                own = {key: storage.shard(x, x) for key, x in old.items()}
                values = own if p.is_complex() else storage.decode(own, _wider(found))
                storage.encode({key: storage.shard(x, x) for key, x in state.items()}, values, storage.to_nearest)
                if found != target and torch.promote_types(_wider(found), target) != target:
                    lost.add(f"from {before or _name(found)} to {_name(target)}")
        if lost:
            self._warn_once(
                "conversion",
                f"the averages were rounded to nearest {', '.join(sorted(lost))}, all of each parameter's but its "
                "step: the run goes on from the rounded numbers.",
            )

    def _init_group(
        self,
        group: Group,
        first: int,
        params: list[Tensor],
        grads: list[Tensor],
        steps: list[Tensor],
        places: list[Any],
        *buffers: list[Any],
    ) -> bool:
        """Collect the group's parameters that have a gradient, with their state (made where missing).

        ``first`` is the position of the group's first parameter in the optimizer. Where a parameter has no
        state of some name (vectors have no scales), that buffer holds None.

        Named and shaped as torch's own: ``torch.compile`` runs a method of this name outside the trace.
        """
        names = self._names(group)
        # Reading a tensor lr each step would hold up the device; the first step can afford it.
        if not group["capturable"] or any(p.grad is not None and p not in self.state for p in group["params"]):
            self._check_peak(group)
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
        for p in self._without_state(group, params, states):
            self._make_state(group, p, names)
        if group["differentiable"] and any(state["step"].requires_grad for state in states):
            raise RuntimeError("`requires_grad` is not supported for `step` in differentiable mode")
        steps += [state["step"] for state in states]
        state_dtype, param_rounding = group["state_dtype"], group["param_rounding"]
        places += [storage.place(p, k) if storage.rounds(p, state_dtype, param_rounding) else None for k, p in numbered]
        for name, buffer in zip(names, buffers):
            buffer += [state.get(name) for state in states]
        return any(p.is_complex() for p in params)

    def load_state_dict(self, state_dict: Any) -> None:
        """Load a whole optimizer: hyper-parameters, steps, and state as it was stored when saved.

        Torch casts every state tensor to the parameter's dtype on the way, codes too; the saved tensors are
        put back as they were. ``state_dtype`` is part of a checkpoint like every hyper-parameter, so the
        checkpoint's wins over the constructor's: ``convert_state`` changes it afterwards.

        Raises:
            ValueError: groups or parameters that do not fit, or averages not stored as their group says.
        """
        seen: dict[str, Any] = {}

        def remember(_: Optimizer, final: dict[str, Any]) -> None:
            seen.update(final)
            for group, own in zip(final["param_groups"], self.param_groups):
                for key, p in zip(group["params"], own["params"]):
                    self._check_stored(group, p, final["state"].get(key, {}))

        def restore(_: Optimizer) -> None:
            saved = itertools.chain.from_iterable(group["params"] for group in seen["param_groups"])
            own = ((group, p) for group in self.param_groups for p in group["params"])
            for key, (group, p) in zip(saved, own, strict=True):
                for name, value in seen["state"].get(key, {}).items():
                    if isinstance(value, Tensor):
                        device = p.device if name != "step" or group["capturable"] else "cpu"
                        self.state[p][name] = value.detach().to(device=device, copy=True)

        before = self.register_load_state_dict_pre_hook(remember)
        after = self.register_load_state_dict_post_hook(restore, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    # --- the step -------------------------------------------------------------------------------------

    def _only_asks_for_state(self) -> bool:
        """Whether this call is torch's way of asking an optimizer without state to make it.

        ``get_optimizer_state_dict`` calls ``step()`` with lr = 0 and zero gradients. Counting that call
        would move every schedule by one; a warm-up step with lr = 0 and real gradients does count.
        """
        if self.state or any(_float(group["lr"]) != 0 for group in self.param_groups):
            return False
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        return not any(grad.is_sparse or bool(torch.count_nonzero(grad)) for grad in grads)

    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; ``closure``, where given, recomputes the loss, which is returned."""
        check = getattr(self, "_accelerator_graph_capture_health_check", None)
        if check is None:  # its name in torch before 2.9
            check = self._cuda_graph_capture_health_check
        check()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        make_state_only = not torch.compiler.is_compiling() and self._only_asks_for_state()
        first = 0
        for group in self.param_groups:
            rule = rules.rule(self._rule_name(group), group.get("form", "paper"))
            names = self._names(group)
            params: list[Tensor] = []
            grads: list[Tensor] = []
            steps: list[Tensor] = []
            places: list[Any] = []
            buffers: list[list[Any]] = [[] for _ in names]
            has_complex = self._init_group(group, first, params, grads, steps, places, *buffers)
            first += len(group["params"])
            if make_state_only or not params:
                continue
            if rule.direction is not rules.muon and not group["differentiable"] and any(map(storage.sharded, params)):
                grads = [storage.shard(g, p) for g, p in zip(grads, params)]
                params, *buffers = ([storage.shard(x, x) for x in xs] for xs in (params, *buffers))
            if has_complex:
                places = [at and storage.real_place(at, p) for at, p in zip(places, params)]
                params, grads, *buffers = ([_real(x) for x in xs] for xs in (params, grads, *buffers))
            _update(params, grads, steps, places, dict(zip(names, buffers)), rule, group, self._peak_lr)
            if group["capturable"] or torch.compiler.is_compiling():
                torch._foreach_add_(steps, 1)
            else:  # on the CPU, where a Python number would be made a tensor for each of them
                torch._foreach_add_(steps, torch.ones(()), alpha=1.0)
        return loss


def _real(x: Any) -> Any:
    return torch.view_as_real(x) if x is not None and x.is_complex() else x


def _update(
    params: list[Tensor],
    grads: list[Tensor],
    steps: list[Tensor],
    places: list[Any],
    buffers: dict[str, list[Any]],
    rule: rules.Rule,
    group: Group,
    peak_lr: Callable[[Group], float],
) -> None:
    """Apply one rule to the parameters of one group: by the loop, by foreach or by fused kernels."""
    layout = _fused_layout(group, rule, params, grads, steps, buffers, places)
    foreach = group["foreach"]
    if foreach is None:
        _, foreach = _default_to_fused_or_foreach(params, group["differentiable"])
    # Inside a trace, a capture or a graph the step's value cannot be read: the schedules stay tensors.
    on_device = torch.compiler.is_compiling() or group["capturable"] or group["differentiable"]

    lr_now = group["lr"] if on_device else _float(group["lr"])
    decays = group.get("weight_decay", 0) != 0
    peak = peak_lr(group) if decays else 1.0

    form = group.get("form", "paper")

    def scheduled(t: Any, lr: Any) -> dict[str, Any]:
        s = dict(rule.scalars(t, group))
        s["lr"] = lr
        s["decay"] = (
            (lr / peak)
            * schedules.lambda_(
                rules.decay_clock(t, form),
                weight_decay=group["weight_decay"],
                decay=group["decay"],
                total_steps=group["total_steps"],
                weight_decay_offset=group["weight_decay_offset"],
            )
            if decays
            else 0.0
        )
        return s

    def numbers(t: Any, dtype: torch.dtype) -> dict[str, Any]:
        s = scheduled(t, lr_now)
        if not on_device:
            return s
        return {name: x.to(dtype) if isinstance(x, Tensor) else x for name, x in s.items()}

    known: dict[tuple[Any, torch.dtype], dict[str, Any]] = {}

    def scalars(step: Tensor, dtype: torch.dtype) -> dict[str, Any]:
        if on_device:
            return numbers(step.to(torch.float32 if step.device.type == "mps" else torch.float64), dtype)
        key = (step.item(), dtype)
        if key not in known:
            known[key] = numbers(*key)
        return known[key]

    if layout is not None:
        fused_update(
            layout,
            steps,
            rule,
            scheduled,
            lr=lr_now,
            form=form,
            maximize=group["maximize"],
            capturable=group["capturable"],
            seed=group["rounding_seed"],
        )
        torch.autograd.graph.increment_version(params)
        return

    param_rounding = "nearest" if group["differentiable"] else group["param_rounding"]
    randomness = [
        storage.Randomness(group["rounding_seed"], step if on_device else step.item(), place)
        if place is not None and storage.rounds(p, group["state_dtype"], param_rounding)
        else None
        for p, step, place in zip(params, steps, places)
    ]
    averages = {name: buffers[name] for name in rule.state(group)}
    others = {name: buffer for name, buffer in buffers.items() if name not in averages}
    cells = []
    for i, p in enumerate(params):
        own = {name: buffer[i] for name, buffer in averages.items()}
        beside = {name: buffer[i] for name, buffer in others.items() if buffer[i] is not None}
        cells.append(storage.Stored(p, own, beside, randomness[i], param_rounding))
    if rule.direction is not rules.muon and not torch.compiler.is_compiling():
        cells, grads, steps = storage.split(cells, grads, steps)

    if foreach and rule.direction is not rules.muon:
        foreach_update(cells, grads, steps, rule, scalars, form=form, maximize=group["maximize"], on_device=on_device)
        return
    for cell, grad, step in zip(cells, grads, steps):
        dtype = cell.compute_dtype()
        s = scalars(step, dtype)
        if rule.direction is rules.muon:
            s = {**s, "orthogonalize": orthogonalize}
        g = grad.to(dtype)
        p, state = cell.read(dtype)
        u, new = rule.direction(torch, -g if group["maximize"] else g, state, s)
        old = p.clone() if group["differentiable"] else p  # backward needs it as it was
        cell.write(rules.descend(old, u, lr=s["lr"], decay=s["decay"], form=form), new)


def _fused_layout(
    group: Group,
    rule: rules.Rule,
    params: list[Tensor],
    grads: list[Tensor],
    steps: list[Tensor],
    buffers: dict[str, list[Any]],
    places: list[Any],
) -> Layout | None:
    """What fused kernels update, where this step is fused: where asked for, and by default wherever it can be.

    A compiled step never is: the compiler fuses the rule itself.
    """
    asked = group["fused"]
    if torch.compiler.is_compiling() or group["differentiable"] or rule.direction is rules.muon or asked is False:
        return None
    # A captured launch needs tables that a step before it has made: who asked for it is told so, who did not goes on.
    if asked is None and (group["foreach"] is not None or (_capturing() and not has_layout(steps))):
        return None
    if _float(group.get("kappa", 0.0)) > 50:
        layout: Any = f"kappa={group['kappa']!r} is beyond the range of the kernels' power"
    else:
        layout = lay_out(params, grads, steps, buffers, places, group["param_rounding"])
    if not isinstance(layout, str):
        return layout  # type: ignore[no-any-return]
    if asked:
        raise RuntimeError(f"fused=True cannot be had: {layout}")
    return None


def _capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def orthogonalize(matrix: Tensor, steps: int) -> Tensor:
    """Newton-Schulz in bf16 on an accelerator, where it is many times faster, else as it comes."""
    work = matrix if matrix.device.type == "cpu" else matrix.bfloat16()
    result: Tensor = rules.newton_schulz(work, steps)
    return result.to(matrix.dtype)
