"""A checkpoint into an optimizer: fitted to it first, so that what does not fit changes nothing.

1. Saved groups and parameters are put in the optimizer's order, by name where both have names.
2. Every group must have been saved by the same rule. Options that the checkpoint does not know yet are the
   optimizer's own; those that differ are named in one warning.
3. Every parameter's state must be whole, of its shape, and stored as its group says.
4. Torch loads the result, and the saved tensors are put back as they were: torch casts every one to its
   parameter's dtype, codes too.
"""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from adana.optim.group_checks import as_float
from adana.optim.state import STEP_DTYPE, averages_of, check_stored

if TYPE_CHECKING:
    from adana.optim.base import FamilyOptimizer

__all__ = ["load"]

Group = dict[str, Any]

# How a step is taken, not what it computes: a difference is no news.
_WAYS_TO_STEP = {"foreach", "fused", "capturable", "differentiable", "rounding_seed", "lr", "fallback_lr"}


def load(optimizer: FamilyOptimizer, state_dict: Any, torchs_own: Callable[[Any], None]) -> None:
    """Load a checkpoint.

    Args:
        optimizer: to load into.
        state_dict: of an optimizer.
        torchs_own: ``torch.optim.Optimizer.load_state_dict`` of the optimizer.

    Raises:
        ValueError: what does not fit, with the reason; nothing has changed then.
    """
    fitted: dict[str, Any] = {}

    def fit(_: Optimizer, final: dict[str, Any]) -> dict[str, Any]:
        fitted.update(_fitted(optimizer, final))
        return fitted

    def restore(_: Optimizer) -> None:
        saved = itertools.chain.from_iterable(group["params"] for group in fitted["param_groups"])
        own = ((group, p) for group in optimizer.param_groups for p in group["params"])
        for key, (group, p) in zip(saved, own, strict=True):
            for name, value in fitted["state"].get(key, {}).items():
                if isinstance(value, Tensor):
                    device = p.device if name != "step" or group["capturable"] else "cpu"
                    optimizer.state[p][name] = value.detach().to(device=device, copy=True)

    # After the user's own hooks, which may change what is loaded, and before those that look at the result.
    before = optimizer.register_load_state_dict_pre_hook(fit)
    after = optimizer.register_load_state_dict_post_hook(restore, prepend=True)
    try:
        torchs_own(state_dict)
    finally:
        before.remove()
        after.remove()


