"""What all optimizers of the family share: groups, state, checkpoints and the step around a rule.

The arithmetic is in :mod:`adana.rules`; this file turns parameter groups into its scalars, decodes the
stored state to the dtype the arithmetic runs in, and encodes the result.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import _default_to_fused_or_foreach, _use_grad_for_differentiable

from adana import rules, schedules
from adana.optim.foreach import foreach_update

Group = dict[str, Any]

COMPLEX_OF = {torch.float64: torch.complex128, torch.float32: torch.complex64, torch.float16: torch.complex32}


def dtype_name(dtype: torch.dtype | str | None) -> str | None:
    """A dtype by name, as groups store it: ``torch.load(weights_only=True)`` reads plain strings."""
    if dtype is None:
        return None
    name = str(dtype).removeprefix("torch.")
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"state_dtype must be None or a floating-point torch.dtype, got {dtype!r}")
    return name


def _number(group: Mapping[str, Any], name: str, *, above: float | None = None, least: float | None = None) -> None:
    value = group[name]
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None
    if not math.isfinite(number) or (above is not None and number <= above) or (least is not None and number < least):
        bound = f" above {above:g}" if above is not None else f" of at least {least:g}" if least is not None else ""
        raise ValueError(f"{name} must be a finite number{bound}, got {value!r}")


def _one_of(group: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> None:
    if group[name] not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {group[name]!r}")


def _fraction(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must be a number in [0, 1), got {value!r}")


class FamilyOptimizer(Optimizer):
    """Base of the family: everything but the rule.

    Subclasses set ``rule_name`` and pass their hyper-parameters as ``defaults``; all of them live in
    ``param_groups``, so ``state_dict()`` holds the whole optimizer and every group may have its own.
    """

    rule_name: ClassVar[str]

    def __init__(self, params: Any, defaults: Group) -> None:
        defaults = {**defaults, "state_dtype": dtype_name(defaults["state_dtype"])}
        if defaults["differentiable"] and (defaults["foreach"] or defaults["fused"]):
            raise RuntimeError("`differentiable` runs the single-tensor loop: it excludes `foreach` and `fused`")
        if defaults["foreach"] and defaults["fused"]:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together")
        if defaults["fused"]:
            raise RuntimeError(f"{type(self).__name__} has no fused kernel yet: leave fused=None")
        super().__init__(params, defaults)

    # --- groups ---------------------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; it may override any hyper-parameter. Its ``lr`` now is its peak unless told otherwise."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            group["state_dtype"] = dtype_name(group["state_dtype"])
            self._check_group(group)
        except Exception:
            self.param_groups.pop()
            raise
        group["lr_when_added"] = float(group["lr"])

    def _rule_name(self, group: Group) -> str:
        return self.rule_name

    def _check_group(self, group: Group) -> None:
        lr = group["lr"]
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must have one element, got shape {tuple(lr.shape)}")
        _number(group, "lr", least=0.0)
        if group["peak_lr"] is not None:
            _number(group, "peak_lr", above=0.0)
        for name in ("eps", "weight_decay", "kappa"):
            if name in group:
                _number(group, name, least=0.0)
        for name in ("delta", "clip_snr", "damping_scale", "rms"):
            if name in group:
                _number(group, name, above=0.0)
        for name in ("total_steps", "weight_decay_offset"):
            if group.get(name) is not None:
                _number(group, name, above=0.0)
        for name in ("beta2", "beta3", "momentum"):
            if group.get(name) is not None:
                _fraction(name, group[name])
        if "betas" in group:
            betas = group["betas"]
            if not isinstance(betas, (tuple, list)) or len(betas) != 2:
                raise ValueError(f"betas must be a pair of numbers, got {betas!r}")
            for index, value in enumerate(betas):
                _fraction(f"betas[{index}]", value)
        if "damping" in group:
            self._check_damping(group)
        if "form" in group:
            self._check_form(group)
        if "decay" in group:
            self._check_decay(group)

    @staticmethod
    def _check_damping(group: Group) -> None:
        _one_of(group, "damping", schedules.DAMPINGS)
        if group["damping"] == "linear" and group["total_steps"] is None:
            raise ValueError("damping='linear' scales by total_steps**-kappa: pass total_steps")
        if group["damping"] == "nesterov" and group["damping_scale"] != 1.0:
            raise ValueError(
                "damping='nesterov' is (delta + t)/delta and has no scale: "
                f"leave damping_scale at 1, got {group['damping_scale']!r}"
            )
        if not group.get("gradient_term", True) and group.get("beta3") is not None:
            raise ValueError("beta3 averages the gradient term, which gradient_term=False removes: choose one")

    @staticmethod
    def _check_form(group: Group) -> None:
        _one_of(group, "form", rules.FORMS)
        if group["form"] == "released":
            changed = {
                name: group[name]
                for name, plain in (("beta2", None), ("beta3", None), ("gradient_term", True), ("damping", "power"))
                if group.get(name, plain) != plain
            }
            if changed:
                raise ValueError(
                    "form='released' is the authors' code as it is and has none of these options: "
                    + ", ".join(f"{name}={value!r}" for name, value in changed.items())
                )

    @staticmethod
    def _check_decay(group: Group) -> None:
        _one_of(group, "decay", schedules.DECAYS)
        omega = float(group["weight_decay"])
        if omega == 0:
            return
        decay = schedules.lambda_(
            0.0,
            weight_decay=omega,
            decay=group["decay"],
            total_steps=group["total_steps"],
            weight_decay_offset=group["weight_decay_offset"],
        )
        peak = group["peak_lr"]
        if peak is None and float(group["lr"]) == 0:
            raise ValueError(
                "lr=0 cannot serve as the peak learning rate that scales weight decay: pass peak_lr "
                "(the schedule's highest lr), or weight_decay=0"
            )
        if omega < 0.5:
            horizon = group["total_steps"]
            product = float(peak if peak is not None else group["lr"]) * horizon if horizon else None
            example = f" = {omega * product:g} here if {omega:g} is AdamW's value" if product else ""
            warnings.warn(
                f"weight_decay={omega:g} looks like AdamW's coupled value. Here it is omega, independent of lr "
                f"(the paper uses 4): omega = coupled * lr * total_steps{example}.",
                stacklevel=5,
            )
        if decay >= 1:
            warnings.warn(
                f"weight decay starts at {decay:g} a step (weight_decay / offset): at 1 or more, weights change "
                "sign. Pass a longer total_steps or a larger weight_decay_offset.",
                stacklevel=5,
            )

    @staticmethod
    def _peak_lr(group: Group) -> float:
        """The lr that gamma(t) is measured against; see the class docstrings for where it comes from."""
        if group["peak_lr"] is not None:
            return float(group["peak_lr"])
        if "max_lr" in group:  # OneCycleLR writes it; its `initial_lr` is the lowest lr, not the peak
            return float(group["max_lr"])
        peak = group["lr_when_added"]
        initial = group.get("initial_lr", peak)
        lr = group["lr"]
        if isinstance(lr, Tensor) or isinstance(initial, Tensor):
            return peak
        if initial != peak or lr > peak * (1 + 1e-6):
            raise ValueError(
                f"the peak learning rate is unclear: the group was added with lr={peak:g}, but a scheduler "
                f"(CyclicLR, for one) now starts from {initial:g} and has set lr={lr:g}. Weight decay is scaled "
                "by lr/peak_lr, so pass peak_lr (the schedule's highest lr) to the optimizer or its group."
            )
        return peak

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
                        weight_decay=float(group["weight_decay"]),
                        decay=group["decay"],
                        total_steps=group["total_steps"],
                        weight_decay_offset=group["weight_decay_offset"],
                    )
                    shown.append(f"    decay in force: {formula}")
        return "\n".join(shown)

    # --- state ----------------------------------------------------------------------------------------

    def _state_dtype(self, group: Group, p: Tensor) -> torch.dtype:
        wide = p.dtype in (torch.float64, torch.complex128)
        real = getattr(torch, group["state_dtype"]) if group["state_dtype"] else (
            torch.float64 if wide else torch.float32
        )
        if not p.is_complex():
            return real
        if real not in COMPLEX_OF:
            raise ValueError(f"complex parameters cannot keep their state in {real}: use float32 or float64")
        return COMPLEX_OF[real]

    def _init_group(
        self,
        group: Group,
        params: list[Tensor],
        grads: list[Tensor],
        steps: list[Tensor],
        *buffers: list[Tensor],
    ) -> bool:
        """Collect the group's parameters that have a gradient, with their state (made where missing).

        Named and shaped as torch's own: ``torch.compile`` runs a method of this name outside the trace.
        """
        names = rules.rule(self._rule_name(group), group.get("form", "paper")).state(group)
        has_complex = False
        for p in group["params"]:
            if p.grad is None:
                continue
            if p.grad.is_sparse:
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients: use a dense embedding "
                    "(sparse=False), or give the sparse parameters to torch.optim.SparseAdam"
                )
            has_complex |= p.is_complex()
            state = self.state[p]
            if "step" not in state:
                device = p.device if group["capturable"] else "cpu"
                state["step"] = torch.zeros((), dtype=torch.float32, device=device)
            for name in names:
                if name not in state:
                    state[name] = torch.zeros_like(
                        p, dtype=self._state_dtype(group, p), memory_format=torch.preserve_format
                    )
            if group["differentiable"] and state["step"].requires_grad:
                raise RuntimeError("`requires_grad` is not supported for `step` in differentiable mode")
            params.append(p)
            grads.append(p.grad)
            steps.append(state["step"])
            for name, buffer in zip(names, buffers):
                buffer.append(state[name])
        return has_complex

    def load_state_dict(self, state_dict: Any) -> None:
        """Load a whole optimizer: hyper-parameters, steps, and state in the dtype it was saved in.

        Torch casts every state tensor to the parameter's dtype on the way; with bf16 parameters that
        would freeze log-time averages, so the saved tensors are put back as they were.
        """
        seen: dict[str, Any] = {}

        def remember(_: Optimizer, final: dict[str, Any]) -> None:
            seen.update(final)

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
        if self.state or any(float(group["lr"]) != 0 for group in self.param_groups):
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
        for group in self.param_groups:
            rule = rules.rule(self._rule_name(group), group.get("form", "paper"))
            names = rule.state(group)
            params: list[Tensor] = []
            grads: list[Tensor] = []
            steps: list[Tensor] = []
            buffers: list[list[Tensor]] = [[] for _ in names]
            has_complex = self._init_group(group, params, grads, steps, *buffers)
            if make_state_only or not params:
                continue
            if has_complex:
                params, grads, *buffers = ([_real(x) for x in xs] for xs in (params, grads, *buffers))
            _update(params, grads, steps, dict(zip(names, buffers)), rule, group, self._peak_lr)
        return loss


def _real(x: Tensor) -> Tensor:
    return torch.view_as_real(x) if x.is_complex() else x


def _update(
    params: list[Tensor],
    grads: list[Tensor],
    steps: list[Tensor],
    buffers: dict[str, list[Tensor]],
    rule: rules.Rule,
    group: Group,
    peak_lr: Callable[[Group], float],
) -> None:
    """Apply one rule to the parameters of one group, by the loop or by foreach kernels."""
    foreach = group["foreach"]
    if foreach is None:
        _, foreach = _default_to_fused_or_foreach(params, group["differentiable"])
    # Inside a trace, a capture or a graph the step's value cannot be read: the schedules stay tensors.
    on_device = torch.compiler.is_compiling() or group["capturable"] or group["differentiable"]

    lr = group["lr"] if on_device else float(group["lr"])
    decays = group.get("weight_decay", 0) != 0
    peak = peak_lr(group) if decays else 1.0

    form = group.get("form", "paper")

    def numbers(t: Any, dtype: torch.dtype) -> dict[str, Any]:
        s = dict(rule.scalars(t, group))
        s["lr"] = lr
        s["decay"] = (lr / peak) * schedules.lambda_(
            rules.decay_clock(t, form),
            weight_decay=group["weight_decay"],
            decay=group["decay"],
            total_steps=group["total_steps"],
            weight_decay_offset=group["weight_decay_offset"],
        ) if decays else 0.0
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

    if foreach and rule.direction is not rules.muon:
        foreach_update(params, grads, steps, buffers, rule, scalars, form=form, maximize=group["maximize"], on_device=on_device)
    else:
        for i, p in enumerate(params):
            state = {name: buffer[i] for name, buffer in buffers.items()}
            dtype = compute_dtype(p, *state.values())
            s = scalars(steps[i], dtype)
            if rule.direction is rules.muon:
                s = {**s, "orthogonalize": orthogonalize}
            g = grads[i].to(dtype)
            u, new = rule.direction(torch, -g if group["maximize"] else g, {n: x.to(dtype) for n, x in state.items()}, s)
            p.copy_(rules.descend(p.to(dtype), u, lr=s["lr"], decay=s["decay"], form=form))
            for name, x in new.items():
                state[name].copy_(x)
    for step in steps:
        step += 1


def compute_dtype(p: Tensor, *state: Tensor) -> torch.dtype:
    """The dtype a rule runs in: at least float32, wide enough for the parameter and its state."""
    dtype = torch.promote_types(p.dtype, torch.float32)
    for x in state:
        dtype = torch.promote_types(dtype, x.dtype)
    return dtype


def orthogonalize(matrix: Tensor, steps: int) -> Tensor:
    """Newton-Schulz in bf16 on an accelerator, where it is many times faster, else as it comes."""
    if matrix.device.type == "cpu":
        return rules.newton_schulz(matrix, steps)
    return rules.newton_schulz(matrix.bfloat16(), steps).to(matrix.dtype)
