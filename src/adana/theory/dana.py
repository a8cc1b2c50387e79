"""DANA on PLRF: when log-time momentum accelerates, by which exponent, and when it diverges.

In the averaged form, ``theta' = theta - gamma (g + alpha(t) m')`` with ``alpha(t) = c (1 + t)^(1 - kappa)``, the
effective time is ``gamma t + (int sqrt(gamma gamma_3))^2 ~ t^(2 - kappa)`` for kappa < 1, so that the population
term of the risk falls as

    ``t^-((2 - kappa)(2 rho + 2 eta - 1)/(2 rho))``.

Stable for ever if and only if ``kappa >= 1/(2 rho)`` (at equality for small c): in the limit that is the best kappa,
and it needs 2 rho > 1. At a finite horizon the best one depends on c and on the horizon
(:mod:`adana.theory.dana_map`). At kappa >= 1 the exponent is SGD's. DANA-constant, ``alpha(t) = c t/d``, is SGD until
t ~ d and then goes at effective time t^2/d.

Status: exponents recalled and derived, checked on the population spectrum (lambda_j = j^(-2 rho), no W) with 3000
modes, rho = 1, eta = .3, B = 1, gamma = .3, c = .25, T = 12000: slopes within 0.06 for kappa from .5 to 1. At other rho
and c they are further off (``docs/theory.md``). Just below the boundary a small c diverges late: kappa = .35 at c = .1
has not by T = 12000. Source: arXiv 2505.16098; Sections L.1.3 and O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from adana.theory.checks import Floats, at_least, increasing, integer, positive
from adana.theory.comparison import ComparedCurve, Comparison
from adana.theory.phases import phase
from adana.theory.recursion import Coefficients, coefficients, mean_risk, mean_risk_effort
from adana.theory.simulate import Configuration, log_spaced

__all__ = [
    "KappaCurves",
    "best_kappa",
    "dana_constant",
    "grouped_spectrum",
    "kappa_curves",
    "population_spectrum",
    "risk_exponent",
    "slope",
]


def best_kappa(rho: float) -> float | None:
    """``1/(2 rho)``, or None where 2 rho <= 1: there no kappa accelerates.

    >>> best_kappa(1.0), best_kappa(0.5)
    (0.5, None)
    """
    positive("rho", rho)
    return 1 / (2 * rho) if 2 * rho > 1 else None


def risk_exponent(rho: float, eta: float, kappa: float | None) -> float | None:
    """Exponent of the population term in t: DANA's at kappa, or SGD's for None.

    Returns:
        A negative number, or None where DANA at that kappa is unstable (kappa < 1/(2 rho)).

    >>> round(risk_exponent(1.0, 0.3, 0.5), 3), risk_exponent(1.0, 0.3, None), risk_exponent(1.0, 0.3, 0.2)
    (-1.2, -0.8, None)
    """
    phase(rho, eta)
    sgd = -(2 * rho + 2 * eta - 1) / (2 * rho)
    if kappa is None or at_least("kappa", kappa, 0) >= 1:
        return sgd
    best = best_kappa(rho)
    return (2 - kappa) * sgd if best is not None and kappa >= best else None


def population_spectrum(rho: float, eta: float, count: int) -> tuple[Floats, Floats]:
    """Eigenvalues ``j^(-2 rho)`` and squared start distances ``j^(-2 eta)`` of the problem without W."""
    phase(rho, eta)
    j = np.arange(1, integer("count", count) + 1, dtype=np.float64)
    return j ** (-2 * rho), j ** (-2 * eta)


def grouped_spectrum(rho: float, eta: float, count: int, *, ratio: float = 1.02) -> tuple[Floats, Floats, Floats]:
    """:func:`population_spectrum` with neighbouring eigenvalues taken together: eigenvalues, distances, counts.

    The first 64 stand alone. After them a group reaches from j to ``ratio`` j; it has the mean eigenvalue and the
    distance that keeps its share of the risk. So a million modes cost as much as some five hundred.

    >>> lam, modes, counts = grouped_spectrum(1.0, 0.3, 1000)
    >>> len(lam), int(counts.sum()), round(float((counts * lam).sum()), 4)
    (229, 1000, 1.6439)
    """
    lam, modes = population_spectrum(rho, eta, count)
    if not ratio > 1:
        raise ValueError(f"ratio must be above 1, got {ratio!r}")
    edges = [*range(min(count, 64))]
    while (step := max(edges[-1] + 1, int(edges[-1] * ratio))) < count:
        edges.append(step)
    starts = np.array(edges)
    counts = np.diff(np.append(starts, count)).astype(np.float64)
    mean = np.add.reduceat(lam, starts) / counts
    return mean, np.add.reduceat(lam * modes, starts) / (counts * mean), counts


def dana_constant(lr: float, total_steps: int, *, scale: float, d: int, delta: float = 8.0) -> Coefficients:
    """DANA-constant with ``alpha(t) = scale (1 + t)/d``."""
    damping = positive("scale", scale) / integer("d", d)
    # kappa = 0 makes the linear schedule's T^-kappa one.
    one = Configuration("dana", lr, kappa=0.0, damping="linear", damping_scale=damping, delta=delta)
    return coefficients(one, total_steps)


def slope(steps: ArrayLike, risk: ArrayLike, low: float, high: float) -> float:
    """Least-squares slope of log risk in log t over low <= t <= high.

    >>> round(slope([1.0, 10.0, 100.0], [1.0, 0.1, 0.01], 1, 100), 6)
    -1.0
    """
    t = increasing("steps", steps)
    values = np.asarray(risk, dtype=np.float64)
    window = (t >= low) & (t <= high) & (t > 0)
    if values.shape != t.shape or window.sum() < 3:
        raise ValueError(f"fewer than 3 records lie in [{low:g}, {high:g}]: pass a wider window")
    if not (np.isfinite(values[window]).all() and (values[window] > 0).all()):
        return float("nan")
    return float(np.polyfit(np.log(t[window]), np.log(values[window]), 1)[0])


@dataclass(frozen=True)
class KappaCurves:
    """Exact curves over kappa, SGD's last.

    Attributes:
        kappas: None stands for SGD.
        steps: (records,).
        risk: (kappas, records).
        slopes: measured over [T/20, T]; NaN where the risk is not finite.
        predicted: exponents, None where unstable.
        diverged_at: -1 for never.
        best_kappa: of those run, the one of least final risk.
    """

    kappas: tuple[float | None, ...]
    steps: Floats
    risk: Floats
    slopes: Floats
    predicted: tuple[float | None, ...]
    diverged_at: tuple[int, ...]
    best_kappa: float

    def comparison(self) -> Comparison:
        """As curves beside the power law of the predicted exponent through the last point."""
        curves = []
        for i, kappa in enumerate(self.kappas):
            law, exponent = None, self.predicted[i]
            t, risk = self.steps[1:], self.risk[i, 1:]
            if exponent is not None:
                law = risk[-1] * (t / t[-1]) ** exponent
            at = self.diverged_at[i]
            label = "SGD" if kappa is None else f"kappa={kappa:g}"
            curves.append(ComparedCurve(label, t, risk, law, diverged_at=at if at >= 0 else None))
        labels = [curve.label for curve in curves]
        return Comparison(
            "DANA on the population spectrum: exact risk and predicted slope",
            "step",
            "risk",
            tuple(curves),
            ("The prediction is the slope at late times; its curve is drawn through the last point.",),
            {
                "slopes": dict(zip(labels, self.slopes)),
                "predicted_slopes": dict(zip(labels, self.predicted)),
                "best_kappa": self.best_kappa,
            },
            laws=True,
        )


def kappa_curves(
    rho: float = 1.0,
    eta: float = 0.3,
    *,
    kappas: Sequence[float] = (0.2, 0.35, 0.5, 0.6, 0.75, 1.0),
    lr: float = 0.3,
    damping_scale: float = 0.25,
    delta: float = 8.0,
    batch: int = 1,
    count: int = 3000,
    total_steps: int = 12000,
) -> KappaCurves:
    """Exact mean risk of DANA over kappa, and of SGD, on the population spectrum.

    Args:
        rho: data exponent.
        eta: target exponent.
        kappas: at least one.
        lr: gamma.
        damping_scale: c.
        delta: log-time constant.
        batch: B.
        count: modes.
        total_steps: T >= 100.
    """
    if not kappas:
        raise ValueError("kappas is empty: pass at least one")
    effort = mean_risk_effort(len(kappas) + 1, integer("count", count), integer("total_steps", total_steps, 100))
    effort.check(f"{len(kappas)} values of kappa, {count:,} modes, {total_steps:,} steps", "lower one of them")
    eigenvalues, modes = population_spectrum(rho, eta, count)
    runs = [Configuration("dana", lr, kappa=k, damping_scale=damping_scale, delta=delta) for k in kappas]
    runs.append(Configuration("sgd", lr))
    methods = [coefficients(one, total_steps) for one in runs]
    found = mean_risk(eigenvalues, modes, 0.0, methods, batch=batch, record=log_spaced(total_steps, 120))
    steps = found.steps.astype(np.float64)
    final = np.nan_to_num(found.risk[:-1, -1], nan=np.inf, posinf=np.inf)
    all_kappas = (*kappas, None)
    return KappaCurves(
        all_kappas,
        steps,
        found.risk,
        _late_slopes(steps, found.risk, total_steps),
        tuple(risk_exponent(rho, eta, k) for k in all_kappas),
        tuple(found.diverged_at.tolist()),
        float(kappas[int(final.argmin())]),
    )


def _late_slopes(steps: Floats, risk: Floats, total_steps: int) -> Floats:
    """Slopes over the last factor 20 of time, one a row."""
    return np.array([slope(steps, row, total_steps / 20, total_steps) for row in risk])
