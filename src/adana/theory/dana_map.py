"""Where DANA's exact mean risk has its best kappa, over data exponent, damping coefficient, learning rate and horizon.

The prediction ``1/(2 rho)`` is a limit: the smallest kappa that is stable for ever, with the steepest slope. At a
finite horizon a smaller kappa may not have diverged yet, and be better. How far the best one lies from the limit is
computed here, without noise of sampling: the mean risk is exact (:mod:`adana.theory.recursion`), on the population
spectrum ``lambda_j = j^(-2 rho)`` of a million modes. With power damping the coefficients do not depend on the
horizon, so one run serves all horizons.

Status: exact but for the grouping of modes, which changes the risk by less than 0.1 % (tested).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adana.theory.checks import Floats, increasing, integer, positive
from adana.theory.dana import best_kappa, grouped_spectrum, risk_exponent, slope
from adana.theory.effort import Effort
from adana.theory.kappa_map import optimum
from adana.theory.recursion import coefficients, mean_risk, mean_risk_effort
from adana.theory.simulate import Configuration, log_spaced

__all__ = ["DanaMap", "DanaPoint", "dana_map"]

_BLOCK = 16  # kappas computed together: more no longer fit the processor's cache


@dataclass(frozen=True)
class DanaPoint:
    """The best kappa at one point of the map.

    Attributes:
        rho: data exponent.
        lr: learning rate.
        damping_scale: the coefficient c of alpha(t) = c (1 + t)^(1 - kappa).
        horizon: steps.
        predicted: 1/(2 rho).
        best: where the risk is least: the vertex of a parabola in log risk through the best kappa of the grid and
            its neighbours, or the end of the grid.
        at_edge: whether the best kappa of the grid is its smallest or largest.
        risk: the least risk on the grid.
        risk_at_predicted: risk at the kappa of the grid nearest to 1/(2 rho), divided by the least; None where it is
            not finite.
        smallest_stable: the smallest kappa of the grid that has not diverged by the horizon; None where all have.
        slope_gap: for kappa from 1/(2 rho) up to 1, the largest distance between the measured slope of log risk in
            log t, over the last factor 20 of time, and the predicted one; None where no such kappa is swept.
        slope_gap_kappa: the kappa of that distance.
    """

    rho: float
    lr: float
    damping_scale: float
    horizon: int
    predicted: float
    best: float
    at_edge: bool
    risk: float
    risk_at_predicted: float | None
    smallest_stable: float | None
    slope_gap: float | None
    slope_gap_kappa: float | None


@dataclass(frozen=True)
class DanaMap:
    """All points, and what is common to them.

    Attributes:
        points: in the order rho, learning rate, coefficient, horizon.
        kappas: swept.
        eta: target exponent.
        delta: log-time constant.
        batch: samples per step.
        modes: eigenvalues.
    """

    points: tuple[DanaPoint, ...]
    kappas: tuple[float, ...]
    eta: float
    delta: float
    batch: int
    modes: int

    def document(self) -> dict[str, Any]:
        """As data for JSON."""
        return asdict(self)


def dana_map(
    *,
    rhos: Sequence[float],
    lrs: Sequence[float],
    damping_scales: Sequence[float],
    horizons: Sequence[int],
    kappas: Sequence[float],
    eta: float = 0.3,
    delta: float = 8.0,
    batch: int = 1,
    modes: int = 1_000_000,
    progress: Callable[[str], None] = lambda line: None,
) -> DanaMap:
    """Compute the map.

    Args:
        rhos: data exponents, above 1/2.
        lrs: learning rates.
        damping_scales: coefficients c.
        horizons: steps, increasing, at least 100.
        kappas: swept, increasing, at least three.
        eta: target exponent.
        delta: log-time constant.
        batch: samples per step, B.
        modes: eigenvalues.
        progress: called with a line when a data exponent is done.
    """
    for name, values in (("rhos", rhos), ("lrs", lrs), ("damping_scales", damping_scales), ("horizons", horizons)):
        if not len(values):
            raise ValueError(f"{name} is empty: pass at least one")
    grid = increasing("kappas", kappas)
    if grid.size < 3:
        raise ValueError(f"kappas must be at least three, got {grid}")
    ends = [integer("horizons", horizon, 100) for horizon in horizons]
    increasing("horizons", ends)
    for lr in lrs:
        positive("lrs", lr)
    for rho in rhos:
        if best_kappa(rho) is None:
            raise ValueError(f"rhos must be above 0.5, got {rho:g}: there no kappa accelerates")
    groups = min(integer("modes", modes), 64 + int(50 * np.log(modes)))
    curves = len(rhos) * len(lrs) * len(damping_scales) * grid.size
    effort = mean_risk_effort(_BLOCK, groups, ends[-1]) * (curves / _BLOCK) + Effort.of(held=6.0 * modes)
    effort.check(
        f"{curves:,} curves of {ends[-1]:,} steps and {modes:,} modes",
        "lower the steps or modes, or pass fewer values",
    )
    record = np.unique(np.concatenate([log_spaced(ends[-1], 240), ends]))
    points = []
    for rho in rhos:
        lam, distances, counts = grouped_spectrum(rho, eta, modes)
        for lr in lrs:
            for scale in damping_scales:
                runs = [
                    Configuration("dana", lr, kappa=float(kappa), damping_scale=scale, delta=delta) for kappa in grid
                ]
                found = [
                    mean_risk(
                        lam,
                        distances,
                        0.0,
                        [coefficients(one, ends[-1]) for one in runs[i : i + _BLOCK]],
                        batch=batch,
                        record=record,
                        counts=counts,
                    )
                    for i in range(0, len(runs), _BLOCK)
                ]
                risk = np.concatenate([one.risk for one in found])
                diverged_at = np.concatenate([one.diverged_at for one in found])
                for end in ends:
                    alive = (diverged_at < 0) | (diverged_at > end)
                    points.append(_point(rho, eta, lr, scale, end, grid, record, risk, alive))
                progress(f"rho {rho:g}, learning rate {lr:g}, c {scale:g}: best kappa {points[-1].best:.3f}")
    return DanaMap(tuple(points), tuple(grid.tolist()), eta, delta, batch, modes)


def _point(
    rho: float,
    eta: float,
    lr: float,
    scale: float,
    horizon: int,
    kappas: Floats,
    record: NDArray[np.int64],
    risk: Floats,
    alive: NDArray[np.bool_],
) -> DanaPoint:
    predicted = best_kappa(rho)
    assert predicted is not None
    final = np.where(alive, risk[:, int(np.searchsorted(record, horizon))], np.inf)
    final = np.nan_to_num(final, nan=np.inf, posinf=np.inf)
    best, least = optimum(kappas, final)
    gaps = []
    for kappa, curve, lives in zip(kappas, risk, alive):
        exponent = risk_exponent(rho, eta, float(kappa)) if predicted <= kappa + 1e-9 and kappa < 1 else None
        if exponent is not None and lives:
            gaps.append((abs(slope(record, curve, horizon / 20, horizon) - exponent), float(kappa)))
    gap, gap_kappa = max(gaps) if gaps else (None, None)
    at_predicted = float(final[int(np.abs(kappas - predicted).argmin())])
    edge = int(final.argmin()) in (0, len(kappas) - 1)
    return DanaPoint(
        float(rho),
        float(lr),
        float(scale),
        int(horizon),
        predicted,
        best,
        edge,
        least,
        at_predicted / least if np.isfinite(at_predicted) else None,
        float(kappas[alive].min()) if alive.any() else None,
        gap,
        gap_kappa,
    )
