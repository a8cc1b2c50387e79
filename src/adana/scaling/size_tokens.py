"""``L(N, D) = E + A N^-alpha + B D^-beta``, several optimizers sharing E, alpha and beta.

1. Variable projection: for given exponents the rest is linear, so a grid of exponents gives the starts, and its
   least-squares answer stands beside the law as a second opinion.
2. The law minimises the Huber loss of log L - log L(N, D) by reweighted Gauss-Newton steps from these starts.
3. Every bootstrap sample is fitted from the law, many samples at once.

Source: Hoffmann et al. (2022), Section D.2; the check of it by Besiroglu et al. (2024).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from adana.scaling.progress import told

__all__ = ["COLLINEAR", "Points", "Solved", "bootstrap_samples", "fit_points", "least_squares", "predicted"]

Array = NDArray[np.float64]

DELTA = 1e-3
"""Where the Huber loss turns from squares to absolute values, as Hoffmann et al. have it."""
COLLINEAR = 0.05
"""Spread of log D around its line over log N below which alpha and beta cannot be told apart."""
GRID = np.geomspace(0.05, 1.5, 18)
STARTS = 6
STEPS = 400
SAMPLE_STEPS = 40
AT_ONCE = 20_000
"""Rows times samples worked on together: as much as a processor's cache holds."""


@dataclass(frozen=True)
class Points:
    """Losses to fit, one entry per row.

    Attributes:
        n: parameters.
        d: tokens.
        loss: nats.
        owner: number of the optimizer.
        cell: number of the cell of N and D.
    """

    n: Array
    d: Array
    loss: Array
    owner: NDArray[np.int_]
    cell: NDArray[np.int_]

    @property
    def optimizers(self) -> int:
        return int(self.owner.max()) + 1

    def kept(self, which: NDArray[np.bool_]) -> Points:
        """Some of the rows; every optimizer keeps its number."""
        return Points(self.n[which], self.d[which], self.loss[which], self.owner[which], self.cell[which])

    @property
    def off_line(self) -> float:
        """Standard deviation of log D around its line over log N; where N is one, of log D."""
        x, y = np.log(self.n), np.log(self.d)
        x = x - x.mean()
        slope = float(x @ y / (x @ x)) if float(np.ptp(x)) > 1e-9 else 0.0
        if slope == 0.0 or float(np.ptp(y)) < 1e-9:
            return 0.0
        return float(np.std(y - y.mean() - slope * x))


@dataclass(frozen=True)
class Solved:
    """A fit: ``u = (log E, alpha, beta, log A of each optimizer, log B of each)``.

    Attributes:
        u: the numbers.
        objective: Huber loss there.
        residuals: log of measured over fitted.
        agreeing: starts that ended within 1e-4 of the best objective.
        tried: starts.
    """

    u: Array
    objective: float
    residuals: Array
    agreeing: int
    tried: int


def predicted(u: Array, n: Array | float, d: Array | float, owner: int = 0) -> Array:
    """Losses of one optimizer: rows of u by points.

    >>> u = np.log([[2.0, 1.0, 1.0, 10.0, 10.0]])
    >>> u[:, 1:3] = 0.5
    >>> predicted(u, 100.0, 400.0).tolist()
    [3.5]
    """
    optimizers = (u.shape[-1] - 3) // 2
    log_a, log_b = u[..., 3 + owner], u[..., 3 + optimizers + owner]
    found: Array = np.exp(u[..., 0]) + np.exp(log_a - u[..., 1] * np.log(n)) + np.exp(log_b - u[..., 2] * np.log(d))
    return found


