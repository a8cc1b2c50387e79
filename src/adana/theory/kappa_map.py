"""Predicted against simulated best kappa of ADana on PLRF, over data exponent, batch, horizon and learning rate.

The prediction is ``1/(2 rho)``, for DANA and in the limit of long training. ADana divides by the root of its second
moment, and its optimum at a finite horizon moves with the learning rate and the horizon: this map shows by how much.
With power damping the schedules do not depend on the horizon, so one run serves all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adana.theory.checks import Floats, increasing, integer, positive
from adana.theory.dana import best_kappa
from adana.theory.effort import Effort
from adana.theory.plrf import Plrf, plrf_effort
from adana.theory.simulate import Configuration, simulate, simulation_effort

__all__ = ["KappaMap", "KappaPoint", "kappa_map", "optimum"]


@dataclass(frozen=True)
class KappaPoint:
    """The best kappa at one point of the map.

    Attributes:
        rho: data exponent.
        batch: B.
        horizon: steps.
        lr: learning rate.
        predicted: 1/(2 rho), or None where 2 rho <= 1.
        best: the mean over seeds of each seed's optimum: the vertex of a parabola in log risk through the best
            swept kappa and its neighbours, or the end of the sweep.
        spread: largest minus smallest over seeds.
        at_edge: whether some seed's optimum is the smallest or largest kappa swept.
        risk: mean of the least risk over seeds, in units of the least possible risk.
    """

    rho: float
    batch: int
    horizon: int
    lr: float
    predicted: float | None
    best: float
    spread: float
    at_edge: bool
    risk: float


@dataclass(frozen=True)
class KappaMap:
    """All points, and what is common to them.

    Attributes:
        points: in the order rho, batch, horizon, learning rate.
        kappas: swept.
        seeds: how many.
        eta: target exponent.
        v: hidden dimension.
        d: model size.
        optimizer: the rule.
    """

    points: tuple[KappaPoint, ...]
    kappas: tuple[float, ...]
    seeds: int
    eta: float
    v: int
    d: int
    optimizer: str = "adana"

    def document(self) -> dict[str, Any]:
        """As data for JSON."""
        return asdict(self)


def kappa_map(
    *,
    rhos: Sequence[float] = (0.6, 0.75, 1.0, 1.25, 1.5),
    batches: Sequence[int] = (1, 8),
    horizons: Sequence[int] = (2500, 5000, 10_000, 20_000),
    lrs: Sequence[float] = (1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3),
    kappas: Sequence[float] = tuple(np.round(np.arange(0.2, 1.31, 0.1), 2)),
    eta: float = 0.3,
    v: int = 800,
    d: int = 200,
    seeds: int = 2,
    optimizer: str = "adana",
    device: str | None = None,
) -> KappaMap:
    """Simulate the map.

    Args:
        rhos: data exponents; ``2 (rho + eta) > 1`` is not needed, the model is finite.
        batches: B.
        horizons: in steps, increasing.
        lrs: constant learning rates.
        kappas: swept, increasing, at least three.
        eta: target exponent.
        v: hidden dimension.
        d: model size.
        seeds: problems and streams.
        optimizer: a rule with a kappa.
        device: as in :func:`adana.theory.simulate.simulate`.
    """
    for name, values in (("rhos", rhos), ("batches", batches), ("horizons", horizons), ("lrs", lrs)):
        if not len(values):
            raise ValueError(f"{name} is empty: pass at least one")
    grid = increasing("kappas", kappas)
    if grid.size < 3:
        raise ValueError(f"kappas must be at least three, got {grid}")
    record = np.array([integer("horizons", h) for h in horizons], dtype=np.int64)
    for lr in lrs:
        positive("lrs", lr)
    runs = [Configuration(optimizer, lr, kappa=float(kappa)) for lr in lrs for kappa in grid]
    effort = Effort()
    for batch in batches:
        effort += plrf_effort(integer("v", v), integer("d", d)) + simulation_effort(
            (d,), len(runs), int(record[-1]), batch=integer("batches", batch), device=device
        )
    (effort * (len(rhos) * integer("seeds", seeds))).check(
        f"{len(runs):,} configurations on {len(rhos) * len(batches) * seeds:,} problems of {int(record[-1]):,} steps",
        "lower the steps, sizes or seeds, or pass fewer values",
    )
    points = []
    for rho in rhos:
        for batch in batches:
            risks = []
            for seed in range(seeds):
                problem = Plrf(rho, eta, v, d, seed)
                steps = int(record[-1])
                done = simulate(problem, runs, total_steps=steps, batch=batch, seed=seed, record=record, device=device)
                risks.append(done.risk[:, 0].reshape(len(lrs), grid.size, -1) / (problem.p_infinity / 2))
            for h, horizon in enumerate(record):
                for i, lr in enumerate(lrs):
                    found = [optimum(grid, risk[i, :, h]) for risk in risks]
                    best = np.array([kappa for kappa, _ in found])
                    points.append(
                        KappaPoint(
                            float(rho),
                            int(batch),
                            int(horizon),
                            float(lr),
                            best_kappa(rho),
                            float(best.mean()),
                            float(np.ptp(best)),
                            bool((best == grid[0]).any() or (best == grid[-1]).any()),
                            float(np.mean([least for _, least in found])),
                        )
                    )
    return KappaMap(tuple(points), tuple(grid.tolist()), seeds, eta, v, d, optimizer)


def optimum(kappas: Floats, risk: Floats) -> tuple[float, float]:
    """Where the risk is least, between grid points, and the least value on the grid."""
    values = np.log(np.where(np.isfinite(risk), risk, np.finfo(float).max))
    i = int(values.argmin())
    if i in (0, len(kappas) - 1):
        return float(kappas[i]), float(np.exp(values[i]))
    a, b, _ = np.polyfit(kappas[i - 1 : i + 2] - kappas[i], values[i - 1 : i + 2], 2)
    return float(kappas[i] - b / (2 * a) if a > 0 else kappas[i]), float(np.exp(values[i]))
