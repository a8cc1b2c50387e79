"""A bootstrap of residuals whose percentiles keep their promise on few points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adana.records import Record
from adana.scaling.laws import LossLaw

__all__ = [
    "Interval",
    "Noise",
    "factor_of",
    "hull",
    "interval",
    "learning_rate_interval",
    "loss_interval",
    "missed_by",
    "noise_of",
    "t_interval",
    "widened",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval(Record):
    """The lower and the upper end of an interval, 95 % unless said otherwise; as JSON a list of the two.

    >>> Interval(0.5, math.inf).to_json()
    [0.5, None]
    """

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def to_json(self) -> list[float | None]:
        return [end if math.isfinite(end) else None for end in (self.low, self.high)]

    @classmethod
    def _read(cls, data: Any, path: str) -> Interval:
        if not isinstance(data, list | tuple) or len(data) != 2:
            raise ValueError(f"{path} must be a list of a lower and an upper end, got {data!r}")
        for end in data:
            if end is not None and (isinstance(end, bool) or not isinstance(end, int | float) or math.isnan(end)):
                raise ValueError(f"{path} must be a list of two numbers, got {data!r}")
        low, high = data
        return cls(-math.inf if low is None else float(low), math.inf if high is None else float(high))


def interval(samples: ArrayLike, *, level: float = 0.95) -> Interval:
    """Percentiles that leave out half of what ``level`` leaves, at each end.

    >>> found = interval(range(1001))
    >>> round(found.low), round(found.high)
    (25, 975)
    """
    low, high = np.quantile(np.asarray(samples, dtype=float), [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high))


def t_interval(values: Sequence[float], *, level: float = 0.95) -> Interval | None:
    """Student's interval of a mean: ``mean +- t s / sqrt(n)``; None with fewer than two values.

    For differences pass the differences of pairs that share a seed: what the seeds have in common then cancels.

    >>> found = t_interval([1.0, 2.0, 3.0])
    >>> round(found.low, 3), round(found.high, 3)
    (-0.484, 4.484)
    """
    from scipy import stats

    if len(values) < 2:
        return None
    mean, half = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half *= float(stats.t.ppf(0.5 + level / 2, len(values) - 1))
    return Interval(mean - half, mean + half)


def hull(intervals: Sequence[Interval]) -> Interval:
    """The least interval that holds several.

    >>> hull([Interval(1.0, 2.0), Interval(1.5, 3.0)])
    Interval(low=1.0, high=3.0)
    """
    return Interval(min(one.low for one in intervals), max(one.high for one in intervals))


def learning_rate_interval(samples: Sequence[Sequence[float]], non_embedding_parameters: float) -> Interval:
    """Interval of a predicted learning rate from bootstrap samples (log a, b, d) of its law."""
    log_a, b, d = np.asarray(samples, dtype=float).T
    found = interval(log_a + d * np.log(b + non_embedding_parameters))
    return Interval(math.exp(found.low), math.exp(found.high))


def loss_interval(samples: Sequence[Sequence[float]], compute: float) -> Interval:
    """Interval of a predicted loss from bootstrap samples (a, e, f) or (a, e, f, b, c) of its law."""
    return interval([LossLaw(*sample)(compute) for sample in samples])


def widened(value: float, own: Interval, others: Sequence[float], noise: float, factor: float) -> Interval:
    """Interval of what a new run would measure, from what is known of a law: each end on its own.

    ``factor (sqrt(own^2 + noise^2) + spread)``: the distance of the law's own interval and the noise of a run are
    independent; the other forms' distance is no noise, and is added.

    Args:
        value: what the law says.
        own: the law's own interval.
        others: what other forms say.
        noise: half-width of the interval of one measurement.
        factor: at least 1, from hold-outs.

    >>> found = widened(2.0, Interval(1.7, 2.3), [2.1], 0.4, 1.0)
    >>> round(found.low, 3), round(found.high, 3)
    (1.5, 2.6)
    """
    below = math.hypot(max(0.0, value - own.low), noise) + max(0.0, *(value - other for other in others), 0.0)
    above = math.hypot(max(0.0, own.high - value), noise) + max(0.0, *(other - value for other in others), 0.0)
    return Interval(value - factor * below, value + factor * above)


def missed_by(measured: float, value: float, found: Interval) -> float:
    """The factor by which an interval must be widened to hold what was measured."""
    error = measured - value
    return abs(error) / max(found.high - value if error > 0 else value - found.low, 1e-12)


def factor_of(needed: Sequence[float]) -> float:
    """The factor with which 95 in 100 hold-outs would lie inside, on the safe side of few; at least 1.

    >>> factor_of([]), factor_of([0.3, 1.7, 0.5])
    (1.0, 1.7)
    """
    ranked = sorted(needed)
    return max(1.0, ranked[min(len(ranked) - 1, math.ceil(0.95 * (len(ranked) + 1)) - 1)]) if ranked else 1.0


@dataclass(frozen=True)
class Noise:
    """What the residuals of a fit say about the noise of its points.

    Attributes:
        sigma: standard deviation of a point.
        freedom: degrees of freedom that estimate rests on.
        pool: the residuals, centred and scaled to sigma.
    """

    sigma: float
    freedom: float
    pool: Array

    @property
    def half_width(self) -> float:
        """Of the 95 % interval of one more point, by Student's t."""
        from scipy import stats

        return float(stats.t.ppf(0.975, self.freedom)) * self.sigma

    def draw(self, generator: np.random.Generator, samples: int, points: int) -> Array:
        """Noise for bootstrap samples: a residual drawn for every point, and one scale a sample.

        Few residuals say little about their own spread. Each sample is scaled by a draw of what they leave open,
        ``sqrt(freedom / chi^2(freedom))``, so that plain percentiles come out where Student's t would put them.
        """
        drawn = generator.choice(self.pool, size=(samples, points))
        scaled: Array = drawn * np.sqrt(self.freedom / generator.chisquare(self.freedom, size=(samples, 1)))
        return scaled


def noise_of(residuals: Array, tangent: Array, weights: Array | None = None) -> Noise:
    """Noise of points of equal spread from the residuals of a weighted least-squares fit.

    Args:
        residuals: one a point.
        tangent: derivatives of the fitted values by the parameters, points by parameters.
        weights: of the fit; None for equal ones. They are taken for a choice, not for the points' precision.

    Raises:
        ValueError: no more points than parameters.
    """
    n, parameters = tangent.shape
    if n <= parameters:
        raise ValueError(f"{n} points cannot fix {parameters} numbers and their noise")
    root = np.ones(n) if weights is None else np.sqrt(weights / np.max(weights))
    scale = np.linalg.norm(tangent * root[:, None], axis=0)
    q, _ = np.linalg.qr(tangent * root[:, None] / np.where(scale > 0, scale, 1.0))
    maker = np.eye(n) - (q / root[:, None]) @ (q * root[:, None]).T
    spread = np.sum(maker**2, axis=1)
    product = maker.T @ maker
    freedom = float(np.trace(product) ** 2 / np.sum(product * product.T))
    sigma = float(np.sqrt(np.sum(residuals**2) / np.trace(product)))
    # A point that the fit follows wherever it goes has no residual to speak of.
    kept = spread > 1e-3
    pool = residuals[kept] / np.sqrt(spread[kept])
    pool = pool - np.mean(pool)
    size = float(np.sqrt(np.mean(pool**2)))
    return Noise(sigma, freedom, pool * (sigma / size) if size > 0 else pool)
