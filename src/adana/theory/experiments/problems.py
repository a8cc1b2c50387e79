"""Experiments on problems whose mean risk is exact, and on momentum itself."""

# No `from __future__ import annotations`: the command reads the types of the parameters as they stand here.

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adana.theory.comparison import Comparison
    from adana.theory.plrf import Plrf
    from adana.theory.simulate import Configuration

__all__ = ["equivalent", "mixture", "nesterov", "phases", "plrf", "sparse"]


def plrf(
    *,
    rho: float = 1.0,
    eta: float = 0.3,
    v: int = 400,
    d: int = 100,
    batch: int = 1,
    steps: int = 3000,
    runs: int = 30,
    seed: int = 0,
    lr: float | None = None,
    rule_lr: float = 1e-3,
    kappa: float = 0.6,
    damping_scale: float = 0.2,
    optimizers: tuple[str, ...] = ("sgd", "sgd-m", "dana", "adana"),
    device: str | None = None,
) -> "Comparison":
    """Simulated risk on power-law random features (PLRF) beside its exact mean.

    Args:
        rho: Data exponent: the eigenvalues of the data fall as j^(-2 rho).
        eta: Target exponent: the target's coefficients fall as j^-eta.
        v: Dimension of the data, above d.
        d: Number of parameters of the model.
        batch: Samples per step.
        steps: Updates; also the horizon of the schedules.
        runs: Independent streams of samples, over which the risk is averaged.
        seed: Seed of the problem and of the streams.
        lr: Learning rate of sgd, sgd-m and dana; default a quarter of the largest rate at which SGD converges.
        rule_lr: Learning rate of the optimizers that divide by a second moment.
        kappa: Exponent of log-time momentum: its weight in the update grows with step t as t^(1 - kappa).
        damping_scale: DANA's constant in front of that growth.
        optimizers: Names of optimizers; sgd, sgd-m and dana have an exact mean.
        device: Torch device, such as cuda; default NumPy on the CPU.
    """
    from adana.theory.plrf import Plrf
    from adana.theory.recursion import compare
    from adana.theory.volterra import critical_lr, limit_risk

    base = Plrf(rho, eta, v, d, seed)
    family = _family(base, optimizers, batch, lr, rule_lr, kappa, damping_scale)
    found = compare(base, family, total_steps=steps, batch=batch, runs=runs, seed=seed, device=device)
    found.numbers["critical_lr"] = critical_lr(base.eigenvalues, batch)
    if "sgd" in optimizers:
        rate = family[optimizers.index("sgd")].lr
        found.numbers["sgd_limit_risk"] = limit_risk(rate, base.eigenvalues, base.p_infinity, batch)
    return found


def mixture(
    *,
    experts: int = 8,
    zeta: float = 1.0,
    rho: float = 1.0,
    eta: float = 0.3,
    v: int = 400,
    d: int = 100,
    batch: int = 1,
    steps: int = 3000,
    runs: int = 30,
    seed: int = 0,
    lr: float | None = None,
    rule_lr: float = 1e-3,
    kappa: float = 0.6,
    damping_scale: float = 0.2,
    optimizers: tuple[str, ...] = ("sgd", "sgd-m", "dana", "adana"),
    device: str | None = None,
) -> "Comparison":
    """Simulated risk on a mixture of experts, each a PLRF problem, beside its exact mean.

    Args:
        experts: Number of experts.
        zeta: Exponent of the routing: expert i gets a sample with probability proportional to i^-zeta.
        rho: Data exponent: the eigenvalues of the data fall as j^(-2 rho).
        eta: Target exponent: the target's coefficients fall as j^-eta.
        v: Dimension of the data, above d.
        d: Number of parameters per expert.
        batch: Samples per step.
        steps: Updates; also the horizon of the schedules.
        runs: Independent streams of samples, over which the risk is averaged.
        seed: Seed of the problem and of the streams.
        lr: Learning rate of sgd, sgd-m and dana; default a quarter of the largest rate at which SGD converges.
        rule_lr: Learning rate of the optimizers that divide by a second moment.
        kappa: Exponent of log-time momentum: its weight in the update grows with step t as t^(1 - kappa).
        damping_scale: DANA's constant in front of that growth.
        optimizers: Names of optimizers, as in plrf.
        device: Torch device, such as cuda; default NumPy on the CPU.
    """
    from adana.theory.mixture import MoePlrf
    from adana.theory.plrf import Plrf
    from adana.theory.recursion import compare

    base = Plrf(rho, eta, v, d, seed)
    family = _family(base, optimizers, batch, lr, rule_lr, kappa, damping_scale)
    problem = MoePlrf(base, experts, zeta)
    return compare(problem, family, total_steps=steps, batch=batch, runs=runs, seed=seed, device=device)