def _fitted(optimizer: FamilyOptimizer, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint as this optimizer's own ``state_dict()`` would be."""
    missing = {"state", "param_groups"} - set(state_dict)
    if missing:
        raise ValueError(f"not the state dict of an optimizer: it has no {', '.join(sorted(missing))}")
    saved_groups = [dict(group) for group in state_dict["param_groups"]]
    for index, group in enumerate(saved_groups):
        _check_origin(index, group)
    groups = _arranged(saved_groups, optimizer.param_groups)
    filled: set[str] = set()
    for index, (group, own) in enumerate(zip(groups, optimizer.param_groups)):
        options = {name: own[name] for name in _names_alike(optimizer, own, group) if name in own}
        if "weight_decay" in group:
            group.setdefault("decay_vectors", True)  # as before there was a choice
        if "tau_dtype" in options:
            group.setdefault("tau_dtype", None)
        filled |= options.keys() - group.keys()
        groups[index] = {**options, **group}
        if not optimizer._takes_rule(own, groups[index]["rule"]):
            raise ValueError(
                f"group {index} of this checkpoint was saved by the rule {group['rule']!r}, and this optimizer has "
                f"{own['rule']!r} there, whose averages mean something else: load it into the optimizer that saved it"
            )
    state = dict(state_dict["state"])
    for group, own in zip(groups, optimizer.param_groups):
        for key, p in zip(group["params"], own["params"]):
            if key in state:
                state[key] = _whole_state(state[key], group, p)
    if filled:
        optimizer._warn_once(
            "filled",
            f"the checkpoint was saved before {', '.join(sorted(filled))} existed: this optimizer's own "
            "values are used for what it lacks.",
        )
    _say_differences(optimizer, groups)
    return {**state_dict, "state": state, "param_groups": groups}


def _names_alike(optimizer: FamilyOptimizer, own: Group, saved: Group) -> set[str]:
    """The options that a saved group must have: another fallback of Muon has others of its own."""
    same_rule = saved.get("rule", own["rule"]) == own["rule"]
    return optimizer._option_names(own) if same_rule else {"rule", "lr_when_added", *optimizer.defaults}


def _check_origin(index: int, group: Group) -> None:
    """Refuse what was saved by an optimizer of another library."""
    if "rule" in group or "lr_when_added" in group:
        return
    if "betas" in group and "amsgrad" in group:
        raise ValueError(
            "this is the state of torch.optim.AdamW or Adam, whose averages are corrected otherwise: "
            "adana.from_adamw(state_dict, params=..., total_steps=...) makes an ADana that goes on from it"
        )
    raise ValueError(
        f"no optimizer of adana saved this: group {index} has no rule (it has {', '.join(map(repr, sorted(group)))})"
    )


# --- the order of groups and parameters ---------------------------------------------------------------


def _arranged(saved: list[Group], own: list[Group]) -> list[Group]:
    """The saved groups in the optimizer's order, and so the parameters in each."""
    names = [[name for group in groups for name in group.get("param_names", ())] for groups in (saved, own)]
    named = all("param_names" in group for group in (*saved, *own))
    if named and not set(names[0]).isdisjoint(names[1]):
        return _arranged_by_name(saved, own)
    # Without names, or where a wrapper changed them all, the order decides, as it does in torch.
    sizes = [[len(group["params"]) for group in groups] for groups in (saved, own)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"the checkpoint has parameter groups of {_listed(sizes[0])} parameters and this optimizer has groups of "
            f"{_listed(sizes[1])}: make the groups as they were made when it was saved"
        )
    return saved


def _listed(sizes: Iterable[int]) -> str:
    return ", ".join(map(str, sizes))


def _arranged_by_name(saved: list[Group], own: list[Group]) -> list[Group]:
    by_names = {frozenset(group["param_names"]): group for group in saved}
    home = {name: index for index, group in enumerate(saved) for name in group["param_names"]}
    arranged = []
    for index, group in enumerate(own):
        names = group["param_names"]
        found = by_names.pop(frozenset(names), None)
        if found is None:
            lost = [name for name in names if name not in home]
            what = (
                f"the checkpoint has no parameter {lost[0]!r}, which is in group {index} of this optimizer"
                if lost
                else f"group {index} of this optimizer holds other parameters than any group of the checkpoint "
                f"({names[0]!r} was in group {home[names[0]]})"
            )
            raise ValueError(f"{what}: make the groups as they were made when it was saved")
        key_of = dict(zip(found["param_names"], found["params"]))
        arranged.append({**found, "params": [key_of[name] for name in names], "param_names": list(names)})
    if by_names:
        left = sorted(name for names in by_names for name in names)
        raise ValueError(
            f"the checkpoint's parameter {left[0]!r} is not in this optimizer: make the groups as they were made when "
            "it was saved"
        )
    return arranged


# --- the state of one parameter -----------------------------------------------------------------------


def _whole_state(saved: Mapping[str, Any], group: Group, p: Tensor) -> dict[str, Any]:
    """A parameter's state with its step as a tensor; refused where something is missing or does not fit."""
    state = dict(saved)
    check_stored(group, p, state)
    step = state.get("step")
    if step is None or not isinstance(step, (Tensor, numbers.Real)):
        raise ValueError(f"the state of a parameter of shape {tuple(p.shape)} has no step, a number: got {step!r}")
    state["step"] = torch.as_tensor(step).to(STEP_DTYPE)
    absent = [name for name in averages_of(group) if name not in state]
    if absent and state["step"] > 0:
        raise ValueError(
            f"the state of a parameter of shape {tuple(p.shape)} has no {', '.join(absent)} at step "
            f"{int(state['step'])}: an average cannot begin in mid-run"
        )
    return state


# --- options ------------------------------------------------------------------------------------------


def _say_differences(optimizer: FamilyOptimizer, saved: list[Group]) -> None:
    """Warn once where the checkpoint's options are not those that the optimizer was built with."""
    found: dict[str, tuple[str, list[int]]] = {}
    for index, (theirs, own) in enumerate(zip(saved, optimizer.param_groups)):
        options = [(name, own[name]) for name in optimizer.defaults if name in own and name not in _WAYS_TO_STEP]
        for name, value in [("lr", own["lr_when_added"]), *options]:
            before = theirs["lr_when_added" if name == "lr" else name]
            if name == "total_steps" and value is None:
                continue  # the constructor left it open
            if _plain(before) != _plain(value):
                text = f"{name}={_shown(before)} (built with {_shown(value)})"
                found.setdefault(text, (name, []))[1].append(index)
    if not found:
        return
    several = len(saved) > 1
    differences = [
        text + (f" in group {_listed(indices)}" if several and len(indices) < len(saved) else "")
        for text, (_, indices) in found.items()
    ]
    ways = ["optimizer.param_groups[i][name] = value"]
    names = {name for name, _ in found.values()}
    if "total_steps" in names:
        ways.insert(0, "optimizer.set_horizon(total_steps)")
    if "tau_dtype" in names:
        ways.insert(0, "optimizer.convert_state(state_dtype, tau_dtype=tau_dtype)")
    elif "state_dtype" in names:
        ways.insert(0, "optimizer.convert_state(state_dtype)")
    optimizer._warn_once(
        "differences",
        "the checkpoint's options count from here on, not the constructor's, and they differ: "
        f"{'; '.join(differences)}. To go on with the new ones, set them after loading: {', '.join(ways)}.",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return as_float(value)
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    value = _plain(value)
    return f"{value:g}" if isinstance(value, float) else repr(value)
