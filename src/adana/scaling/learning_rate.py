"""The learning-rate law ``gamma* = a (b + P)^d``, fitted to sweeps, and what an error in it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from adana.scaling.curvature import SweepCurvature, curvature
from adana.scaling.fits import LearningRateFit, RateIntervals, RatePoint
from adana.scaling.intervals import Interval, interval, missed_by, noise_of
from adana.scaling.laws import LearningRateLaw, LossLaw
from adana.scaling.progress import told

__all__ = [
    "LearningRateFit",
    "SweepCurvature",
    "best_learning_rates",
    "compute_cost",
    "curvature",
    "fit_learning_rates",
    "hold_outs",
    "loss_cost",
]

Array = NDArray[np.float64]

# Values of b tried: 0, and so many from a millionth of the smallest size to the largest.
STARTS = 161
SIZES_FOR_B = 5
FEWEST = 3
"""Sizes that a law needs."""
KNOWN_TO = 10.0
"""b counts as identified when its interval spans no more than this factor."""


def fit_learning_rates(
    sweeps: Mapping[float, Mapping[float, float]],
    *,
    top: int = 5,
    bootstrap: int = 1000,
    seed: int = 0,
    resample: Literal["residuals", "sizes"] = "residuals",
) -> LearningRateFit:
    """Fit the law to learning-rate sweeps at several sizes.

    At each size the ``top`` learning rates with the lowest losses count, the k-th best with weight
    ``w = top - k + 1``; minimised is ``sum w^2 P (log gamma - log a (b + P)^d)^2 / sum w^2 P`` (38). For a given b the
    best a and d are a weighted straight line in logarithms, so that b alone is searched, from many starts.

    The bootstrap is over sizes. ``"residuals"`` gives every size the residual of a size drawn with replacement;
    ``"sizes"`` draws whole sizes, as the paper does. On simulated ladders of 3 to 10 sizes the first held the true
    learning rate beyond them 94 to 99 times in 100, the second 44 to 94 (``results/fit-coverage.csv``). Where
    b's interval reaches 0 the law is fitted again with b = 0, which predicts better than a b that the noise chose.

    Args:
        sweeps: final loss by peak learning rate, by non-embedding parameters; inf for a run that diverged.
        top: K, learning rates that count at a size.
        bootstrap: samples.
        seed: of the bootstrap.
        resample: what the bootstrap draws.

    Raises:
        ValueError: fewer than three sizes, a size with fewer than two finished learning rates, a NaN, or no
            convergence.

    Example:
        >>> law = LearningRateLaw(12.8, 1e6, -0.5)
        >>> around = (0.64, 0.8, 1, 1.25, 1.5625)
        >>> sweeps = {p: {law(p) * r: abs(math.log(r)) for r in around} for p in (1e6, 4e6, 2e7, 5e7, 1e8)}
        >>> fit = fit_learning_rates(sweeps, bootstrap=100)
        >>> f"{fit.law.b:.3g}, {fit.law.d:.3f}, identified: {fit.b_identified}"
        '1e+06, -0.500, identified: True'

    Source: Sections F.3.1 (37, 38) and F.3.6.
    """
    if top < 1 or bootstrap < 1:
        raise ValueError(f"top and bootstrap must be at least 1, got {top} and {bootstrap}")
    sizes = sorted(sweeps)
    if len(sizes) < FEWEST:
        shown = ", ".join(f"{size:.3g}" for size in sizes) or "none"
        raise ValueError(
            f"too few sizes for a learning-rate law: {shown}; it needs {FEWEST}, and {SIZES_FOR_B} to fit b"
        )
    points: list[RatePoint] = []
    unbracketed: list[float] = []
    for size in sizes:
        kept, bracketed = best_learning_rates(size, sweeps[size], top)
        points += [RatePoint(size, lr, top - k) for k, lr in enumerate(kept)]
        if not bracketed:
            unbracketed.append(size)

    # All points of a size share its P, so their weighted mean says what they say.
    p = np.array(sizes)
    each = [[(math.log(one.lr), one.weight**2) for one in points if one.non_embedding_parameters == s] for s in sizes]
    y = np.array([np.average([v for v, _ in row], weights=[w for _, w in row]) for row in each])
    w = p * [sum(weight for _, weight in row) for row in each]

    with_b = len(sizes) >= SIZES_FOR_B
    log_b = np.linspace(math.log(sizes[0] * 1e-6), math.log(sizes[-1]), STARTS) if with_b else np.empty(0)
    candidates = np.concatenate([[0.0], np.exp(log_b)])
    best = _fit(p, y, w, candidates)
    generator = np.random.default_rng(seed)
    samples: list[tuple[float, float, float]] = []
    if resample == "residuals":
        log_a, b, d = best
        fitted = log_a + d * np.log(b + p)
        tangent = np.stack([np.ones_like(p), np.log(b + p), 1 / (b + p)][: 3 if with_b else 2], axis=1)
        noise = noise_of(y - fitted, tangent, w)
        for drawn in told("bootstrap", list(noise.draw(generator, bootstrap, len(sizes)))):
            samples.append(_fit(p, fitted + drawn, w, candidates))
    elif resample == "sizes":
        while len(samples) < bootstrap:
            times = np.bincount(generator.integers(len(sizes), size=len(sizes)), minlength=len(sizes))
            # A sample with fewer different sizes than the law has numbers fits anything.
            if np.count_nonzero(times) >= (3 if with_b else 2):
                samples.append(_fit(p, y, w * times, candidates))
    else:
        raise ValueError(f"unknown resample {resample!r}: choose from 'residuals', 'sizes'")

    a_interval, b_interval, d_interval = (interval(column) for column in zip(*samples))
    if with_b and b_interval.high >= float(candidates[-1]):  # The search ends there: nothing says where b does.
        b_interval = Interval(b_interval.low, math.inf)
    above_0 = with_b and b_interval.low > float(candidates[1])
    identified = above_0 and b_interval.high <= KNOWN_TO * b_interval.low
    if not above_0:
        best = _fit(p, y, w, candidates[:1])
    law = LearningRateLaw(math.exp(best[0]), best[1], best[2])
    errors = [
        (one.weight**2 * one.non_embedding_parameters, math.log(one.lr / law(one.non_embedding_parameters)) ** 2)
        for one in points
    ]
    return LearningRateFit(
        law=law,
        loss=sum(weight * error for weight, error in errors) / sum(weight for weight, _ in errors),
        sizes=tuple(sizes),
        points=tuple(points),
        intervals=RateIntervals(
            a=Interval(*(math.exp(min(end, 700.0)) for end in (a_interval.low, a_interval.high))),
            b=b_interval if with_b else None,
            d=d_interval,
        ),
        b_identified=identified,
        unbracketed=tuple(unbracketed),
        samples=tuple(samples),
    )


def hold_outs(sweeps: Mapping[float, Mapping[float, float]], *, top: int = 5, seed: int = 0) -> list[float]:
    """By which factor intervals must be widened to hold the best learning rates predicted from the sizes below them.

    Three sizes, and more step by step, predict all that are larger; empty where there are too few.
    """
    sizes, needed = sorted(sweeps), []
    for cut in told("hold-outs", range(FEWEST, len(sizes))):
        try:
            fit = fit_learning_rates({size: sweeps[size] for size in sizes[:cut]}, top=top, bootstrap=100, seed=seed)
            for size in sizes[cut:]:
                value, band = fit.predict(size)
                logs = Interval(math.log(band.low), math.log(band.high))
                needed.append(missed_by(_best_of(size, sweeps[size], top), math.log(value), logs))
        except ValueError:  # a size without two finished learning rates
            continue
    return needed


def _best_of(size: float, losses: Mapping[float, float], top: int) -> float:
    """Logarithm of a size's best learning rate, as the fit takes it: the mean of the best ones by their weight."""
    kept, _ = best_learning_rates(size, losses, top)
    return float(np.average(np.log(kept), weights=[(top - k) ** 2 for k in range(len(kept))]))