def _family(
    base: "Plrf",
    optimizers: Sequence[str],
    batch: int,
    lr: float | None,
    rule_lr: float,
    kappa: float,
    damping_scale: float,
) -> "list[Configuration]":
    """One configuration per name; momentum methods get half the learning rate of SGD."""
    from adana.theory.recursion import LINEAR
    from adana.theory.simulate import Configuration
    from adana.theory.volterra import critical_lr

    linear = lr if lr is not None else 0.25 * critical_lr(base.eigenvalues, batch)
    made = []
    for name in optimizers:
        if name in LINEAR:
            own = linear if name == "sgd" else linear / 2
            more: dict[str, Any] = {"damping_scale": damping_scale, "momentum": 0.5}
            made.append(Configuration(name, own, kappa=kappa, label=name, **more))
        else:
            made.append(Configuration(name, rule_lr, kappa=kappa, label=name))
    return made


def equivalent(
    *,
    rho: float = 0.7,
    eta: float = 0.3,
    v: int = 512,
    d: int = 128,
    draws: int = 6,
    lr: float = 0.5,
    batch: int = 1,
) -> "Comparison":
    """What the risk of SGD on PLRF is made of, in the limit of large random matrices, beside drawn problems.

    Args:
        rho: Data exponent: the eigenvalues of the data fall as j^(-2 rho).
        eta: Target exponent: the target's coefficients fall as j^-eta.
        v: Dimension of the data, above d.
        d: Number of parameters of the model.
        draws: Random matrices over which is averaged.
        lr: Learning rate.
        batch: Samples per step.
    """
    from adana.theory.equivalent import compare

    return compare(rho, eta, v, d, lr=lr, batch=batch, draws=draws)


def phases(*, rho: float = 1.2, eta: float = 0.7, draws: int = 4, diagram: bool = False) -> "Comparison":
    """How fast the best risk falls with compute for given data and target exponents, beside SGD's exact frontier.

    Args:
        rho: Data exponent: the eigenvalues of the data fall as j^(-2 rho).
        eta: Target exponent: the target's coefficients fall as j^-eta.
        draws: Random matrices per model size, over which the risk is averaged.
        diagram: Let --plot draw the diagram of all phases instead of the frontier.
    """
    from dataclasses import replace

    from adana.theory.phases import frontier

    return replace(frontier(rho, eta, draws=draws), drawing="phase-diagram" if diagram else "")


def sparse(
    *,
    probabilities: tuple[float, ...] = (0.3, 0.1, 0.03, 0.01),
    schedules: tuple[str, ...] = ("constant", "log-time", "fast beta2"),
    count: int = 5,
    seeds: int = 400,
) -> "Comparison":
    """How far Adam moves a parameter between two gradients, where gradients are rare, beside what theorems allow.

    Args:
        probabilities: Probabilities that a gradient is not zero.
        schedules: Of the averages: constant, log-time, "fast beta2", "constant beta2".
        count: Gaps between gradients that are looked at.
        seeds: Independent parameters.
    """
    from adana.theory.sparse import compare

    return compare(probabilities, names=schedules, count=count, seeds=seeds)


def nesterov(*, d: int = 20, steps: int = 400, lr: float = 0.05, damping: float | None = 0.6) -> "Comparison":
    """Nesterov's method in its forms on one noisy quadratic, and how far each is from the first.

    Args:
        d: Dimension of the quadratic.
        steps: Updates.
        lr: Learning rate.
        damping: The weight of momentum in the update is (1 + t)^-damping at step t; None for Nesterov's own.
    """
    from adana.theory.nesterov import compare

    return compare(d=d, total_steps=steps, lr=lr, damping=damping)
