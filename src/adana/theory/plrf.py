"""Power-law random features (PLRF): a linear regression whose data, target and model size obey power laws.

``x in R^v`` has independent Gaussian entries ``x_j = j^-rho z_j``; the target is ``y = <x, b>`` with
``b_j = j^-eta``; the model sees ``xhat = W' x`` through a random ``W in R^(v x d)`` of entries N(0, 1/d).
Risk is half the mean-square error, ``R(theta) = E(<xhat, theta> - y)^2 / 2`` (Section B.1, equation 5).

With ``A = diag(j^-rho) W``, ``bhat_j = j^-(rho + eta)`` and ``H = A'A``: ``theta* = argmin |A theta - bhat|``,
``P_inf = |A theta* - bhat|^2`` and ``2 R(theta) = (theta - theta*)' H (theta - theta*) + P_inf``.

Exact: for Gaussian x the residual ``y - <xhat, theta*>`` is Gaussian with variance P_inf and independent of
xhat. So the problem is a well-specified Gaussian regression with covariance H and label noise P_inf, which
is how it is simulated by default: d numbers per sample instead of v.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from adana.theory.checks import Floats, finite, integer, positive
from adana.theory.effort import Effort
from adana.theory.engines import Samples

__all__ = ["Plrf", "plrf_effort"]


def plrf_effort(v: int, d: int) -> Effort:
    """Of drawing one problem and taking its random matrix apart."""
    return Effort.of(held=5.0 * v * d, calls=100, numbers=0.04 * v * d * d)


@dataclass(frozen=True)
class Plrf:
    """One drawn problem.

    Args:
        rho: data exponent, > 0 (the literature's alpha); covariance eigenvalues fall as j^(-2 rho).
        eta: target exponent (the literature's beta).
        v: hidden dimension, above d.
        d: model size.
        seed: of W.
        full: draw the v-dimensional x for every sample instead of xhat and the label noise. The law is the
            same; it exists to test that.

    Attributes:
        A: (v, d).
        b_hat: (v,).
        H: covariance of xhat, (d, d).
        eigenvalues: of H, falling, (d,).
        eigenvectors: columns, (d, d).
        theta_star: minimizer, (d,).
        p_infinity: twice the least risk.

    Raises:
        ValueError: a size or exponent out of range.

    Checked: both ways of drawing give the exact mean recursion's curve within Monte-Carlo error.

    >>> problem = Plrf(1.0, 0.5, v=40, d=10, seed=0)
    >>> round(float(2 * problem.risk(problem.theta_star) / problem.p_infinity), 12)
    1.0
    """

    rho: float
    eta: float
    v: int
    d: int
    seed: int = 0
    full: bool = False
    A: Floats = field(init=False, repr=False, compare=False)
    b_hat: Floats = field(init=False, repr=False, compare=False)
    H: Floats = field(init=False, repr=False, compare=False)
    eigenvalues: Floats = field(init=False, repr=False, compare=False)
    eigenvectors: Floats = field(init=False, repr=False, compare=False)
    theta_star: Floats = field(init=False, repr=False, compare=False)
    p_infinity: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        positive("rho", self.rho)
        finite("eta", self.eta)
        integer("d", self.d)
        integer("v", self.v)
        integer("seed", self.seed, 0)
        if self.v <= self.d:
            raise ValueError(f"v must exceed d, got v={self.v} and d={self.d}")
        plrf_effort(self.v, self.d).check(f"a problem of v = {self.v:,} and d = {self.d:,}", "lower v or d")
        j = np.arange(1, self.v + 1, dtype=np.float64)
        rng = np.random.default_rng([self.seed, 0])
        a = j[:, None] ** -self.rho * rng.standard_normal((self.v, self.d)) / np.sqrt(self.d)
        with np.errstate(over="ignore"):
            b_hat = j ** -(self.rho + self.eta)
        if not (np.isfinite(a).all() and np.isfinite(b_hat).all()):
            raise ValueError(f"the problem overflows at rho={self.rho:g} and eta={self.eta:g}: take smaller exponents")
        left, singular, right = np.linalg.svd(a, full_matrices=False)
        if not singular[-1] > 1e-14 * singular[0]:
            raise ValueError(f"the smallest eigenvalues vanish at rho={self.rho:g} and d={self.d}: lower one of them")
        theta_star = right.T @ ((left.T @ b_hat) / singular)
        made = {
            "A": a,
            "b_hat": b_hat,
            "H": a.T @ a,
            "eigenvalues": singular**2,
            "eigenvectors": right.T,
            "theta_star": theta_star,
            "p_infinity": float(np.sum((a @ theta_star - b_hat) ** 2)),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameters, (d,)."""
        return (self.d,)

    def modes(self, start: ArrayLike | None = None) -> Floats:
        """Squared distances to the minimizer along the eigenvectors, (d,), from ``start`` (default zero)."""
        theta = np.zeros(self.d) if start is None else np.asarray(start, dtype=np.float64)
        if theta.shape != (self.d,):
            raise ValueError(f"start must have shape ({self.d},), got {theta.shape}")
        return np.asarray((self.eigenvectors.T @ (theta - self.theta_star)) ** 2)

    def risk(self, theta: ArrayLike) -> Floats:
        """``R = ((theta - theta*)' H (theta - theta*) + P_inf)/2`` of each of a stack of parameters (..., d)."""
        error = np.asarray(theta, dtype=np.float64) - self.theta_star
        with np.errstate(all="ignore"):
            modes = error @ (self.eigenvectors * np.sqrt(self.eigenvalues))
            return np.asarray(0.5 * (np.einsum("...i,...i->...", modes, modes) + self.p_infinity))

    def risk_bound(self, norms_squared: Floats) -> Floats:
        """``lambda_1 |theta|^2 + |bhat|^2``, which the risk never exceeds."""
        return np.asarray(self.eigenvalues[0] * norms_squared + self.b_hat @ self.b_hat)

    def safe_norm_squared(self, bound: float) -> float:
        """The squared norm at which :meth:`risk_bound` meets ``bound``."""
        return float((bound - self.b_hat @ self.b_hat) / self.eigenvalues[0])

    def sample(self, count: int, seed: int = 0) -> tuple[Floats, Floats]:
        """``count`` samples: features (count, d) and targets (count,), in float64."""
        drawn = self.stream(seed, 1, integer("count", count), np.dtype(np.float64))(1)
        return drawn.features[0, 0], drawn.targets[0, 0]

    def stream(self, seed: int, runs: int, batch: int, dtype: Any) -> Callable[[int], Samples]:
        """A source of samples; called with a number of steps it gives the next ones."""
        data, noise = (np.random.default_rng([integer("seed", seed, 0), i]) for i in (1, 2))
        if self.full:
            x_hat, y = self.A.astype(dtype), self.b_hat.astype(dtype)
        else:
            factor = (np.sqrt(self.eigenvalues)[:, None] * self.eigenvectors.T).astype(dtype)
            theta, scale = self.theta_star.astype(dtype), dtype.type(np.sqrt(self.p_infinity))

        def draw(steps: int) -> Samples:
            size = (steps, runs, batch)
            if self.full:
                z = data.standard_normal((*size, self.v), dtype=dtype)
                return Samples(z @ x_hat, z @ y, None)
            features = (data.standard_normal((steps * runs * batch, self.d), dtype=dtype) @ factor).reshape(*size, -1)
            return Samples(features, features @ theta + scale * noise.standard_normal(size, dtype=dtype), None)

        return draw
