"""The least-squares search for power laws: exact in what is linear, from many starts in the exponents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from adana.scaling.fits import Exponents, Form
from adana.scaling.laws import LossLaw
from adana.scaling.progress import told

__all__ = ["End", "PowerLaws"]

Array = NDArray[np.float64]
End = tuple[float, Array, bool]
"""Sum of squares and exponents (as logarithms) at the end of a search, and whether it converged."""

EXPONENTS = (0.003, 3.0)
"""Exponents searched; 0.03 to 0.22 are the published ones."""


def _nnls(columns: Array, y: Array) -> Array:
    try:
        found: Array = optimize.nnls(columns, y)[0]
    except RuntimeError as error:
        raise ValueError(f"the loss law did not converge: {error}") from None
    return found


class PowerLaws:
    """The sum of squares of the losses around power laws, as a function of the exponents alone.

    For given exponents the law is linear in a and every b and e, all at least 0; those are solved for exactly
    (variable projection), and the exponents, as logarithms, are what is searched.
    """

    def __init__(self, ladders: Mapping[str, Mapping[float, float]], form: Form, exponents: Exponents, most: float):
        self.terms = 2 if form == "broken" else 1
        self.optimizers = len(ladders)
        self.shared = exponents == "shared"
        self.most = most
        self.owner = np.repeat(np.arange(self.optimizers), [len(ladder) for ladder in ladders.values()])
        compute = np.array([c for ladder in ladders.values() for c in ladder])
        # Around the middle of the ladder the terms are of the size of the losses, whatever the unit.
        self.unit = float(np.exp(np.mean(np.log(compute))))
        self.log_c = np.log(compute / self.unit)
        self.unknown = self.terms * (1 if self.shared else self.optimizers)
        self.linear = self.terms * self.optimizers + (most > 0)

    def _columns(self, u: Array) -> tuple[Array, Array]:
        """Columns of the linear problem and their derivatives by their own u = log exponent."""
        n = len(self.log_c)
        exponent = np.exp(u).reshape(-1, self.terms)[np.zeros(n, dtype=int) if self.shared else self.owner]
        powers = np.exp(-exponent * self.log_c[:, None])
        columns, slopes = np.zeros((n, self.linear)), np.zeros((n, self.linear))
        if self.most > 0:
            columns[:, -1] = 1.0
        for term in range(self.terms):
            columns[np.arange(n), self.owner * self.terms + term] = powers[:, term]
            slopes[np.arange(n), self.owner * self.terms + term] = -exponent[:, term] * self.log_c * powers[:, term]
        return columns, slopes

    def solve(self, u: Array, y: Array) -> tuple[Array, Array, Array]:
        """Linear parameters, residuals ``fitted - y`` and their derivatives by u (Kaufman's approximation)."""
        columns, slopes = self._columns(u)
        beta = _nnls(columns, y)
        free = beta > 0
        if self.most > 0 and beta[-1] > self.most:
            rest = _nnls(columns[:, :-1], y - self.most)
            beta, free = np.append(rest, self.most), np.append(rest > 0, False)
        residuals = columns @ beta - y
        moved = slopes * beta
        jacobian = np.zeros((len(y), self.unknown))
        for column in range(self.terms * self.optimizers):
            jacobian[:, column % self.terms if self.shared else column] += moved[:, column]
        if free.any():
            q, _ = np.linalg.qr(columns[:, free])
            jacobian -= q @ (q.T @ jacobian)
        return beta, residuals, jacobian

    def tangent(self, u: Array, beta: Array) -> Array:
        """Derivatives of the fitted values by all parameters that are free to move."""
        columns, slopes = self._columns(u)
        moved = slopes * beta
        by_u = np.zeros((len(columns), self.unknown))
        for column in range(self.terms * self.optimizers):
            by_u[:, column % self.terms if self.shared else column] += moved[:, column]
        return np.concatenate([columns, by_u], axis=1)

    def search(self, start: Array, y: Array, evaluations: int, *, tolerance: float = 1e-12) -> End:
        """The end of the search from one start."""
        low, high = np.log(EXPONENTS)
        cache: dict[bytes, tuple[Array, Array, Array]] = {}

        def at(u: Array) -> tuple[Array, Array, Array]:
            key = u.tobytes()
            if key not in cache:
                cache.clear()
                cache[key] = self.solve(u, y)
            return cache[key]

        found = optimize.least_squares(
            lambda u: at(u)[1],
            np.clip(start, low + 1e-6, high - 1e-6),
            jac=lambda u: at(u)[2],
            bounds=(low, high),
            xtol=100 * tolerance,
            ftol=tolerance,
            gtol=1e-14,
            max_nfev=evaluations,
        )
        return float(2 * found.cost), found.x, bool(found.success)

    def laws(self, u: Array, beta: Array) -> list[LossLaw]:
        exponents = np.exp(u).reshape(-1, self.terms)
        found = []
        for j in range(self.optimizers):
            own = exponents[0 if self.shared else j]
            factors = beta[j * self.terms : (j + 1) * self.terms]
            a = float(beta[-1]) if self.most > 0 else 0.0
            # C/unit -> C; the smaller exponent is called f.
            pairs = sorted((float(x), float(factor * self.unit**x)) for x, factor in zip(own, factors))
            found.append(LossLaw(a, pairs[0][1], pairs[0][0], *((pairs[1][1], pairs[1][0]) if len(pairs) > 1 else ())))
        return found

    def ends(self, y: Array, starts: int, generator: np.random.Generator, evaluations: int) -> list[End]:
        """Where searches from so many starts end, the least sum of squares first."""
        found = []
        for k in range(starts):
            # The published exponents first; then as wide as ladders have shown.
            span = np.log([0.01, 0.1]), np.log([0.3, 1.0])
            small, large = (0.03, 0.2) if k == 0 else np.exp(generator.uniform(*span))
            start = np.log([small, large][: self.terms] if self.terms == 2 else [small if k else 0.07])
            found.append(self.search(np.tile(start, self.unknown // self.terms), y, evaluations))
        return sorted(found, key=lambda end: end[0])

    def resampled(self, ends: Sequence[End], targets: Array, evaluations: int) -> list[list[LossLaw]]:
        """The laws of every bootstrap sample, searched from the best end; from others too where valleys lie apart.

        Args:
            ends: of :meth:`ends`.
            targets: losses of the samples, one row each.
            evaluations: steps at most of one search.
        """
        u = ends[0][1]
        sorted_u = np.sort(u.reshape(-1, self.terms))
        # Where the starts ended in several valleys, a sample may find its own best in another one.
        valleys = [
            end[1]
            for end in ends[1:]
            if end[2] and np.abs(np.sort(end[1].reshape(-1, self.terms)) - sorted_u).max() > 0.05
        ][:3]
        found = []
        for k, target in told("bootstrap", list(enumerate(targets))):
            others = [valleys[k % len(valleys)]] if valleys else []
            end = min(
                (self.search(start, target, evaluations, tolerance=1e-6) for start in (u, *others)),
                key=lambda end: end[0],
            )
            found.append(self.laws(end[1], self.solve(end[1], target)[0]))
        return found