def best_learning_rates(size: float, losses: Mapping[float, float], top: int) -> tuple[list[float], bool]:
    """The best learning rates of a sweep, best first, and whether the very best has others on both sides.

    Args:
        size: non-embedding parameters.
        losses: final loss by learning rate; inf for a run that diverged.
        top: how many.

    Raises:
        ValueError: fewer than two finished learning rates, or a NaN.

    >>> best_learning_rates(1e6, {0.5: 2.1, 1.0: 2.0, 2.0: 2.2, 4.0: math.inf}, 2)
    ([1.0, 0.5], True)
    """
    if any(math.isnan(loss) for loss in losses.values()):
        raise ValueError(f"a loss at {size:.3g} parameters is NaN: a run that diverged counts as inf")
    if any(not 0 < lr < math.inf for lr in losses) or not 0 < size < math.inf:
        raise ValueError(f"sizes and learning rates must be above 0, got {size:g} with {sorted(losses)}")
    ranked = sorted((lr for lr in losses if losses[lr] < math.inf), key=lambda lr: (losses[lr], lr))
    if len(ranked) < 2:
        raise ValueError(
            f"{'one' if ranked else 'no'} finished learning rate at {size:.3g} parameters: without two nothing says "
            "which is good; sweep that size, or leave it out"
        )
    return ranked[:top], ranked[0] not in (min(losses), max(losses))