def fit_points(
    points: Points, varies: Literal["both", "size", "tokens"] = "both", *, start: Array | None = None
) -> Solved:
    """The law through points, from several starts.

    Args:
        points: the rows.
        varies: which terms are fitted; of a term that is not, A or B stays 0 and its logarithm minus infinity.
        start: u of the law through nearly the same points, to start from it alone.

    Raises:
        ValueError: no start led anywhere.
    """
    starts = _starts(points, varies) if start is None else start[None]
    u, objective = _solve(points, starts, np.ones((len(starts), len(points.n))), STEPS, tolerance=1e-10)
    if not np.isfinite(objective).any():
        raise ValueError("the law over size and tokens did not converge: check the table for odd values")
    best = int(np.nanargmin(objective))
    value = float(objective[best])
    residuals = -_model(points, u[best : best + 1])[0][0]
    return Solved(u[best], value, residuals, int(np.sum(objective <= value * (1 + 1e-4) + 1e-15)), len(starts))


def bootstrap_samples(
    points: Points, start: Array, samples: int, generator: np.random.Generator, draw: Literal["rows", "cells"]
) -> Array:
    """Samples of u: rows, or whole cells of N and D, drawn with replacement within each optimizer.

    Args:
        points: the rows.
        start: u of the law.
        samples: how many.
        generator: what draws.
        draw: ``rows`` or ``cells``.
    """
    groups = np.unique(points.cell, return_inverse=True)[1] if draw == "cells" else np.arange(len(points.n))
    weights = np.zeros((samples, len(points.n)))
    for owner in range(points.optimizers):
        own = points.owner == owner
        mine = np.unique(groups[own])
        times = generator.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), size=samples)
        weights[:, own] = times[:, np.searchsorted(mine, groups[own])]
    chunk = max(1, AT_ONCE // len(points.n))
    found = [
        _solve(points, np.tile(start, (len(part), 1)), part, SAMPLE_STEPS, tolerance=1e-5)[0]
        for part in told("bootstrap", [weights[k : k + chunk] for k in range(0, samples, chunk)])
    ]
    return np.concatenate(found)


def least_squares(points: Points) -> tuple[float, float, float]:
    """E, alpha and beta by variable projection: least squares of relative errors of L.

    Raises:
        ValueError: no exponents give factors above 0.
    """

    def squares(exponents: Array) -> float:
        if not ((exponents > 0.01) & (exponents < 3)).all():
            return float("inf")
        return _projected(points, *exponents)[1]

    start = _starts(points)[0][1:3]
    found = optimize.minimize(squares, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-14})
    solved = _projected(points, *found.x)[0]
    return float(solved[0]), float(found.x[0]), float(found.x[1])


def _projected(points: Points, alpha: float, beta: float, varies: str = "both") -> tuple[Array, float]:
    """E, every A and every B for given exponents, none below 0, and the sum of squares of relative errors."""
    count = points.optimizers
    ones = np.eye(count)[points.owner]
    by_n, by_d = (points.n / points.n.min()) ** -alpha, (points.d / points.d.min()) ** -beta
    terms = [ones * by_n[:, None] * (varies != "tokens"), ones * by_d[:, None] * (varies != "size")]
    columns = np.concatenate([np.ones((len(points.n), 1)), *terms], axis=1) / points.loss[:, None]
    q, r = np.linalg.qr(columns)
    target = q.T @ np.ones(len(points.n))
    solved, rest = optimize.nnls(r, target)
    missed = float(np.sum((np.ones(len(points.n)) - q @ target) ** 2))
    solved[1 : 1 + count] *= points.n.min() ** alpha
    solved[1 + count :] *= points.d.min() ** beta
    return solved, rest**2 + missed


def _starts(points: Points, varies: str = "both") -> Array:
    """The best exponents of a grid that lie well apart; a number that is 0 there starts as a little."""
    count, least = points.optimizers, float(points.loss.min())
    alphas = GRID if varies != "tokens" else [1.0]
    betas = GRID if varies != "size" else [1.0]
    found = []
    for alpha, beta in itertools.product(alphas, betas):
        solved, squares = _projected(points, alpha, beta, varies)
        little = (
            1e-3 * least * np.concatenate([[1.0], [points.n.min() ** alpha] * count, [points.d.min() ** beta] * count])
        )
        solved = np.maximum(solved, little)
        if varies == "tokens":
            solved[1 : 1 + count] = 0.0
        elif varies == "size":
            solved[1 + count :] = 0.0
        with np.errstate(divide="ignore"):
            found.append((squares, np.concatenate([[np.log(solved[0]), alpha, beta], np.log(solved[1:])])))
    found.sort(key=lambda one: one[0])
    apart: list[Array] = []
    for _, u in found:
        # The next best start is one from which another valley can be reached.
        if all(np.abs(np.log(u[1:3] / other[1:3])).max() > 0.35 for other in apart):
            apart.append(u)
        if len(apart) == STARTS:
            break
    return np.array(apart)


