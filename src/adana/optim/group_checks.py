"""What a parameter group may say, checked when it is added, and which learning rate is its peak."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from adana import catalog, option_checks
from adana.optim import storage
from adana.optim.formats import name_of
from adana.optim.kernels import missing
from adana.schedules import Decay

__all__ = [
    "as_float", "check_clock", "check_group", "check_horizon", "check_peak", "check_started", "peak_lr",
    "waits_for_horizon",
]  # fmt: skip

Group = dict[str, Any]
Warn = Callable[[str, str], None]  # takes a kind of warning and its message

# What weights are compared with where only lr, decay and dtype are known: the usual scale of an initialisation.
TYPICAL_WEIGHT = 0.02

# Stands for total_steps where a group is checked before it is known: no schedule is wrong at it.
_ANY_HORIZON = 1e9

# What the arithmetic takes as plain Python numbers: a tensor here would hold up the device at every step.
_PLAIN = ("beta1", "beta2", "beta3", "cooldown", "momentum")


def as_float(value: Any) -> float:
    """A number or one-element tensor as a Python number; torch warns where the tensor asks for gradients."""
    return float(value.detach() if isinstance(value, Tensor) else value)


def _known(value: Any) -> float:
    return as_float(value) if isinstance(value, (Tensor, numbers.Real)) else math.nan


def check_group(group: Group, warn: Warn) -> None:
    """Refuse what a group must not say, and make plain numbers of NumPy's.

    Args:
        group: with every option filled in.
        warn: called with a kind and a message where a value is allowed but unlikely to be meant.

    Raises:
        ValueError: a value is out of range, or two exclude one another.
        RuntimeError: ways to step that exclude one another, or ``fused`` where there is no kernel.
    """
    _check_ways_to_step(group)
    for name, value in group.items():
        if isinstance(value, numbers.Real) and type(value) not in (bool, int, float):  # type: ignore[comparison-overlap]
            group[name] = float(value)  # NumPy's would keep `torch.load(weights_only=True)` from reading it
    option_checks.one_of("param_rounding", group["param_rounding"], storage.PARAM_ROUNDINGS)
    seed = group["rounding_seed"]
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 1 << 32):
        raise ValueError(f"rounding_seed must be a whole number in [0, 2**32), got {seed!r}")
    lr = group["lr"]
    if lr is None:
        raise ValueError("no learning rate: pass lr, or give every parameter group an 'lr' of its own")
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"Tensor lr must have one element, got shape {tuple(lr.shape)}")
    option_checks.number("lr", lr, _known, least=0.0)
    if group["peak_lr"] is not None:
        option_checks.number("peak_lr", group["peak_lr"], _known, above=0.0)
    for name in _PLAIN:
        if isinstance(group.get(name), Tensor):
            raise ValueError(f"{name} must be a number in [0, 1), got {group[name]!r}")
    if waits_for_horizon(group):  # what follows from total_steps is said once it is known
        _check_options({**group, "total_steps": _ANY_HORIZON}, lambda kind, message: None)
    else:
        _check_options(group, warn)
    if "betas" in group:
        group["betas"] = tuple(map(float, group["betas"]))


def _check_options(group: Group, warn: Warn) -> None:
    option_checks.check(group["rule"], group, _known)
    if "decay" in group:
        _check_decay(group, warn)
    _check_resolution(group, warn)


def _check_ways_to_step(group: Group) -> None:
    if group["differentiable"] and (group["foreach"] or group["fused"]):
        raise RuntimeError("`differentiable` runs the single-tensor loop: it excludes `foreach` and `fused`")
    if group["foreach"] and group["fused"]:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together")
    if group["fused"]:
        for device in {p.device for p in group["params"]}:
            lack = missing(device)
            if lack:
                raise RuntimeError(f"fused=True cannot be had: {lack}")
    if group["differentiable"] and storage.narrow_state(group):
        narrow = [f"{name}={group[name]!r}" for name in ("state_dtype", "tau_dtype") if group.get(name) is not None]
        raise RuntimeError(f"`differentiable` cannot see through {', '.join(narrow)}, which rounds averages")


def _check_decay(group: Group, warn: Warn) -> None:
    peak = group["peak_lr"] if group["peak_lr"] is not None else group["lr"]
    option_checks.check_decay(Decay.of(group), _known, warn, peak=as_float(peak))
    if as_float(group["weight_decay"]) != 0 and as_float(peak) == 0:
        raise ValueError(
            f"lr={group['lr']!r} cannot serve as the peak learning rate that scales weight decay: pass peak_lr "
            "(the schedule's highest lr), or weight_decay=0"
        )


def _check_resolution(group: Group, warn: Warn) -> None:
    """Warn where steps are too small for the parameters' own dtype, from what the group says alone."""
    lr = as_float(group["peak_lr"] if group["peak_lr"] is not None else group["lr"])
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
            decay = as_float(Decay.of(group).at(0.0))
            if decay < half:
                lost.append(f"a weight decay of at most {decay:.1g} per step alone rounds to nothing on any weight")
        if lost:
            narrow = dtype in storage.NARROW
            warn(
                "resolution",
                f"{' and '.join(lost)}, the parameters being {name_of(dtype)} and rounded to "
                + (
                    "nearest: use param_rounding='stochastic' or 'kahan', or float32 parameters."
                    if narrow
                    else "nearest: use a larger lr or a wider dtype."
                ),
            )


