"""Whether a spectrum falls as a power of the rank, over which ranks, and how fast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adana.scaling.intervals import Interval

__all__ = ["LEAST_SPAN", "LEAST_VALUES", "TOLERANCE", "PowerLaw", "fit_power_law", "jackknife", "slope"]

LEAST_SPAN = 8
"""A power law spans at least this factor of ranks."""
LEAST_VALUES = 2 * LEAST_SPAN
TOLERANCE = 0.2
"""Its exponents in both halves of the range differ by at most this part of the whole one's."""
LEAST_EXPONENT = 0.1
"""What falls more slowly than this is called flat."""


@dataclass(frozen=True)
class PowerLaw:
    """``lambda_j ~ j^(-exponent)`` over a range of ranks j; for a covariance the exponent is ``2 rho``.

    Attributes:
        exponent: by least squares of log lambda_j over log j.
        first: rank at which the range begins, counted from 1.
        last: rank at which it ends, included.
        r_squared: share of the variance of log lambda_j that the line explains.
        misfit: root mean square of the residuals of log lambda_j.
        halves: exponents in the first and the second half of the range, halved on the log scale.
        holds: whether that is a power law: see :func:`fit_power_law`. Where it does not hold, the range is the one that
            comes closest.
    """

    exponent: float
    first: int
    last: int
    r_squared: float
    misfit: float
    halves: tuple[float, float]
    holds: bool

    @property
    def kappa(self) -> float | None:
        """``1/(2 rho)``, to which the best kappa of DANA tends; None where no power law holds."""
        return 1 / self.exponent if self.holds else None


def slope(values: Sequence[float] | np.ndarray, first: int, last: int) -> float:
    """The exponent over ranks ``first`` to ``last``.

    >>> round(slope([j**-1.5 for j in range(1, 50)], 4, 40), 6)
    1.5
    """
    ranks = np.arange(first, last + 1)
    return -float(np.polyfit(np.log(ranks), np.log(np.asarray(values)[first - 1 : last]), 1)[0])


def fit_power_law(
    values: Sequence[float] | np.ndarray,
    *,
    first: int | None = None,
    last: int | None = None,
    most: int | None = None,
) -> PowerLaw:
    """Find the longest range of ranks over which a spectrum is a power law.

    A range counts where it spans a factor of 8 at least, the exponent is above 0.1, and those of its two halves (on the
    log scale) differ by at most 20 % of it. A searched range ends at half of the spectrum at most: beyond, a spectrum
    feels its end. Of ranges of equal length the one with the larger R^2 is taken.

    Args:
        values: eigenvalues above 0, in any order.
        first: rank at which the range begins; default searched.
        last: rank at which it ends; default searched.
        most: rank up to which it is searched; default half of the values. More where they are the leading part of a
            longer spectrum.

    Raises:
        ValueError: fewer than 16 values, values that are not finite or not above 0, or a range that is not within them.

    Example:
        >>> found = fit_power_law([j**-1.2 for j in range(1, 257)])
        >>> round(found.exponent, 3), found.holds, round(found.kappa, 3)
        (1.2, True, 0.833)
        >>> fit_power_law([2.0**-j for j in range(1, 257)]).holds
        False
    """
    found = np.sort(np.asarray(values, dtype=np.float64))[::-1]
    if found.ndim != 1 or len(found) < LEAST_VALUES:
        raise ValueError(f"a power law needs at least {LEAST_VALUES} values, got {found.shape}")
    if not np.isfinite(found).all() or not found[-1] > 0:
        raise ValueError("values of a spectrum must be finite and above 0")
    if first is not None or last is not None:
        low, high = 1 if first is None else first, len(found) // 2 if last is None else last
        if not (low >= 1 and low + 3 <= high <= len(found)):
            raise ValueError(
                f"a range of ranks needs 1 <= first, first + 3 <= last <= {len(found)}, got {low} to {high}"
            )
        return _Lines(found).law(low, high)
    lines = _Lines(found)
    laws = [lines.law(low, high) for low, high in _ranges(len(found) // 2 if most is None else min(most, len(found)))]
    holding = [law for law in laws if law.holds]
    if holding:
        return max(holding, key=lambda law: (round(math.log(law.last / law.first), 6), law.r_squared))
    return min(laws, key=lambda law: abs(law.halves[0] - law.halves[1]) / max(law.exponent, LEAST_EXPONENT))


def jackknife(value: float, without: Sequence[float]) -> Interval:
    """95 % interval of an estimate from those without one part of the data each, by Student's t.

    >>> found = jackknife(2.0, [1.9, 2.0, 2.1])
    >>> round(found.low, 2), round(found.high, 2)
    (1.5, 2.5)
    """
    from scipy import stats

    parts = len(without)
    spread = float(np.sqrt((parts - 1) * np.var(without)))
    half = float(stats.t.ppf(0.975, parts - 1)) * spread
    return Interval(value - half, value + half)


def _ranges(most: int) -> list[tuple[int, int]]:
    """Ranges whose ends lie about a sixth of a doubling apart."""
    grid = np.unique(np.round(np.geomspace(1, most, max(2, round(6 * math.log2(most)) + 1))).astype(int)).tolist()
    return [(low, high) for low in grid for high in grid if high >= LEAST_SPAN * low]


class _Lines:
    """Straight lines through parts of log values over log rank, from sums up to every rank."""

    def __init__(self, values: np.ndarray) -> None:
        x, y = np.log(np.arange(1, len(values) + 1)), np.log(values)
        # About their means, so that the differences below lose no digits.
        x, y = x - x.mean(), y - y.mean()
        terms = np.stack((np.ones_like(x), x, y, x * x, x * y, y * y))
        self.sums = np.concatenate((np.zeros((6, 1)), terms.cumsum(1)), axis=1)

    def _moments(self, first: int, last: int) -> tuple[float, float, float, float]:
        n, x, y, xx, xy, yy = (self.sums[:, last] - self.sums[:, first - 1]).tolist()
        return n, xx - x * x / n, xy - x * y / n, max(yy - y * y / n, 0.0)

    def exponent(self, first: int, last: int) -> float:
        _, xx, xy, _ = self._moments(first, last)
        return -xy / xx

    def law(self, first: int, last: int) -> PowerLaw:
        n, xx, xy, yy = self._moments(first, last)
        exponent = -xy / xx
        left = max(yy - xy * xy / xx, 0.0)
        middle = round(math.sqrt(first * last))
        halves = self.exponent(first, middle), self.exponent(middle, last)
        holds = (
            last >= LEAST_SPAN * first
            and exponent >= LEAST_EXPONENT
            and abs(halves[0] - halves[1]) <= TOLERANCE * exponent
        )
        explained = 1 - left / yy if yy > 0 else 0.0
        return PowerLaw(exponent, first, last, explained, math.sqrt(left / n), halves, holds)
