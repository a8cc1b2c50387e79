"""The state of a parameter: what it holds, how it is made, and whether it is stored as its group says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from adana import rules
from adana.optim import formats, storage
from adana.optim.randomness import COMPENSATION

__all__ = [
    "STEP_DTYPE",
    "average_dtype",
    "averages_of",
    "check_stored",
    "dtype_name",
    "make_state",
    "rule_of",
    "with_names",
    "without_state",
]

Group = dict[str, Any]

COMPLEX_OF = {torch.float64: torch.complex128, torch.float32: torch.complex64}
_NARROW_STATE = frozenset({torch.bfloat16, torch.int16, torch.float16})

# A float32 step + 1 is the same float32 from 2^24 on: the clocks and the random bits would stand still.
STEP_DTYPE = torch.int64


def rule_of(group: Group) -> rules.Rule:
    """The rule that updates a group's parameters."""
    return rules.rule(group["rule"], group.get("form", "paper"))


def averages_of(group: Group) -> tuple[str, ...]:
    """What the group's rule averages, by name."""
    return rule_of(group).state(group)


_FORMATS = {"state_dtype": storage.FORMATS, "tau_dtype": storage.TAU_FORMATS}


def dtype_name(dtype: torch.dtype | str | None, option: str = "state_dtype") -> str | None:
    """A storage format by name, as groups keep it: ``torch.load(weights_only=True)`` reads plain strings."""
    if dtype is None:
        return None
    name = formats.name_of(dtype) if isinstance(dtype, torch.dtype) else dtype
    if name not in _FORMATS[option]:
        raise ValueError(f"{option} must be None or one of {', '.join(_FORMATS[option])}, got {dtype!r}")
    return name


def with_names(options: Mapping[str, Any]) -> Group:
    """Options with their storage formats by name."""
    return {key: dtype_name(value, key) if key in _FORMATS else value for key, value in options.items()}


def average_dtype(group: Group, p: Tensor, average: str) -> torch.dtype:
    """The dtype in which an average of this parameter is stored."""
    wide = p.dtype in (torch.float64, torch.complex128)
    name = group["state_dtype"]
    if name == "int16" and not p.is_complex() and not storage.coded(name, p.shape):
        name = None
    if average == "tau" and name != "int16" and not p.is_complex():  # codes are of 16 bits already
        name = group.get("tau_dtype") or name
    real = getattr(torch, name) if name else (torch.float64 if wide else torch.float32)
    if not p.is_complex():
        return real
    if real in _NARROW_STATE:
        raise ValueError(f"complex parameters cannot keep their state in {real}: use float32 or float64")
    return COMPLEX_OF[real]


def make_state(group: Group, p: Tensor, state: dict[str, Any]) -> None:
    """Zeros for what of a parameter's state is missing.

    Args:
        group: of the parameter.
        p: the parameter.
        state: its state, written to.

    Raises:
        ValueError: as :func:`check_stored`.
    """
    check_stored(group, p, state)
    if "step" not in state:
        state["step"] = torch.zeros((), dtype=STEP_DTYPE, device=p.device if group["capturable"] else "cpu")
    averages = averages_of(group)
    coded = average_dtype(group, p, averages[0]) == torch.int16
    for name in storage.names(averages, group["state_dtype"], group["param_rounding"]):
        if name in state:
            continue
        if name == COMPENSATION:
            if p.dtype in storage.NARROW:
                state[name] = torch.zeros_like(p, dtype=torch.bfloat16)
        elif name.endswith("_scale"):
            if coded:
                state[name] = storage.new_scales(p)
        else:
            layout = torch.contiguous_format if coded else torch.preserve_format
            state[name] = torch.zeros_like(p, dtype=average_dtype(group, p, name), memory_format=layout)


def without_state(group: Group, params: Iterable[Tensor], states: list[Any]) -> list[tuple[Tensor, Any]]:
    """The parameters whose state lacks something or is not stored as their group says, with that state."""
    averages = averages_of(group)
    kahan = group["param_rounding"] == "kahan"
    needed = frozenset(averages)
    shown = {averages[0], averages[-1]}  # all but tau, which comes last, are stored alike
    plain = not kahan and group["state_dtype"] is None and group.get("tau_dtype") is None
    whole = plain and all(needed <= state.keys() for state in states)
    if whole and {state[name].dtype for state in states for name in shown}.isdisjoint(_NARROW_STATE):
        return []
    found = []
    for p, state in zip(params, states):
        left = kahan and p.dtype in storage.NARROW and COMPENSATION not in state
        if left or not needed <= state.keys() or not all(_as_said(group, p, name, state[name]) for name in shown):
            found.append((p, state))
    return found


def _as_said(group: Group, p: Tensor, name: str, average: Tensor) -> bool:
    """Whether an average is stored as its group says; None leaves float64 averages as they are."""
    expected = average_dtype(group, p, name)
    if group["state_dtype"] is None and expected not in _NARROW_STATE:
        return average.dtype not in _NARROW_STATE
    return average.dtype == expected


def check_stored(group: Group, p: Tensor, state: Mapping[str, Any]) -> None:
    """Refuse averages that are not stored as their group says: codes read as numbers would be noise.

    Raises:
        ValueError: an average is no tensor, of another shape, or of another format.
    """
    averages = averages_of(group)
    for name in averages:
        average = state.get(name)
        if average is None:
            continue
        if not isinstance(average, Tensor):
            raise ValueError(
                f"{name} of a parameter of shape {tuple(p.shape)} must be a tensor, got {type(average).__name__}"
            )
        if average.shape != p.shape:
            raise ValueError(
                f"{name} has shape {tuple(average.shape)} and its parameter {tuple(p.shape)}: this is the state of "
                "another model, or its parameters were in another order"
            )
        scales = state.get(storage.scale_name(name))
        whole = average.dtype != torch.int16 or (
            scales is not None
            and scales.dtype == torch.float32
            and scales.shape == torch.Size(formats.scales_shape(p.shape))
        )
        if not whole or not _as_said(group, p, name, average):
            option = "tau_dtype" if name == "tau" and average_dtype(group, p, name) != torch.int16 else "state_dtype"
            raise ValueError(
                f"{name} of a parameter of shape {tuple(p.shape)} is stored as {average.dtype}"
                f"{'' if whole else ', without its scales'}, and its group says {option}={group.get(option)!r}: "
                f"load a checkpoint into an optimizer with the {option} it was saved with, then call convert_state()"
            )