def _line(p: Array, y: Array, w: Array, b: float | Array) -> tuple[Any, Any, Any]:
    """Weighted straight line of y over log(b + P), for one b or a column of them: intercept, slope, loss."""
    x = np.log(p + b)
    total = w.sum()
    x_mean, y_mean = (x * w).sum(-1) / total, (y * w).sum() / total
    dx, dy = x - np.expand_dims(x_mean, -1), y - y_mean
    slope = (w * dx * dy).sum(-1) / (w * dx * dx).sum(-1)
    residual = dy - np.expand_dims(slope, -1) * dx
    return y_mean - slope * x_mean, slope, (w * residual**2).sum(-1) / total


def _fit(p: Array, y: Array, w: Array, candidates: Array) -> tuple[float, float, float]:
    """log a, b and d at the global minimum over b."""
    use = w > 0
    p, y, w = p[use], y[use], w[use]
    losses = _line(p, y, w, candidates[:, None])[2]
    best_b, best = float(candidates[int(np.argmin(losses))]), float(np.min(losses))
    # Every dip of the profile is followed to its bottom.
    for i in range(2, len(candidates) - 1):
        if losses[i] <= losses[i - 1] and losses[i] <= losses[i + 1]:
            found = optimize.minimize_scalar(
                lambda log_b: float(_line(p, y, w, math.exp(log_b))[2]),
                bounds=(math.log(candidates[i - 1]), math.log(candidates[i + 1])),
                method="bounded",
                options={"xatol": 1e-9, "maxiter": 200},
            )
            if not found.success:
                raise ValueError(f"the learning-rate law did not converge: {found.message}")
            if found.fun <= best:
                best_b, best = math.exp(found.x), float(found.fun)
    log_a, d, loss = _line(p, y, w, best_b)
    if not all(math.isfinite(value) for value in (log_a, d, loss)):
        raise ValueError("the learning-rate law did not converge: check the learning rates for odd values")
    return float(log_a), best_b, float(d)


def loss_cost(curvature: float, relative_error: float) -> float:
    """Nats that a relative error in the learning rate costs: ``zeta log(1 + error)^2`` (57).

    >>> round(loss_cost(0.019, 0.5), 4)
    0.0031
    """
    if not relative_error > -1:
        raise ValueError(f"a relative error must be above -1, got {relative_error}")
    return curvature * math.log1p(relative_error) ** 2


def compute_cost(loss_increase: float, law: LossLaw, compute: float) -> float:
    """Relative compute that makes up for an increase in loss: ``dL / (-C dL/dC)`` (58, 59).

    Args:
        loss_increase: nats.
        law: loss law; for a single power law the denominator is ``|c| (L - a)``.
        compute: petaflop-hours.

    >>> law = LossLaw(0.20, 2.31, 0.043)  # at 1 petaflop-hour: |c| (L - a) = 0.0993
    >>> round(compute_cost(6e-6, law, 1.0), 5)
    6e-05
    """
    return loss_increase / law.slope(compute)
