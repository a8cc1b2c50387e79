"""signSGD on Gaussian least squares in high dimension: preconditioning, noise compression, effective rate.

``x ~ N(0, K)``, residual ``l = <x, e> - eps`` with ``e = theta - theta*``, step
``theta' = theta - (eta/d) sign(l) sign(x)``, excess risk ``R = e'Ke/2``.

With ``D = diag(K)^(-1/2)``, ``M = D^(1/2) K D^(1/2) = U Lambda U'``, ``f = D^(-1/2) e``, ``p_i = E(u_i . f)^2``,
``K_sigma = (2/pi) arcsin(D K D)`` and ``S_i = [U' D^(-1/2) K_sigma D^(-1/2) U]_ii``,

    ``p' = p - 2 (eta/d) phi(R) Lambda p + (eta/d)^2 S``, ``R = sum_i Lambda_i p_i / 2``,
    ``phi(R) = sqrt(2)/(pi sqrt(R)) E exp(-eps^2/(4R))``.

The noise enters only through its density near zero, so heavy tails do no harm. For diagonal K and Gaussian noise
of variance s^2 the risk settles at ``R = (pi eta/8)(tr sqrt(K)/d) sqrt(2R + s^2)``.

Status: derived; leading order. It needs a large intrinsic dimension tr K/|K|. Checked at eta = .4, T = 8d for
isotropic K and for eigenvalues j^-.5, diagonal and rotated, with five kinds of noise: within 10 % along the curve
at d = 800 (4 seeds), 13 % at d = 200 (8 seeds). At eigenvalues 1/j, an intrinsic dimension of 7, it is off by up to
18 % whatever d is. Source: the abstract on signSGD's limits; the formulas are derived here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from adana.theory.checks import Floats, at_least, covariance, integer, positive, vector
from adana.theory.comparison import ComparedCurve, Comparison
from adana.theory.effort import Effort
from adana.theory.noise import LabelNoise
from adana.theory.simulate import log_spaced

__all__ = [
    "RiskCurves",
    "compare",
    "drift",
    "power_law_covariance",
    "predict",
    "signsgd_effort",
    "simulate",
    "stationary_risk",
]


@dataclass(frozen=True)
class RiskCurves:
    """Excess risk along training.

    Attributes:
        times: steps divided by d, (records,), the first 0.
        risk: (noises, records) predicted, or (noises, seeds, records) simulated.
    """

    times: Floats
    risk: Floats


def signsgd_effort(d: int, noises: int, total_steps: int, seeds: int) -> Effort:
    """Of :func:`compare`."""
    numbers = float(noises) * seeds * d
    algebra = Effort.of(held=8.0 * d * d, calls=1, numbers=20.0 * d**3)
    drawn = Effort.of(held=3 * numbers + 600.0 * seeds * d, calls=8.0 * total_steps, numbers=numbers)
    turned = Effort.of(calls=float(total_steps), numbers=0.3 * seeds * d * d)
    limit = Effort.of(calls=float(total_steps) * noises, numbers=5e4 + 5.0 * d)
    return algebra + drawn + turned + limit


def power_law_covariance(d: int, exponent: float = 1.0, *, rotate: bool = False, seed: int = 0) -> Floats:
    """Eigenvalues ``j^-exponent`` scaled to mean 1, diagonal or in a random basis; exponent 0 is isotropic."""
    Effort.of(held=4.0 * integer("d", d) * d).check(f"a covariance of dimension {d:,}", "lower d")
    eigenvalues = np.arange(1, d + 1, dtype=np.float64) ** -at_least("exponent", exponent, 0)
    eigenvalues /= eigenvalues.mean()
    if not rotate:
        return np.diag(eigenvalues)
    basis = np.linalg.qr(np.random.default_rng([seed, 4]).standard_normal((d, d)))[0]
    matrix = (basis * eigenvalues) @ basis.T
    return np.asarray((matrix + matrix.T) / 2)


def drift(risk: float, noise: LabelNoise) -> float:
    """``phi(R)``, the effective learning rate at excess risk R > 0.

    >>> round(drift(0.5, LabelNoise()), 4)  # sqrt(2)/(pi sqrt(1/2)) = 2/pi
    0.6366
    """
    positive("risk", risk)
    base = np.sqrt(2) / (np.pi * np.sqrt(risk))
    if noise.kind == "gaussian":
        return float(base / np.sqrt(1 + noise.scale**2 / (2 * risk)))
    return float(base * np.mean(np.exp(-(noise.nodes**2) / (4 * risk))))


def stationary_risk(lr: float, diagonal: ArrayLike, noise_deviation: float) -> float:
    """Where the risk settles for diagonal K and Gaussian noise.

    Args:
        lr: eta.
        diagonal: of K, positive, (d,).
        noise_deviation: s >= 0.

    >>> round(stationary_risk(0.4, [1.0, 1.0], 0.0), 5)  # 2 (pi eta/8)^2
    0.04935
    """
    k = vector("diagonal", diagonal)
    if (k <= 0).any():
        raise ValueError(f"diagonal must be positive, got {k.min():g}")
    s, scale = at_least("noise_deviation", noise_deviation, 0), np.pi * positive("lr", lr) / 8 * np.sqrt(k).mean()
    high = 4 * scale**2 + 2 * scale * s
    return float(brentq(lambda r: r - scale * np.sqrt(2 * r + s**2), 1e-300 if s else high / 4, high, xtol=1e-15))


def predict(
    k: ArrayLike,
    start: ArrayLike,
    lr: float,
    noises: Sequence[LabelNoise],
    total_steps: int,
    record: ArrayLike | None = None,
) -> RiskCurves:
    """The recursion for p, O(d) per step after one eigendecomposition.

    Args:
        k: covariance K, symmetric positive semi-definite with positive diagonal, (d, d).
        start: e at step 0, (d,).
        lr: eta, > 0.
        noises: one curve each.
        total_steps: T.
        record: steps to record; default 60 log-spaced ones.
    """
    matrix, e, wanted = _checked(k, start, lr, noises, total_steps, record)
    d = len(e)
    scale = np.diagonal(matrix) ** -0.5
    root = np.sqrt(scale)
    eigenvalues, basis = np.linalg.eigh(root[:, None] * matrix * root)
    correlation = np.clip(scale[:, None] * matrix * scale, -1, 1)
    signs = 2 / np.pi * np.arcsin(correlation)
    reshaped = (basis / root[:, None]).T @ signs @ (basis / root[:, None])
    step, noise_gain = lr / d, np.diagonal(reshaped)
    p = np.repeat(((basis.T @ (e / root)) ** 2)[None], len(noises), axis=0)
    marks, rows = set(wanted.tolist()), []
    for t in range(int(wanted[-1]) + 1):
        risk = 0.5 * p @ eigenvalues
        if t in marks:
            rows.append(risk)
        pull = np.array([drift(max(r, 1e-300), noise) for r, noise in zip(risk, noises)])
        p = p - 2 * step * pull[:, None] * eigenvalues * p + step**2 * noise_gain
    return RiskCurves(wanted / d, np.stack(rows, axis=-1))


def simulate(
    k: ArrayLike,
    start: ArrayLike,
    lr: float,
    noises: Sequence[LabelNoise],
    total_steps: int,
    record: ArrayLike | None = None,
    *,
    seeds: int = 4,
    seed: int = 0,
) -> RiskCurves:
    """signSGD itself, all noises on the same inputs; ``seeds`` independent runs."""
    matrix, e, wanted = _checked(k, start, lr, noises, total_steps, record)
    d = len(e)
    integer("seeds", seeds)
    eigenvalues, basis = np.linalg.eigh(matrix)
    factor = np.sqrt(np.maximum(eigenvalues, 0))[:, None] * basis.T
    data, labels = (np.random.default_rng([integer("seed", seed, 0), i]) for i in (5, 6))
    errors = np.broadcast_to(e, (len(noises), seeds, d)).copy()
    marks, rows, done = set(wanted.tolist()), [], 0

    def risk() -> Floats:
        return np.asarray(0.5 * np.einsum("nsd,nsd->ns", errors @ matrix, errors))

    if 0 in marks:
        rows.append(risk())
    while done < wanted[-1]:
        count = min(256, int(wanted[-1]) - done)
        x = (data.standard_normal((count * seeds, d)) @ factor).reshape(count, seeds, d)
        signs = np.sign(x) * (lr / d)
        eps = np.stack([noise.sample(labels, (count, seeds)) for noise in noises], axis=1)
        for i in range(count):
            residual = np.einsum("nsd,sd->ns", errors, x[i]) - eps[i]
            errors -= np.sign(residual)[..., None] * signs[i]
            done += 1
            if done in marks:
                rows.append(risk())
    return RiskCurves(wanted / d, np.stack(rows, axis=-1))


def compare(
    k: ArrayLike,
    start: ArrayLike,
    lr: float,
    noises: Sequence[LabelNoise],
    total_steps: int,
    *,
    seeds: int = 4,
    seed: int = 0,
    record: ArrayLike | None = None,
) -> Comparison:
    """Mean simulated risk beside the recursion's, a curve per noise."""
    done = simulate(k, start, lr, noises, total_steps, record, seeds=seeds, seed=seed)
    theory = predict(k, start, lr, noises, total_steps, record)
    curves = []
    for noise, runs, line in zip(noises, done.risk, theory.risk):
        error = runs.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else None
        curves.append(ComparedCurve(noise.name, done.times, runs.mean(axis=0), line, error))
    return Comparison(
        f"signSGD, d={np.asarray(start).size}: excess risk and its limit",
        "steps / d",
        "excess risk",
        tuple(curves),
        ("Leading order in d; the deviation shrinks with d and with the number of seeds.",),
    )


def _checked(
    k: ArrayLike, start: ArrayLike, lr: float, noises: Sequence[LabelNoise], total_steps: int, record: ArrayLike | None
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    matrix = covariance("k", k)
    e = vector("start", start, len(matrix))
    if not e.any():
        raise ValueError("start must not be zero: the drift is infinite at zero risk")
    positive("lr", lr)
    if not noises:
        raise ValueError("noises is empty: pass at least one LabelNoise")
    integer("total_steps", total_steps, 1)
    wanted = log_spaced(total_steps) if record is None else np.asarray(record, dtype=np.int64)
    if wanted.ndim != 1 or (np.diff(wanted) <= 0).any() or wanted[0] < 0 or wanted[-1] > total_steps:
        raise ValueError(f"record must be increasing integers in [0, {total_steps}], got {record!r}")
    return matrix, e, wanted
