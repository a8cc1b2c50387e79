"""Exact mean risk of linear one-pass methods, mode by mode.

For ``m' = a_t m + b_t g``, ``theta' = theta - c_t g - k_t m'`` on Gaussian least squares with covariance
eigenvalues lambda_j and label noise P_inf, the second moments ``r_j = E e_j^2``, ``c_j = E e_j m_j``,
``s_j = E m_j^2`` of the error e along the eigenvectors close on themselves. With ``P = sum lambda_j r_j +
P_inf = 2R``, ``u = c_t + k_t b_t``, ``w = k_t a_t`` and

    ``G_j = E g_j^2 = ((B+1)/B) lambda_j^2 r_j + (lambda_j/B) P``

they move by

    ``r' = r - 2 u lambda r - 2 w c + u^2 G + 2 u w lambda c + w^2 s``
    ``c' = a c + b lambda r - u a lambda c - u b G - a w s - w b lambda c``
    ``s' = a^2 s + 2 a b lambda c + b^2 G``.

Where a sample reaches the parameters only with probability p (an expert of a mixture), lambda becomes
p lambda in every linear term and ``G = (p/B)(2 lambda^2 r + lambda P) + p^2 ((B-1)/B) lambda^2 r``.

Status: exact at every size and batch. Checked against 400 simulated runs at v=256, d=64, T=1000, (rho, eta) in
{(1.1, .6), (.7, .3)}, B in {1, 4}, SGD, SGD with momentum and both forms of DANA. Source: derived; methods of
Section B and Algorithm 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adana import schedules
from adana.theory.checks import Floats, at_least, integer, positive, vector
from adana.theory.comparison import ComparedCurve, Comparison
from adana.theory.effort import Effort
from adana.theory.mixture import MoePlrf
from adana.theory.plrf import Plrf
from adana.theory.simulate import Configuration, log_spaced, simulate

__all__ = [
    "LINEAR",
    "Coefficients",
    "MeanRisk",
    "coefficients",
    "compare",
    "mean_risk",
    "mean_risk_effort",
    "original_dana",
]

LINEAR = ("sgd", "sgd-m", "dana")


@dataclass(frozen=True)
class Coefficients:
    """``m' = a m + b g``, ``theta' = theta - c g - k m'``, one number per step each, (T,)."""

    a: Floats
    b: Floats
    c: Floats
    k: Floats

    def __post_init__(self) -> None:
        for name in ("a", "b", "c", "k"):
            object.__setattr__(self, name, vector(name, getattr(self, name), len(self.a)))


@dataclass(frozen=True)
class MeanRisk:
    """Mean risk along training.

    Attributes:
        steps: updates done, (records,), the first 0.
        risk: R, (methods, records), or (methods, experts, records) for a mixture.
        diverged_at: (methods,): first step where R exceeds 1e6 times its start or is not finite; -1 for never.
    """

    steps: NDArray[np.int64]
    risk: Floats
    diverged_at: NDArray[np.int64]


def coefficients(configuration: Configuration, total_steps: int) -> Coefficients:
    """Coefficients of ``sgd``, ``sgd-m`` or ``dana`` as its rule computes them.

    Raises:
        ValueError: another optimizer (its direction is not linear in the gradient), or weight decay.

    >>> coefficients(Configuration("dana", 0.5, kappa=1.0), 3).k.tolist()
    [0.5, 0.5, 0.5]
    """
    if configuration.optimizer not in LINEAR:
        raise ValueError(f"no exact recursion for {configuration.optimizer!r}: choose from {', '.join(LINEAR)}")
    if configuration.weight_decay:
        raise ValueError(f"the exact recursion has no weight decay, got weight_decay={configuration.weight_decay}")
    t = np.arange(integer("total_steps", total_steps), dtype=np.float64)
    scalars = configuration.scalars(t, total_steps)
    weight, momentum = (np.broadcast_to(scalars[name], t.shape) for name in ("weight", "momentum"))
    lr = np.full(t.shape, configuration.lr)
    return Coefficients(1 - weight, weight, lr, lr * momentum)


