"""Take over a running AdamW."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from adana.optim.adana import ADana
from adana.optim.base import FamilyOptimizer
from adana.optim.state import STEP_DTYPE, average_dtype
from adana.option_checks import Meant
from adana.suggestions import LR_FACTOR

__all__ = ["LR_FACTOR", "from_adamw"]

# What belongs to AdamW or to a scheduler of the old optimizer, and means nothing or something else here.
_NOT_KEPT = {
    "lr", "betas", "weight_decay", "amsgrad", "fused", "decoupled_weight_decay", "params",
    "initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum", "swa_lr",
}  # fmt: skip


def from_adamw(
    optimizer_or_state_dict: torch.optim.Optimizer | Mapping[str, Any],
    *,
    params: Iterable[Any] | None = None,
    total_steps: float,
    lr: float | None = None,
    weight_decay: float | None = None,
    peak_lr: float | None = None,
) -> ADana:
    """An :class:`adana.ADana` that goes on where a ``torch.optim.AdamW`` stands.

    Averages are divided by AdamW's bias corrections, as ADana has none; each parameter keeps its step and
    each group its own keys. The old optimizer is left as it is. Attach a new scheduler that goes on from
    the current learning rate: the old one drives the old optimizer.

    Args:
        optimizer_or_state_dict: the optimizer, or its ``state_dict()``.
        params: the parameters in the order the optimizer had them; needed with a state dict.
        total_steps: horizon T in steps, those already done included.
        lr: learning rate from here on, for all groups. Default: each group's, times a factor we measured
            (``LR_FACTOR``), which is printed.
        weight_decay: omega of the groups that decay. Default: ``coupled decay * peak lr * total_steps`` of
            each group, which shrinks weights as much over the run. A group without decay stays without.
        peak_lr: ADana's peak. Default: AdamW's peak (``max_lr`` or ``initial_lr`` where a scheduler wrote
            one, else its lr), changed by the same factor as ``lr``.

    Returns:
        The optimizer, over the same parameters.

    Raises:
        TypeError: neither an optimizer nor a state dict.
        ValueError: not AdamW's state, an Adam with coupled (L2) decay, or parameters that do not fit.

    Source: the conversion follows from Algorithms 1 and 2.

    Example:
        >>> import torch
        >>> from adana import from_adamw
        >>> weight = torch.nn.Parameter(torch.ones(3))
        >>> adamw = torch.optim.AdamW([weight], lr=1e-3, weight_decay=0.1)
        >>> weight.sum().backward()
        >>> adamw.step()
        >>> optimizer = from_adamw(adamw, total_steps=1000, lr=3e-4)
        >>> optimizer.param_groups[0]["weight_decay"]  # 0.1 * 1e-3 * 1000
        0.1
    """
    if not total_steps > 0:
        raise ValueError(f"total_steps must be a number above 0, got {total_steps!r}")
    if isinstance(optimizer_or_state_dict, torch.optim.Optimizer):
        state_dict = optimizer_or_state_dict.state_dict()
        own = [p for group in optimizer_or_state_dict.param_groups for p in group["params"]]
        if params is not None and [id(p) for p in own] != [id(p) for p in params]:
            raise ValueError("params differ from the optimizer's own: leave params out")
    elif isinstance(optimizer_or_state_dict, Mapping) and {"state", "param_groups"} <= set(optimizer_or_state_dict):
        state_dict = dict(optimizer_or_state_dict)
        if params is None:
            raise ValueError("a state dict does not hold the parameters: pass params=model.parameters()")
        own = list(params)
    else:
        raise TypeError(f"expected an optimizer or its state_dict(), got {type(optimizer_or_state_dict).__name__}")
    saved_groups, saved_state = state_dict["param_groups"], state_dict["state"]
    keys = list(itertools.chain.from_iterable(group["params"] for group in saved_groups))
    if len(keys) != len(own):
        raise ValueError(f"the optimizer had {len(keys)} parameters, params holds {len(own)}")

    groups, said = [], False
    by_key = dict(zip(keys, own))
    for index, saved in enumerate(saved_groups):
        if "betas" not in saved:
            raise ValueError(f"group {index} has no betas: this is not AdamW's state")
        # Groups say which kind of decay they have since torch 2.7; before, only the class does.
        decoupled = saved.get("decoupled_weight_decay", not _is_plain_adam(optimizer_or_state_dict))
        if saved.get("weight_decay") and not decoupled:
            raise ValueError(
                f"group {index} is Adam's, with weight_decay={saved['weight_decay']!r} coupled into the gradient (L2), "
                "which has no independent counterpart: pass groups of AdamW, or set its weight_decay to 0"
            )
        old_lr = float(saved["lr"])
        old_peak = float(saved.get("max_lr", saved.get("initial_lr", old_lr)))
        if lr is not None:
            new_lr, factor = lr, (lr / old_lr if old_lr else None)
        else:
            new_lr, factor = old_lr * LR_FACTOR, LR_FACTOR
            if not said:
                print(
                    f"from_adamw: lr {old_lr:g} of AdamW becomes {new_lr:g} (times {LR_FACTOR:g}, the ratio of the "
                    "best learning rates of ADana and AdamW in our search on a small model; pass lr to choose)"
                )
                said = True
        if peak_lr is None and factor is None:
            raise ValueError(f"group {index} stands at lr=0, so its peak cannot be scaled: pass peak_lr")
        peak = peak_lr if peak_lr is not None else old_peak * (factor or 1.0)
        coupled = float(saved["weight_decay"])
        omega = 0.0
        if coupled:
            omega = Meant(coupled * old_peak * total_steps if weight_decay is None else weight_decay)
        tensors: list[Any] = [by_key[key] for key in saved["params"]]
        kept = {name: value for name, value in saved.items() if name not in _NOT_KEPT and name != "param_names"}
        if "param_names" in saved:
            tensors = list(zip(saved["param_names"], tensors))
        groups.append({**kept, "params": tensors, "lr": new_lr, "weight_decay": omega, "peak_lr": peak})

    optimizer = ADana(groups, lr=groups[0]["lr"], total_steps=total_steps, peak_lr=groups[0]["peak_lr"])
    for saved, group in zip(saved_groups, optimizer.param_groups):
        for key, p in zip(saved["params"], group["params"]):
            if key in saved_state:
                optimizer.state[p] = _converted(optimizer, saved_state[key], saved["betas"], group, p)
    return optimizer


def _is_plain_adam(source: Any) -> bool:
    return isinstance(source, torch.optim.Adam) and not isinstance(source, torch.optim.AdamW)


def _converted(
    optimizer: FamilyOptimizer, state: Mapping[str, Any], betas: tuple[float, float], group: dict[str, Any], p: Tensor
) -> dict[str, Tensor]:
    missing = {"step", "exp_avg", "exp_avg_sq"} - set(state)
    if missing:
        raise ValueError(f"a parameter's state has no {', '.join(sorted(missing))}: this is not AdamW's state")
    if not state["exp_avg"].is_floating_point():
        raise ValueError("a parameter's averages are 16-bit codes: call convert_state(None) on their optimizer first")
    step = float(state["step"])
    dtype = average_dtype(group, p, "exp_avg")
    new = {"step": torch.tensor(step, dtype=STEP_DTYPE, device=p.device if group["capturable"] else "cpu")}
    for name, beta in zip(("exp_avg", "exp_avg_sq"), betas):
        correction = 1 - float(beta) ** step if step else 1.0
        # A copy in any case: the old optimizer keeps its own state.
        new[name] = torch.empty_like(state[name], dtype=dtype, device=p.device).copy_(state[name]).div_(correction)
    return new
