"""The high line: SGD with learning rates that adapt, as differential equations.

Step ``theta' = theta - (gamma_k/d) g_k``, time ``tau = k/d``, covariance eigenvalues lambda_j with weights w_j (1/d
each for a drawn problem), ``rho_j = d E e_j^2``, label noise variance omega^2, mean eigenvalue t:

    ``2P = sum_j w_j lambda_j rho_j + omega^2``,  ``d rho_j/d tau = -2 gamma lambda_j rho_j + gamma^2 lambda_j 2P``.

Rates: constant; AdaGrad-Norm ``gamma = eta/sqrt(b^2 + t int 2P)``, the limit of ``eta/sqrt(b^2 + sum |g|^2/d^2)``;
idealised line search ``gamma = sum w lambda^2 rho/(sum w lambda^2 2P)``; Polyak ``gamma = (2P - omega^2)/(t 2P)``.

Limits. AdaGrad-Norm without noise: ``y = eta/gamma_inf >= max(b, eta t/2)`` solves
``(4 eta/t)(y - b) - 2 eta^2 ln(y/b) = sum_j w_j rho_j(0)``. Line search with two eigenvalues l1 > l2 in fractions f1,
f2, ``T2 = f1 l1^2 + f2 l2^2``: the share s of mode 1 solves
``(l1-l2) s^2 + [l2 - 2 l1 + (l1-l2) l1^2 f1/T2] s + l2 l1^2 f1/T2 = 0`` and ``gamma_inf = (l2 + (l1-l2) s)/T2``; its
rate can be slower than the best fixed one by any factor. With density of eigenvalues ~ lambda^-beta and
``rho_j(0) ~ lambda^-delta`` near zero, AdaGrad's gamma falls as ``tau^(-1 + 1/(beta + delta))`` if beta + delta > 1,
and is bounded below otherwise.

Status: derived; leading order. Checked with uniform eigenvalues on (.3, 2), tau <= 10, 3 seeds, d = 1600 and 400,
where the risk exceeds 1e-3 of its start. Source: arXiv 2405.19585 (abstract); formulas derived here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from adana.theory.checks import Floats, NotSolved, at_least, finite, increasing, integer, positive, vector
from adana.theory.comparison import ComparedCurve, Comparison
from adana.theory.effort import Effort

__all__ = [
    "RATES",
    "HighLine",
    "Rate",
    "adagrad_limit",
    "compare",
    "highline_effort",
    "line_search_limit",
    "power_law_exponent",
    "predict",
    "simulate",
]

_MOST_CALLS = 100_000
RATES = ("constant", "adagrad-norm", "line-search", "polyak")


@dataclass(frozen=True)
class Rate:
    """A learning-rate rule.

    Args:
        kind: one of ``RATES``.
        scale: gamma (constant) or eta (AdaGrad-Norm), > 0.
        offset: AdaGrad-Norm's b, > 0.
    """

    kind: str
    scale: float = 1.0
    offset: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in RATES:
            raise ValueError(f"unknown rate {self.kind!r}: choose from {', '.join(RATES)}")
        positive("scale", self.scale)
        positive("offset", self.offset)

    def gamma(self, lam: Floats, w: Floats, rho: Floats, total: Floats, noise: float) -> Floats:
        """The rate at modes ``rho`` (..., d), where ``total`` is the integral of 2P so far."""
        mean = w @ lam
        if self.kind == "constant":
            return np.full(np.shape(total), self.scale)
        if self.kind == "adagrad-norm":
            return np.asarray(self.scale / np.sqrt(self.offset**2 + mean * total))
        clean = rho @ (w * lam)
        if self.kind == "polyak":
            return np.asarray(clean / (mean * (clean + noise)))
        return np.asarray(rho @ (w * lam**2) / (w @ lam**2 * (clean + noise)))


@dataclass(frozen=True)
class HighLine:
    """Curves of one rate.

    Attributes:
        times: tau = steps/d, (records,), the first 0.
        risk: P, half the mean-square error with its noise, (records,) or (seeds, records).
        gamma: learning rate, the same shape.
    """

    times: Floats
    risk: Floats
    gamma: Floats


def highline_effort(d: int, rates: int, total_steps: int, seeds: int) -> Effort:
    """Of :func:`compare`; the equations are solved with a full Jacobian of d + 1 rows."""
    numbers = float(rates) * seeds * d
    drawn = Effort.of(held=3 * numbers + 600.0 * seeds * d, calls=40.0 * total_steps, numbers=numbers)
    solved = Effort.of(held=4.0 * d * d, calls=200.0 * rates * d, numbers=10.0 * d)
    return drawn + solved + Effort.of(calls=50.0 * rates, numbers=0.3 * float(d) ** 3)


def predict(
    eigenvalues: ArrayLike,
    modes: ArrayLike,
    rate: Rate,
    times: ArrayLike,
    *,
    noise: float = 0.0,
    weights: ArrayLike | None = None,
) -> HighLine:
    """Solve the differential equations (LSODA, relative tolerance 1e-9).

    Args:
        eigenvalues: lambda_j > 0, (d,).
        modes: rho_j(0) >= 0, (d,); ``d e_j^2`` for a drawn problem.
        rate: the learning-rate rule.
        times: tau, increasing, the first 0.
        noise: omega, the label noise's standard deviation.
        weights: w_j, summing to 1; default 1/d.
    """
    lam, rho0, w, t = _checked(eigenvalues, modes, times, weights)
    variance = at_least("noise", noise, 0) ** 2

    calls = 0

    def flow(_: float, y: Floats) -> Floats:
        nonlocal calls
        calls += 1
        if calls > _MOST_CALLS + 50 * len(lam):
            raise NotSolved(f"the equations of {rate.kind} are too stiff at scale {rate.scale:g} and noise {noise:g}")
        rho, total = y[:-1], y[-1]
        twice = w @ (lam * rho) + variance
        gamma = rate.gamma(lam, w, rho, total, variance)
        return np.append(-2 * gamma * lam * rho + gamma**2 * lam * twice, twice)

    solved = solve_ivp(flow, (0.0, t[-1]), np.append(rho0, 0.0), t_eval=t, rtol=1e-9, atol=1e-14, method="LSODA")
    if not solved.success:
        raise NotSolved(f"the differential equations could not be solved: {solved.message}")
    rho, total = np.maximum(solved.y[:-1].T, 0), solved.y[-1]
    risk = 0.5 * (rho @ (w * lam) + variance)
    risk[0] = 0.5 * (rho0 @ (w * lam) + variance)
    return HighLine(t, risk, rate.gamma(lam, w, rho, total, variance))


def simulate(
    eigenvalues: ArrayLike,
    modes: ArrayLike,
    rates: Sequence[Rate],
    times: ArrayLike,
    *,
    noise: float = 0.0,
    seeds: int = 3,
    seed: int = 0,
) -> list[HighLine]:
    """One-pass SGD with those rates, all on the same samples, from ``e_j = sqrt(rho_j/d)``.

    Times are rounded to whole steps, which the result gives. Line search and Polyak see the population risk,
    as their idealised forms do; AdaGrad-Norm sees the gradients only.
    """
    lam, rho0, w, t = _checked(eigenvalues, modes, times, None)
    variance, d = at_least("noise", noise, 0) ** 2, lam.size
    if not rates:
        raise ValueError("rates is empty: pass at least one Rate")
    integer("seeds", seeds)
    marks = np.unique(np.rint(t * d).astype(np.int64))
    data, labels = (np.random.default_rng([integer("seed", seed, 0), i]) for i in (5, 6))
    errors = np.broadcast_to(np.sqrt(rho0 / d), (len(rates), seeds, d)).copy()
    total = np.zeros((len(rates), seeds))
    risks, gammas, kept, done = [], [], set(marks.tolist()), 0

    def gamma() -> Floats:
        # In the simulation `total` sums |g|^2/d^2, which is the mean eigenvalue times the integral.
        rho = d * errors**2
        return np.stack([one.gamma(lam, w, rho[i], total[i] / (w @ lam), variance) for i, one in enumerate(rates)])

    adaptive = any(one.kind in ("line-search", "polyak") for one in rates)
    norm_scale = np.array([one.kind == "adagrad-norm" for one in rates])[:, None] / d**2
    current = gamma()

    def look() -> None:
        risks.append(0.5 * (errors**2 @ lam + variance))
        gammas.append(gamma())

    if 0 in kept:
        look()
    while done < marks[-1]:
        count = min(256, int(marks[-1]) - done)
        x = data.standard_normal((count, seeds, d)) * np.sqrt(lam)
        eps = noise * labels.standard_normal((count, seeds))
        squares = np.einsum("csd,csd->cs", x, x)
        for i in range(count):
            residual = np.einsum("nsd,sd->ns", errors, x[i]) - eps[i]
            total += norm_scale * residual**2 * squares[i]
            if adaptive or norm_scale.any():
                current = gamma()
            errors -= (current * residual / d)[..., None] * x[i]
            done += 1
            if done in kept:
                look()
    risk, rate = np.stack(risks, axis=-1), np.stack(gammas, axis=-1)
    return [HighLine(marks / d, risk[i], rate[i]) for i in range(len(rates))]


def compare(
    eigenvalues: ArrayLike,
    modes: ArrayLike,
    rates: Sequence[Rate],
    times: ArrayLike,
    *,
    noise: float = 0.0,
    seeds: int = 3,
    seed: int = 0,
) -> Comparison:
    """Risk and learning rate, simulated mean beside the equations."""
    curves = []
    for one, run in zip(rates, simulate(eigenvalues, modes, rates, times, noise=noise, seeds=seeds, seed=seed)):
        line = predict(eigenvalues, modes, one, run.times, noise=noise)
        for what in ("risk", "gamma"):
            drawn = getattr(run, what)
            error = drawn.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else None
            curves.append(
                ComparedCurve(f"{one.kind} {what}", run.times, drawn.mean(axis=0), getattr(line, what), error)
            )
    return Comparison(
        f"the high line, d={np.asarray(eigenvalues).size}: risk and learning rate",
        "steps / d",
        "risk, learning rate",
        tuple(curves),
        ("Leading order in d; where the risk has fallen below 1e-3 of its start, relative deviations grow.",),
    )


def adagrad_limit(eta: float, offset: float, mean_eigenvalue: float, distance_squared: float) -> float:
    """AdaGrad-Norm's final learning rate without label noise.

    Args:
        eta: scale, > 0.
        offset: b, > 0.
        mean_eigenvalue: tr K/d, > 0.
        distance_squared: ``|theta_0 - theta*|^2`` > 0.

    >>> 0 < adagrad_limit(1.0, 1.0, 1.0, 1.0) < 1
    True
    """
    eta, b = positive("eta", eta), positive("offset", offset)
    mean, distance = positive("mean_eigenvalue", mean_eigenvalue), positive("distance_squared", distance_squared)

    def gap(y: float) -> float:
        return float(4 * eta / mean * (y - b) - 2 * eta**2 * np.log(y / b) - distance)

    low = max(b, eta * mean / 2)  # the function falls before this point and rises after it
    high = 2 * low
    while gap(high) < 0:
        high *= 2
    return float(eta / brentq(gap, low, high, xtol=1e-14, rtol=1e-14))


@dataclass(frozen=True)
class LineSearchLimit:
    """Limit of the idealised line search with two eigenvalues.

    Attributes:
        gamma: final learning rate.
        slowdown: asymptotic rate of the best fixed learning rate over line search's.
    """

    gamma: float
    slowdown: float


def line_search_limit(high: float, low: float, fraction: float) -> LineSearchLimit:
    """Final learning rate of line search with eigenvalues ``high > low``, ``fraction`` of them the high one.

    >>> round(line_search_limit(2.0, 0.5, 0.5).gamma, 6)
    0.434917
    """
    l1, l2 = positive("high", high), positive("low", low)
    if l1 <= l2:
        raise ValueError(f"high must exceed low, got {high!r} and {low!r}")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie in (0, 1), got {fraction!r}")
    second = fraction * l1**2 + (1 - fraction) * l2**2
    pull = l1**2 * fraction / second
    roots = np.roots([l1 - l2, l2 - 2 * l1 + (l1 - l2) * pull, l2 * pull])
    share = float(min(root.real for root in roots if -1e-12 <= root.real <= 1 + 1e-12))
    gamma = (l2 + (l1 - l2) * share) / second
    weights, lam = np.array([fraction, 1 - fraction]), np.array([l1, l2])

    def rate(g: float) -> float:
        # Slowest decay of (rho_1, rho_2): the largest eigenvalue of the two-mode flow, with its sign turned.
        flow = np.diag(-2 * g * lam) + g**2 * np.outer(lam, weights * lam)
        return -float(np.linalg.eigvals(flow).real.max())

    grid = np.linspace(1e-4, 2, 4001) / (weights @ lam)
    best = max(rate(float(g)) for g in grid)
    return LineSearchLimit(gamma, best / rate(gamma))


def power_law_exponent(beta: float, delta: float) -> float:
    """Exponent of tau in AdaGrad-Norm's learning rate: ``-1 + 1/(beta + delta)``, or 0 where beta + delta <= 1.

    >>> power_law_exponent(0.3, 0.3), round(power_law_exponent(0.5, 0.8), 3)
    (0.0, -0.231)
    """
    both = finite("beta", beta) + finite("delta", delta)
    if beta >= 1:
        raise ValueError(f"beta must be below 1 for a density, got {beta!r}")
    return -1 + 1 / both if both > 1 else 0.0


def _checked(
    eigenvalues: ArrayLike, modes: ArrayLike, times: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats, Floats]:
    lam = vector("eigenvalues", eigenvalues)
    if (lam <= 0).any():
        raise ValueError(f"eigenvalues must be positive, got {lam.min():g}")
    rho = vector("modes", modes, lam.size, least=0)
    w = np.full(lam.size, 1 / lam.size) if weights is None else vector("weights", weights, lam.size, least=0)
    if abs(w.sum() - 1) > 1e-8:
        raise ValueError(f"weights must sum to 1, got {w.sum():g}")
    t = increasing("times", times)
    if t[0] != 0:
        raise ValueError(f"times must start at 0, got {t[0]:g}")
    return lam, rho, w, t