def original_dana(
    lr: float, total_steps: int, *, kappa: float, damping_scale: float = 1.0, delta: float = 8.0
) -> Coefficients:
    """DANA as first published: ``m' = beta(t) m + g``, ``theta' = theta - lr (g + alpha(t) m')``.

    ``alpha(t) = damping_scale (1 + t)^-kappa`` (Section O.3).
    """
    positive("lr", lr)
    at_least("kappa", kappa, 0)
    t = np.arange(integer("total_steps", total_steps), dtype=np.float64)
    decaying = positive("damping_scale", damping_scale) * (1 + t) ** -kappa
    return Coefficients(
        1 - schedules.average_weight(t, positive("delta", delta)), np.ones_like(t), lr + 0 * t, lr * decaying
    )


def mean_risk_effort(methods: int, modes: int, total_steps: int) -> Effort:
    """Of :func:`mean_risk`, whose ``modes`` are those of all experts."""
    numbers = float(methods) * modes
    return Effort.of(held=20 * numbers + 12.0 * methods * total_steps, calls=50.0 * total_steps, numbers=numbers)


def mean_risk(
    eigenvalues: ArrayLike,
    modes: ArrayLike,
    p_infinity: float,
    methods: Sequence[Coefficients],
    *,
    batch: int = 1,
    record: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
    counts: ArrayLike | None = None,
) -> MeanRisk:
    """Mean risk of several linear methods by the exact recursion of this module; O(methods experts d) per step.

    Args:
        eigenvalues: lambda_j >= 0, (d,).
        modes: squared start distances r_j(0) >= 0 along the eigenvectors, (d,).
        p_infinity: label noise variance, >= 0.
        methods: coefficients, all of the same length T.
        batch: B.
        record: increasing numbers of updates in [0, T]; default 60 log-spaced ones.
        probabilities: of each expert, (m,), in [0, 1] and summing to 1; None for no experts.
        counts: how many eigenvalues each entry stands for, (d,), default one; the risk sums over all of them.

    Raises:
        ValueError: a shape or value out of range.

    >>> slow = Coefficients([0.0], [1.0], [0.1], [0.0])
    >>> mean_risk([1.0], [1.0], 0.0, [slow], batch=1).risk.round(3).tolist()
    [[0.5, 0.415]]
    """
    lam = vector("eigenvalues", eigenvalues, least=0)
    r0 = vector("modes", modes, lam.size, least=0)
    floor, batch = at_least("p_infinity", p_infinity, 0), integer("batch", batch)
    if not methods or len({len(method.a) for method in methods}) != 1:
        raise ValueError("methods must be one or more Coefficients of the same length")
    total_steps = len(methods[0].a)
    wanted = log_spaced(total_steps) if record is None else np.asarray(record)
    if wanted.ndim != 1 or wanted.dtype.kind not in "iu" or (np.diff(wanted) <= 0).any():
        raise ValueError(f"record must be increasing integers, got {record!r}")
    if wanted[0] < 0 or wanted[-1] > total_steps:
        raise ValueError(f"record must lie in [0, {total_steps}], got {wanted[0]} to {wanted[-1]}")
    p = np.ones(1) if probabilities is None else vector("probabilities", probabilities)
    if (p < 0).any() or (p > 1).any() or abs(p.sum() - 1) > 1e-8:
        raise ValueError(
            f"probabilities must lie in [0, 1] and sum to 1, got {p.min():g} to {p.max():g}, sum {p.sum():g}"
        )

    weights = lam if counts is None else lam * vector("counts", counts, lam.size, least=0)
    effort = mean_risk_effort(len(methods), lam.size * p.size, total_steps)
    effort.check(f"the mean risk of {len(methods)} methods over {total_steps:,} steps", "lower the steps or sizes")
    # The expert's probability multiplies every eigenvalue but the two inside the noise of a single sample.
    lam, p = lam[None, None], p[None, :, None]
    reach = p * lam
    own = p * lam**2 * (2 + (batch - 1) * p) / batch
    shared = reach / batch
    table = np.stack([[method.a, method.b, method.c + method.k * method.b, method.k * method.a] for method in methods])
    rows = table.transpose(2, 1, 0)[..., None, None]
    r = np.broadcast_to(r0, (len(methods), p.shape[1], r0.size)).copy()
    c, s = np.zeros_like(r), np.zeros_like(r)
    marks = set(wanted.tolist())
    diverged_at = np.full(len(methods), -1, dtype=np.int64)
    first = float(weights @ r0 + floor)
    risks = []
    with np.errstate(all="ignore"):  # divergence is reported as data
        for t in range(total_steps + 1):
            big_p = r @ weights + floor
            if t in marks:
                risks.append(0.5 * big_p)
            over = ~(big_p <= 1e6 * first).all(axis=1) & (diverged_at < 0)
            if over.any():
                diverged_at[over] = t
            if t == total_steps:
                break
            a, b, u, w = rows[t]
            g_squared = own * r + shared * big_p[..., None]
            lr_, lc = reach * r, reach * c
            r, c, s = (
                r - 2 * (u * lr_ + w * c - u * w * lc) + u * u * g_squared + w * w * s,
                a * c + b * lr_ - (u * a + w * b) * lc - u * b * g_squared - a * w * s,
                a * a * s + 2 * a * b * lc + b * b * g_squared,
            )
    risk = np.stack(risks, axis=-1)
    return MeanRisk(np.sort(wanted.astype(np.int64)), risk if probabilities is not None else risk[:, 0], diverged_at)


