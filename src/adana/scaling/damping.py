"""How strong a linear damping may be: ``alpha~ = T^-kappa`` over horizon, size and batch (Figures 5, 23, 33)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from adana.scaling.fits import DampingFit, DampingPoint
from adana.scaling.intervals import Interval, interval, noise_of

__all__ = [
    "BATCH_EXPONENT",
    "BATCH_TOKENS",
    "DampingFit",
    "DampingPoint",
    "best_damping",
    "damping_scale",
    "fit_damping",
]

BATCH_TOKENS = 32 * 2048
"""Tokens per step where the damping scale is 1."""
BATCH_EXPONENT = 0.33
"""Published exponent of the damping scale over the batch (Section H.1)."""


def damping_scale(batch_tokens: float) -> float:
    """Damping scale for a batch: ``(B / 65,536 tokens)^0.33``, measured from 32 to 512 sequences of 2,048.

    >>> damping_scale(32 * 2048), round(damping_scale(512 * 2048), 2)
    (1.0, 2.5)

    Source: Section H.1.
    """
    if not 0 < batch_tokens < math.inf:
        raise ValueError(f"batch_tokens must be above 0, got {batch_tokens}")
    return float((batch_tokens / BATCH_TOKENS) ** BATCH_EXPONENT)


def fit_damping(
    sweeps: Mapping[tuple[float, float, float], Mapping[float, float]], *, bootstrap: int = 1000, seed: int = 0
) -> DampingFit:
    """Fit the damping law to sweeps of a linear damping ``alpha(t) = c (1 + t)``.

    The best c of a sweep is the bottom of the parabola, in log c, through its best point and that point's two
    neighbours. The law is a straight line in logarithms; exponents of batch and size are fitted where they vary.

    Args:
        sweeps: final loss by c, by (non-embedding parameters, steps, tokens per step); inf for a run that diverged.
        bootstrap: samples.
        seed: of the bootstrap.

    Raises:
        ValueError: one horizon only, no more sweeps than exponents, a sweep without three finished points, or a NaN.

    Example:
        >>> def loss(c, steps): return 3 + math.log(c * steps**0.85) ** 2
        >>> sweeps = {(7e6, t, 65536): {c: loss(c, t) for c in (1e-4, 3e-4, 1e-3, 3e-3)} for t in (2000, 4000, 8000)}
        >>> round(fit_damping(sweeps).kappa, 6)
        0.85

    Source: Figures 5, 23 and 33, Section H.1.
    """
    points = [best_damping(*key, sweep) for key, sweep in sorted(sweeps.items())]
    if len({point.steps for point in points}) < 2:
        raise ValueError(f"a damping law needs two horizons or more, got {len({p.steps for p in points})}")
    log_t = np.log([point.steps for point in points])
    log_b = np.log([point.batch_tokens / BATCH_TOKENS for point in points])
    log_p = np.log([point.non_embedding_parameters for point in points])
    columns = {"log scale": np.ones_like(log_t), "kappa": -log_t}
    if np.ptp(log_b) > 1e-9:
        columns["batch_exponent"] = log_b
    if np.ptp(log_p) > 1e-9:
        columns["size_exponent"] = log_p - log_p.mean()
    x = np.stack(list(columns.values()), axis=1)
    y = np.log([point.best for point in points])
    if len(points) <= x.shape[1]:
        raise ValueError(
            f"too few sweeps for a damping law: {len(points)} for the {x.shape[1]} numbers {', '.join(columns)}"
        )
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError(
            "horizon, batch and size vary together in these sweeps, so their exponents cannot be told apart"
        )
    solved = np.linalg.lstsq(x, y, rcond=None)[0]
    noise = noise_of(y - x @ solved, x)
    drawn = noise.draw(np.random.default_rng(seed), bootstrap, len(y))
    samples = np.linalg.lstsq(x, (x @ solved + drawn).T, rcond=None)[0]
    values = dict(zip(columns, map(float, solved)))
    intervals = {name: interval(row) for name, row in zip(columns, samples)}
    scale = intervals.pop("log scale")
    return DampingFit(
        tuple(points),
        math.exp(values["log scale"]),
        values["kappa"],
        values.get("batch_exponent"),
        values.get("size_exponent"),
        {"scale": Interval(math.exp(scale.low), math.exp(scale.high)), **intervals},
        noise.sigma,
    )


def best_damping(size: float, steps: float, batch_tokens: float, sweep: Mapping[float, float]) -> DampingPoint:
    """The best damping of a sweep, at the bottom of a parabola in its logarithm through the best and its neighbours.

    Raises:
        ValueError: a NaN, fewer than three finished dampings, or one that is not above 0.
    """
    where = f"{size:.3g} parameters, {steps:g} steps, {batch_tokens:g} tokens per step"
    if any(math.isnan(loss) for loss in sweep.values()):
        raise ValueError(f"a loss at {where} is NaN: a run that diverged counts as inf")
    if not steps > 1 or any(not 0 < c < math.inf for c in sweep):
        raise ValueError(f"dampings must be above 0 and steps above 1, got {sorted(sweep)} at {where}")
    ranked = sorted(c for c in sweep if sweep[c] < math.inf)
    if len(ranked) < 3:
        raise ValueError(f"{len(ranked)} finished dampings at {where}: a best one needs three")
    k = min(range(len(ranked)), key=lambda i: sweep[ranked[i]])
    bracketed = ranked[k] not in (min(sweep), max(sweep))
    if not 0 < k < len(ranked) - 1:
        return DampingPoint(size, steps, batch_tokens, ranked[k], bracketed)
    near = ranked[k - 1 : k + 2]
    x = np.log(near) - math.log(ranked[k])
    quadratic, linear, _ = np.polyfit(x, [sweep[c] for c in near], 2)
    offset = -linear / (2 * quadratic) if quadratic > 0 else 0.0
    return DampingPoint(size, steps, batch_tokens, ranked[k] * math.exp(float(np.clip(offset, x[0], x[-1]))), True)