def _model(points: Points, u: Array) -> tuple[Array, Array, Array, Array]:
    """Log of fitted over measured, and the parts of E, A N^-alpha and B D^-beta in the fitted loss."""
    count = points.optimizers
    e = np.exp(u[:, :1])
    a = np.exp(u[:, 3 : 3 + count][:, points.owner] - u[:, 1:2] * np.log(points.n))
    b = np.exp(u[:, 3 + count :][:, points.owner] - u[:, 2:3] * np.log(points.d))
    total = e + a + b
    return np.log(total) - np.log(points.loss), e / total, a / total, b / total


def _solve(points: Points, u: Array, weights: Array, steps: int, *, tolerance: float) -> tuple[Array, Array]:
    """Reweighted Gauss-Newton steps with damping, for all rows of u at once; the numbers and the objective."""
    count = points.optimizers
    ones = np.eye(count)[points.owner]
    log_n, log_d = np.log(points.n), np.log(points.d)
    end, least = u.copy(), np.full(len(u), np.inf)

    def objective(r: Array, w: Array) -> Array:
        inside = np.minimum(np.abs(r), DELTA)
        found: Array = np.einsum("sn,sn->s", w, inside * (np.abs(r) - 0.5 * inside))
        return found

    going = np.arange(len(u))
    state = _model(points, u)
    value = objective(state[0], weights)
    damping, quiet = np.full(len(u), 1e-3), np.zeros(len(u), dtype=int)
    for _ in range(steps):
        r, e, a, b = state
        jacobian = np.empty((len(u), 3 + 2 * count, len(points.n)))
        jacobian[:, 0], jacobian[:, 1], jacobian[:, 2] = e, -a * log_n, -b * log_d
        for k in range(count):
            jacobian[:, 3 + k] = a if count == 1 else a * ones[:, k]
            jacobian[:, 3 + count + k] = b if count == 1 else b * ones[:, k]
        weighted = jacobian * (weights * (DELTA / np.maximum(np.abs(r), DELTA)))[:, None, :]
        hessian = weighted @ jacobian.transpose(0, 2, 1)
        gradient = (weighted @ r[..., None])[..., 0]
        diagonal = np.einsum("spp->sp", hessian)
        ridge = damping[:, None] * diagonal + 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
        step = np.linalg.solve(hessian + ridge[:, None, :] * np.eye(u.shape[1]), -gradient[..., None])[..., 0]
        step *= np.minimum(1.0, 3.0 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300))
        moved = u + step
        moved[:, 1:3] = np.clip(moved[:, 1:3], 1e-3, 5.0)
        tried = _model(points, moved)
        after = objective(tried[0], weights)
        better = after < value
        quiet = np.where(better & (value - after > tolerance * value), 0, quiet + 1)
        u = np.where(better[:, None], moved, u)
        state = tuple(np.where(better[:, None], new, old) for new, old in zip(tried, state))  # type: ignore[assignment]
        value = np.where(better, after, value)
        damping = np.clip(np.where(better, damping * 0.3, damping * 8), 1e-10, 1e8)
        end[going], least[going] = u, value
        still = quiet < 3
        if not still.all():  # a sample that has arrived costs nothing more
            if not still.any():
                break
            going, u, weights, value = going[still], u[still], weights[still], value[still]
            damping, quiet = damping[still], quiet[still]
            state = tuple(part[still] for part in state)  # type: ignore[assignment]
    return end, least