def compare(
    problem: Plrf | MoePlrf,
    configurations: Sequence[Configuration],
    *,
    total_steps: int,
    batch: int = 1,
    runs: int = 1,
    seed: int = 0,
    record: ArrayLike | None = None,
    dtype: str = "float64",
    device: str | None = None,
) -> Comparison:
    """Simulated risk beside the exact mean, for every configuration that has one.

    Args:
        problem: what to train on.
        configurations: any; those of ``sgd``, ``sgd-m`` and ``dana`` without decay get a prediction.
        total_steps: T.
        batch: B.
        runs: independent streams; with two or more the deviation is also given in standard errors.
        seed: of the streams.
        record: numbers of updates to record at; default 60 log-spaced ones.
        dtype: of the simulation.
        device: of the simulation.
    """
    done = simulate(
        problem,
        configurations,
        total_steps=total_steps,
        batch=batch,
        runs=runs,
        seed=seed,
        record=record,
        dtype=dtype,
        device=device,
    )
    linear = [i for i, one in enumerate(configurations) if one.optimizer in LINEAR and not one.weight_decay]
    exact: dict[int, Floats] = {}
    if linear and total_steps:
        base, weights = (problem.base, problem.probabilities) if isinstance(problem, MoePlrf) else (problem, None)
        predicted = mean_risk(
            base.eigenvalues,
            base.modes(),
            base.p_infinity,
            [coefficients(configurations[i], total_steps) for i in linear],
            batch=batch,
            record=done.steps,
            probabilities=weights,
        ).risk
        if weights is not None:
            predicted = np.einsum("kmt,m->kt", predicted, weights)
        exact = dict(zip(linear, predicted))
    curves = []
    for i, one in enumerate(configurations):
        first = done.diverged_at[i][done.diverged[i]]
        curves.append(
            ComparedCurve(
                one.name,
                done.steps.astype(np.float64),
                done.mean_risk[i],
                exact.get(i),
                done.standard_error[i] if runs > 1 else None,
                int(first.min()) if first.size else None,
            )
        )
    kind = "MoE-PLRF" if isinstance(problem, MoePlrf) else "PLRF"
    return Comparison(
        f"{kind}: simulated risk and its exact mean",
        "step",
        "risk",
        tuple(curves),
        (
            "Only methods linear in the gradient have an exact mean (sgd, sgd-m, dana).",
            "Near the edge of stability the risk is heavy-tailed and a sample mean is no estimate of it.",
        ),
        {"start": float(done.risk[0, 0, 0]) if done.steps[0] == 0 else None, "least_risk": _least(problem)},
    )


def _least(problem: Plrf | MoePlrf) -> float:
    base = problem.base if isinstance(problem, MoePlrf) else problem
    return base.p_infinity / 2
