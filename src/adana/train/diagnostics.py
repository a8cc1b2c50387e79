"""What goes on inside the optimizer, by kind of parameter: the quantities of Figures 36 and 37.

Everything is worked out from the state as it stands and kept nowhere: a checkpoint holds none of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adana import rules
from adana.optim.base import FamilyOptimizer
from adana.optim.storage import readable
from adana.train.distributed import World
from adana.train.metrics import beta_and_alpha

__all__ = ["QUANTILES", "diagnose"]

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
_SAMPLE = 1 << 20  # elements that quantiles are taken over; torch sorts 2^24 at most


@torch.no_grad()
def diagnose(optimizer: torch.optim.Optimizer, world: World) -> dict[str, dict[str, Any]]:
    """Momentum norm, memory and, where the rule has them, mfac, alpha_fac, the share of clipped entries and tau.

    ``mfac = mean |m| / (sqrt(v) + eps)`` (over ``tau~`` in the Star rules), ``alpha_fac = mean min(alpha mfac, clip)``
    (97, 98), ``clipped`` the share of entries where alpha mfac is above the clip. ``memory`` is 1/(1 - beta) of the
    momentum in steps, ``alpha`` the schedule's weight (for a parameter with a gradient at every step). Over a sharded
    model norms and means are those of the whole, quantiles those of the first rank's part.

    Args:
        optimizer: after a step. Of one that is not of the family, only the momentum norm, where it has an ``exp_avg``
            or a ``momentum_buffer``.
        world: where it runs; every rank must call.

    Returns:
        Kind of parameter (hidden, embedding, head, other) to its numbers.

    Source: Section N.2, Figures 36 and 37.
    """
    found: dict[str, dict[str, Any]] = {}
    for group in optimizer.param_groups:
        rule = None
        if isinstance(optimizer, FamilyOptimizer):
            rule = rules.rule(group["rule"], group.get("form", "paper"))
        squares = mfacs = alphas = cut = 0.0
        schedule: dict[str, float] = {}
        count = 0
        taus: list[Tensor] = []
        for p in group["params"]:
            state = readable({key: _local(value) for key, value in optimizer.state.get(p, {}).items()})
            momentum = state.get("exp_avg", state.get("momentum_buffer"))
            if not isinstance(momentum, Tensor):
                continue
            squares += float(momentum.double().square().sum())
            if rule is not None and not schedule:
                schedule = _schedule(rule, group, float(state["step"]))
            if rule is None or "exp_avg_sq" not in state or not momentum.numel():
                continue
            s = rule.scalars(max(0.0, float(state["step"]) - 1), group)
            mfac = momentum.abs() / (state["exp_avg_sq"].sqrt() + group["eps"])
            time: Any = None
            if "tau" in state:
                mfac = mfac / rules.update_probability(torch, state["tau"], s["clock"])
                time = rules.effective_time(torch, state["tau"], s["clock"])
                taus.append(_sample(state["tau"]))
            mfacs += float(mfac.double().sum())
            count += mfac.numel()
            if "clip_snr" in group and rule.alpha is not None:
                scaled = rule.alpha(s, group, time) * mfac
                alphas += float(scaled.clamp(max=group["clip_snr"]).double().sum())
                cut += float((scaled > group["clip_snr"]).sum())
        sums = [squares, mfacs, alphas, cut, float(count)]
        if world.mode == "fsdp":  # replicas hold the whole each
            sums = world.total(sums)
        squares, mfacs, alphas, cut, number = sums
        numbers: dict[str, Any] = {"momentum_norm": squares**0.5, **schedule}
        if number:
            numbers["mfac"] = mfacs / number
        if number and "clip_snr" in group:
            numbers |= {"alpha_fac": alphas / number, "clipped": cut / number}
        if taus:
            levels = torch.tensor(QUANTILES, device=taus[0].device)
            numbers["tau"] = torch.quantile(_sample(torch.cat(taus)), levels).tolist()
        kind = group.get("kind", "all")
        found[kind if kind not in found else f"{kind} (not matrices)"] = numbers
    return found


def _schedule(rule: rules.Rule, group: dict[str, Any], step: float) -> dict[str, float]:
    beta, alpha = beta_and_alpha(rule, group, max(0.0, step - 1))
    found = {"memory": 1 / (1 - beta)} if beta < 1 else {}
    return found if alpha is None else found | {"alpha": alpha}


def _local(x: Any) -> Any:
    return x.to_local() if hasattr(x, "to_local") else x


def _sample(x: Tensor) -> Tensor:
    flat = x.flatten().float()
    return flat[:: max(1, -(-flat.numel() // _SAMPLE))]
