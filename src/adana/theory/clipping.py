"""Clipped SGD on least squares: the deterministic risk, and when clipping helps.

``theta' = theta - eta g min(1, C/|g|)`` with ``g = l x``, ``l = <x, e> - eps``. With ``c = C/sqrt(tr K)`` (in high
intrinsic dimension ``|x|^2`` is close to ``tr K``) the modes move by

    ``r' = r - 2 eta lambda mu r + eta^2 lambda V``, ``q = sum_j lambda_j r_j``, ``l = u - eps``, ``u ~ N(0, q)``,
    ``mu = P(|l| <= c)`` (Stein's lemma), ``V = E min(l^2, c^2)``.

For Gaussian l of variance s^2, with ``a = c/(s sqrt(2))``: ``mu = erf(a)``,
``V = s^2 (erf(a) - 2 a exp(-a^2)/sqrt(pi)) + c^2 (1 - erf(a))``; other noise is averaged over its quantiles.
Clipping helps where some c has ``mu^2 E[l^2] / V > 1``; with Gaussian noise none has.

Status: derived; leading order. It drops the fourth-moment term ``2 lambda^2 r^2``, so it needs an intrinsic dimension
``tr K/|K|`` of 100 or more. Checked at lambda ~ j^-.4, eta = .5/d, T = 6d, 6 seeds, Gaussian, t(2.5) and Cauchy noise:
within 7 % at d = 1000 (c = 1), 13 % at d = 300 (c = .3, 1, 3). Source: the abstract on clipping; derived here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import erf, ndtr

from adana.theory.checks import Floats, integer, positive, vector
from adana.theory.comparison import ComparedCurve, Comparison
from adana.theory.effort import Effort
from adana.theory.noise import LabelNoise
from adana.theory.simulate import log_spaced

__all__ = ["Benefit", "ClippedRun", "benefit", "clipping_effort", "clipping_moments", "compare", "predict", "simulate"]


@dataclass(frozen=True)
class ClippedRun:
    """One setting: a noise and a threshold c in units of ``sqrt(tr K)``; infinity for plain SGD."""

    noise: LabelNoise
    threshold: float = 1.0

    def __post_init__(self) -> None:
        if self.threshold != np.inf:
            positive("threshold (clip)", self.threshold)

    @property
    def name(self) -> str:
        """For labels."""
        return f"{self.noise.name}, c={self.threshold:g}"


def clipping_effort(d: int, settings: int, total_steps: int, seeds: int) -> Effort:
    """Of :func:`compare`."""
    numbers = float(settings) * seeds * d
    drawn = Effort.of(held=3 * numbers + 600.0 * seeds * d, calls=10.0 * total_steps, numbers=numbers)
    return drawn + Effort.of(calls=float(total_steps) * settings, numbers=3e5 + 5.0 * d)


@dataclass(frozen=True)
class Benefit:
    """The best of the criterion ``mu^2 E[l^2]/V`` and where: above 1 clipping helps."""

    ratio: float
    threshold: float


def clipping_moments(q: float, threshold: float, noise: LabelNoise) -> tuple[float, float]:
    """``mu = P(|l| <= c)`` and ``V = E min(l^2, c^2)`` for ``l = N(0, q) - eps``.

    >>> mu, v = clipping_moments(1.0, float("inf"), LabelNoise("gaussian", 2.0))
    >>> mu, v
    (1.0, 5.0)
    """
    positive("q", q)
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold!r}")
    if np.isinf(threshold):
        return 1.0, q + noise.variance
    c = threshold
    if noise.kind in ("none", "gaussian"):
        s = np.sqrt(q + noise.variance)
        a = c / (s * np.sqrt(2))
        inside = erf(a)
        return float(inside), float(s**2 * (inside - 2 * a * np.exp(-a * a) / np.sqrt(np.pi)) + c**2 * (1 - inside))
    mean, s = -noise.nodes, np.sqrt(q)
    low, high = (-c - mean) / s, (c - mean) / s
    density_low, density_high = (np.exp(-x * x / 2) / np.sqrt(2 * np.pi) for x in (low, high))
    inside = ndtr(high) - ndtr(low)
    square = (mean**2 + q) * inside + q * (low * density_low - high * density_high)
    square += 2 * mean * s * (density_low - density_high)
    return float(inside.mean()), float(np.mean(square + c**2 * (1 - inside)))


def benefit(q: float, noise: LabelNoise) -> Benefit:
    """Largest ``mu^2 E[l^2]/V`` over thresholds.

    Raises:
        ValueError: the noise has no variance; clipping then helps without bound.

    >>> benefit(1.0, LabelNoise("student", freedom=2.5)).ratio > 1.8
    True
    """
    positive("q", q)
    if not np.isfinite(noise.variance):
        raise ValueError(f"{noise.name} noise has infinite variance: any clipping helps without bound")
    total = q + noise.variance
    grid = np.sqrt(total) * np.geomspace(1e-3, 1e2, 120)

    def ratio(c: float) -> float:
        mu, v = clipping_moments(q, c, noise)
        return mu * mu * total / v

    values = [ratio(c) for c in grid]
    best = int(np.argmax(values))
    low, high = np.log(grid[max(best - 1, 0)]), np.log(grid[min(best + 1, len(grid) - 1)])
    found = minimize_scalar(lambda x: -ratio(np.exp(x)), bounds=(low, high), method="bounded")
    if -found.fun > values[best]:
        return Benefit(float(-found.fun), float(np.exp(found.x)))
    return Benefit(float(values[best]), float(grid[best]))


def predict(
    eigenvalues: ArrayLike,
    modes: ArrayLike,
    lr: float,
    settings: Sequence[ClippedRun],
    total_steps: int,
    record: ArrayLike | None = None,
) -> tuple[NDArray[np.int64], Floats]:
    """Excess risk ``q/2`` by the recursion.

    Args:
        eigenvalues: of K, positive, (d,).
        modes: r_j(0), (d,).
        lr: eta, > 0.
        settings: one curve each.
        total_steps: T.
        record: steps; default 60 log-spaced ones.

    Returns:
        Steps (records,) and excess risk (settings, records).
    """
    lam, r0, wanted = _checked(eigenvalues, modes, lr, settings, total_steps, record)
    marks, rows = set(wanted.tolist()), []
    r = np.repeat(r0[None], len(settings), axis=0)
    for t in range(int(wanted[-1]) + 1):
        q = r @ lam
        if t in marks:
            rows.append(q / 2)
        moments = np.array([clipping_moments(x, one.threshold, one.noise) for x, one in zip(q, settings)])
        r = r - 2 * lr * moments[:, :1] * lam * r + lr**2 * lam * moments[:, 1:]
    return wanted, np.stack(rows, axis=-1)


def simulate(
    eigenvalues: ArrayLike,
    modes: ArrayLike,
    lr: float,
    settings: Sequence[ClippedRun],
    total_steps: int,
    record: ArrayLike | None = None,
    *,
    seeds: int = 6,
    seed: int = 0,
) -> tuple[NDArray[np.int64], Floats]:
    """Clipped SGD itself, from ``e_j = sqrt(r_j)``; all settings on the same inputs.

    Returns:
        Steps (records,) and excess risk (settings, seeds, records).
    """
    lam, r0, wanted = _checked(eigenvalues, modes, lr, settings, total_steps, record)
    integer("seeds", seeds)
    data, labels = (np.random.default_rng([integer("seed", seed, 0), i]) for i in (5, 6))
    noises = list(dict.fromkeys(one.noise for one in settings))
    which = [noises.index(one.noise) for one in settings]
    bound = np.array([one.threshold for one in settings])[:, None] * np.sqrt(lam.sum())
    errors = np.broadcast_to(np.sqrt(r0), (len(settings), seeds, lam.size)).copy()
    marks, rows, done = set(wanted.tolist()), [], 0
    if 0 in marks:
        rows.append(0.5 * errors**2 @ lam)
    while done < wanted[-1]:
        count = min(256, int(wanted[-1]) - done)
        x = data.standard_normal((count, seeds, lam.size)) * np.sqrt(lam)
        norms = np.sqrt(np.einsum("csd,csd->cs", x, x))
        eps = np.stack([noise.sample(labels, (count, seeds)) for noise in noises], axis=1)[:, which]
        for i in range(count):
            residual = np.einsum("nsd,sd->ns", errors, x[i]) - eps[i]
            size = np.maximum(np.abs(residual) * norms[i], 1e-300)
            errors -= (lr * residual * np.minimum(1, bound / size))[..., None] * x[i]
            done += 1
            if done in marks:
                rows.append(0.5 * errors**2 @ lam)
    return wanted, np.stack(rows, axis=-1)


def compare(
    eigenvalues: ArrayLike,
    modes: ArrayLike,
    lr: float,
    settings: Sequence[ClippedRun],
    total_steps: int,
    *,
    seeds: int = 6,
    seed: int = 0,
    record: ArrayLike | None = None,
) -> Comparison:
    """Mean simulated excess risk beside the recursion's, a curve per setting."""
    steps, runs = simulate(eigenvalues, modes, lr, settings, total_steps, record, seeds=seeds, seed=seed)
    _, lines = predict(eigenvalues, modes, lr, settings, total_steps, record)
    lam = np.asarray(eigenvalues, dtype=np.float64)
    curves = []
    for one, run, line in zip(settings, runs, lines):
        error = run.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else None
        curves.append(ComparedCurve(one.name, steps / lam.size, run.mean(axis=0), line, error))
    q = float(lam @ np.asarray(modes, dtype=np.float64))
    helps = {
        noise.name: benefit(q, noise).ratio if np.isfinite(noise.variance) else float("inf")
        for noise in dict.fromkeys(one.noise for one in settings)
    }
    return Comparison(
        f"clipped SGD, d={lam.size}: excess risk and its limit",
        "steps / d",
        "excess risk",
        tuple(curves),
        ("Needs a large intrinsic dimension tr K/|K|: the recursion drops a fourth-moment term.",),
        {"intrinsic_dimension": float(lam.sum() / lam.max()), "benefit_at_start": helps},
    )


def _checked(
    eigenvalues: ArrayLike,
    modes: ArrayLike,
    lr: float,
    settings: Sequence[ClippedRun],
    total_steps: int,
    record: ArrayLike | None,
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    lam = vector("eigenvalues", eigenvalues)
    if (lam <= 0).any():
        raise ValueError(f"eigenvalues must be positive, got {lam.min():g}")
    r0 = vector("modes", modes, lam.size, least=0)
    if not r0.any():
        raise ValueError("modes must not all be zero")
    positive("lr", lr)
    if not settings:
        raise ValueError("settings is empty: pass at least one ClippedRun")
    integer("total_steps", total_steps, 1)
    wanted = log_spaced(total_steps) if record is None else np.asarray(record, dtype=np.int64)
    if wanted.ndim != 1 or (np.diff(wanted) <= 0).any() or wanted[0] < 0 or wanted[-1] > total_steps:
        raise ValueError(f"record must be increasing integers in [0, {total_steps}], got {record!r}")
    return lam, r0, wanted
