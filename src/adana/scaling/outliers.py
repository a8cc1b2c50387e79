"""Losses far from what the others of their optimizer say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from adana.scaling.fits import Outlier
from adana.scaling.power_laws import PowerLaws

__all__ = ["outliers"]

Array = NDArray[np.float64]

LEFT = 5
"""Losses that a group must leave; a single one may leave four."""
GROUP = 3
"""Outliers that are looked for at once."""
CHANCE = 0.05
"""How often a group may be found where there is none."""
GRID = np.exp(np.linspace(math.log(0.003), math.log(3.0), 60))
"""Exponents tried for each group that might be left out."""


def outliers(ladders: Mapping[str, Mapping[float, float]], *, least: float = 0.03, times: float = 8.0) -> list[Outlier]:
    """Losses that a single power law through the optimizer's other losses misses by far.

    Far is ``times`` the standard deviation of the others around their own law, and ``least`` nats at the least. The
    loss that, left out, leaves the least sum of squares is set aside first, then the rest are looked at again, while
    five or more are left. Two outliers can hide one another, for each one pulls the law that judges the other: where
    no single loss is far off, pairs and then triples are left out together. A loss or group counts where every one of
    it is far off the law of the rest, and an F-test, times the number of groups to choose from, gives it less than
    one chance in twenty.

    Args:
        ladders: final loss by compute, by optimizer.
        least: smallest miss in nats that counts.
        times: smallest miss in standard deviations.

    >>> from adana.scaling.laws import LossLaw
    >>> law = LossLaw(1.04, 2.16, 0.074)
    >>> ladder = {c: law(c) for c in (1.0, 3.0, 10.0, 30.0, 60.0, 130.0)} | {195.0: 3.226}
    >>> [(found.pfh, found.loss) for found in outliers({"ademamix": ladder})]
    [(195.0, 3.226)]
    """
    found = []
    for name, ladder in ladders.items():
        left = dict(sorted(ladder.items()))
        out: list[float] = []
        while group := _group(name, left, least, times):
            out += group
            for compute in group:
                del left[compute]
        if out:  # what each should have been is said by a law that none of them has pulled
            expected = _law_of_the_rest(name, ladder, out)[0]
            found += [Outlier(name, compute, ladder[compute], value) for compute, value in zip(out, expected)]
    return found


def _group(name: str, left: Mapping[float, float], least: float, times: float) -> tuple[float, ...]:
    """The smallest group of losses, by their compute, that are all far off what the rest say."""
    computes = list(left)
    log_c, y = np.log(computes), np.array(list(left.values()))
    for size in range(1, GROUP + 1):
        if len(computes) - size < (LEFT if size > 1 else LEFT - 1):
            break
        groups = list(itertools.combinations(range(len(computes)), size))
        group = groups[int(np.argmin(_squares_without(log_c, y, groups)))]
        out = tuple(computes[i] for i in group)
        expected, spread, squares = _law_of_the_rest(name, left, out)
        if any(abs(left[c] - value) <= max(times * spread, least) for c, value in zip(out, expected)):
            continue
        whole = _law_of_the_rest(name, left, ())[2]
        freedom = len(computes) - size - 3
        statistic = (whole - squares) / size / max(squares / freedom, 1e-300)
        if stats.f.sf(statistic, size, freedom) * len(groups) < CHANCE:
            return out
    return ()


def _law_of_the_rest(name: str, left: Mapping[float, float], out: Sequence[float]) -> tuple[list[float], float, float]:
    """What a single power law through the rest says at computes left out; its standard deviation and sum of squares."""
    rest = {c: x for c, x in left.items() if c not in out}
    problem = PowerLaws({name: rest}, "single", "free", 0.95 * min(rest.values()))
    y = np.array(list(rest.values()))
    squares, u, _ = problem.search(np.log([0.07]), y, 100)
    (law,) = problem.laws(u, problem.solve(u, y)[0])
    return [law(c) for c in out], math.sqrt(squares / max(1, len(rest) - 3)), squares


def _squares_without(log_c: Array, y: Array, groups: Sequence[Sequence[int]]) -> Array:
    """For each group, the least sum of squares of ``a + e C^-f`` through the other points, over a grid of f.

    For a given f that is a straight line, whose sums over all points are known: leaving a group out takes its own away.
    """
    x = np.exp(-GRID[:, None] * (log_c - log_c.mean()))
    moments = np.stack([np.ones_like(x), x, x**2, np.broadcast_to(y, x.shape), x * y, np.broadcast_to(y**2, x.shape)])
    out = np.zeros((len(groups), len(y)))
    for row, group in enumerate(groups):
        out[row, list(group)] = 1.0
    n, sx, sxx, sy, sxy, syy = moments.sum(-1)[:, :, None] - moments @ out.T
    spread = sxx - sx**2 / n
    cross, total = sxy - sx * sy / n, syy - sy**2 / n
    squares: Array = np.maximum(total - cross**2 / np.where(spread > 0, spread, np.inf), 0.0)
    least: Array = squares.min(axis=0)
    return least
