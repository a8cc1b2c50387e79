"""Optimizers that this package does not have, small enough to be measured against those it has.

They are named ``contenders:Class`` where this folder can be imported from (``PYTHONPATH=benchmarks``), and searched and
run like any other (``benchmarks/overtraining.py``). All have the family's weight decay in log time,
``lambda(t) = omega/(t0 + t)``, so that a comparison is of the direction alone; t0 is T/10 of 560 steps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import adana
from adana import catalog, rules, schedules

OFFSET = 56.0
OMEGA = 2.0
DELTA = 8.0


class Contender(torch.optim.Optimizer):
    """Base: every subclass has a ``direction`` of one parameter."""

    def __init__(self, params: Any, lr: float, *, weight_decay: float, offset: float = OFFSET, **options: Any) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "offset": offset, "peak": lr, **options})

    def direction(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            fade = group["lr"] / group["peak"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                t = state.setdefault("step", 0)
                decay = fade * group["weight_decay"] / (group["offset"] + t)
                p.sub_(group["lr"] * self.direction(p, p.grad, state, group) + decay * p)
                state["step"] = t + 1


def average(state: dict[str, Any], g: Tensor, weight: float) -> Tensor:
    """The momentum after this gradient."""
    m: Tensor = state.setdefault("exp_avg", torch.zeros_like(g))
    return m.lerp_(g, weight)


class Lion(Contender):
    """``sign(beta1 m + (1-beta1) g)``, then ``m' = beta2 m + (1-beta2) g`` (Chen et al. 2023)."""

    def __init__(self, params: Any, lr: float = 1e-3, *, beta1: float = 0.9, beta2: float = 0.99,
                 weight_decay: float = OMEGA) -> None:  # fmt: skip
        super().__init__(params, lr, weight_decay=weight_decay, beta1=beta1, beta2=beta2)

    def direction(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        m = state.setdefault("exp_avg", torch.zeros_like(g))
        u = m.lerp(g, 1 - group["beta1"]).sign_()
        average(state, g, 1 - group["beta2"])
        return u


class LogLion(Contender):
    """``sign(g + alpha(t) m')``: the mixture of ADana, of which only the sign is taken."""

    def __init__(self, params: Any, lr: float = 1e-3, *, kappa: float = 0.85, weight_decay: float = OMEGA) -> None:
        super().__init__(params, lr, weight_decay=weight_decay, kappa=kappa)

    def direction(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        t = float(state["step"])
        m = average(state, g, schedules.average_weight(t, DELTA))
        return (g + (1 + t) ** (1 - group["kappa"]) * m).sign_()


class Signum(Contender):
    """``sign(m')`` with ``m' = beta m + (1-beta) g`` (Bernstein et al. 2018)."""

    def __init__(self, params: Any, lr: float = 1e-3, *, beta: float = 0.9, weight_decay: float = OMEGA) -> None:
        super().__init__(params, lr, weight_decay=weight_decay, beta=beta)

    def direction(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return average(state, g, 1 - group["beta"]).sign()


class LogSignum(Contender):
    """``sign(m')`` with m' in log time."""

    def __init__(self, params: Any, lr: float = 1e-3, *, weight_decay: float = OMEGA) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)

    def direction(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return average(state, g, schedules.average_weight(float(state["step"]), DELTA)).sign()


class AlignedADana(adana.ADana):
    """ADana whose alpha grows, tensor by tensor, while the newest gradient points along the momentum: no kappa.

    ``alpha' = alpha ((1+t)/t)^s`` with ``s = min(1, gain max(0, A/M))``, A and M log-time averages of <g, m> and
    <m, m>; m is the momentum before the step. Every parameter has a group of its own, which holds its alpha.
    """

    def __init__(self, params: Any, lr: float = 2.0**-9, *, gain: float = 2.0, weight_decay: float = OMEGA) -> None:
        groups = [{**group, "params": [p]} for group in params for p in group["params"]]
        mine = [{**group, "aligned_step": 0, "along": 0.0, "energy": 0.0, "gain": gain} for group in groups]
        super().__init__(mine, lr, kappa=1.0, weight_decay=weight_decay, weight_decay_offset=OFFSET)

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            (p,) = group["params"]
            t = group["aligned_step"]
            if p.grad is not None and "exp_avg" in self.state[p]:
                m = self.state[p]["exp_avg"]
                weight = schedules.average_weight(float(t), DELTA)
                group["along"] += weight * (float((p.grad * m).sum()) - group["along"])
                group["energy"] += weight * (float((m * m).sum()) - group["energy"])
                share = group["gain"] * group["along"] / max(group["energy"], 1e-30)
                group["damping_scale"] *= ((1 + t) / t) ** min(1.0, max(0.0, share))
            group["aligned_step"] = t + 1
        return super().step(closure)


class SecondMomentMuon(Contender):
    """Muon or log-time Muon with a second moment after orthogonalisation; AdamW for what is no hidden matrix.

    U is the orthogonalised mixture. ``second="neuron"`` divides its rows by the root of an average of their squares
    (NorMuon, Li et al. 2025), ``"element"`` its elements by the root of an average of their squares (after AdaMuon, Si
    et al. 2025); the result is scaled to root mean square ``rms``. The average has ``beta2``, or is in log time where
    that is None.
    """

    def __init__(self, params: Any, lr: float = 2.0**-6, *, rule: str = "muon", kappa: float = 0.7,
                 second: str = "none", beta2: float | None = None, weight_decay: float = OMEGA) -> None:  # fmt: skip
        super().__init__(params, lr, weight_decay=weight_decay, second=second, beta2=beta2)
        own = {"kappa": kappa} if rule == "log-muon" else {}
        self.rules = {name: (rules.rule(name), catalog.find(name).defaults() | own) for name in (rule, "adamw")}
        self.matrices = rule

    def direction(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        t = float(state["step"])
        hidden = group.get("kind") == "hidden" and p.ndim == 2
        rule, options = self.rules[self.matrices if hidden else "adamw"]
        s = rule.scalars(t, options)
        old = {name: state.get(name, torch.zeros_like(g)) for name in rule.state(options)}
        u, new = rule.direction(torch, g, old, s)
        state.update(new)
        if not hidden or group["second"] == "none":
            return u
        squares = u * u if group["second"] == "element" else (u * u).mean(1, keepdim=True)
        v = state.setdefault("second_moment", torch.zeros_like(squares))
        v.lerp_(squares, schedules.average_weight(t, DELTA) if group["beta2"] is None else 1 - group["beta2"])
        scaled: Tensor = u / (v.sqrt() + s["eps"])
        return scaled * (s["rms"] * p.numel() ** 0.5 / scaled.norm())


muon = SecondMomentMuon
muon_neuron = partial(SecondMomentMuon, second="neuron", beta2=0.95)
log_muon = partial(SecondMomentMuon, rule="log-muon")
log_muon_neuron = partial(SecondMomentMuon, rule="log-muon", second="neuron")
log_muon_element = partial(SecondMomentMuon, rule="log-muon", second="element")