def peak_lr(group: Group) -> float:
    """The lr that gamma(t) is measured against; see the class docstrings for where it comes from."""
    for name in ("peak_lr", "max_lr"):  # OneCycleLR writes max_lr; its `initial_lr` is the lowest lr, not the peak
        if group.get(name) is not None:
            return as_float(group[name])
    return as_float(group["lr_when_added"])


def check_peak(group: Group, warn: Warn) -> None:
    """Warn where a scheduler shows that the lr of the start may not be the peak: no run ends for that."""
    if group.get("weight_decay", 0) == 0 or group["peak_lr"] is not None or "max_lr" in group:
        return
    peak = peak_lr(group)
    initial, lr = as_float(group.get("initial_lr", peak)), as_float(group["lr"])
    if initial != peak or lr > peak * (1 + 1e-6):
        warn(
            "peak",
            f"the peak learning rate is unclear: the group was added with lr={peak:g}, and a scheduler "
            f"(CyclicLR, for one) starts from {initial:g} and has set lr={lr:g}. Weight decay is scaled by "
            f"min(lr/peak_lr, 1) with peak_lr={peak:g}: pass peak_lr (the schedule's highest lr) to the optimizer or "
            "set it in its groups.",
        )


def _uses_horizon(group: Group) -> bool:
    """Whether the group's numbers depend on total_steps."""
    decays = group.get("weight_decay", 0) != 0
    by_decay = decays and (group["decay"] == "constant" or group["weight_decay_offset"] is None)
    by_momentum = group.get("damping") == "linear" or group.get("cooldown") is not None
    return bool(by_decay or by_momentum or _requires_horizon(group))


def _requires_horizon(group: Group) -> bool:
    """Whether the rule cannot do without total_steps, whatever its other options are."""
    return catalog.of_rule(group["rule"]).options["total_steps"].default is catalog.REQUIRED


def waits_for_horizon(group: Group) -> bool:
    """Whether total_steps is needed and may still come, by ``set_horizon``, before the first step."""
    return group["total_steps"] is None and not _requires_horizon(group) and _uses_horizon(group)


def check_started(group: Group, warn: Warn) -> None:
    """Refuse a first step without the total_steps that the group's schedules need."""
    if waits_for_horizon(group):
        try:
            _check_options(group, warn)
        except ValueError as error:
            raise ValueError(f"{error}; or call optimizer.set_horizon(total_steps) before the first step") from None


def check_clock(group: Group, step: float, warn: Warn) -> None:
    """Warn where a parameter has had more updates than the horizon that its schedules were made for."""
    if group["total_steps"] is not None and _uses_horizon(group) and step >= as_float(group["total_steps"]):
        warn(
            "horizon",
            f"update {step + 1:.0f} is beyond total_steps={as_float(group['total_steps']):g}: the schedules of weight "
            "decay and damping were made for a run of that many optimizer steps. They go on as they are; "
            "optimizer.set_horizon(total_steps) makes the run longer. (Count optimizer steps, not micro-batches.)",
        )


def check_horizon(group: Group, total_steps: float, warn: Warn) -> None:
    """Refuse a horizon that the group's schedules cannot be computed with."""
    option_checks.number("total_steps", total_steps, _known, above=0.0)
    changed = {**group, "total_steps": total_steps}
    if waits_for_horizon(group):
        _check_options(changed, warn)
    else:
        option_checks.check(group["rule"], changed, _known)
